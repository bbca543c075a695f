"""What scikit-learn's tree of tasks means: which tasks are runs, and which are rounds of one.

The root of the tree is a run. In the tree of a search, each fit of a candidate on a split is a run of its own, and so
is the fit with the best parameters. A leaf among tasks that follow each other, such as an iteration of L-BFGS, is a
round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import scipy
import sklearn
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline

Context: TypeAlias = Any
"""A ``sklearn.callback.CallbackContext``; its class is experimental."""

Key: TypeAlias = tuple[Any, tuple[str, ...]]
"""What identifies a run: the tree, and the names of the runs on the way to it; none for the root's."""

_EVALUATION, _REFIT = "candidate-split-evaluation", "refit-with-best-params"


def key_of(context: Context) -> Key:
    """Return the run that a task belongs to."""
    names = [name for each in _upwards(context) if (name := _run_name(each)) is not None]
    return context.root_uuid, tuple(reversed(names))


def begins_run(context: Context) -> bool:
    """Return whether a task is a run, not a part of one."""
    return context.parent is None or _run_name(context) is not None


def is_round(estimator: Any, context: Context) -> bool:
    """Return whether a task is a round of its run."""
    return (
        context.parent is not None
        and context.max_subtasks == 0
        and context.source_task_name is None
        and context.parent.sequential_subtasks
        and not isinstance(estimator, (Pipeline, BaseSearchCV))
    )


def is_called_by_scipy(context: Context) -> bool:
    """Return whether ``StopIteration`` ends the solver: L-BFGS in scikit-learn 1.9, which ignores what hooks return.

    Its hooks are called from SciPy's callback, and SciPy stops so from 1.11 on.
    """
    is_ignored = context.task_name == "lbfgs-iter" and sklearn.__version__.startswith("1.9.")
    return is_ignored and tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 11)


def _run_name(context: Context) -> str | None:
    name = context.source_task_name or context.task_name
    if name == _EVALUATION:
        return f"fit-{context.task_id:04d}"
    return "refit" if name == _REFIT else None


def _upwards(context: Context | None) -> Iterator[Context]:
    while context is not None:
        yield context
        context = context.parent
