"""Dispatch: who is called, and what happens if a hook raises.

Contract. Every sink is served, whatever the others raise. An exception of a hook is isolated: logged once, kept in
`Dispatch.failures`, and after `FAILURES_IN_A_ROW` failures of one hook in a row its sink is disabled. What is not
isolated is raised once all have been served: `SetupError` at train begin, `RankError`, any exception of a ``critical``
sink or of a ``strict`` bus, and `KeyboardInterrupt`, `SystemExit` and their like, which win over the others.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import attrs

from monitor_core._log import logger
from monitor_core.bus.costs import CostMeter
from monitor_core.bus.hooks import HOOKS, Hook
from monitor_core.bus.members import Call, Member, Members
from monitor_core.bus.run import Failure, Run
from monitor_core.errors import RankError, SetupError

FAILURES_IN_A_ROW = 3
"""Failures of one hook in a row after which its sink is disabled. Failures to write (`OSError`) do not count."""
FAILURES_KEPT = 1000
"""How many failures are kept at most; later ones are counted in the summary only."""

_TAKES_LOGS = frozenset(name for name, parameters in HOOKS.items() if parameters[-1] == "logs")


class Dispatch:
    """Calls hooks and handles what they raise.

    Args:
        run: The run.
        strict: Whether every exception of a sink is raised.

    Attributes:
        members: The sinks.
        calls: What is called for each hook, in order. A call in progress keeps the tuple it began with.
        failures: What the sinks raised, in order.
        meter: Where the time of each call is recorded.
        on_change: Called with the hooks of a batch's begin and of its end whenever ``calls`` has changed.
    """

    def __init__(self, run: Run, *, strict: bool) -> None:
        self.run = run
        self.strict = strict
        self.members = Members()
        self.calls: dict[str, tuple[Call, ...]] = self.members.calls()
        self.failures: list[Failure] = []
        self.meter = CostMeter()
        self.on_change: Callable[[tuple[Call, ...], tuple[Call, ...]], None] = lambda *_: None

    def compile(self) -> None:
        """Update `calls` after a sink was added, removed or disabled."""
        self.calls = self.members.calls()
        self.on_change(self.calls["on_batch_begin"], self.calls["on_batch_end"])

    def call(self, name: str, calls: Iterable[Call], args: tuple[Any, ...]) -> BaseException | None:
        """Call hooks one after another; return the exception to raise once that is done.

        Args:
            name: The hooks' name.
            calls: What to call.
            args: The arguments, ``run`` first.
        """
        fatal: BaseException | None = None
        copied = name in _TAKES_LOGS
        begin = perf_counter()
        for each in calls:
            member = each.member
            try:
                if copied and member.copies_logs:
                    each.hook(*args[:-1], {**args[-1]})
                else:
                    each.hook(*args)
            except BaseException as error:
                fatal = _stronger(fatal, self._judge(name, member, error))
            else:
                if member.in_a_row and member.in_a_row.pop(name, 0):
                    self.compile()
            end = perf_counter()
            self.meter.add(member.name, name, end - begin)
            begin = end
        return fatal

    def call_rest(
        self, name: str, calls: tuple[Call, ...], failed: Hook | None, error: BaseException, args: tuple[Any, ...]
    ) -> BaseException | None:
        """Handle a hook that raised in a plain loop over the hooks, and call those after it, as `call` does.

        Args:
            name: The hooks' name.
            calls: What the loop was to call.
            failed: The hook that raised; None if the loop was interrupted before the first.
            error: What it raised.
            args: The arguments, ``run`` first.
        """
        position = next((index for index, each in enumerate(calls) if each.hook is failed), None)
        if position is None:
            return _stronger(self.call(name, calls, args), error)
        fatal = self._judge(name, calls[position].member, error)
        return _stronger(fatal, self.call(name, calls[position + 1 :], args))

    def _judge(self, name: str, member: Member, error: BaseException) -> BaseException | None:
        """Return a hook's exception if it must be raised; isolate it if not."""
        if not isinstance(error, Exception) or (isinstance(error, SetupError) and name == "on_train_begin"):
            return error
        self._keep_failure(name, member, error)
        if self.strict or isinstance(error, RankError) or getattr(member.sink, "critical", False):
            return error
        self._isolate(name, member, error)
        return None

    def _keep_failure(self, name: str, member: Member, error: Exception) -> None:
        if len(self.failures) < FAILURES_KEPT:
            text = "".join(traceback.format_exception(error))
            failure = Failure(member.name, name, error, text, self.run.step)
            self.failures.append(failure)
            self.run.failures.append(failure)

    def _note_disabled(self, error: Exception) -> None:
        """Note with the failure, if it was kept, that its sink is disabled."""
        if self.failures and self.failures[-1].error is error:
            self.failures[-1] = self.run.failures[-1] = attrs.evolve(self.failures[-1], disables=True)

    def _isolate(self, name: str, member: Member, error: Exception) -> None:
        """Log a failure once, free what its traceback keeps alive, and disable its sink if it keeps failing."""
        step = self.run.step
        member.failures += 1
        if name not in member.warned:
            member.warned.add(name)
            logger.warning("%s.%s raised at step %d; training continues", member.name, name, step, exc_info=error)
        _drop_tracebacks(error)
        if isinstance(error, OSError):
            return
        member.in_a_row[name] = in_a_row = member.in_a_row.get(name, 0) + 1
        if in_a_row >= FAILURES_IN_A_ROW:
            member.disabled_at = step
            self._note_disabled(error)
            logger.warning("%s is disabled at step %d: %s failed %d times in a row", member.name, step, name, in_a_row)
        self.compile()


def _stronger(first: BaseException | None, second: BaseException | None) -> BaseException | None:
    """Return which of two exceptions to raise: the first, unless only the second is an interrupt or exit."""
    if first is None or (second is not None and isinstance(first, Exception) and not isinstance(second, Exception)):
        return second
    return first


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
