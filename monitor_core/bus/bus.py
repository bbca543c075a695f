"""The bus: takes a training's events from an adapter or a loop and hands them to the sinks, in order.

Contract. Hooks are called on the calling thread, in the order the sinks were given, sinks that save the others'
state last. Blocks alone are fetched and handed over by a thread of the bus's own, so that a training waits for neither
device nor file: a sink that says ``background = True`` hears them there, never at the same time as another event but
that of a batch; the others hear them on the calling thread, before the next batch ends. Train and epoch order is
always checked, batch order with ``strict=True``. A hook that raises is isolated: reported once, kept in
`Bus.failures`, the other sinks are served, training goes on; three failures of a hook in a row cut its sink off. What
propagates: `SetupError` at train begin, any exception of a ``critical`` sink or of a ``strict`` bus (after every sink
was served; from a block, with the next event), and always `KeyboardInterrupt`, `SystemExit` and their like (after
pending values were handed over).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any

from monitor_core._log import logger
from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.background.watch import watch
from monitor_core.bus.costs import BUS, KEPT, SAMPLED, Cost, CostMeter
from monitor_core.bus.delivery import Delivery
from monitor_core.bus.hooks import Hook, sink_name
from monitor_core.bus.members import Member, Members
from monitor_core.bus.run import Failure, Run, Status
from monitor_core.bus.sink import Logs
from monitor_core.bus.states import Resumption
from monitor_core.errors import OrderError, SetupError
from monitor_core.model.handles import ModelHandle, check_handle
from monitor_core.values.blocks import Block, BlockBuffer
from monitor_core.values.scalars import to_floats

_ONCE = frozenset({"on_block", "on_exception", "on_train_end"})
"""Hooks that nobody calls again: an interrupt in one waits until the sinks behind have been served."""


class _Skips:
    """Warns of each metric once; no method of the bus, so that its buffer does not keep the bus alive."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, name: str, reason: str) -> None:
        if name not in self._told:
            self._told.add(name)
            logger.warning("metric %r is skipped: %s", name, reason)


