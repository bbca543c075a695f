"""The bus: takes a training's events from an adapter or a loop and calls the sinks' hooks, in order.

Contract. Hooks are called on the calling thread, in the order the sinks were given, sinks that save the others' state
last. Only blocks are fetched and delivered on the bus's own thread, so that a training waits for neither device
nor file. Sinks with ``background = True`` receive blocks on that thread, never concurrently with any event except a
batch. All others receive them on the calling thread, before the next batch ends. Train and epoch order is always
checked, batch order with ``strict=True``. What happens if a hook raises is in `monitor_core.bus.dispatch`; what is
raised from a block is raised with the next event, and pending values are delivered before any exception is raised.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn
from weakref import WeakSet

from monitor_core import frameworks
from monitor_core._log import logger
from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.background.watch import watch
from monitor_core.bus.batch_path import Values, batch_path
from monitor_core.bus.costs import Cost, CostMeter
from monitor_core.bus.delivery import Delivery
from monitor_core.bus.dispatch import Dispatch
from monitor_core.bus.epoch_evaluations import EpochEvaluations
from monitor_core.bus.evaluation_blocks import EvaluationBlocks
from monitor_core.bus.hooks import sink_name
from monitor_core.bus.members import Call, Member
from monitor_core.bus.order import Order
from monitor_core.bus.origin import origin_of
from monitor_core.bus.run import Evaluation, Failure, Run, Status
from monitor_core.bus.shared_run import SharedRun
from monitor_core.bus.sink import Logs
from monitor_core.bus.states import Resumption
from monitor_core.errors import OrderError
from monitor_core.model.handles import ModelHandle
from monitor_core.ranks.options import Ranks
from monitor_core.values.means import Means
from monitor_core.values.scalars import keep, to_floats

_LAST_HOOKS = frozenset({"on_exception", "on_train_end"})
"""Hooks after which no values are pending."""

Weights = Callable[[], Mapping[str, float]]
"""Returns the weights of results in a mean over several ranks."""

NAME_LENGTH = 100
"""How long an evaluation's name may be."""

_open: WeakSet[Bus] = WeakSet()
"""The buses whose run is open."""


