"""A tracker of Accelerate that feeds a bus from ``accelerator.log``.

Contract. What is logged under one step is one step of the run, which is delivered once something is logged under
another one, or at the end. The whole run is one epoch: Accelerate has no epochs.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, ClassVar

from accelerate.tracking import GeneralTracker, on_main_process

from monitor_core._log import logger
from monitor_core.adapters.attached import Attached
from monitor_core.adapters.epochs import Epochs
from monitor_core.adapters.versions import require
from monitor_core.bus.bus import Bus
from monitor_core.bus.run import Run
from monitor_core.loop.recording import attach

__all__ = ["AccelerateTracker"]


class AccelerateTracker(Attached, GeneralTracker):  # type: ignore[misc, unused-ignore]
    """Log to sinks by ``accelerator.log``: ``Accelerator(log_with=AccelerateTracker(History(per_batch=True)))``.

    For scripts that are written for trackers. ``init_trackers`` begins a run, and ``end_training`` ends it. Sinks get
    what the script logs, under its steps; a tracker gets nothing else, so `AccelerateLoop` serves more. A script that
    does not reach ``end_training`` leaves the run open. A stop that a sink asks for is in ``tracker.run.stopped``.

    Args:
        *sinks: Sinks, in the order in which they are to be called.
        record: The run's folder, in which a `Journal` records each run after the last, as with `Loop`.

    Attributes:
        bus: The bus that carries the events.
        config: What ``init_trackers`` got as the configuration.

    Raises:
        HookError: An object is not a sink.
        SetupError: accelerate is older than 1.0.

    Example:
        >>> accelerator = Accelerator(log_with=AccelerateTracker(CSVLogger("log.csv", per_batch=True)))
        >>> accelerator.init_trackers("my project")
        >>> accelerator.log({"loss": loss}, step=step)
        >>> accelerator.end_training()
    """

    name: ClassVar[str] = "monitor_core"
    requires_logging_directory: ClassVar[bool] = False

    def __init__(self, *sinks: object, record: str | PathLike[str] | None = None) -> None:
        require("accelerate", "1.0", "accelerate")
        super().__init__()
        self.bus = Bus(*sinks)
        attach(self.bus, record=record, resume=None)
        self.config: dict[str, Any] = {}
        self._epochs = Epochs(self.bus)
        self._step = 0
        self._values: dict[str, Any] | None = None
        self._has_warned = False

    @property
    def tracker(self) -> Run:
        """What ``accelerator.get_tracker("monitor_core", unwrap=True)`` returns: the run."""
        return self.bus.run

    @on_main_process  # type: ignore[untyped-decorator, unused-ignore]
    def start(self) -> None:
        """Begin a run."""
        self._step, self._values = 0, None
        self._epochs.abandon()
        self.bus.train_begin(epochs=1)
        self._epochs.begin(0)

    @on_main_process  # type: ignore[untyped-decorator, unused-ignore]
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Keep the configuration."""
        self.config = dict(values)

    @on_main_process  # type: ignore[untyped-decorator, unused-ignore]
    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log values under a step; without one, under the next."""
        if self.run.status != "running":
            return
        number = self._step + 1 if step is None else int(step)
        if number < self._step and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "accelerator.log got step %d after step %d: it is logged under the latter", number, self._step
            )
        if self._values is None or number > self._step:
            self._deliver()
            self._step, self._values = max(number, self._step), {}
            self.bus.batch_begin(self._step)
        self._values |= {name: value for name, value in values.items() if not isinstance(value, str)}

    def _deliver(self) -> None:
        if self._values is not None:
            values, self._values = self._values, None
            self.bus.batch_end(self._step, values)

    @on_main_process  # type: ignore[untyped-decorator, unused-ignore]
    def finish(self) -> None:
        """End the run."""
        if self.run.status == "running":
            self._deliver()
            self._epochs.end()
            self.bus.train_end()
