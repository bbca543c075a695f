"""The sinks on a bus: what is called for each hook, and how a sink that fails is treated.

A hook that raises is isolated: reported once, kept in ``failures``, and after `FAILURES_IN_A_ROW` failures of one hook
in a row its sink is cut off. Which exceptions are not isolated is for the bus to decide.
"""

from __future__ import annotations

import functools
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from monitor_core._log import logger
from monitor_core.bus.hooks import HOOKS, Hook, find_hooks, sink_name
from monitor_core.bus.run import Failure, Run
from monitor_core.errors import SetupError
from monitor_core.model.handles import ModelHandle

FAILURES_IN_A_ROW = 3
"""Failures of one hook in a row after which its sink is cut off. Failures to write (`OSError`) do not count."""
FAILURES_KEPT = 1000
"""How many failures are kept at most; later ones are counted in the summary only."""


@attrs.define(eq=False)
class Member:
    """A sink on the bus: its hooks, what is called in their place, and how they fared.

    Attributes:
        sink: The sink.
        name: Its name, unique on its bus.
        hooks: Its hooks as the bus may call them.
        calls: What is called in their place.
        in_a_row: How many times in a row a hook has failed, for those that did when last called.
        told: The hooks whose failure was warned about.
        begun: Whether it was told of the train's begin in the run under way.
        failures: How many there were in this run.
        cut_off_at: The step at which it was cut off, or None.
    """

    sink: Any
    name: str
    hooks: dict[str, Hook]
    calls: dict[str, Hook] = attrs.field(init=False)
    in_a_row: dict[str, int] = attrs.field(factory=dict)
    told: set[str] = attrs.field(factory=set)
    begun: bool = False
    failures: int = 0
    cut_off_at: int | None = None

    def __attrs_post_init__(self) -> None:
        self.calls = dict(self.hooks)

    @property
    def in_background(self) -> bool:
        """Whether its blocks may come beside the training: it says so, and hears no batch at the same time."""
        hears_batches = "on_batch_begin" in self.calls or "on_batch_end" in self.calls
        return bool(getattr(self.sink, "background", False)) and not hears_batches

    def check_needs(self, model: ModelHandle | None) -> None:
        """Raise a SetupError where the model's handle lacks what the sink needs."""
        for need in getattr(self.sink, "needs", ()):
            if model is None:
                raise SetupError(f"{self.name} needs {need!r} of the model, and no model was given: pass model=...")
            try:
                getattr(model, need)
            except AttributeError as error:
                raise SetupError(f"{self.name} needs {need!r} of the model, and there is none: {error}") from error

    def tell_failures(self) -> None:
        """Tell at a run's end how the sink failed in it, or that it was cut off before."""
        if self.failures:
            cut_off = "" if self.cut_off_at is None else f" and was cut off at step {self.cut_off_at}"
            logger.warning("%s failed %d times%s; see failures", self.name, self.failures, cut_off)
            self.failures = 0
        elif self.cut_off_at is not None:
            logger.warning("%s heard nothing of this run: it was cut off in an earlier one; add it anew", self.name)


