"""Progress bars on tqdm, and streams, that never make the training fail.

Contract. Nothing here raises if a stream is closed or broken, or cannot encode a character. Bars of several runs may be
open at once, in threads too.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

DELAY = 0.5
"""Seconds into an epoch before its batches get a bar, so that bars do not flicker in short epochs."""
INTERVAL = 0.1
"""Seconds between two refreshes of the bars."""

_SEPARATOR, _MORE = ", ", "..."
LINES_PER_OUTPUT = 500
"""How many lines share one output of a notebook's cell."""
_UNKNOWN = "{desc}, {n_fmt} batches, {elapsed}{postfix}"

now = time.perf_counter


def of_total(number: int, total: int | None) -> str:
    """Return a count of a total: ``3/50``, or ``3`` if the total is unknown."""
    return f"{number}" if total is None else f"{number}/{total}"


class SafeStream:
    """A text stream that never raises: what cannot be encoded is replaced, what cannot be written is dropped.

    Two that wrap the same stream are equal; tqdm recognises one by the field `_wrapped`.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._wrapped = stream

    def __getattr__(self, name: str) -> Any:
        if name == "_wrapped":  # while it is copied or unpickled, before it has its field
            raise AttributeError(name)
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
        """The separator between the parts of a line."""
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
        """Write what can be written; drop the rest."""
        if self._wrapped is not None:
            with suppress(OSError, ValueError):
                self._wrapped.write(self._encodable(text))

    def flush(self) -> None:
        """Flush if possible."""
        with suppress(AttributeError, OSError, ValueError):
            self._wrapped.flush()  # type: ignore[union-attr]


def fitting(parts: Iterable[str], room: float) -> str:
    """Return parts as one string of a limited length; parts that do not fit are neither read nor shown.

    Args:
        parts: The parts, each shown whole or not at all.
        room: The largest number of characters.
    """
    shown: list[str] = []
    length = fits = 0
    for part in parts:
        length += len(part) + bool(shown) * len(_SEPARATOR)
        if length > room:
            return _SEPARATOR.join([*shown[:fits], _MORE]) if fits else ""
        shown.append(part)
        if length + len(_SEPARATOR + _MORE) <= room:
            fits = len(shown)
    return _SEPARATOR.join(shown)


def in_kernel() -> bool:
    """Return whether this runs in IPython's kernel, as in a notebook."""
    ipython = sys.modules.get("IPython")  # in a notebook it is always imported
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None


@functools.cache
def bar_class(tqdm: type) -> Any:
    """Return tqdm's class without its monitor thread, which wakes bars that skip updates: these never do."""
    return type("ProgressBar", (tqdm,), {"monitor_interval": 0})


