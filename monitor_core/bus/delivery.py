"""Deliver blocks to sinks: in the background once one is full or a second old, or synchronously on `flush`.

Contract. Values are fetched, and blocks delivered, under one lock, by one thread at a time, in order. The delivery's
own thread calls the sinks that take blocks in the background. It leaves the block for the others, which get it on the
training's thread with the next batch; exceptions to raise are left for that thread too. A training that is `BACKLOG`
blocks ahead of its sinks waits for them: the queue is bounded, and nothing is lost.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from time import perf_counter

from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.background.worker import DeliveryThread
from monitor_core.bus.costs import BUS, FETCHED
from monitor_core.bus.dispatch import Dispatch
from monitor_core.bus.members import Call
from monitor_core.values.blocks import BLOCK_SECONDS, Block, BlockBuffer
from monitor_core.values.means import Means
from monitor_core.values.scalars import OnSkip

BACKLOG = 16
"""How many blocks may wait for a slow sink."""
EXIT_SECONDS = 5.0
"""How long the interpreter's exit waits at most for a busy sink."""
NOT_READY_SECONDS = 0.05
"""After how long to check again for values that were not ready on the device."""


class Delivery:
    """Gathers the values of batches and delivers them as blocks.

    Args:
        dispatch: What calls the sinks.
        on_skip: Called with each value that is not a number.

    Attributes:
        buffer: What gathers the values; None while no sink wants them.
        check_at: At how many pending steps the caller that appends one must call `check`.
        lock: Held by whatever calls a hook other than those of a batch.
        means: Means that every block is added to before the sinks get it, or None.
        interval: More of them, or None.
        thread: The training's thread; a `flush` on another thread does not wait for hooks that this one calls.
    """

    def __init__(self, dispatch: Dispatch, on_skip: OnSkip) -> None:
        self.buffer: BlockBuffer | None = None
        self.check_at = 1
        self.means: Means | None = None
        self.interval: Means | None = None
        self.thread = threading.get_ident()
        self._dispatch = dispatch
        self._on_skip = on_skip
        self._delivering = False
        self._flush_wanted = False
        self._left: deque[Block] = deque()
        self._fatal: BaseException | None = None
        self._renew()

    def _renew(self) -> None:
        self.lock = threading.RLock()
        self._worker = DeliveryThread(self._deliver_due)

    def refresh(self) -> None:
        """Start or stop gathering values, after sinks were added or removed."""
        if self.means is None and self.interval is None and not self._dispatch.calls["on_block"]:
            self.buffer = None
        elif self.buffer is None:
            self.buffer, self.check_at = BlockBuffer(self._on_skip), 1

    def flush(self) -> None:
        """Deliver all pending values, on this thread.

        Called from another thread than the training's while a hook runs, it returns immediately, and all is delivered
        once that hook has returned: the hook may be waiting for the calling thread.
        """
        if not self.lock.acquire(blocking=threading.get_ident() == self.thread):
            self._flush_wanted = True
            return
        try:
            with deferred_interrupts:
                if not self._delivering:  # else a sink flushes from its own block hook
                    self._flush_wanted = False
                    self._deliver_left()
                    while (block := self._take()) is not None:
                        self._account(block)
                        self._give(block, self._dispatch.calls["on_block"])
        finally:
            self._settle()
            self.lock.release()

    def flush_if_wanted(self) -> None:
        """Deliver what another thread wanted flushed while a hook ran."""
        if self._flush_wanted:
            self.flush()

    def check(self) -> None:
        """Handle pending steps: the first ones, those of a full block, or blocks that the thread has left."""
        buffer = self.buffer
        if self._has_left and self.lock.acquire(blocking=False):
            try:
                with deferred_interrupts:
                    self._deliver_left()
            finally:
                self._settle()
                self.lock.release()
        if buffer is None:
            return
        waiting, limit = len(buffer), buffer.limit
        if waiting < limit:
            self._worker.notice()
            if not self._has_left:
                self.check_at = limit
            return
        self.check_at = BACKLOG * limit  # before the thread wakes, which sets it again when it has delivered
        if waiting >= self.check_at or not self._worker.wake():
            self.flush()

    def stop(self) -> None:
        """Stop the thread; it starts again when needed."""
        self._worker.stop()

    def after_fork(self) -> None:
        """Start empty in a forked process: the parent delivers the pending values."""
        self._renew()
        self._left.clear()
        self._delivering, self.buffer = False, None
        self.refresh()

    def at_exit(self) -> None:
        """Deliver pending values at interpreter exit."""
        if self.lock.acquire(timeout=EXIT_SECONDS):
            with suppress(Exception):
                self.flush()
            self.lock.release()

    def raise_late(self, fatal: BaseException | None) -> None:
        """Raise an exception once all pending values are delivered; do nothing for None."""
        if fatal is not None:
            with suppress(Exception):
                self.flush()
            raise fatal

    @property
    def _has_left(self) -> bool:
        return bool(self._left) or self._fatal is not None

    def _take(self, *, ready_only: bool = False) -> Block | None:
        if not self.buffer:
            return None
        begin = perf_counter()
        block = self.buffer.take(self._dispatch.run.epoch, ready_only=ready_only)
        self._dispatch.meter.add(BUS, FETCHED, perf_counter() - begin)
        return block

    def _account(self, block: Block) -> None:
        for means in (self.means, self.interval):
            if means is not None:
                means.add(block)

    def _give(self, block: Block, calls: tuple[Call, ...]) -> None:
        self._delivering = True
        try:
            fatal = self._dispatch.call("on_block", calls, (self._dispatch.run, block))
            if fatal is not None:
                raise fatal
        finally:
            self._delivering = False

    def _settle(self) -> None:
        """Set when to check next: at the next step if nothing is pending or a block was left, else at a full block."""
        if self.buffer is not None:
            self.check_at = 1 if self._has_left or not self.buffer else self.buffer.limit

    def _deliver_left(self) -> None:
        """Deliver the blocks left for this thread's sinks, and raise what the other thread's hooks raised."""
        while self._left:
            self._give(self._left.popleft(), self._calls(in_background=False))
        fatal, self._fatal = self._fatal, None
        if fatal is not None:
            raise fatal

    def _calls(self, *, in_background: bool) -> tuple[Call, ...]:
        calls = self._dispatch.calls["on_block"]
        return tuple(each for each in calls if each.member.in_background is in_background)

    def _deliver_due(self) -> float | None:
        """Deliver the blocks that are due, on the delivery's own thread; return when to check again."""
        with self.lock:
            try:
                return self._deliver_ready()
            except BaseException as error:
                self._fatal = error
                return BLOCK_SECONDS
            finally:
                self._settle()

    def _deliver_ready(self) -> float | None:
        while self.buffer is not None:
            seconds = self.buffer.seconds_left()
            if seconds is None:
                self._flush_wanted = False
                return None
            if seconds > 0 and not self._flush_wanted:
                return seconds
            block = self._take(ready_only=True)
            if block is None:
                return NOT_READY_SECONDS
            if self._calls(in_background=False):
                self._left.append(block)
            self._account(block)
            self._give(block, self._calls(in_background=True))
        return None
