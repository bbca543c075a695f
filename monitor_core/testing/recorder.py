"""The recorder: a sink that records events, for tests that compare whole sequences of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monitor_core.bus.hooks import HOOKS
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Sink
from monitor_core.values.blocks import Block

Event = tuple[Any, ...]
"""The hook's name without its ``on_``, then the hook's arguments after ``run``."""


def plain(value: Any) -> Any:
    """Return a block as its epoch and rows, and anything else as it is, for comparison by value."""
    return (value.epoch, list(value.rows())) if isinstance(value, Block) else value


class Recorder(Sink):
    """Record events as tuples of the hook's name, without its ``on_``, and its arguments after ``run``.

    Args:
        *hooks: The hooks to listen to, such as ``"on_epoch_end"``; all if none is given.
        name: The name in messages.
        events: A list to share with other recorders; each event then begins with the recorder's name.

    Attributes:
        events: What was recorded, in order.

    Raises:
        ValueError: There is no such hook.

    Example:
        >>> recorder = Recorder("on_epoch_end")
        >>> with Loop(recorder) as loop:
        ...     for epoch in loop.epochs(1):
        ...         loop.log(loss=0.5)
        >>> recorder.events
        [('epoch_end', 0, {'loss': 0.5})]
    """

    def __init__(self, *hooks: str, name: str = "Recorder", events: list[Event] | None = None) -> None:
        for hook in hooks:
            if hook not in HOOKS:
                raise ValueError(f"hooks must be among {', '.join(HOOKS)} (got {hook!r})")
        self.hooks = hooks
        self.name = name
        self.events: list[Event] = [] if events is None else events
        self.shared = events is not None

    def wants_hook(self, hook: str) -> bool:
        """Listen to the hooks that were given."""
        return not self.hooks or hook in self.hooks

    def record(self, run: Run, hook: str, *args: Any) -> None:
        """Record an event; override it to do more.

        Args:
            run: The run.
            hook: The hook's full name.
            *args: The hook's arguments after ``run``.
        """
        event = (hook.removeprefix("on_"), *map(plain, args))
        self.events.append((self.name, *event) if self.shared else event)


def _recording(hook: str) -> Callable[..., None]:
    def record(self: Recorder, run: Run, *args: Any) -> None:
        self.record(run, hook, *args)

    record.__name__ = hook
    return record


for _hook in HOOKS:
    setattr(Recorder, _hook, _recording(_hook))
