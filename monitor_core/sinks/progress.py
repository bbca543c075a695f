"""The progress: bars in a terminal or a notebook, one plain line for each epoch anywhere else.

Contract. Values come with the blocks, at most about a second late, so a batch costs nothing here; where no bars are
shown, blocks are not asked for at all. What cannot be written (a closed stream, a broken pipe) is dropped silently.
Several of these may show bars at once, in threads too. Evaluations and predictions outside of a run show nothing.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, TextIO

import attrs

from monitor_core.blocks import Block
from monitor_core.errors import SetupError
from monitor_core.names import find_metric
from monitor_core.run import Run
from monitor_core.sink import Logs, Sink

SHORT_RUN = 20
"""Epochs up to which a run leaves a line for each of them in a terminal, unless told otherwise."""
_DELAY = 0.5
"""Seconds into an epoch before its batches get a bar, so that none flickers where epochs are short."""
_INTERVAL = 0.1
"""Seconds between two refreshes of the bars."""

_now = time.perf_counter


def format_value(value: float) -> str:
    """Return a metric's value for people to read: four significant digits, an exponent for the tiny and the huge."""
    if 9999.5 <= abs(value) < 1e7:
        return f"{value:.0f}"
    return f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """Return a duration in seconds for people to read: ``35 ms``, ``0.4 s``, ``12 s``, ``3 min 20 s``."""
    if seconds < 0.095:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _printable(text: str) -> str:
    """Return the text on one line and without control characters, whoever wrote it."""
    return "".join(each if each.isprintable() else " " for each in text).strip()


def _of_total(number: int, total: int | None) -> str:
    return f"{number}" if total is None else f"{number}/{total}"


def _pairs(logs: Mapping[str, float]) -> list[str]:
    """Return the metrics' names with each validation metric behind its training counterpart."""
    names: dict[str, None] = {}
    for name in logs:
        if name.removeprefix("val_") == name or name.removeprefix("val_") not in logs:
            names |= dict.fromkeys(each for each in (name, f"val_{name}") if each in logs)
    return list(names)


