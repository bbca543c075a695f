"""Ray: report a run's results to Ray Tune or Ray Train, and end it as stopped where Ray Tune ends the trial.

Contract. In Ray Tune, a report waits until the scheduler has decided. Where it ends the trial, Ray raises `SystemExit`
within the report; it is raised again once the run has ended, and the process waits for that before it exits. In Ray
Train, a report waits for all workers, so each must report equally often: results of epochs and of evaluations are those
of all ranks, at the same steps.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import attrs

from monitor_core import checks
from monitor_core.background.watch import watch
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.origin import Origin, as_name
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.metrics.occasions import At

EXIT_SECONDS = 30.0
"""For how many seconds at most a process whose trial was ended waits for the training's thread before it exits."""

Save = Callable[[Run, Path], object]


@attrs.frozen
class _Place:
    """Where this process is in Ray.

    Attributes:
        api: The module that reports, ``ray.tune`` or ``ray.train``.
        experiment: The experiment's name.
        trial: The trial's name, None in Ray Train.
    """

    api: Any
    experiment: str
    trial: str | None


def _place() -> _Place | None:
    """Return where this process is in Ray, None if it is in no training function."""
    import ray.train
    import ray.tune

    try:
        worker = ray.train.get_context()
    except DeprecationWarning:  # so Ray says that this is a trial
        trial = ray.tune.get_context()
        return _Place(ray.tune, trial.get_experiment_name(), trial.get_trial_name())
    except RuntimeError:
        return None
    return _Place(ray.train, worker.get_experiment_name(), None)


def _check_config(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"config must be a mapping (got {value!r})")


def _check_save(_: Any, __: Any, value: Any) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"save must be a function of the run and a folder, or None (got {value!r})")


@attrs.define(eq=False)
class RayReport(Sink):
    """Report a run's results to Ray: in a function of Ray Tune's to the trial, in one of Ray Train's to the trainer.

    The results of each epoch are reported, with ``epoch``, 0-based, and ``step``. Where a scheduler stops or pauses the
    trial, the run ends as stopped, and every sink has its train end.

    What saving or reporting raises ends the training, as in any function of Ray's: the other workers would wait for
    this one's report.

    The run is part of the experiment: with ``record="/runs/a"``, a trial records in a folder inside that is named after
    it. If the same trial runs again, ``resume="/runs/a"`` continues after its last checkpoint there.

    Args:
        config: The trial's configuration, as Ray passes it to the function; it becomes the run's.
        at: ``"epoch"``, or ``"evaluation"`` to report at each evaluation within an epoch too: its results, and the
            weighted means of the training's metrics since the one before.
        save: What saves a checkpoint to report: it is called with the run and an empty folder to write into. On several
            workers, those of rank 0 are reported. None: no checkpoints.
        save_every: With every how many reports to report a checkpoint, at least 1.

    Attributes:
        ended: Whether Ray Tune has ended the trial.

    Raises:
        SetupError: The package ``ray`` is missing. At train begin: this process is in no training function of Ray's.
        TypeError: An argument is of a wrong type.
        ValueError: An argument breaks its rule above.

    Example:
        >>> def train(config):
        ...     with Loop(RayReport(config), record="/runs/a") as loop:
        ...         fit(loop, config["rate"])
        >>> ray.tune.Tuner(train, param_space={"rate": ray.tune.loguniform(1e-4, 1e-1)}).fit()
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    critical: ClassVar[bool] = True
    saves: ClassVar[bool] = True  # last: Ray may kill the process soon, and the journal is to have the epoch by then

    config: Mapping[str, Any] = attrs.field(factory=dict, validator=_check_config, repr=False)
    at: At = attrs.field(default="epoch", kw_only=True, validator=checks.one_of("epoch", "evaluation"))
    save: Save | None = attrs.field(default=None, kw_only=True, validator=_check_save)
    save_every: int = attrs.field(default=1, kw_only=True, validator=checks.count(least=1))
    ended: bool = attrs.field(init=False, default=False)
    _reports: int = attrs.field(init=False, default=0, repr=False)
    _thread: weakref.ref[threading.Thread] | None = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        checks.required("RayReport", "ray", "ray.tune", "ray.train")

    def wants_hook(self, hook: str) -> bool:
        """Listen to evaluations within epochs only if they are to be reported."""
        return hook != "on_midepoch_evaluation" or self.at == "evaluation"

    @property
    def wants_interval_means(self) -> bool:  # type: ignore[override]
        """Whether it reports means since the last evaluation."""
        return self.at == "evaluation"

    @property
    def origin(self) -> Origin | None:  # type: ignore[override]
        """The experiment, with the trial's name and its configuration; None outside of Ray."""
        if (place := _place()) is None:
            return None
        name = None if place.trial is None else as_name(place.trial)
        return Origin(place.experiment, name=name, config=dict(self.config))

    def on_train_begin(self, run: Run) -> None:
        """Check that there is something to report to.

        Raises:
            SetupError: There is not.
        """
        if _place() is None:
            raise SetupError(
                "RayReport works inside a function that Ray Tune or Ray Train runs: leave it out elsewhere"
            )
        self.ended, self._reports = False, 0
        self._thread = weakref.ref(threading.current_thread())
        watch(self)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Report the epoch's results."""
        self._report(run, {"epoch": epoch, "step": run.step, **logs})

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Report the evaluation's results."""
        step = run.step if run.evaluation is None else run.evaluation.step
        self._report(run, {"epoch": run.epoch, "step": step, **run.interval_means, **logs})

    def _report(self, run: Run, results: Mapping[str, Any]) -> None:
        place = _place()
        if self.ended or place is None:
            return
        self._reports += 1
        with ExitStack() as until_reported:
            checkpoint = None
            if self.save is not None and not run.rank and self._reports % self.save_every == 0:
                folder = until_reported.enter_context(tempfile.TemporaryDirectory())
                self.save(run, Path(folder))
                checkpoint = place.api.Checkpoint.from_directory(folder)
            try:
                place.api.report(dict(results), checkpoint=checkpoint)
            except SystemExit as error:
                if place.trial is None:
                    raise
                self.ended = True
                run.stop(f"Ray Tune stopped or paused the trial after report {self._reports}", raising=error)

    def at_exit(self) -> None:
        """Wait for the run's end: Ray lets the process exit as soon as it has ended the trial."""
        thread = None if self._thread is None else self._thread()
        if self.ended and thread is not None and thread is not threading.current_thread():
            thread.join(EXIT_SECONDS)

    def after_fork(self) -> None:
        """Forget the training's thread, which does not run in a forked process."""
        self._thread = None
