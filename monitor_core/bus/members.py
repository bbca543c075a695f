"""The sinks on a bus: which of their hooks are called, in which order, and how often they have failed."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import attrs

from monitor_core import frameworks
from monitor_core._log import logger
from monitor_core.bus.hooks import HOOKS, Hook, find_hooks, sink_name
from monitor_core.bus.run import Run
from monitor_core.errors import SetupError
from monitor_core.model.handles import ModelHandle


@attrs.define(eq=False)
class Member:
    """A sink on the bus.

    Attributes:
        sink: The sink.
        name: Its name, unique on its bus.
        hooks: Its hooks, by name.
        copies_logs: Whether its hooks get a copy of the logs, because they may modify them.
        in_a_row: How many times in a row a hook has failed, for those that failed when last called.
        warned: The hooks whose failure was logged.
        begun: Whether its ``on_train_begin`` was called in the current run.
        failures: How many times its hooks have failed in this run.
        disabled_at: The step at which it was disabled, or None.
        is_elsewhere: Whether only rank 0 calls it in the current run, and this is another rank.
    """

    sink: Any
    name: str
    hooks: dict[str, Hook]
    copies_logs: bool
    in_a_row: dict[str, int] = attrs.field(factory=dict)
    warned: set[str] = attrs.field(factory=set)
    begun: bool = False
    failures: int = 0
    disabled_at: int | None = None
    is_elsewhere: bool = False

    @property
    def in_background(self) -> bool:
        """Whether it may get blocks in the background: it is ``background`` and has no batch hooks."""
        receives_batches = "on_batch_begin" in self.hooks or "on_batch_end" in self.hooks
        return bool(getattr(self.sink, "background", False)) and not receives_batches

    def is_called(self, hook: str) -> bool:
        """Return whether a hook is called: a disabled sink still gets the train's end, to close its files."""
        if self.is_elsewhere:
            return False
        return hook in self.hooks and (self.disabled_at is None or hook == "on_train_end")

    def place(self, run: Run) -> bool:
        """Determine whether it is called on this rank; return whether that has changed."""
        before = self.is_elsewhere
        wants_rank = getattr(self.sink, "wants_rank", None) or (lambda _: getattr(self.sink, "per_rank", False))
        self.is_elsewhere = run.rank > 0 and bool(getattr(self.sink, "writes", False)) and not wants_rank(run)
        return self.is_elsewhere != before

    def check_needs(self, model: ModelHandle | None) -> None:
        """Raise a SetupError if the model's handle lacks a member that the sink needs."""
        if self.is_elsewhere:
            return
        for need in getattr(self.sink, "needs", ()):
            if model is None:
                raise SetupError(f"{self.name} needs {need!r} of the model, and no model was given: pass model=...")
            try:
                getattr(model, need)
            except AttributeError as error:
                raise SetupError(f"{self.name} needs {need!r} of the model, which its handle lacks: {error}") from error

    def log_failures(self) -> None:
        """Log, at a run's end, how often the sink failed in it, or that it was disabled before."""
        if self.failures:
            disabled = "" if self.disabled_at is None else f" and was disabled at step {self.disabled_at}"
            logger.warning("%s failed %d times%s; see failures", self.name, self.failures, disabled)
            self.failures = 0
        elif self.disabled_at is not None:
            logger.warning(
                "%s was not called in this run: it was disabled in an earlier run after repeated failures. Remove it "
                "and add it again.",
                self.name,
            )


@attrs.frozen(eq=False)
class Call:
    """A hook to call, with the member it belongs to."""

    member: Member
    hook: Hook


class Members:
    """The sinks on a bus, in the order in which they are called.

    Attributes:
        last: A member that is called after all of them and is none of them: the bus's own, or None.
    """

    def __init__(self) -> None:
        self._members: list[Member] = []
        self.last: Member | None = None

    def __iter__(self) -> Iterator[Member]:
        """Iterate over the members as they are now; adding or removing one does not affect the iteration."""
        return iter(tuple(self._members))

    def __contains__(self, member: object) -> bool:
        """Return whether this is still a member."""
        return member in self._members

    def make(self, sink: object) -> Member:
        """Return a member for a sink, or for a callback that a sink can call, without adding it.

        Raises:
            HookError: The object is not a sink.
            ValueError: It is already a member.
        """
        if self.of(sink) is not None:
            raise ValueError(f"{sink_name(sink)} is already on this bus: add each sink once")
        sink = frameworks.as_sink(sink)
        hooks = {name: _own(sink, hook) for name, hook in find_hooks(sink).items()}
        taken = {member.name for member in self._members}
        name = unique = sink_name(sink)
        number = 2
        while unique in taken:
            unique, number = f"{name}#{number}", number + 1
        return Member(sink, unique, hooks, copies_logs=not getattr(sink, "read_only", False))

    def of(self, sink: object) -> Member | None:
        """Return the member of a sink, or of the callback that a sink calls; or None."""
        return next(
            (each for each in self._members if each.sink is sink or getattr(each.sink, "callback", None) is sink), None
        )

    def insert(self, member: Member) -> None:
        """Add a member: last, but before those that save the state of others."""
        self._members.append(member)
        self._members.sort(key=lambda each: bool(getattr(each.sink, "saves", False)))

    def discard(self, member: Member) -> None:
        """Remove a member."""
        self._members.remove(member)

    def calls(self) -> dict[str, tuple[Call, ...]]:
        """Return what to call for each hook, in order."""
        members = self._members if self.last is None else [*self._members, self.last]
        return {name: tuple(Call(each, each.hooks[name]) for each in members if each.is_called(name)) for name in HOOKS}


def _own(sink: object, hook: Hook) -> Hook:
    """Return a hook that only this sink has: a plain function may be a hook of other sinks too."""
    return hook if getattr(hook, "__self__", None) is sink else functools.partial(hook)
