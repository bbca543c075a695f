"""Look up a metric's name, the same way in every sink and plot."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Any

from monitor_core._log import logger
from monitor_core.errors import SetupError

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


def nearest_metric(name: str, available: Iterable[str]) -> str | None:
    """Return the name that a misspelt one probably means; None if none is close."""
    return next(iter(difflib.get_close_matches(name, list(available), n=1, cutoff=0.8)), None)


def check_metric(name: str, model: Any, owner: str, argument: str) -> None:
    """Look for a misspelt name at train begin, where the model's handle knows its metrics by then.

    Where the logs may hold more than the handle knows of, such as what a callback adds, a name is never refused.

    Args:
        name: The metric's name.
        model: The model's handle, or None.
        owner: The name of the sink that asks, for messages.
        argument: Which of its arguments names the metric.

    Raises:
        SetupError: The logs will hold the model's metrics alone, and one of them has nearly that name.
    """
    known = model.metric_names() if hasattr(model, "metric_names") else None
    if known is None or find_metric(name, known) is not None:
        return
    is_misspelt = nearest_metric(name, known) is not None
    message = f"{owner}: {argument} names a metric that the model does not have: {unknown_metric(name, known, 'it')}"
    if is_misspelt and model.has_all_metrics:
        raise SetupError(message)
    if is_misspelt or model.has_all_metrics:
        logger.warning("%s", message)


def known_name(name: str, available: Collection[str], where: str) -> str:
    """Return the name under which a metric is recorded.

    Raises:
        KeyError: There is no such metric; the message lists the names.
    """
    found = find_metric(name, available)
    if found is None:
        raise KeyError(unknown_metric(name, available, where))
    return found


def unknown_metric(name: str, available: Iterable[str], where: str) -> str:
    """Return the message for a missing metric, with the nearest name and all names."""
    names = sorted(available)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"no metric {name!r}{hint}; {where} has {', '.join(names) or 'none'}"