class _Skips:
    """Logs each skipped metric once; with a method of the bus instead, the buffer would keep the bus alive."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def __call__(self, name: str, reason: str) -> None:
        if name not in self._logged:
            self._logged.add(name)
            logger.warning("metric %r is skipped: %s", name, reason)


class Bus:
    """Deliver the events of a training to sinks.

    Args:
        *sinks: Sinks, or any objects with hooks, in the order in which to call them.
        model: The model, for sinks that need it: a Keras model, a PyTorch module, or a handle.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``.
        strict: Whether to check the order of batches too, and to let every exception of a sink propagate.
        ranks: How the ranks of a job work together in a run, by default as `Ranks` has it.

    Attributes:
        run: The current run; between runs the last one, before the first the next one.
        strict: As given.
        warn_skipped: Logs, once per metric, that one of its values is skipped; takes its name and the reason.
        resumption: What the sinks get at the next train begin, if the run continues from a state.
        slow_share: A sink whose batch and block hooks take more than this share of a step causes a warning.

    Raises:
        HookError: An object is not a sink: a misspelt hook, a wrong signature, or no hook.
        TypeError: ``model`` is several models, for which a handle must be given; or ``ranks`` is not `Ranks`.
        ValueError: A sink is given twice, or is on another bus whose run is open.
    """

    def __init__(
        self,
        *sinks: object,
        model: ModelHandle | None = None,
        validation_data: Any = None,
        strict: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        if not isinstance(ranks, Ranks | None):
            raise TypeError(f"ranks must be Ranks(...) or None (got {ranks!r})")
        self.strict = strict
        self._ranks = Ranks() if ranks is None else ranks
        self._shared: SharedRun | None = None
        self._has_met = False
        self._dropped: weakref.finalize[..., Bus]
        self.run = Run(model=frameworks.handle_of(model), validation_data=validation_data)
        self.warn_skipped = _Skips()
        self.slow_share = 0.1
        self._order = Order()
        self._dispatch = Dispatch(self.run, strict=strict)
        self._members = self._dispatch.members
        self._delivery = Delivery(self._dispatch, self.warn_skipped)
        self._evaluation_blocks = self._new_evaluation_blocks(None)
        self._evaluations = EpochEvaluations()
        self._last_logs: dict[str, float] = {}
        self._asked: deque[Callable[[], None]] = deque()
        self.resumption = Resumption()
        self._set_batch_path()
        watch(self)
        for sink in sinks:
            self.add(sink)

    def _set_batch_path(self) -> None:
        """Replace the methods for batches by closures."""
        self._path = path = batch_path(self.run, self._dispatch, self._delivery)
        self._dispatch.on_change = path.listen
        begin, end, end_kept = path.begin, path.end, path.end_kept
        if self.strict:
            dispatch = self._dispatch  # not the bus, which would keep itself alive
            begin = self._order.checked_begin(begin, lambda: dispatch.run.step)
            end, end_kept = self._order.checked_end(end), self._order.checked_end(end_kept)
        self.batch_begin = begin  # type: ignore[method-assign,assignment]
        self.batch_end = end  # type: ignore[method-assign]
        self.batch_end_kept = end_kept  # type: ignore[method-assign]

    # --- members -----------------------------------------------------------------------------------------------

    @property
    def failures(self) -> list[Failure]:
        """What sinks raised, in order."""
        return self._dispatch.failures

    @property
    def sinks(self) -> tuple[Any, ...]:
        """The sinks, in the order in which they are called."""
        return tuple(member.sink for member in self._members)

    def add(self, sink: object) -> None:
        """Add a sink; in a run its ``on_train_begin`` is called, and it receives the events from then on.

        A Keras callback becomes a sink that calls it.

        Raises:
            HookError: The object is not a sink.
            ValueError: It is already on this bus, or on another one whose run is open.
            SetupError: In a run: the sink cannot begin.
        """
        member = self._members.make(sink)
        self._require_alone(sink)
        running = self.run.status == "running"
        if running:
            self.flush()
            member.place(self.run)
            member.check_needs(self.run.model)
        self._members.insert(member)
        try:
            if running:
                self._begin(member)
        except BaseException:
            self._members.discard(member)
            raise
        self._refresh()

    def remove(self, sink: object) -> None:
        """Remove a sink; in a run it first gets pending values and its ``on_train_end``.

        Raises:
            ValueError: It is not on this bus.
        """
        member = self._members.of(sink)
        if member is None:
            raise ValueError(f"{sink_name(sink)} is not on this bus; it has {[each.name for each in self._members]}")
        if self.run.status == "running":
            self.flush()
            if member.begun:
                self._call_one(member, "on_train_end", self._last_logs)
        self._members.discard(member)
        self._refresh()

    def _require_alone(self, sink: object) -> None:
        """Refuse a sink of another bus whose run is open: it would mix the rows of both runs."""
        for other in tuple(_open):
            if other is not self and other._members.of(sink) is not None:
                raise ValueError(
                    f"{sink_name(sink)} is on another bus whose run is open: give each bus a sink of its own, or end "
                    "that run first (leave its loop, or call its bus's interrupt())"
                )

    def __repr__(self) -> str:
        return f"Bus({', '.join(map(sink_name, self.sinks))}; {self.run!r})"

    def has_listeners(self, *hooks: str) -> bool:
        """Return whether any sink listens to one of these hooks."""
        return any(self._dispatch.calls[hook] for hook in hooks)

    def _refresh(self) -> None:
        """Update what is called, and which values are gathered, after sinks were added or removed."""
        self._dispatch.compile()
        self._gather()

    def _gather(self) -> None:
        wanted = any(getattr(member.sink, "wants_interval_means", False) for member in self._members)
        self._evaluations.interval = (self._evaluations.interval or Means()) if wanted else None
        self._delivery.interval = self._evaluations.interval
        self._delivery.refresh()
        buffer = self._delivery.buffer
        self._path.gather(None if buffer is None else buffer.rows)

    def gather_means(self, means: Means | None) -> Means | None:
        """Add every block to these means before the sinks get it; None stops that. For loops.

        Returns:
            The means that blocks were added to before, or None.
        """
        try:
            self.flush()
        finally:
            before, self._delivery.means = self._delivery.means, means
            self._gather()
        return before

    # --- calling hooks -------------------------------------------------------------------------------------------

    def _emit(self, name: str, *args: Any) -> None:
        calls = self._dispatch.calls[name]
        if calls:
            self._call(name, calls, args)

    def _call_one(self, member: Member, name: str, *args: Any) -> None:
        if member.is_called(name):
            self._call(name, (Call(member, member.hooks[name]),), args)

    def _call(self, name: str, calls: tuple[Call, ...], args: tuple[Any, ...]) -> None:
        with self._delivery.lock, deferred_interrupts:
            fatal = self._dispatch.call(name, calls, (self.run, *args))
            if fatal is not None and name in _LAST_HOOKS:
                raise fatal
            self._delivery.raise_late(fatal)
        self._delivery.flush_if_wanted()

    def cost(self) -> Cost:
        """Return what the sinks cost in this run, or in the last one: how long each hook took."""
        return self._dispatch.meter.cost(self.run.step)

    def _warn_slow(self, *, is_last: bool = False) -> None:
        for sink, share in self._dispatch.meter.newly_slow(self.run.step, self.slow_share, is_last=is_last):
            logger.warning("%s takes %.0f%% of each step's time; bus.cost() shows where", sink, 100 * share)

    # --- blocks --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Deliver the values of the batches that have ended, as blocks, on this thread.

        Called from another thread while a hook runs, it returns immediately; the values are delivered after the hook.
        """
        self._delivery.flush()

    def after_fork(self) -> None:
        """Start empty in a forked process: the parent delivers the pending values, and is the rank."""
        if self._shared is not None:
            self._dropped.detach()
            self._shared = self._members.last = None
            self.run.rank_requests = self.run.rank_states = self.run.share = None
            self._dispatch.compile()
        self._delivery.after_fork()
        self._gather()

    def at_exit(self) -> None:
        """Deliver pending values at interpreter exit."""
        if self.run.status == "running":
            self._delivery.at_exit()
            self._part_from_ranks("its process ended")

    # --- train and epochs ----------------------------------------------------------------------------------------

    def train_begin(self, *, epochs: int | None = None, steps_per_epoch: int | None = None) -> None:
        """Begin a run. A run that is still open is first ended as interrupted.

        Args:
            epochs: How many epochs are planned; None if unknown.
            steps_per_epoch: How many batches an epoch has; None if unknown.

        Raises:
            SetupError: The model's handle lacks a member that a sink needs, or a sink cannot begin.
            ValueError: A sink is on another bus whose run is open.
            RankError: Of several ranks, not all begin the run.
        """
        self.interrupt()
        self.flush()
        if self.run.status != "pending":
            before = self.run
            self._follow(Run(before.index + 1, before.model, before.validation_data))
            self.run.training_data, self.run.shuffles = before.training_data, before.shuffles
            self._evaluations.begin_run()
        with self.among_ranks():
            self._begin_run(self.run, epochs, steps_per_epoch)
        self._has_met = False

    @contextmanager
    def among_ranks(self) -> Iterator[SharedRun | None]:
        """Prepare the run within this block, among the ranks of the job, if it has several, which meet first.

        They learn why if the block raises. `train_begin` does this; before it only `Resume` does, which yields what the
        ranks share.

        Raises:
            RankError: A rank could not begin.
        """
        if not self._has_met:
            self._has_met = True
            self.run.rank, self.run.ranks = frameworks.ranks()
            self._meet_ranks()
        try:
            yield self._shared
        except BaseException as error:
            self._has_met = False
            self._part_from_ranks(f"its run could not begin: {error}")
            raise

    def _begin_run(self, run: Run, epochs: int | None, steps_per_epoch: int | None) -> None:
        moved = [member.place(run) for member in self._members]
        if any(moved):
            self._refresh()
        for member in self._members:
            member.check_needs(run.model)
            self._require_alone(member.sink)
        run.epochs, run.steps_per_epoch = epochs, steps_per_epoch
        run.origin = origin_of(self.sinks)
        run.status = "running"
        _open.add(self)
        deferred_interrupts.install(self, None if self._shared is None else _weakly(self._take_interrupt))
        self._dispatch.meter = CostMeter(run.step)
        self._delivery.thread = threading.get_ident()
        run.bus_state, run.cost = _weakly(self.state_dict, _refuse_state), _weakly(self.cost, _no_cost)
        run.on_report, run.call_soon = _weakly(self._emit), _weakly(self.call_soon)
        self._last_logs = {}
        begun: list[Member] = []
        try:
            for member in self._members:
                if member in self._members and not member.begun:
                    self._begin(member)
                    begun.append(member)
                    if run.resumed and member.disabled_at is None and not member.is_elsewhere:
                        self.resumption.restore(member.sink, run, member.hooks.get("on_rewind"))
            if self._shared is not None:
                self._shared.begun()
        except BaseException as error:
            self._undo_begin(begun, error)
            raise
        finally:
            self.resumption.clear()

    def _follow(self, run: Run) -> None:
        self.run = self._dispatch.run = run
        self._path.follow(run)

    def _begin(self, member: Member) -> None:
        member.begun = True
        self._call_one(member, "on_train_begin")

    def _undo_begin(self, begun: list[Member], error: BaseException) -> None:
        """Let the sinks that have begun close what they opened, because another one cannot begin."""
        self.run.status = _status_after(error)
        self.run.bus_state = self.run.on_report = self.run.cost = self.run.call_soon = None
        _open.discard(self)
        for member in self._members:
            member.begun = False
        deferred_interrupts.uninstall(self)
        for member in begun:
            self._call_one(member, "on_train_end", {})

    def _meet_ranks(self) -> None:
        """Meet the other ranks of the job, if it has several."""
        self._shared = shared = SharedRun.begin(self.run, self._ranks, _weakly(self.flush))
        if shared is not None:
            self._dropped = weakref.finalize(self, shared.leave, "its run was dropped without an end")
            self._dropped.atexit = False
            self._members.last = shared.member
            self._refresh()

    def _take_interrupt(self) -> bool:
        """Take a Ctrl-C, so that it ends the run on all ranks together; return whether there are others."""
        return self._shared is not None and self._shared.interrupt()

    def _part_from_ranks(self, why: str | None = None) -> None:
        """Continue without the other ranks; they learn why, unless the run has ended on all of them."""
        shared, self._shared = self._shared, None
        if shared is not None:
            if why is not None:
                shared.leave(why)
            shared.close()
            self._dropped.detach()
            self._members.last = self.run.rank_states = None
            self._refresh()

    def train_end(self, logs: Logs | None = None) -> None:
        """End the run: as stopped or failed if a sink requested that, else as completed.

        Args:
            logs: The results of the whole run; by default, those of the last epoch.

        Raises:
            OrderError: No run is open, or an epoch is.
            RankError: Of several ranks, not all end the run.
            BaseException: What a sink asked for by ``run.stop(..., raising=error)``.
        """
        self._order.require_run("train_end()", self.run)
        self._order.require_no_epoch()
        if self._shared is not None:
            try:
                self._shared.end()
            except BaseException as error:
                self.exception(error)
                raise
            self._part_from_ranks()
        run = self.run
        status: Status = "completed" if not run.stopped else "failed" if run.failed else "stopped"
        self._close(status, None if logs is None else to_floats(logs, self.warn_skipped))
        if run.raising is not None:
            raising, run.raising = run.raising, None  # whose frames the run must not keep alive
            raise raising

    def exception(self, error: BaseException) -> None:
        """End the run because the training raised: as interrupted after Ctrl-C or an exit, else as failed.

        Raises:
            OrderError: No run is open.
        """
        self._order.require_run("exception()", self.run)
        if self._shared is not None:
            self._shared.fail(error)
        self._part_from_ranks()
        try:
            self._abandon_epoch()
        finally:
            self._order.epoch = None
            try:
                self._emit("on_exception", error)
            finally:
                self._close(_status_after(error))

    def interrupt(self) -> None:
        """End the run as interrupted, if one is open, for a caller that will not end it normally."""
        if self.run.status == "running":
            self._close("interrupted")

    def _close(self, status: Status, logs: dict[str, float] | None = None) -> None:
        try:
            self._abandon_epoch()
        except BaseException as error:
            status = _status_after(error)
            raise
        finally:
            self._finish(status, logs)

    def _finish(self, status: Status, logs: dict[str, float] | None) -> None:
        self._order.close()
        self._part_from_ranks(f"its run was {status}")
        self.run.status, self.run.bus_state, self.run.call_soon = status, None, None
        self._asked.clear()
        try:
            self._emit("on_train_end", self._last_logs if logs is None else logs)
        finally:
            self.run.on_report = self.run.cost = None
            _open.discard(self)
            deferred_interrupts.uninstall(self)
            self._delivery.stop()
            self._warn_slow(is_last=True)
            self._dispatch.meter.end()
            self.run.release_model()
            for member in self._members:
                member.begun = False
                member.log_failures()

    def epoch_begin(self, epoch: int, *, done: int = 0) -> None:
        """Begin an epoch.

        Args:
            epoch: Its number, 0-based, higher than the previous epoch's.
            done: How many of its batches have ended already, in a run that continues within this epoch.

        Raises:
            OrderError: No run is open, another epoch is open, or the number is not higher than the last.
        """
        self._order.require_next_epoch(epoch, self.run)
        self.flush()  # batches that ended between epochs do not belong to this one
        self._gather()  # stop gathering for sinks that were disabled
        self.run.epoch = self._order.epoch = epoch
        self.run.epoch_began_at = self.run.step - done
        self._evaluations.begin_epoch(self.run, continues=done > 0)
        if self._shared is not None:
            self._shared.epoch_begin()
        self._emit("on_epoch_begin", epoch)
        if self._evaluations.are_pending:  # of the epoch that continues
            self._path.before_next(_weakly(self._catch_up))

    def epoch_end(
        self,
        epoch: int,
        logs: Logs | None = None,
        *,
        partial: bool = False,
        weights: Weights | None = None,
        of_all_ranks: bool = False,
    ) -> None:
        """End an epoch, after delivering its last block.

        Args:
            epoch: Its number.
            logs: Its results; converted to floats once; a value that is not a number is skipped with a warning. The
                results of its evaluations are added under their prefixes, unless they are here.
            partial: Whether it was left early; sinks see this as ``run.partial``.
            weights: Returns the weight of each result in the mean over several ranks, 1 for those that it leaves out;
                by default, each has as many as the epoch had batches. It is called only if there are other ranks.
            of_all_ranks: Whether they are the results of all ranks already, as the framework has reduced them.

        Raises:
            OrderError: This epoch is not open.
            RankError: Of several ranks, not all end this epoch.
        """
        self._order.require_epoch(epoch)
        self.flush()
        self._do_asked()
        self._order.close()
        floats = to_floats(logs, self.warn_skipped)
        if self._shared is not None:
            own = None if weights is None else weights()
            floats = self._shared.epoch_ends(floats, own, acts=self._may_act(), of_all=of_all_ranks)
        rate = self._reported_rate()
        if rate is not None:
            floats.setdefault("learning_rate", rate)
        self._last_logs = floats
        self.run.partial = partial
        self._path.before_next(None)
        self._evaluations.end_epoch(self.run, floats, lambda logs: self._emit("on_epoch_end", epoch, logs))
        if self._shared is not None:
            self._shared.epoch_ended()
        self._warn_slow()

    def _may_act(self) -> bool:
        """Return whether a sink may ask for something at an epoch's end, as those that write do not."""
        ends = self._dispatch.calls["on_epoch_end"]
        return self.run.rank_states is not None or any(not getattr(each.member.sink, "writes", False) for each in ends)

    def epoch_abandon(self) -> None:
        """Close the open epoch, if any, without a record: it was aborted. Its evaluations have their own."""
        if self._shared is not None:
            self._shared.epoch_abandoned()
        try:
            self._abandon_epoch()
        finally:
            self._order.close()

    def _abandon_epoch(self) -> None:
        self.evaluation_abandon()
        self.settle_evaluations()  # after a flush

    def batch_abandon(self) -> None:
        """Close the open batch, if any, without a record: it was aborted."""
        self._order.batch = None

    def _reported_rate(self) -> float | None:
        """Return the learning rate of the epoch that ends, if any sink may set it."""
        if not self.run.learning_rate_was_set and not any(
            getattr(member.sink, "sets_learning_rate", False) for member in self._members
        ):
            return None
        rates = getattr(self.run.model, "learning_rates", None)
        return rates[0] if rates else None

    def rewind(self, epoch: int, step: int) -> None:
        """Go back to where ``epoch`` (0-based) is the next and ``step`` batches have ended; sinks drop the rest.

        Raises:
            OrderError: No run is open.
        """
        self._order.require_run(f"rewind({epoch}, {step})", self.run)
        self.epoch_abandon()
        self.run.epoch, self.run.step = epoch - 1, step
        self._evaluations.begin_run()
        self._path.follow(self.run)
        self._emit("on_rewind", epoch, step)

    # --- batches: every bus replaces these methods by faster closures ------------------------------------------------

    def batch_begin(self, step: int) -> None:
        """Begin a batch.

        Args:
            step: The number it will have when it ends, counted from 1 over the run.

        Raises:
            OrderError: With ``strict=True``: this is not the next step, another batch is open, or no epoch is open.
        """
        self._path.begin(step)

    def batch_end(self, step: int, logs: Logs | None = None) -> None:
        """End a batch.

        Args:
            step: Its number: how many batches of this run have now ended.
            logs: Its values as the framework gave them; they are neither read nor kept beyond the next block, and
                may be reused by the caller.

        Raises:
            OrderError: With ``strict=True``: this batch is not open.
        """
        self._path.end(step, logs)

    def batch_end_kept(
        self, step: int, values: Values, weights: Values | None = None, raw: Values | None = None
    ) -> None:
        """End a batch whose values were kept when they were logged. For loops.

        Args:
            step: Its number.
            values: What `monitor_core.values.scalars.keep` returned for each; the caller must not modify them.
            weights: The weights of these metrics' values in a mean; all others have weight 1.
            raw: Logged values that are not metrics, as they were logged, for hooks that read them.
        """
        self._path.end_kept(step, values, weights, raw)

    # --- evaluation and prediction: legal at any time, even outside a run --------------------------------------------

    def evaluation_begin(
        self,
        prefix: str | None = None,
        *,
        name: str | None = None,
        step: int | None = None,
        means: Means | None = None,
    ) -> None:
        """Begin an evaluation; pending values are delivered first.

        Args:
            prefix: What is prepended to the names of its metrics in the epoch's logs; by default the name and an
                underscore, or ``val_`` without a name.
            name: The evaluation's name, such as its dataset's.
            step: How many training steps came before it; by default, those that have ended.
            means: Means that each of its blocks is added to, before the sinks get it. For loops.

        Raises:
            ValueError: ``name`` is not a string, or is too long: it names files.
        """
        if name is not None and (not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH):
            raise ValueError(f"name must be a string of 1 to {NAME_LENGTH} characters (got {name!r})")
        self.flush()
        prefix = ("val_" if name is None else f"{name}_") if prefix is None else prefix
        self.run.evaluation = Evaluation(name, prefix, self.run.step if step is None else step)
        self._evaluation_blocks = self._new_evaluation_blocks(means)
        self._emit("on_evaluation_begin")

    def _new_evaluation_blocks(self, means: Means | None) -> EvaluationBlocks:
        return EvaluationBlocks(self._dispatch, self._delivery, self.warn_skipped, means)

    def evaluation_flush(self) -> None:
        """Deliver the values of the evaluation batches that have ended."""
        self._evaluation_blocks.flush()

    def evaluation_results(
        self,
        logs: Logs | None = None,
        *,
        weights: Weights | None = None,
        among_batches: bool = False,
        of_all_ranks: bool = False,
    ) -> dict[str, float]:
        """Return the results of the evaluation that is about to end, as floats: of several ranks, those of all.

        Evaluations on another thread than the training's keep the results of this rank.

        Args:
            logs: Those of this rank.
            weights: As in `epoch_end`, but 1 by default.
            among_batches: Whether more batches of the epoch follow; without, it may be the only rank that evaluates.
            of_all_ranks: As in `epoch_end`.

        Raises:
            RankError: Of several ranks, not all end this evaluation.
        """
        self.evaluation_flush()
        floats = to_floats(logs, self.warn_skipped)
        if self._shared is None or threading.get_ident() != self._delivery.thread:
            return floats
        own = {} if weights is None else weights()
        return self._shared.evaluated(floats, own, among_batches=among_batches, of_all=of_all_ranks)

    def evaluation_end(
        self,
        logs: Logs | None = None,
        *,
        followed: bool | None = None,
        reduced: bool = False,
        of_all_ranks: bool = False,
    ) -> None:
        """End an evaluation, after delivering its last block.

        In an epoch, its results are delivered once more: by ``on_midepoch_evaluation`` if more batches follow, else
        with the epoch's logs.

        Args:
            logs: Its results; converted to floats once.
            followed: Whether more batches follow in this epoch. By default, they do if fewer than
                ``run.steps_per_epoch`` have ended; if False or unknown, the next batch tells.
            reduced: Whether they are what `evaluation_results` returned.
            of_all_ranks: As in `epoch_end`.

        Raises:
            RankError: Of several ranks, not all end this evaluation.
        """
        self.evaluation_flush()
        evaluation, is_in_epoch = self.run.evaluation, self._order.epoch is not None
        floats: dict[str, float] = {}
        planned = self.run.steps_per_epoch
        if followed is None:
            followed = planned is not None and self.run.epoch_step < planned
        try:
            if not reduced and self._shared is not None:
                floats = self.evaluation_results(logs, among_batches=followed, of_all_ranks=of_all_ranks)
            elif is_in_epoch or self.has_listeners("on_evaluation_end"):
                floats = to_floats(logs, self.warn_skipped)
            self._emit("on_evaluation_end", floats)
        finally:
            self.run.evaluation = None
        if evaluation is None or not is_in_epoch:
            return
        self._evaluations.add(evaluation, floats)
        if followed and threading.get_ident() == self._delivery.thread:
            self.settle_evaluations()
        else:
            self._path.before_next(_weakly(self._catch_up))

    def settle_evaluations(self, *, before: int | None = None) -> None:
        """Deliver evaluations that have ended in this epoch as events of their own: more training follows.

        Args:
            before: Only those of an earlier step, for an adapter that has counted batches whose events it did not give.
        """
        self._path.before_next(_weakly(self._catch_up) if self._asked else None)
        self.flush()
        self._evaluations.settle(self.run, self._emit_midepoch, before=before)

    def _emit_midepoch(self, logs: dict[str, float]) -> None:
        self._emit("on_midepoch_evaluation", logs)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Have a function called once on the training's thread: just before the next batch, or at the epoch's end.

        Any thread may use this. Where a framework trains batches without events, the epoch's end comes first.

        Args:
            call: The function; it must not raise.
        """
        if call not in self._asked:  # it is asked for again while it waits
            self._asked.append(call)
        self._path.before_next(_weakly(self._catch_up))

    def _catch_up(self) -> None:
        """Do what was to be done before the next batch."""
        self.settle_evaluations()
        self._do_asked()

    def _do_asked(self) -> None:
        while self._asked:
            self._asked.popleft()()

    def evaluation_abandon(self) -> None:
        """Close the open evaluation, if any, without results: it was aborted."""
        if self.run.evaluation is not None:
            self.run.evaluation = None
            self.evaluation_flush()

    def evaluation_batch_begin(self, batch: int) -> None:
        """Begin an evaluation batch, numbered from 0 within this evaluation."""
        self._emit("on_evaluation_batch_begin", batch)

    def evaluation_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End an evaluation batch; its values are as the framework gave them."""
        logs = {} if logs is None else logs
        if self._evaluation_blocks.are_wanted:
            self._evaluation_blocks.append(batch, {name: keep(value) for name, value in logs.items()})
        self._emit("on_evaluation_batch_end", batch, logs)

    def evaluation_batch_end_kept(
        self, batch: int, values: Values, weights: Values | None = None, raw: Values | None = None
    ) -> None:
        """End an evaluation batch as `batch_end_kept` ends a training batch."""
        if self._evaluation_blocks.are_wanted:
            self._evaluation_blocks.append(batch, values, weights)
        self._emit("on_evaluation_batch_end", batch, values if raw is None else values | raw)

    def prediction_begin(self) -> None:
        """Begin a prediction; pending values are delivered first."""
        self.flush()
        self._emit("on_prediction_begin")

    def prediction_end(self, logs: Logs | None = None) -> None:
        """End a prediction."""
        self._emit("on_prediction_end", {} if logs is None else logs)

    def prediction_batch_begin(self, batch: int) -> None:
        """Begin a prediction batch, numbered from 0 within this prediction."""
        self._emit("on_prediction_batch_begin", batch)

    def prediction_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End a prediction batch; ``logs`` hold its raw outputs."""
        self._emit("on_prediction_batch_end", batch, {} if logs is None else logs)

    # --- state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the run's and every sink's state: JSON values and NumPy arrays, nested in dicts and lists.

        Pending values are delivered first, so that the sinks have received all that the run's step counts. Each sink's
        state is stored with what identifies the sink: see `monitor_core.bus.states`.
        """
        self.flush()
        run, evaluations = self.run.state_dict(), self._evaluations.state_dict()
        return {"format": 2, "run": run, "evaluations": evaluations, "sinks": self.resumption.collect(self.sinks)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; call it before train begin.

        At train begin each sink begins as in any run, then gets its state by ``load_state_dict``, then goes back to
        where the run continues by ``on_rewind``. ``run.resumed`` is true from now on.

        Args:
            state: What `state_dict` of a bus with these sinks returned. Sinks that it knows nothing of just begin.

        Raises:
            OrderError: The run has begun.
            ValueError: The state is of another format, or holds one that belongs to none of the sinks, or to several.
        """
        if self.run.status != "pending":
            raise OrderError(f"load_state_dict() must be called before train_begin(): the run is {self.run.status}")
        if state.get("format") != 2:
            raise ValueError(f"state must be of format 2 (got {state.get('format')!r})")
        self.resumption.load(state["sinks"], self.sinks)
        self.run.load_state_dict(state["run"])
        if (evaluations := state.get("evaluations")) is not None:  # not in states of earlier releases
            self._evaluations.load_state_dict(evaluations)


def _weakly(method: Callable[..., Any], otherwise: Callable[..., Any] = lambda *_: None) -> Callable[..., Any]:
    """Return a function that calls a bus's method without keeping the bus alive: the bus's run may hold it.

    Args:
        method: The method.
        otherwise: Called instead once the bus no longer exists.
    """
    reference = weakref.WeakMethod(method)

    def call(*args: Any) -> Any:
        present = reference()
        return otherwise(*args) if present is None else present(*args)

    return call


def _refuse_state() -> NoReturn:
    raise RuntimeError("the bus of this run no longer exists: keep a reference to the bus, loop or adapter")


def _no_cost() -> Cost:
    return Cost((), 1e-9, 0)


def _status_after(error: BaseException) -> Status:
    return "failed" if isinstance(error, Exception) else "interrupted"
