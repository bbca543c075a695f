"""The scikit-learn adapter: feeds a bus from estimators that take callbacks (SLEP023, experimental in 1.9).

An iteration is a round, an epoch of one step (see `monitor_core.loop.rounds`): scikit-learn counts iterations and can
score the estimator after each. The scores on the training data are the round's own metrics, those on
``validation_data`` an evaluation ``val``. A fit is a run. A search is a run too, with one epoch for each candidate,
once all are known. Its fits are child runs, which record to folders of their own: with ``n_jobs=2`` they run in other
processes, and a folder is what processes share without a server. Fit number ``k * splits + s`` is that of candidate k
on split s, both counted from 0.

Contract. Hooks are called on the thread that fits; those of a child run in the process that fits it, with sinks that
``children`` has made there. A pickled adapter has the options but not the sinks.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any, TypeVar

import sklearn

from monitor_core.adapters.attached import Attached
from monitor_core.adapters.sklearn.fit import Fit
from monitor_core.adapters.sklearn.fits import Fits
from monitor_core.adapters.sklearn.tasks import Context, Key, begins_run, is_called_by_scipy, is_round, key_of
from monitor_core.checks import require_version
from monitor_core.errors import SetupError
from monitor_core.loop.rounds import Rounds
from monitor_core.store.addresses import located

__all__ = ["SklearnAdapter"]

Estimator = TypeVar("Estimator")


class SklearnAdapter(Attached):
    """Attach sinks to an estimator: ``adapter.attach(estimator).fit(x, y)``.

    Args:
        *sinks: Sinks, in the order in which they are to be called; in a search, they get the candidates' results.
        scoring: What to score each iteration by, as in `GridSearchCV`: None for the estimator's own ``score``, a name,
            several, or a callable; ``()`` for nothing.
        validation_data: ``(x, y)`` to score on as well; the scores have the prefix ``val_``.
        children: Returns the sinks of a child run, from its name, such as ``"fit-0003"`` or ``"refit"``; called in the
            process that fits. It must be picklable for ``n_jobs`` above 1.
        record: The run's folder, in which a `Journal` records; child runs record in folders of their names in it.
        strict: Whether to check the order of rounds, and to let every exception of a sink propagate.

    Attributes:
        bus: The bus that carries the events of the outermost fit.
        max_propagation_depth: None: scikit-learn passes the adapter on to the parts of the estimator.

    Raises:
        HookError: An object is not a sink.
        SetupError: scikit-learn is older than 1.9.

    Example:
        >>> adapter = SklearnAdapter(History(), scoring="neg_log_loss", validation_data=(x_val, y_val))
        >>> adapter.attach(LogisticRegression()).fit(x, y)
    """

    max_propagation_depth: int | None = None

    def __init__(
        self,
        *sinks: Any,
        scoring: Any = None,
        validation_data: tuple[Any, Any] | None = None,
        children: Callable[[str], Iterable[Any]] | None = None,
        record: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        require_version(type(self).__name__, "scikit-learn", sklearn.__version__, (1, 9), "sklearn")
        self._rounds = Rounds(sinks, validation_data=validation_data, record=record, strict=strict)
        self.bus = self._rounds.bus
        self._scoring = scoring
        self._validation_data = validation_data
        self._make_sinks = children
        self._folder = None if record is None else located(record).absolute()
        self._strict = strict
        self._fits = Fits()

    def __reduce__(self) -> tuple[Callable[[], SklearnAdapter], tuple[()]]:
        """Pickle without the sinks, which stay in this process."""
        options = {"scoring": self._scoring, "validation_data": self._validation_data, "children": self._make_sinks}
        return functools.partial(type(self), **options, record=self._folder, strict=self._strict), ()

    def attach(self, estimator: Estimator) -> Estimator:
        """Set this adapter on an estimator, in addition to its other callbacks.

        Returns:
            The estimator.

        Raises:
            SetupError: It takes no callbacks, or ignores them.
        """
        target: Any = estimator
        if not hasattr(target, "set_callbacks"):
            raise SetupError(
                f"{type(target).__name__} takes no callbacks in scikit-learn {sklearn.__version__}; its fit cannot be "
                "watched. If it has partial_fit, write a Loop(..., model=estimator) around it"
            )
        if getattr(target, "solver", "lbfgs") != "lbfgs":
            raise SetupError(
                f"{type(target).__name__} calls callbacks with solver='lbfgs' only (got solver={target.solver!r})"
            )
        others = [each for each in getattr(target, "_skl_callbacks", []) if each is not self]
        target.set_callbacks(*others, self)
        return estimator

    # --- what scikit-learn calls -------------------------------------------------------------------------------------

    def setup(self, estimator: Any, context: Context) -> None:
        """Called before the outermost fit; its run begins with its first task."""

    def teardown(self, estimator: Any, context: Context) -> None:
        """End the run of the outermost fit, also after an exception."""
        self._fits.close(context.root_uuid, sys.exc_info()[1])

    def on_fit_task_begin(self, estimator: Any, context: Context) -> None:
        """Begin a run or a round."""
        key = key_of(context)
        fit = self._fits.get(key)
        if begins_run(context):
            self._begin(key, estimator)
        elif fit is not None and is_round(estimator, context):
            fit.begin_round()

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Context,
        *,
        X: Any = None,  # noqa: N803 (scikit-learn's name)
        y: Any = None,
        metadata: Mapping[str, Any] | None = None,
        fitted_estimator: Any = None,
    ) -> bool:
        """End a round or a run; return whether a stop is requested."""
        key = key_of(context)
        fit = self._fits.get(key)
        if fit is None:
            return False
        if is_round(estimator, context):
            is_stopped = fit.end_round(estimator, fitted_estimator, X, y, metadata or {})
            if is_stopped and is_called_by_scipy(context):
                raise StopIteration
            return is_stopped
        if begins_run(context):
            self._fits.end(key)
        return False

    def _begin(self, key: Key, estimator: Any) -> None:
        _, names = key
        if not names:
            rounds = self._rounds
        elif self._make_sinks is None and self._folder is None:
            return
        else:
            folder = None if self._folder is None else self._folder.joinpath(*names)
            sinks = () if self._make_sinks is None else tuple(self._make_sinks("/".join(names)))
            rounds = Rounds(sinks, validation_data=self._validation_data, record=folder, strict=self._strict)
        self._fits.begin(key, fit := Fit(rounds, self._scoring, self._validation_data))
        fit.begin(estimator)
