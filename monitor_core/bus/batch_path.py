"""The batch path: what a batch's begin and end do, as closures, because each runs a million times.

A closure reads its cells faster than a method reads the attributes of its object. `BatchPath.follow`,
`BatchPath.gather` and `BatchPath.listen` update the cells; a call in progress keeps what it began with. Entering a
closure costs 2 ns for each cell that it uses, so the usual cases come first, in closures of few cells, and the others
have separate closures (``benchmarks/dispatch.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import attrs

from monitor_core.bus.costs import BUS, KEPT, SAMPLED
from monitor_core.bus.delivery import Delivery
from monitor_core.bus.dispatch import Dispatch
from monitor_core.bus.members import Call
from monitor_core.bus.run import Run
from monitor_core.values.blocks import Row
from monitor_core.values.scalars import KEEPERS

Values = dict[str, Any]


@attrs.frozen
class BatchPath:
    """The begin and end of a batch, and what updates their state.

    Attributes:
        begin: Called with the step that begins.
        end: Called with the step that has ended, and its logs or None.
        end_kept: As `monitor_core.bus.bus.Bus.batch_end_kept`.
        follow: Sets the run: a new one, or one that went back.
        gather: Sets the list to which the batches' rows are appended; None if they are not gathered.
        listen: Sets the hooks to call at a batch's begin and end.
        before_next: Sets a function to call once, just before the next batch begins; None for none.
    """

    begin: Callable[[int], None]
    end: Callable[..., None]
    end_kept: Callable[..., None]
    follow: Callable[[Run], None]
    gather: Callable[[list[Row] | None], None]
    listen: Callable[[tuple[Call, ...], tuple[Call, ...]], None]
    before_next: Callable[[Callable[[], None] | None], None]


class _Hooks(tuple[Callable[..., Any], ...]):  # noqa: SLOT001 (a tuple has no room for slots)
    """Hooks to call in a plain loop."""

    calls: tuple[Call, ...]
    copies: bool
    with_copies: tuple[tuple[Callable[..., Any], bool], ...]

    @classmethod
    def of(cls, calls: tuple[Call, ...]) -> _Hooks:
        hooks = cls(each.hook for each in calls)
        hooks.calls = calls
        hooks.with_copies = tuple((each.hook, each.member.copies_logs) for each in calls)
        hooks.copies = any(copied for _, copied in hooks.with_copies)
        return hooks


def _do_nothing(*_: Any) -> None:
    return


_ONLY_FIRST = _Hooks((_do_nothing,))
"""Used instead of no hooks, so that `BatchPath.begin` looks for what to call first."""
_ONLY_FIRST.calls, _ONLY_FIRST.with_copies, _ONLY_FIRST.copies = (), (), False


def batch_path(  # noqa: C901, PLR0915 (one scope: its functions share their cells)
    run: Run, dispatch: Dispatch, delivery: Delivery
) -> BatchPath:
    """Return the batch path of a bus. Nothing in it keeps the bus alive."""
    rows: list[Row] | None = None
    none = _Hooks.of(())
    begin_hooks = end_hooks = none
    all_begins: _Hooks = none
    first: Callable[[], None] | None = None  # to call before the next batch; `begin_hooks` is then not empty
    readers: _Hooks | None = None  # the end's hooks if calling them is all there is to do; None if nothing is
    every, next_timed, time_begin = SAMPLED, SAMPLED, False  # comparing takes 5 ns, a remainder 20

    def begin(step: int) -> None:
        if begin_hooks:
            hooks = begin_hooks
            if time_begin:
                call_each(step, hooks)
                return
            try:
                for hook in hooks:
                    hook(run, step)
            except BaseException as error:
                call_each(step, hooks, None, hook, error)

    def end(step: int, logs: Mapping[str, Any] | None = None) -> None:
        run.step = step
        if readers is None:
            return
        if logs is None:
            logs = {}
        hooks = readers
        if not hooks or step >= next_timed:
            keep_and_call(step, logs)
            return
        try:
            for hook in hooks:
                hook(run, step, logs)
        except BaseException as error:
            call_each(step, hooks, logs, hook, error)

    def keep_and_call(step: int, logs: Mapping[str, Any]) -> None:
        if rows is not None:
            before = perf_counter()
            values = {name: KEEPERS[type(value)](value) for name, value in logs.items()}
            after = perf_counter()
            rows.append((step, after, values, None))
            if step >= next_timed:
                dispatch.meter.add(BUS, KEPT, after - before)
            if len(rows) >= delivery.check_at:
                delivery.check()
        call_ends(step, logs)

    def end_kept(step: int, values: Values, weights: Values | None = None, raw: Values | None = None) -> None:
        run.step = step
        if rows is not None:
            rows.append((step, perf_counter(), values, weights))
            if len(rows) >= delivery.check_at:
                delivery.check()
        if end_hooks or step >= next_timed:
            call_ends(step, values if raw is None else values | raw)

    def call_ends(step: int, logs: Mapping[str, Any]) -> None:
        nonlocal next_timed, time_begin
        hooks = end_hooks
        if step >= next_timed:
            next_timed, time_begin = step + every, True
            if hooks:
                call_each(step, hooks, logs)
            return
        try:
            if hooks.copies:
                for hook, copied in hooks.with_copies:
                    hook(run, step, {**logs} if copied else logs)
            else:
                for hook in hooks:
                    hook(run, step, logs)
        except BaseException as error:
            call_each(step, hooks, logs, hook, error)

    def call_each(
        step: int,
        hooks: _Hooks,
        logs: Mapping[str, Any] | None = None,
        failed: Callable[..., Any] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Call hooks one by one, timed, or those after one that failed; without logs, a begin's hooks."""
        nonlocal time_begin, first, begin_hooks
        if logs is None and first is not None:
            call, first = first, None
            begin_hooks = all_begins
            time_begin = every == 1
            call()
            hooks = begin_hooks  # as they are by now
            if not hooks:
                return
        if logs is None:
            time_begin = every == 1
        name, args = ("on_batch_begin", (run, step)) if logs is None else ("on_batch_end", (run, step, logs))
        if error is None:
            delivery.raise_late(dispatch.call(name, hooks.calls, args))
        else:
            delivery.raise_late(dispatch.call_rest(name, hooks.calls, failed, error, args))

    def follow(present: Run) -> None:
        nonlocal run, next_timed
        run, next_timed = present, min(next_timed, present.step + every)

    def gather(present: list[Row] | None) -> None:
        nonlocal rows
        rows = present
        settle()

    def listen(begins: tuple[Call, ...], ends: tuple[Call, ...]) -> None:
        nonlocal begin_hooks, all_begins, end_hooks, every, next_timed, time_begin
        all_begins, end_hooks = _Hooks.of(begins), _Hooks.of(ends)
        begin_hooks = all_begins
        # A hook that failed is called one by one, until it succeeds: see `Dispatch.call`.
        every = 1 if any(each.member.in_a_row for each in begins + ends) else SAMPLED
        time_begin = every == 1
        next_timed = min(next_timed, run.step + every)
        settle()
        before_next(first)

    def before_next(call: Callable[[], None] | None) -> None:
        nonlocal first, begin_hooks, time_begin
        first = call
        if call is None:
            begin_hooks, time_begin = all_begins, every == 1
        else:
            begin_hooks, time_begin = all_begins or _ONLY_FIRST, True

    def settle() -> None:
        nonlocal readers
        if rows is None and not end_hooks and not begin_hooks:
            readers = None
        else:
            readers = end_hooks if rows is None and not end_hooks.copies else none

    return BatchPath(begin, end, end_kept, follow, gather, listen, before_next)
