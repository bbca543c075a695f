"""The progress: bars in a terminal or a notebook, one plain line for each epoch anywhere else.

Contract. Values arrive with the blocks, at most about a second late, so a batch costs nothing here. Without bars, this
sink receives no blocks at all. What cannot be written (a closed stream, a broken pipe) is dropped silently. Several
instances may show bars at once, in threads too. Evaluations and predictions outside of a run show nothing.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TextIO

import attrs

from monitor_core import checks
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.metrics.names import find_metric
from monitor_core.sinks import progress_bars
from monitor_core.sinks.progress_bars import Bars, NotebookLines, SafeStream, bar_class, in_kernel, of_total
from monitor_core.sinks.progress_lines import METRIC_WIDTH, Columns, format_duration
from monitor_core.values.blocks import Block
from monitor_core.values.text import format_value

SHORT_RUN = 20
"""Runs of up to this many epochs leave a line for each epoch in a terminal, unless ``epoch_lines`` is given."""


def _printable(text: str) -> str:
    """Return the string on one line and without control characters."""
    return "".join(each if each.isprintable() else " " for each in text).strip()


def _pairs(logs: Collection[str]) -> Iterator[str]:
    """Yield the metrics' names with each validation metric after its training counterpart."""
    for name in logs:
        if name.removeprefix("val_") == name or name.removeprefix("val_") not in logs:
            yield name
            if f"val_{name}" in logs:
                yield f"val_{name}"


def _names(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"metrics must be a list of names (got {value!r})")
    return names


def _check_file(_: object, __: object, value: Any) -> None:
    if value is not None and not callable(getattr(value, "write", None)):
        raise TypeError(f"file must have a method write (got {value!r})")


