"""The open runs of an adapter, and the child runs of this process whose fits have raised.

scikit-learn calls nothing for a fit of a search that raised: its run is ended when the next one begins in its thread,
also by another copy of the adapter, or when the search ends.
"""

from __future__ import annotations

import threading
from typing import Any

import attrs

from monitor_core.adapters.sklearn.fit import Fit
from monitor_core.adapters.sklearn.tasks import Key

_children: dict[int, list[tuple[Key, Fit]]] = {}
"""The open child runs of each thread of this process, inner ones last."""


@attrs.define(eq=False)
class Fits:
    """The open runs of an adapter."""

    _open: dict[Key, Fit] = attrs.field(factory=dict, init=False)

    def get(self, key: Key) -> Fit | None:
        """Return an open run, or None."""
        return self._open.get(key)

    def begin(self, key: Key, fit: Fit) -> None:
        """Add a run."""
        self._open[key] = fit
        tree, names = key
        if not names:
            return
        stack = _children.setdefault(threading.get_ident(), [])
        while stack:
            (other_tree, others), other = stack[-1]
            if other_tree == tree and names[: len(others)] == others != names:  # it is around the new one
                break
            _end_failed(other, None)
        stack.append((key, fit))

    def end(self, key: Key) -> None:
        """End a run."""
        fit = self._open.pop(key)
        _forget(fit)
        fit.end()

    def close(self, tree: Any, error: BaseException | None) -> None:
        """End what is left of a tree of tasks, because the outermost fit has ended or raised."""
        for key in [key for key in self._open if key[0] == tree]:
            fit = self._open.pop(key)
            if key[1]:
                _end_failed(fit, error)
            else:
                fit.end(error)


def _end_failed(fit: Fit, error: BaseException | None) -> None:
    """End a child run whose fit has raised."""
    _forget(fit)
    fit.end(
        error or RuntimeError("the fit raised; scikit-learn tells callbacks nothing else: pass error_score='raise'")
    )


def _forget(fit: Fit) -> None:
    for stack in _children.values():
        stack[:] = [each for each in stack if each[1] is not fit]