class NotebookLines:
    """Lines in one output of a notebook's cell, so that a plot shown meanwhile does not separate them.

    Each line sends the whole output again, so a new output begins after `LINES_PER_OUTPUT` lines.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._handle: Any = None

    def write(self, line: str) -> None:
        """Add a line."""
        if len(self._lines) == LINES_PER_OUTPUT:
            self._lines, self._handle = [], None
        self._lines.append(line)
        bundle = {"text/plain": "\n".join(self._lines)}
        if self._handle is None:
            from IPython.display import DisplayHandle

            self._handle = DisplayHandle()
            self._handle.display(bundle, raw=True)
        else:
            self._handle.update(bundle, raw=True)


class Bars:
    """A bar for the run's epochs and, below it, in long epochs, one for the epoch's batches.

    Args:
        bar_class: tqdm's class.
        stream: The stream to draw on; None for a notebook. There the second bar is open from the first epoch on, so
            that both stay above later output.
        batches: Whether there is a second bar.
    """

    def __init__(self, bar_class: Any, stream: SafeStream | None, *, batches: bool = True) -> None:
        self._bar_class = bar_class
        self._has_batches = batches
        self._lines = NotebookLines() if stream is None else None
        self._stream = stream
        self._run_bar: Any = None
        self._batch_bar: Any = None
        self._batches_ended = True
        self._label = ""
        self._batches_due = 0.0
        self._epochs_due = 0.0
        self._ended: tuple[int, Iterable[str]] | None = None

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
        """Show that an epoch begins; a run of one epoch has no bar for epochs."""
        self.end_batches()
        self._label = f"Epoch {of_total(epoch + 1, epochs)}"
        self._batches_due = now() + DELAY
        if self._run_bar is not None and self._run_bar.total != epochs:
            self._close_run()
        if self._run_bar is None and epochs != 1:
            known = "{desc} {n_fmt}/{total_fmt} |{bar}| {remaining} left{postfix}"
            unknown = "{desc} {n_fmt}, {elapsed}{postfix}"
            self._run_bar = self._open("Epochs", epochs, unknown if epochs is None else known, initial=epoch)
        elif self._run_bar is not None and epoch < self._run_bar.n:  # a rewind
            self._ended = None
            self._run_bar.update(epoch - self._run_bar.n)
        if self._stream is None and self._has_batches and self._batch_bar is None:
            self._batch_bar = self._open(self._label, None, _UNKNOWN)

    def advance(self, done: int, total: int | None, elapsed: float, metrics: Iterable[str]) -> None:
        """Show how many batches of the epoch have ended, and as many of their latest metrics as fit."""
        moment = now()
        if moment < self._batches_due:
            return
        self._batches_due = moment + INTERVAL
        if total is not None and done > total:
            total = None
        if self._batches_ended or self._batch_bar.total != total:
            self._begin_batches(total, elapsed)
        self._set_metrics(self._batch_bar, metrics)
        self._batch_bar.update(done - self._batch_bar.n)
        if self._run_bar is not None:
            self._show_ended()
            self._run_bar.refresh()

    def evaluated(self, done: int, total: int | None, elapsed: float, metrics: Iterable[str]) -> None:
        """Show the results of an evaluation at once, however recently the bars were refreshed."""
        if not self._batches_ended:  # else the delay in which an epoch may end counts
            self._batches_due = -math.inf
        self.advance(done, total, elapsed, metrics)
        if not self._batches_ended:
            self._batch_bar.refresh()

    def _begin_batches(self, total: int | None, elapsed: float) -> None:
        known = "{desc} |{bar}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"
        bar_format = _UNKNOWN if total is None else known
        if self._batch_bar is not None and self._stream is None:
            bar = self._batch_bar  # in a notebook each closed bar would leave an empty output
            bar.desc, bar.bar_format, bar.total = self._label, bar_format, total
            bar.reset(total=total)
        else:
            self._close_batches()
            # The delay keeps the bar hidden until its start time is set below.
            bar = self._open(self._label, total, bar_format, delay=1e-9)
        bar.start_t = bar.last_print_t = time.time() - elapsed
        self._batch_bar, self._batches_ended = bar, False

    def evaluating(self, *, begins: bool) -> None:
        """Show whether an evaluation holds up the batches."""
        if not self._batches_ended:
            self._batch_bar.set_description_str(f"{self._label}, evaluating" if begins else self._label)

    def end_batches(self) -> None:
        """Close the bar of the batches; in a notebook it stays for the next epoch."""
        self._batches_ended = True
        if self._stream is not None:
            self._close_batches()

    def _close_batches(self) -> None:
        if self._batch_bar is not None:
            bar, self._batch_bar = self._batch_bar, None
            bar.total = bar.n  # a notebook would keep an unfinished bar, in red
            bar.close()

    def end_epoch(self, epoch: int, metrics: Iterable[str]) -> None:
        """Show an epoch's results; if epochs end faster than bars refresh, only the latest."""
        self.end_batches()
        self._ended = epoch + 1, metrics
        if (moment := now()) >= self._epochs_due:
            self._epochs_due = moment + INTERVAL
            self._show_ended()

    def _show_ended(self) -> None:
        if self._run_bar is not None and self._ended is not None:
            (count, metrics), self._ended = self._ended, None
            self._set_metrics(self._run_bar, metrics)
            self._run_bar.update(count - self._run_bar.n)

    @staticmethod
    def _set_metrics(bar: Any, metrics: Iterable[str]) -> None:
        """Show as many whole metrics as fit next to a bar of 5 characters."""
        bar.postfix = None
        state = bar.format_dict
        room = math.inf
        if isinstance(width := state["ncols"], int) and width > 0:
            room = width - len(bar.format_meter(**{**state, "ncols": None})) + 5 - len(_SEPARATOR)
        bar.set_postfix_str(fitting(metrics, room), refresh=False)

    def write(self, line: str, stream: SafeStream) -> None:
        """Write a line above the bars."""
        if self._lines is not None:
            self._lines.write(line)
        else:
            self._bar_class.write(line, file=stream)
            stream.flush()

    def _close_run(self) -> None:
        if self._run_bar is not None:
            bar, self._run_bar = self._run_bar, None
            bar.total = bar.n
            bar.close()

    def close(self) -> None:
        """Close all bars."""
        self._batches_ended = True
        self._close_batches()
        self._close_run()