class _SafeStream:
    """A text stream that never raises: what cannot be encoded is replaced, what cannot be written is dropped.

    Equal to any other around the same stream; tqdm looks for the field `_wrapped` to recognise it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._wrapped = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def __eq__(self, other: object) -> bool:
        return self._wrapped is getattr(other, "_wrapped", other)

    def __hash__(self) -> int:
        return id(self._wrapped)

    @property
    def is_terminal(self) -> bool:
        """Whether bars can be drawn on it."""
        try:
            return bool(self._wrapped is not None and self._wrapped.isatty()) and os.environ.get("TERM") != "dumb"
        except (AttributeError, OSError, ValueError):
            return False

    @property
    def has_size(self) -> bool:
        """Whether the terminal knows its size."""
        try:
            return self._wrapped is not None and os.get_terminal_size(self._wrapped.fileno()).columns > 0
        except (AttributeError, OSError, ValueError):
            return False

    @property
    def separator(self) -> str:
        """What stands between the parts of a line."""
        return " · " if self._encodable(" · ") == " · " else " | "

    def _encodable(self, text: str) -> str:
        encoding = getattr(self._wrapped, "encoding", None)
        if not isinstance(encoding, str):
            return text
        try:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        except (LookupError, ValueError):
            return text

    def write(self, text: str) -> None:
        """Write what can be written."""
        if self._wrapped is not None:
            with suppress(OSError, ValueError):
                self._wrapped.write(self._encodable(text))

    def flush(self) -> None:
        """Flush if possible."""
        with suppress(AttributeError, OSError, ValueError):
            self._wrapped.flush()  # type: ignore[union-attr]


@functools.cache
def _bar_class(tqdm: type) -> Any:
    # Without tqdm's monitor thread, which wakes bars that skip updates: these skip none.
    return type("ProgressBar", (tqdm,), {"monitor_interval": 0})


class _Bars:
    """A bar for the run's epochs and, below it, while an epoch takes long, one for the epoch's batches."""

    def __init__(self, bar_class: Any, stream: _SafeStream | None) -> None:
        self._bar_class = bar_class
        self._stream = stream
        self._run_bar: Any = None
        self._batch_bar: Any = None
        self._batches_ended = True
        self._label = ""
        self._batches_due = 0.0
        self._epochs_due = 0.0
        self._ended: tuple[int, list[str]] | None = None

    def _open(self, desc: str, total: int | None, bar_format: str, **options: Any) -> Any:
        # In a notebook tqdm picks the stream by itself.
        if self._stream is not None:
            options["file"] = self._stream
        # tqdm draws nothing on a terminal of 0 rows, which is what containers and some consoles report.
        if self._stream is None or self._stream.has_size:
            options["dynamic_ncols"] = True
        else:
            options |= {"ncols": 80, "nrows": 24}
        return self._bar_class(
            desc=desc,
            total=total,
            bar_format=bar_format,
            leave=False,
            mininterval=0,
            miniters=0,
            **options,
        )

    def begin_epoch(self, epoch: int, epochs: int | None) -> None:
        """Show that an epoch begins; a run of one epoch needs no bar of its own."""
        self.end_batches()
        self._label = f"Epoch {_of_total(epoch + 1, epochs)}"
        self._batches_due = _now() + _DELAY
        if self._run_bar is not None and self._run_bar.total != epochs:
            self._close_run()
        if self._run_bar is None and epochs != 1:
            known = "{desc} {n_fmt}/{total_fmt} |{bar}| {remaining} left{postfix}"
            unknown = "{desc} {n_fmt}, {elapsed}{postfix}"
            self._run_bar = self._open("Epochs", epochs, unknown if epochs is None else known, initial=epoch)
        elif self._run_bar is not None and epoch < self._run_bar.n:  # a rewind
            self._ended = None
            self._run_bar.update(epoch - self._run_bar.n)

    def advance(self, done: int, total: int | None, elapsed: float, metrics: list[str]) -> None:
        """Show how many batches of the epoch have ended, and their latest metrics."""
        now = _now()
        if now < self._batches_due:
            return
        self._batches_due = now + _INTERVAL
        if total is not None and done > total:
            total = None
        if self._batches_ended or self._batch_bar.total != total:
            self._begin_batches(total, elapsed)
        self._set_metrics(self._batch_bar, metrics)
        self._batch_bar.update(done - self._batch_bar.n)
        if self._run_bar is not None:
            self._show_ended()
            self._run_bar.refresh()

    def _begin_batches(self, total: int | None, elapsed: float) -> None:
        known = "{desc} |{bar}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"
        bar_format = "{desc}, {n_fmt} batches, {elapsed}{postfix}" if total is None else known
        if self._batch_bar is not None and self._stream is None:
            bar = self._batch_bar  # in a notebook each bar would leave an empty output behind
            bar.desc, bar.bar_format, bar.total = self._label, bar_format, total
            bar.reset(total=total)
        else:
            self._close_batches()
            # The delay keeps it from showing itself before it is told when the epoch began.
            bar = self._open(self._label, total, bar_format, delay=1e-9)
        bar.start_t = bar.last_print_t = time.time() - elapsed
        self._batch_bar, self._batches_ended = bar, False

    def evaluating(self, *, begins: bool) -> None:
        """Say why the batches stand still."""
        if not self._batches_ended:
            self._batch_bar.set_description_str(f"{self._label}, evaluating" if begins else self._label)

    def end_batches(self) -> None:
        """Take the bar of the batches away; in a notebook it stays for the next epoch."""
        self._batches_ended = True
        if self._stream is not None:
            self._close_batches()

    def _close_batches(self) -> None:
        if self._batch_bar is not None:
            bar, self._batch_bar = self._batch_bar, None
            bar.total = bar.n  # a notebook would keep an unfinished bar, in red
            bar.close()

    def end_epoch(self, epoch: int, metrics: list[str]) -> None:
        """Show an epoch's results, the last ones where epochs end faster than anybody reads."""
        self.end_batches()
        self._ended = epoch + 1, metrics
        if (now := _now()) >= self._epochs_due:
            self._epochs_due = now + _INTERVAL
            self._show_ended()

    def _show_ended(self) -> None:
        if self._run_bar is not None and self._ended is not None:
            (count, metrics), self._ended = self._ended, None
            self._set_metrics(self._run_bar, metrics)
            self._run_bar.update(count - self._run_bar.n)

    @staticmethod
    def _set_metrics(bar: Any, metrics: list[str]) -> None:
        """Show as many metrics as fit beside a bar of 5 characters, whole ones."""
        bar.postfix = None
        state = bar.format_dict
        shown = ", ".join(metrics)
        if isinstance(width := state["ncols"], int) and width > 0:
            room = width - len(bar.format_meter(**{**state, "ncols": None})) + 5
            while metrics and len(shown) + 2 > room:
                metrics = metrics[:-1]
                shown = ", ".join([*metrics, "..."])
        bar.set_postfix_str(shown if metrics else "", refresh=False)

    def write(self, line: str, stream: _SafeStream) -> None:
        """Write a line above the bars."""
        self._bar_class.write(line, file=stream)
        stream.flush()

    def _close_run(self) -> None:
        if self._run_bar is not None:
            bar, self._run_bar = self._run_bar, None
            bar.total = bar.n
            bar.close()

    def close(self) -> None:
        """Take all bars away."""
        self._batches_ended = True
        self._close_batches()
        self._close_run()


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
    """Show how far the training is: bars in a terminal and in a notebook, a plain line for each epoch elsewhere.

    In a terminal or a notebook, one bar counts the run's epochs and shows the last epoch's results; while an epoch
    takes longer than half a second, a second bar counts its batches and shows their latest values. Runs of up to 20
    epochs leave a line for each epoch; longer ones leave the last epoch's. In a file, a pipe or a CI log there
    is one line for each epoch and no control character. A run that did not complete leaves a last line that says why.

    It needs the package tqdm: ``pip install "monitor_core[progress]"``. In a notebook without ipywidgets, it writes
    plain lines.

    Args:
        file: Where to write; None: standard error as it is at train begin, in a notebook the cell's output.
        metrics: Names of the metrics to show, in that order; None: all of them.
        batches: Whether to show the batches of an epoch too.
        epoch_lines: Whether a line for each epoch stays in a terminal or a notebook; None: in runs of at most 20
            epochs, and where their number is unknown.

    Raises:
        TypeError: ``file`` has no method ``write``, or an option is of a wrong type.
        ValueError: ``metrics`` is no list of names.

    Example:
        >>> with Loop(Progress()) as loop:
        ...     for epoch in loop.epochs(3):
        ...         for x, y in loop.batches(train_data):
        ...             loop.log(loss=train_step(x, y))
        epoch 1/3 · 70 batches · 0.4 s · loss 0.7265 · about 0.8 s left
        epoch 2/3 · 70 batches · 0.4 s · loss 0.5113 · about 0.4 s left
        epoch 3/3 · 70 batches · 0.4 s · loss 0.4398
    """

    read_only: ClassVar[bool] = True

    file: TextIO | None = attrs.field(default=None, kw_only=True, validator=_check_file)
    metrics: tuple[str, ...] | None = attrs.field(default=None, kw_only=True, converter=_names)
    batches: bool = attrs.field(default=True, kw_only=True, validator=attrs.validators.instance_of(bool))
    epoch_lines: bool | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(attrs.validators.instance_of(bool))
    )
    _stream: _SafeStream = attrs.field(init=False, repr=False, factory=lambda: _SafeStream(None))
    _bars: _Bars | None = attrs.field(init=False, repr=False, default=None)
    _latest: dict[str, float] = attrs.field(init=False, repr=False, factory=dict)
    _first_step: int = attrs.field(init=False, repr=False, default=0)
    _steps_seen: int | None = attrs.field(init=False, repr=False, default=None)
    _began: float = attrs.field(init=False, repr=False, default=0.0)
    _ends: deque[float] = attrs.field(init=False, repr=False, factory=lambda: deque(maxlen=11))
    _last_line: str | None = attrs.field(init=False, repr=False, default=None)
    _error: str | None = attrs.field(init=False, repr=False, default=None)
    _in_run: bool = attrs.field(init=False, repr=False, default=False)

    def wants_hook(self, hook: str) -> bool:
        """Listen to blocks only where their batches can be shown: the stream is a terminal, or this a notebook."""
        if hook not in ("on_block", "on_evaluation_begin", "on_evaluation_end"):
            return True
        stream = _SafeStream(sys.stderr if self.file is None else self.file)
        return self.batches and (stream.is_terminal or (self.file is None and "ipykernel" in sys.modules))

    def on_train_begin(self, run: Run) -> None:
        """Look where to write; bars that an earlier run left open are closed.

        Raises:
            SetupError: tqdm is not installed.
        """
        self._close_bars()
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise SetupError('Progress needs tqdm: pip install "monitor_core[progress]"') from error
        in_notebook = self.file is None and any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
        default = sys.stdout if in_notebook else sys.stderr
        self._stream = stream = _SafeStream(default if self.file is None else self.file)
        has_bars = in_notebook or stream.is_terminal
        self._bars = _Bars(_bar_class(tqdm), None if in_notebook else stream) if has_bars else None
        self._latest, self._first_step, self._steps_seen, self._began = {}, run.step, None, _now()
        self._ends.clear()
        self._last_line, self._error, self._in_run = None, None, True

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Show which epoch it is."""
        self._latest, self._first_step, self._began = {}, run.step, _now()
        if self._bars is not None:
            self._bars.begin_epoch(epoch, _epochs(run, epoch))

    def on_block(self, run: Run, block: Block) -> None:
        """Show how far the epoch is, and the latest values."""
        if self._bars is None or not len(block):
            return
        for name, column in block.columns.items():
            mask = block.present[name]
            self._latest[name] = float(column[-1] if mask is None else column[mask.nonzero()[0][-1]])
        done = int(block.steps[-1]) - self._first_step
        total = run.steps_per_epoch or self._steps_seen
        self._bars.advance(done, total, _now() - self._began, self._shown(self._latest))

    def on_evaluation_begin(self, run: Run) -> None:
        """Say that the epoch's batches wait for an evaluation."""
        if self._bars is not None:
            self._bars.evaluating(begins=True)

    def on_evaluation_end(self, run: Run, logs: Logs) -> None:
        """Say that they go on."""
        if self._bars is not None:
            self._bars.evaluating(begins=False)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Show the epoch's results."""
        steps = run.step - self._first_step
        self._steps_seen = steps or None
        self._ends.append(_now())
        epochs = _epochs(run, epoch)
        metrics = self._shown(logs)
        line = self._line(run, epoch, steps, metrics)
        if self._bars is None:
            self._write(line)
            return
        keeps_lines = epochs is None or epochs <= SHORT_RUN if self.epoch_lines is None else self.epoch_lines
        self._last_line = None if keeps_lines else line
        if keeps_lines:
            self._bars.end_batches()
            self._write(line)
        self._bars.end_epoch(epoch, [] if keeps_lines else metrics)

    def on_exception(self, run: Run, error: BaseException) -> None:
        """Take the bars away, so that what is printed next stands by itself."""
        if isinstance(error, Exception):
            self._error = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self._close_bars()

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Take the bars away and say how the run ended, unless it completed."""
        if not self._in_run:
            return
        self._in_run = False
        self._close_bars()
        if self._last_line is not None:
            self._write(self._last_line)
        if run.status in ("stopped", "failed", "interrupted"):
            reason = self._error or run.stop_reason
            self._write(run.status if reason is None else f"{run.status}: {_printable(reason)}")

    def _line(self, run: Run, epoch: int, steps: int, metrics: list[str]) -> str:
        epochs = _epochs(run, epoch)
        batches = [f"{steps} {'batch' if steps == 1 else 'batches'}"] if steps else []
        parts = [f"epoch {_of_total(epoch + 1, epochs)}", *batches, format_duration(self._ends[-1] - self._began)]
        parts += metrics
        if epochs is not None and epochs > epoch + 1 and not run.stopped:
            parts.append(f"about {format_duration(self._epoch_seconds() * (epochs - epoch - 1))} left")
        return self._stream.separator.join(parts)

    def _epoch_seconds(self) -> float:
        """Return what an epoch takes, from end to end of the last ten; the first one alone also compiles."""
        ends = self._ends
        return ends[-1] - self._began if len(ends) == 1 else (ends[-1] - ends[0]) / (len(ends) - 1)

    def _shown(self, logs: Mapping[str, float]) -> list[str]:
        names = (find_metric(name, logs) for name in self.metrics) if self.metrics else _pairs(logs)
        return [f"{_printable(name)} {format_value(logs[name])}" for name in names if name is not None]

    def _write(self, line: str) -> None:
        if self._bars is not None:
            self._bars.write(line, self._stream)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()

    def _close_bars(self) -> None:
        if self._bars is not None:
            self._bars.close()


def _epochs(run: Run, epoch: int) -> int | None:
    """Return how many epochs are planned, None if unknown or if they are exceeded."""
    return run.epochs if run.epochs is not None and run.epochs > epoch else None