@attrs.define(eq=False)
class Progress(Sink):
    """Show the training's progress: bars in a terminal and in a notebook, a plain line for each epoch elsewhere.

    In a terminal or a notebook, one bar counts the run's epochs and shows the last epoch's results; while an epoch
    takes longer than half a second, a second bar counts its batches and shows their latest values, and those of the
    latest evaluation. Runs of up to 20 epochs leave a line for each epoch; longer ones leave the last epoch's. Files,
    pipes and CI logs get one line for each epoch, and for each evaluation within one that more batches follow, and no
    control characters. A run that did not complete ends with a line that says why.

    Bars need the package tqdm: ``pip install "monitor_core[progress]"``. Without it, and in a notebook without
    ipywidgets, plain lines are written.

    Args:
        file: The stream to write to. None is standard error at train begin or, in a notebook, the cell's output.
        metrics: Names of the metrics to show, in that order. None shows all.
        bars: Whether to draw bars. None draws them in a terminal and in a notebook, if tqdm is installed.
        batches: Whether the bars show the batches of an epoch too.
        epoch_lines: Whether to leave a line for each epoch in a terminal or a notebook. None leaves them in runs of at
            most 20 epochs or of an unknown number.

    Raises:
        TypeError: ``file`` has no method ``write``, or an option is of a wrong type.
        ValueError: ``metrics`` is not a list of names.

    Example:
        >>> with Loop(Progress()) as loop:
        ...     for epoch in loop.epochs(3):
        ...         for x, y in loop.batches(train_data):
        ...             loop.log(loss=train_step(x, y))
        epoch 1/3 · 0.8 s left   · 70 batches · 0.4 s · loss 0.7265
        epoch 2/3 · 0.4 s left   · 70 batches · 0.4 s · loss 0.5113
        epoch 3/3 · 1.2 s in all · 70 batches · 0.4 s · loss 0.4398
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    background: ClassVar[bool] = True

    file: TextIO | None = attrs.field(default=None, kw_only=True, validator=_check_file)
    metrics: tuple[str, ...] | None = attrs.field(default=None, kw_only=True, converter=_names)
    bars: bool | None = attrs.field(default=None, kw_only=True, validator=attrs.validators.optional(checks.boolean))
    batches: bool = attrs.field(default=True, kw_only=True, validator=checks.boolean)
    epoch_lines: bool | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(checks.boolean)
    )
    _stream: SafeStream = attrs.field(init=False, repr=False, factory=lambda: SafeStream(None))
    _bars: Bars | None = attrs.field(init=False, repr=False, default=None)
    _notebook: NotebookLines | None = attrs.field(init=False, repr=False, default=None)
    _columns: Columns = attrs.field(init=False, repr=False, factory=Columns)
    _seen: dict[str, None] = attrs.field(init=False, repr=False, factory=dict)
    _run_began: float = attrs.field(init=False, repr=False, default=0.0)
    _latest: dict[str, float] = attrs.field(init=False, repr=False, factory=dict)
    _first_step: int = attrs.field(init=False, repr=False, default=0)
    _steps_seen: int | None = attrs.field(init=False, repr=False, default=None)
    _began: float = attrs.field(init=False, repr=False, default=0.0)
    _ends: deque[float] = attrs.field(init=False, repr=False, factory=lambda: deque(maxlen=11))
    _last_line: str | None = attrs.field(init=False, repr=False, default=None)
    _error: str | None = attrs.field(init=False, repr=False, default=None)
    _in_run: bool = attrs.field(init=False, repr=False, default=False)

    def wants_hook(self, hook: str) -> bool:
        """Listen to blocks only if batches can be shown: the stream is a terminal, or this is a notebook."""
        if hook not in ("on_block", "on_evaluation_begin", "on_evaluation_end"):
            return True
        stream = SafeStream(sys.stderr if self.file is None else self.file)
        is_shown = stream.is_terminal or (self.file is None and "ipykernel" in sys.modules)
        return self.batches and (is_shown if self.bars is None else self.bars)

    def on_train_begin(self, run: Run) -> None:
        """Choose bars or lines for the stream; close bars that an earlier run left open."""
        self._close_bars()
        tqdm = None if self.bars is False else _tqdm()
        in_notebook = self.file is None and any(
            base.__module__ == "tqdm.notebook" for base in getattr(tqdm, "__mro__", ())
        )
        default = sys.stdout if in_notebook else sys.stderr
        self._stream = stream = SafeStream(default if self.file is None else self.file)
        is_shown = in_notebook or stream.is_terminal if self.bars is None else self.bars
        self._bars = None
        if tqdm is not None and is_shown:
            self._bars = Bars(bar_class(tqdm), None if in_notebook else stream, batches=self.batches)
        self._notebook = NotebookLines() if self._bars is None and self.file is None and in_kernel() else None
        self._latest, self._first_step, self._steps_seen = {}, run.step, None
        self._run_began = self._began = progress_bars.now()
        self._columns, self._seen = Columns(), {}
        self._ends.clear()
        self._last_line, self._error, self._in_run = None, None, True

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Show the epoch's number."""
        self._latest, self._first_step, self._began = {}, run.step, progress_bars.now()
        if self._bars is not None:
            self._bars.begin_epoch(epoch, _epochs(run, epoch))

    def on_block(self, run: Run, block: Block) -> None:
        """Show the epoch's progress and the latest values."""
        if self._bars is None or not len(block):
            return
        for name, column in block.columns.items():
            mask = block.present[name]
            self._latest[name] = float(column[-1] if mask is None else column[mask.nonzero()[0][-1]])
        done = int(block.steps[-1]) - self._first_step
        total = run.steps_per_epoch or self._steps_seen
        self._bars.advance(done, total, progress_bars.now() - self._began, self._shown(self._latest))

    def on_evaluation_begin(self, run: Run) -> None:
        """Show that the epoch's batches wait for an evaluation."""
        if self._bars is not None:
            self._bars.evaluating(begins=True)

    def on_evaluation_end(self, run: Run, logs: Logs) -> None:
        """Show that the epoch's batches continue."""
        if self._bars is not None:
            self._bars.evaluating(begins=False)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Show the results of an evaluation within the epoch: among the batches' metrics, or on a line of their own."""
        evaluation = run.evaluation
        if evaluation is None or not any(True for _ in self._shown(logs)):
            return
        done = evaluation.step - self._first_step
        if self._bars is None or not self.batches:
            self._write(self._evaluation_line(run, done, logs))
            return
        self._latest.update(logs)
        total = run.steps_per_epoch or self._steps_seen
        self._bars.evaluated(done, total, progress_bars.now() - self._began, self._shown(self._latest))

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Show the epoch's results."""
        steps = run.step - self._first_step
        self._steps_seen = steps or None
        self._ends.append(progress_bars.now())
        epochs = _epochs(run, epoch)
        line = self._line(run, epoch, steps, logs)
        if self._bars is None:
            self._write(line)
            return
        keeps_lines = epochs is None or epochs <= SHORT_RUN if self.epoch_lines is None else self.epoch_lines
        self._last_line = None if keeps_lines else line
        if keeps_lines:
            self._bars.end_batches()
            self._write(line)
        self._bars.end_epoch(epoch, [] if keeps_lines else self._shown(logs))

    def on_exception(self, run: Run, error: BaseException) -> None:
        """Close the bars, so that later output is not mixed with them."""
        if isinstance(error, Exception):
            self._error = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self._close_bars()

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Close the bars, and say what was found to be wrong, and how the run ended, unless it completed."""
        if not self._in_run:
            return
        self._in_run = False
        self._close_bars()
        if self._last_line is not None:
            self._write(self._last_line)
        for finding in run.findings:
            if finding.severity != "note":
                self._write(f"{finding.severity}: {_printable(str(finding))}")
        if run.status in ("stopped", "failed", "interrupted"):
            reason = self._error or run.stop_reason
            self._write(run.status if reason is None else f"{run.status}: {_printable(reason)}")

    def _evaluation_line(self, run: Run, step: int, logs: Mapping[str, float]) -> str:
        total = run.steps_per_epoch if run.steps_per_epoch is not None and run.steps_per_epoch >= step else None
        cells = {
            "epoch": _of_epochs(run.epoch, _epochs(run, run.epoch)),
            "step": f"step {_aligned(step, total)}",
            "evaluated": format_duration(progress_bars.now() - self._began),
        }
        for shown in self._shown(logs):
            name, _, value = shown.rpartition(" ")
            cells[f"metric {name}"] = f"{name} {value:<{METRIC_WIDTH}}"
        return self._columns.line(cells, self._stream.separator)

    def _line(self, run: Run, epoch: int, steps: int, logs: Mapping[str, float]) -> str:
        epochs, now = _epochs(run, epoch), self._ends[-1]
        cells = {"epoch": _of_epochs(epoch, epochs)}
        if epochs is not None and epochs > epoch + 1 and not run.stopped:
            cells["time"] = f"{format_duration(self._epoch_seconds() * (epochs - epoch - 1))} left"
        elif epochs is not None and epochs > 1:
            cells["time"] = f"{format_duration(now - self._run_began)} in all"
        if steps:
            cells["batches"] = f"{steps} {'batch' if steps == 1 else 'batches'}"
        cells["duration"] = format_duration(now - self._began)
        return self._columns.line(cells | self._cells(logs), self._stream.separator)

    def _cells(self, logs: Mapping[str, float]) -> dict[str, str]:
        """Return a cell for each metric of the run so far, so that a missing one does not move the others."""
        names = [find_metric(name, logs) or name for name in self.metrics or logs]
        self._seen |= dict.fromkeys(name for name in names if name in logs)
        shown = [name for name in names if name in self._seen] if self.metrics else _pairs(self._seen)
        values = {name: format_value(logs[name]) if name in logs else "-" for name in shown}
        return {f"metric {name}": f"{_printable(name)} {value:<{METRIC_WIDTH}}" for name, value in values.items()}

    def _epoch_seconds(self) -> float:
        """Return the mean seconds of the last ten epochs, from end to end: the first epoch also compiles."""
        ends = self._ends
        return ends[-1] - self._began if len(ends) == 1 else (ends[-1] - ends[0]) / (len(ends) - 1)

    def _shown(self, logs: Mapping[str, float]) -> Iterator[str]:
        """Yield the metrics to show, formatted lazily: a bar has room for a few of thousands."""
        names = (find_metric(name, logs) for name in self.metrics) if self.metrics else _pairs(logs)
        return (f"{_printable(name)} {format_value(logs[name])}" for name in names if name is not None)

    def _write(self, line: str) -> None:
        if self._bars is not None:
            self._bars.write(line, self._stream)
        elif self._notebook is not None:
            self._notebook.write(line)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()

    def _close_bars(self) -> None:
        if self._bars is not None:
            self._bars.close()


def _tqdm() -> Any:
    """Return tqdm's class for this terminal or notebook, None if tqdm is not installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


def _epochs(run: Run, epoch: int) -> int | None:
    """Return how many epochs are planned, None if unknown or if they are exceeded."""
    return run.epochs if run.epochs is not None and run.epochs > epoch else None


def _of_epochs(epoch: int, epochs: int | None) -> str:
    return f"epoch {_aligned(epoch + 1, epochs)}"


def _aligned(number: int, total: int | None) -> str:
    """Return a count of a total that is as wide as every other of that total."""
    return of_total(number, total).rjust(2 * len(str(total)) + 1 if total else 0)
