"""Look up a metric's name, the same way in every sink and plot."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

_SPELLINGS = {"acc": "accuracy", "accuracy": "acc"}


def find_metric(name: str, available: Collection[str]) -> str | None:
    """Return the name of a metric among the given ones, or None.

    ``acc`` and ``accuracy`` are one metric, after any prefix (``val_acc``, ``train/acc``), unless both exist: Keras
    names the metric as the user spelt it in ``compile``.
    """
    if name in available:
        return name
    for here, elsewhere in _SPELLINGS.items():
        stem = name.removesuffix(here)
        if stem != name and (not stem or stem[-1] in "_/") and stem + elsewhere in available:
            return stem + elsewhere
    return None


def unknown_metric(name: str, available: Iterable[str], where: str) -> str:
    """Return the message for a missing metric, with the nearest name and all names."""
    names = sorted(available)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"no metric {name!r}{hint}; {where} has {', '.join(names) or 'none'}"