class Bus:
    """Hand the events of a training to sinks.

    Args:
        *sinks: Sinks, or any objects with hooks, in the order in which they are to be called.
        model: The model's handle, for sinks that need one.
        validation_data: Data lent to sinks that look at the model, usually ``(x, y)``.
        strict: Whether to check the order of batches too, and to let every exception of a sink propagate.

    Attributes:
        run: The current run, or the last, or the one to come.
        strict: As given.
        warn_skipped: Warns, once for each metric, that a value of it is skipped; takes its name and the reason.
        resumption: What the sinks get at the next train begin, if the run continues from a state.
        slow_share: A sink whose hooks for batches and blocks take more than this share of a step is warned about.

    Raises:
        HookError: An object is no sink: a misspelt hook, a wrong signature, or no hook.
        TypeError: ``model`` is a framework's model instead of its handle.
        ValueError: A sink is given twice.
    """

    def __init__(
        self, *sinks: object, model: ModelHandle | None = None, validation_data: Any = None, strict: bool = False
    ) -> None:
        check_handle(model)
        self.strict = strict
        self.run = Run(model=model, validation_data=validation_data)
        self.warn_skipped = _Skips()
        self._members = Members(on_change=self._refresh)
        self._hooks = self._members.hooks
        self._meter = CostMeter()
        self._delivery = Delivery(self._members, self._call_block, self.warn_skipped, self.run, self._meter)
        self._buffer: BlockBuffer | None = None
        self.slow_share = 0.1
        self._open_epoch: int | None = None
        self._open_batch: int | None = None
        self._last_logs: dict[str, float] = {}
        self.resumption = Resumption()
        if strict:
            self.batch_begin = self._checked_batch_begin  # type: ignore[method-assign]
            self.batch_end = self._checked_batch_end  # type: ignore[method-assign]
        self._refresh()
        watch(self)
        for sink in sinks:
            self.add(sink)

    # --- members -----------------------------------------------------------------------------------------------

    @property
    def failures(self) -> list[Failure]:
        """What sinks raised, in order."""
        return self._members.failures

    @property
    def sinks(self) -> tuple[Any, ...]:
        """The sinks, in the order in which they are called."""
        return tuple(member.sink for member in self._members)

    def add(self, sink: object) -> None:
        """Add a sink; in a run it is told of the train's begin, and hears what comes after.

        Raises:
            HookError: The object is no sink.
            ValueError: It is on this bus already.
            SetupError: In a run: the sink cannot begin.
        """
        member = self._members.make(sink)
        running = self.run.status == "running"
        if running:
            self.flush()
            member.check_needs(self.run.model)
        self._members.insert(member)
        try:
            if running:
                self._begin(member)
        except BaseException:
            self._members.discard(member)
            raise
        self._members.compile()

    def remove(self, sink: object) -> None:
        """Remove a sink; in a run it is given what is pending and told of the train's end.

        Raises:
            ValueError: It is not on this bus.
        """
        member = self._members.of(sink)
        if member is None:
            raise ValueError(f"{sink_name(sink)} is not on this bus; it has {[each.name for each in self._members]}")
        if self.run.status == "running":
            self.flush()
            if member.begun and "on_train_end" in member.calls:
                self._call("on_train_end", (member.calls["on_train_end"],), (self.run, self._last_logs))
        self._members.discard(member)

    def has_listeners(self, *hooks: str) -> bool:
        """Answer whether any sink listens to one of these hooks."""
        return any(self._hooks[hook] for hook in hooks)

    def _refresh(self) -> None:
        """Take over what is to be called on the batch path."""
        self._batch_begin_hooks = self._hooks["on_batch_begin"]
        self._batch_end_hooks = self._hooks["on_batch_end"]
        self._delivery.refresh()
        self._buffer = self._delivery.buffer

    def tap(self, listener: Callable[[Block], None] | None) -> None:
        """Hand every block to a function too, before the sinks; None ends it. For loops, which need the values."""
        try:
            self.flush()
        finally:
            self._delivery.tap = listener
            self._refresh()

    # --- calling hooks -------------------------------------------------------------------------------------------

    def _emit(self, name: str, *args: Any) -> None:
        hooks = self._hooks[name]
        if hooks:
            with self._delivery.lock, deferred_interrupts:
                self._call(name, hooks, (self.run, *args))

    def _call(self, name: str, hooks: Iterable[Hook], args: tuple[Any, ...]) -> None:
        """Call each of the hooks, whatever the others raise; raise in the end what the policy lets propagate."""
        fatal: BaseException | None = None
        for hook in hooks:
            begin = perf_counter()
            try:
                hook(*args)
            except BaseException as error:
                verdict = self._judge(name, hook, error)
                if fatal is None or isinstance(fatal, Exception):  # an interrupt wins
                    fatal = verdict or fatal
            self._meter.add(self._members.owner_of(name, hook).name, name, perf_counter() - begin)
        self._raise(name, fatal)

    def _recover(
        self, name: str, hooks: tuple[Hook, ...], failed: Hook, error: BaseException, args: tuple[Any, ...]
    ) -> None:
        """Go on behind a hook that raised in the fast loop over them."""
        fatal = self._judge(name, failed, error)
        self._call(name, hooks[hooks.index(failed) + 1 :], args)
        self._raise(name, fatal)

    def _judge(self, name: str, hook: Hook, error: BaseException) -> BaseException | None:
        """Note what a hook raised; return it if it must propagate, and raise at once what is no failure."""
        if not isinstance(error, Exception):
            if name in _ONCE:
                return error
            with suppress(Exception):
                self.flush()
            raise error
        if isinstance(error, SetupError) and name == "on_train_begin":
            return error
        step = self.run.step
        member = self._members.owner_of(name, hook)
        self._members.keep_failure(member, name, error, self.run)
        if self.strict or getattr(member.sink, "critical", False):
            return error
        self._members.isolate(member, name, error, step)
        return None

    def _raise(self, name: str, fatal: BaseException | None) -> None:
        """Raise what must propagate, after handing over what waits."""
        if fatal is not None:
            if name not in _ONCE:
                self.flush()
            raise fatal

    def cost(self) -> Cost:
        """Return what the sinks have cost in this run, or cost in the last one: how long each hook took."""
        return self._meter.cost(self.run.step)

    def _tell_slow(self) -> None:
        for sink, share in self._meter.newly_slow(self.run.step, self.slow_share):
            logger.warning("%s takes %.0f%% of each step's time; bus.cost() shows where", sink, 100 * share)

    # --- blocks --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand over the values of the batches that have ended, as blocks, on this thread."""
        self._delivery.flush()

    def _call_block(self, hooks: Iterable[Hook], block: Block) -> None:
        self._call("on_block", hooks, (self.run, block))

    def after_fork(self) -> None:
        """Begin anew in a process that was forked off: what waited is the parent's to hand over."""
        self._delivery.after_fork()
        self._refresh()

    def at_exit(self) -> None:
        """Hand over what waits, at the interpreter's exit."""
        if self.run.status == "running":
            self._delivery.at_exit()

    # --- train and epochs ----------------------------------------------------------------------------------------

    def train_begin(self, *, epochs: int | None = None, steps_per_epoch: int | None = None) -> None:
        """Begin a run. One that is still open is closed as interrupted first.

        Args:
            epochs: How many epochs are planned, if known.
            steps_per_epoch: How many batches an epoch has, if known.

        Raises:
            SetupError: The model's handle lacks what a sink needs, or a sink says that it cannot begin.
        """
        self.interrupt()
        self.flush()
        if self.run.status != "pending":
            self.run = self._delivery.run = Run(self.run.index + 1, self.run.model, self.run.validation_data)
        for member in self._members:
            member.check_needs(self.run.model)
        run = self.run
        run.epochs, run.steps_per_epoch = epochs, steps_per_epoch
        run.status = "running"
        deferred_interrupts.install(self)
        self._meter = self._delivery.meter = CostMeter(run.step)
        run.bus_state = self.state_dict
        self._last_logs = {}
        begun: list[Member] = []
        try:
            for member in self._members:
                if member in self._members and not member.begun:
                    self._begin(member)
                    begun.append(member)
                    if run.resumed and member.cut_off_at is None:
                        self.resumption.restore(member.sink, run, member.calls.get("on_rewind"))
        except BaseException as error:
            run.status, run.bus_state = _status_after(error), None
            for member in self._members:
                member.begun = False
            deferred_interrupts.uninstall(self)
            self._call(
                "on_train_end",
                [each.calls["on_train_end"] for each in begun if "on_train_end" in each.calls],
                (run, {}),
            )
            raise
        finally:
            self.resumption.clear()

    def _begin(self, member: Member) -> None:
        member.begun = True
        if "on_train_begin" in member.calls and member.cut_off_at is None:
            with self._delivery.lock:
                self._call("on_train_begin", (member.calls["on_train_begin"],), (self.run,))

    def train_end(self, logs: Logs | None = None) -> None:
        """End the run: as stopped or failed if a sink asked for it, else as completed.

        Args:
            logs: The results of the whole run; left out, those of the last epoch.

        Raises:
            OrderError: No run is open, or an epoch is.
        """
        self._require_run("train_end()")
        if self._open_epoch is not None:
            raise OrderError(f"train_end() while epoch {self._open_epoch} is open: end it first")
        run = self.run
        status: Status = "completed" if not run.stopped else "failed" if run.failed else "stopped"
        self._close(status, None if logs is None else to_floats(logs, self.warn_skipped))

    def exception(self, error: BaseException) -> None:
        """End the run because the training raised: as interrupted if somebody ended it, else as failed.

        Raises:
            OrderError: No run is open.
        """
        self._require_run("exception()")
        try:
            self.flush()
        finally:
            self._open_epoch = None
            try:
                self._emit("on_exception", error)
            finally:
                self._close(_status_after(error))

    def interrupt(self) -> None:
        """End the run as interrupted, if one is open: whoever began it will not end it."""
        if self.run.status == "running":
            self._close("interrupted")

    def _close(self, status: Status, logs: dict[str, float] | None = None) -> None:
        try:
            self.flush()
        except BaseException as error:
            status = _status_after(error)
            raise
        finally:
            self._finish(status, logs)

    def _finish(self, status: Status, logs: dict[str, float] | None) -> None:
        self._open_epoch = self._open_batch = None
        self.run.status, self.run.bus_state = status, None
        try:
            self._emit("on_train_end", self._last_logs if logs is None else logs)
        finally:
            deferred_interrupts.uninstall(self)
            self._delivery.stop()
            self._tell_slow()
            self._meter.end()
            self.run.release_model()
            for member in self._members:
                member.begun = False
                member.tell_failures()

    def epoch_begin(self, epoch: int) -> None:
        """Begin an epoch.

        Args:
            epoch: Its number, 0-based, above that of the epoch before.

        Raises:
            OrderError: No run is open, another epoch is, or the number does not ascend.
        """
        self._require_run(f"epoch_begin({epoch})")
        if self._open_epoch is not None:
            raise OrderError(f"epoch_begin({epoch}) while epoch {self._open_epoch} is open: end it first")
        if epoch <= self.run.epoch:
            raise OrderError(
                f"epoch_begin({epoch}) after epoch {self.run.epoch}: epochs ascend within a run, and the next is "
                f"{self.run.epoch + 1} or later"
            )
        self.flush()  # batches that ended between epochs are not of this one
        self.run.epoch = self._open_epoch = epoch
        self._emit("on_epoch_begin", epoch)

    def epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """End an epoch, after handing over its last block.

        Args:
            epoch: Its number.
            logs: Its results; converted to floats once, what is no number is left out with a warning.

        Raises:
            OrderError: This epoch is not open.
        """
        if epoch != self._open_epoch:
            raise OrderError(f"epoch_end({epoch}) while {_named(self._open_epoch)} is open")
        self.flush()
        self._open_epoch = self._open_batch = None
        floats = to_floats(logs, self.warn_skipped)
        rate = self._reported_rate()
        if rate is not None:
            floats.setdefault("learning_rate", rate)
        self._last_logs = floats
        self._emit("on_epoch_end", epoch, floats)
        self._tell_slow()

    def epoch_abandon(self) -> None:
        """End the open epoch, if there is one, without a record: it was broken off."""
        try:
            self.flush()
        finally:
            self._open_epoch = self._open_batch = None

    def batch_abandon(self) -> None:
        """End the open batch, if there is one, without a record: it was broken off."""
        self._open_batch = None

    def _reported_rate(self) -> float | None:
        """Return the rate in force during the epoch that ends, if any sink may set it."""
        if not self.run.learning_rate_was_set and not any(
            getattr(member.sink, "sets_learning_rate", False) for member in self._members
        ):
            return None
        rates = getattr(self.run.model, "learning_rates", None)
        return rates[0] if rates else None

    def _require_run(self, event: str) -> None:
        if self.run.status != "running":
            raise OrderError(f"{event} without train_begin(): the run is {self.run.status}")

    def rewind(self, epoch: int, step: int) -> None:
        """Go back to where ``epoch`` (0-based) is the next and ``step`` batches have ended; sinks drop the rest.

        Raises:
            OrderError: No run is open.
        """
        self._require_run(f"rewind({epoch}, {step})")
        self.epoch_abandon()
        self.run.epoch, self.run.step = epoch - 1, step
        self._emit("on_rewind", epoch, step)

    # --- batches: the path on which every nanosecond is paid for a million times ------------------------------------

    def batch_begin(self, step: int) -> None:
        """Begin a batch.

        Args:
            step: The number it will have when it ends, counted from 1 over the run.
        """
        hooks = self._batch_begin_hooks
        if hooks:
            run = self.run
            if step % SAMPLED == 0:
                self._call("on_batch_begin", hooks, (run, step))
                return
            try:
                for hook in hooks:
                    hook(run, step)
            except BaseException as error:
                self._recover("on_batch_begin", hooks, hook, error, (run, step))

    def batch_end(self, step: int, logs: Logs | None = None) -> None:
        """End a batch.

        Args:
            step: Its number: how many batches of this run have now ended.
            logs: Its values as the framework gave them; they are neither read nor kept beyond the next block, and
                may be reused by the caller.
        """
        run = self.run
        run.step = step
        if logs is None:
            logs = {}
        if step % SAMPLED == 0:
            self._timed_batch_end(step, logs)
            return
        buffer = self._buffer
        if buffer is not None:
            waiting = buffer.append(step, logs)
            if waiting == 1 or waiting >= buffer.attend_at:
                self._delivery.attend(waiting)
        hooks = self._batch_end_hooks
        if hooks:
            try:
                for hook in hooks:
                    hook(run, step, logs)
            except BaseException as error:
                self._recover("on_batch_end", hooks, hook, error, (run, step, logs))

    def _timed_batch_end(self, step: int, logs: Logs) -> None:
        buffer = self._buffer
        if buffer is not None:
            begin = perf_counter()
            waiting = buffer.append(step, logs)
            self._meter.add(BUS, KEPT, perf_counter() - begin)
            if waiting == 1 or waiting >= buffer.attend_at:
                self._delivery.attend(waiting)
        self._call("on_batch_end", self._batch_end_hooks, (self.run, step, logs))

    def _checked_batch_begin(self, step: int) -> None:
        if self._open_epoch is None:
            raise OrderError(f"batch_begin({step}) outside of an epoch")
        if self._open_batch is not None:
            raise OrderError(f"batch_begin({step}) while batch {self._open_batch} is open: end it first")
        if step != self.run.step + 1:
            raise OrderError(f"batch_begin({step}) after step {self.run.step}: the next is {self.run.step + 1}")
        self._open_batch = step
        Bus.batch_begin(self, step)

    def _checked_batch_end(self, step: int, logs: Logs | None = None) -> None:
        if self._open_batch is None or step < self._open_batch:
            raise OrderError(f"batch_end({step}) while {_named(self._open_batch, 'batch')} is open")
        self._open_batch = None
        Bus.batch_end(self, step, logs)

    # --- evaluation and prediction: legal at any time, also outside of a run ----------------------------------------

    def evaluation_begin(self) -> None:
        """Begin an evaluation; pending values are handed over first."""
        self.flush()
        self._emit("on_evaluation_begin")

    def evaluation_end(self, logs: Logs | None = None) -> None:
        """End an evaluation; ``logs`` are converted to floats once."""
        if self._hooks["on_evaluation_end"]:
            self._emit("on_evaluation_end", to_floats(logs, self.warn_skipped))

    def evaluation_batch_begin(self, batch: int) -> None:
        """Begin an evaluation batch, numbered from 0 within this evaluation."""
        self._emit("on_evaluation_batch_begin", batch)

    def evaluation_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End an evaluation batch."""
        self._emit("on_evaluation_batch_end", batch, {} if logs is None else logs)

    def prediction_begin(self) -> None:
        """Begin a prediction; pending values are handed over first."""
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
        state bears what it belongs to: see `monitor_core.bus.states`.
        """
        self.flush()
        return {"format": 2, "run": self.run.state_dict(), "sinks": self.resumption.collect(self.sinks)}

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
            raise OrderError(f"load_state_dict() must come before train_begin(): the run is {self.run.status}")
        if state.get("format") != 2:
            raise ValueError(f"state must be of format 2 (got {state.get('format')!r})")
        self.resumption.load(state["sinks"], self.sinks)
        self.run.load_state_dict(state["run"])


def _named(number: int | None, what: str = "epoch") -> str:
    return f"no {what}" if number is None else f"{what} {number}"


def _status_after(error: BaseException) -> Status:
    return "failed" if isinstance(error, Exception) else "interrupted"
