"""What adapters have in common: the run of their bus; and those of rounds, a ``with`` block and copies."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from monitor_core.bus.bus import Bus
from monitor_core.bus.hooks import sink_name
from monitor_core.bus.run import Run
from monitor_core.loop.rounds import Rounds


class Attached:
    """An adapter with a bus.

    Attributes:
        bus: The bus that carries the events.
    """

    bus: Bus

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(sink_name, self.bus.sinks))}; {self.run!r})"

    @property
    def run(self) -> Run:
        """The current run, or the last one, or the next one."""
        return self.bus.run


class AttachedToRounds(Attached):
    """An adapter of a framework that reports whole rounds; a context manager, since not every end is reported."""

    _rounds: Rounds
    _again: Callable[..., Any]
    _parts: tuple[Any, ...]

    def _attach(self, parts: tuple[Any, ...], options: dict[str, Any], **own: Any) -> None:
        """Make the rounds, and remember how to make this adapter again.

        Args:
            parts: The sinks, or a single `Loop`.
            options: The options of `Rounds`.
            **own: Further arguments of the adapter.
        """
        self._rounds = Rounds(parts, **options)
        self.bus = self._rounds.bus
        self._again = functools.partial(type(self), **own, **options)
        self._parts = parts

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Copy and pickle as a fresh adapter with copies of the sinks: estimators are cloned, and sent to processes."""
        return _made, (self._again, tuple(copy.copy(part) for part in self._parts))

    def __enter__(self) -> Self:
        """Return the adapter; the run begins with the training."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End a run that is still open: after an exception, or an end that the framework does not report."""
        self._rounds.leave(error)


def _made(make: Callable[..., Any], parts: tuple[Any, ...]) -> Any:
    return make(*parts)