class Members:
    """The sinks on a bus, in the order in which they are called.

    Args:
        on_change: A method that is called whenever ``hooks`` has changed; its object is not kept alive by it.

    Attributes:
        hooks: For each hook the tuple of what to call. A call under way keeps the tuple it began with.
        background: Those of ``on_block`` that may be called beside the training.
        foreground: Those of ``on_block`` that may not.
        failures: What the sinks raised, in order.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.hooks: dict[str, tuple[Hook, ...]] = dict.fromkeys(HOOKS, ())
        self.background: tuple[Hook, ...] = ()
        self.foreground: tuple[Hook, ...] = ()
        self.failures: list[Failure] = []
        self._members: list[Member] = []
        self._on_change = weakref.WeakMethod(on_change)

    def __iter__(self) -> Iterator[Member]:
        """Iterate over the members as they are now, whoever comes or goes meanwhile."""
        return iter(tuple(self._members))

    def __contains__(self, member: object) -> bool:
        """Answer whether it is a member still."""
        return member in self._members

    def make(self, sink: object) -> Member:
        """Return a member for a sink, which is not added yet.

        Raises:
            HookError: The object is no sink.
            ValueError: It is a member already.
        """
        if self.of(sink) is not None:
            raise ValueError(f"{sink_name(sink)} is on this bus already")
        hooks = {name: _guarded(sink, name, hook) for name, hook in find_hooks(sink).items()}
        taken = {member.name for member in self._members}
        name = unique = sink_name(sink)
        number = 2
        while unique in taken:
            unique, number = f"{name}#{number}", number + 1
        return Member(sink, unique, hooks)

    def of(self, sink: object) -> Member | None:
        """Return a sink's member, None if it has none."""
        return next((member for member in self._members if member.sink is sink), None)

    def insert(self, member: Member) -> None:
        """Add a member; what it must hear first is not called yet: see `compile`."""
        self._members.append(member)
        self._members.sort(key=lambda each: bool(getattr(each.sink, "saves", False)))

    def discard(self, member: Member) -> None:
        """Remove a member."""
        self._members.remove(member)
        self.compile()

    def compile(self) -> None:
        """Build ``hooks`` anew."""
        for name in HOOKS:
            # One that was cut off is still told of the train's end, to close its files.
            self.hooks[name] = tuple(
                member.calls[name]
                for member in self._members
                if name in member.calls and (member.cut_off_at is None or name == "on_train_end")
            )
        beside = {id(each.calls["on_block"]): each.in_background for each in self._members if "on_block" in each.calls}
        self.background = tuple(hook for hook in self.hooks["on_block"] if beside[id(hook)])
        self.foreground = tuple(hook for hook in self.hooks["on_block"] if not beside[id(hook)])
        on_change = self._on_change()
        if on_change is not None:
            on_change()

    def owner_of(self, name: str, hook: Hook) -> Member:
        """Return the member that a hook belongs to, or belonged to."""
        member = next((each for each in self._members if each.calls.get(name) is hook), None)
        if member is not None:
            return member
        sink = getattr(hook, "sink", None) or getattr(hook, "__self__", hook)
        return Member(sink, sink_name(sink), {})  # it removed itself, and then raised

    def keep_failure(self, member: Member, name: str, error: Exception, run: Run) -> None:
        """Keep what a hook raised in a run."""
        if len(self.failures) < FAILURES_KEPT:
            text = "".join(traceback.format_exception(error))
            failure = Failure(member.name, name, error, text, run.step)
            self.failures.append(failure)
            run.failures.append(failure)

    def isolate(self, member: Member, name: str, error: Exception, step: int) -> None:
        """Warn of a failure, once, free what its traceback holds, and cut its sink off where it goes on failing."""
        member.failures += 1
        if name not in member.told:
            member.told.add(name)
            logger.warning("%s.%s raised at step %d; training goes on", member.name, name, step, exc_info=error)
        _drop_tracebacks(error)
        if isinstance(error, OSError):
            return
        member.in_a_row[name] = in_a_row = member.in_a_row.get(name, 0) + 1
        if in_a_row >= FAILURES_IN_A_ROW:
            member.cut_off_at = step
            logger.warning("%s is cut off at step %d: %s failed %d times in a row", member.name, step, name, in_a_row)
        elif in_a_row == 1 and name in member.hooks:
            member.calls[name] = self._on_probation(member, name)
        self.compile()

    def _on_probation(self, member: Member, name: str) -> Hook:
        """Wrap a hook that failed so that its first success clears it, at no cost to hooks that never failed."""
        hook = member.hooks[name]

        def call(*args: Any) -> None:
            hook(*args)
            if member.in_a_row.pop(name, 0):
                member.calls[name] = hook
                self.compile()

        call.sink = member.sink  # type: ignore[attr-defined]
        return call


def _guarded(sink: object, name: str, hook: Hook) -> Hook:
    """Give the hook of a sink that may write into its logs a copy of them, and any hook its owner."""
    guarded: Any = hook
    if HOOKS[name][-1] == "logs" and not getattr(sink, "read_only", False):
        if len(HOOKS[name]) == 2:
            guarded = lambda run, logs: hook(run, dict(logs))  # noqa: E731
        else:
            guarded = lambda run, number, logs: hook(run, number, dict(logs))  # noqa: E731
    elif getattr(hook, "__self__", None) is not sink:  # a function, which may be the hook of other sinks too
        guarded = functools.partial(hook)
    if guarded is not hook:
        guarded.sink = sink
    return guarded  # type: ignore[no-any-return]


def _drop_tracebacks(error: BaseException) -> None:
    """Free the frames that an exception kept for later would keep alive, with all their models and tensors."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        link = chain.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            chain += [link.__cause__, link.__context__]
            if isinstance(link, BaseExceptionGroup):
                chain += link.exceptions
