"""The live plot: a run's curves in a notebook, redrawn during training."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from monitor_core import History, Run, SetupError, Sink
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.sink import Logs
from monitor_core.files.folders import absolute
from monitor_core.metrics.names import find_metric, known_name
from monitor_core.plotting.curves.curves import check_metrics
from monitor_core.plotting.curves.plot import check_smoothing, image_path, plot_history
from monitor_core.plotting.curves.sources import read_sources

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from monitor_core.journal.recorded import RecordedRun

_SHARE_OF_TIME = 0.1
"""What part of the time drawing may take: a plot takes 0.3 to 0.6 s, as long as many an epoch."""


def _checked(check: Callable[[Any], None]) -> Callable[[Any, Any, Any], None]:
    """Turn a check of one value into a validator."""
    return lambda _live, _attribute, value: check(value)


def _check_every(every: float) -> None:
    if not every >= 0:
        raise ValueError(f"every must be >= 0 (got {every!r})")


def _check_path(to_file: str | PathLike[str] | None) -> None:
    if to_file is not None:
        image_path(to_file)


@attrs.define(eq=False, kw_only=True)
class LivePlot(Sink):
    """Show the curves below the notebook cell that trains, redrawn when an epoch or an evaluation within one ends.

    Outside of a notebook nothing is shown. With ``to_file``, the image is also written to that file, in a notebook or
    not. The record continues over any number of `fit` calls and runs until `reset`; each cell has its own plot.

    Args:
        metrics: What to draw, as in `plot_history`; a metric that appears late is drawn once it has appeared.
        every: The least number of seconds between two plots; longer if drawing would otherwise take more than a tenth
            of the time. 0 draws at the end of every epoch, at any cost.
        smoothing: As in `plot_history`.
        mark_best: As in `plot_history`.
        title: As in `plot_history`.
        to_file: As in `plot_history`.
        figsize: As in `plot_history`.

    Attributes:
        history: What was recorded.
        figure: The last figure drawn, or None.
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    writes: ClassVar[bool] = True

    metrics: Sequence[str] | None = attrs.field(default=None, validator=_checked(check_metrics))
    every: float = attrs.field(default=1.0, validator=_checked(_check_every))
    smoothing: float | None = attrs.field(default=None, validator=_checked(check_smoothing))
    mark_best: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    title: str | None = None
    to_file: str | PathLike[str] | None = attrs.field(default=None, validator=_checked(_check_path))
    figsize: tuple[float, float] | None = None
    history: History = attrs.field(init=False, factory=History)
    figure: Figure | None = attrs.field(init=False, default=None, repr=False)
    _due: float = attrs.field(init=False, default=0.0, repr=False)
    _handle: Any = attrs.field(init=False, default=None, repr=False)
    _cell: object = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.to_file is not None:
            self.to_file = absolute(self.to_file)

    def reset(self) -> None:
        """Clear the record; the plot stays until the next one is drawn."""
        self.history.reset()

    def on_train_begin(self, run: Run) -> None:
        """Check the requirements of the first plot.

        Raises:
            SetupError: matplotlib is not installed, or the folder of ``to_file`` does not exist.
        """
        self.history.on_train_begin(run)
        if (self.to_file is not None or _notebook() is not None) and find_spec("matplotlib") is None:
            raise SetupError('LivePlot needs matplotlib: pip install "monitor_core[plot]"')
        if self.to_file is not None and not (folder := image_path(self.to_file).parent).is_dir():
            raise SetupError(
                f"to_file must be in a folder that is there (got {str(self.to_file)!r}, no folder {folder})"
            )

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Begin an epoch of the record."""
        self.history.on_epoch_begin(run, epoch)

    def on_evaluation_end(self, run: Run, logs: Logs) -> None:
        """Record the evaluation's results."""
        self.history.on_evaluation_end(run, logs)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Redraw if it is time."""
        self.history.on_midepoch_evaluation(run, logs)
        self._redraw_if_due()

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Record the epoch's results, and redraw if a plot is due."""
        self.history.on_epoch_end(run, epoch, logs)
        self._redraw_if_due()

    def _redraw_if_due(self) -> None:
        if time.monotonic() >= self._due:
            self._redraw()

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Draw everything.

        Raises:
            KeyError: A metric in ``metrics`` never appeared.
        """
        self.history.on_train_end(run, logs)
        if self._names():
            self._redraw()
            for name in self.metrics or ():
                known_name(name, self._names(), "this history")

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Drop this run's record from ``epoch`` onward."""
        self.history.on_rewind(run, epoch, step)

    def state_dict(self) -> dict[str, Any]:
        """Return the length of the record, not the record itself."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the recorded run."""
        self.history.load_state_dict(state)

    def load_record(self, recorded: RecordedRun) -> None:
        """Load the record up to the loaded state; see `History.load_record`."""
        self.history.load_record(recorded)

    def _names(self) -> list[str]:
        """Return the metrics that can be drawn: those of epochs, and of evaluations within one that has not ended."""
        return list(read_sources(self.history)[0].columns)

    def _redraw(self) -> None:
        shell = _notebook()
        metrics = self.metrics
        if metrics is not None:
            metrics = [name for name in metrics if find_metric(name, self._names()) is not None]
        if (shell is None and self.to_file is None) or not self._names() or metrics == []:
            return
        began = time.monotonic()
        try:
            self.figure = plot_history(
                self.history,
                metrics=metrics,
                smoothing=self.smoothing,
                mark_best=self.mark_best,
                title=self.title,
                to_file=self.to_file,
                figsize=self.figsize,
            )
            if shell is not None:
                self._show(shell)
        finally:
            if self.every:
                now = time.monotonic()
                self._due = now + max(self.every, (now - began) / _SHARE_OF_TIME)

    def _show(self, shell: Any) -> None:
        from IPython.display import DisplayHandle

        if self._handle is None or self._cell != shell.execution_count:
            self._cell, self._handle = shell.execution_count, DisplayHandle()
            self._handle.display(self.figure)
        else:
            self._handle.update(self.figure)


def _notebook() -> Any:
    """Return IPython's shell if it runs in a kernel, whose front end can show images; otherwise None."""
    ipython = sys.modules.get("IPython")  # without it, this is not a notebook
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None
