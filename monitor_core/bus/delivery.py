"""How blocks are handed over: when one is full or a second old beside the training, or at once where somebody asks.

Contract. Values are fetched, and blocks handed over, under one lock, by one thread at a time, in order. The delivery's
own thread serves the sinks that hear blocks in the background, and leaves the block for the others, who get it on the
training's thread with the next batch. So does what that thread met and the training must hear of. A training that
is `BACKLOG` blocks ahead of its sinks waits for them: what waits is bounded, and nothing is lost.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import perf_counter
from weakref import WeakMethod

from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.background.worker import DeliveryThread
from monitor_core.bus.costs import BUS, FETCHED, CostMeter
from monitor_core.bus.hooks import Hook
from monitor_core.bus.members import Members
from monitor_core.bus.run import Run
from monitor_core.values.blocks import BLOCK_SECONDS, Block, BlockBuffer
from monitor_core.values.scalars import OnSkip

BACKLOG = 16
"""How many blocks may wait for a sink that is slow."""
EXIT_SECONDS = 5.0
"""How long at most the interpreter's exit waits for a sink that is at work."""
NOT_READY_SECONDS = 0.05
"""After how long a device is asked again for values that were not ready."""

Deliver = Callable[[Iterable[Hook], Block], None]


class Delivery:
    """Gathers the values of batches and hands them over as blocks.

    Args:
        members: The sinks.
        deliver: A bound method that calls hooks with a block, and raises what must propagate. Its object is not kept
            alive.
        on_skip: Told of each value that is no number.

    Attributes:
        buffer: What gathers the values, None while nobody wants them. After each batch that `BlockBuffer.append` says
            needs it, `attend` is to be called.
        lock: Held by whoever hands over anything but a batch.
        tap: A function that gets every block before the sinks, or None.
        run: The run that the values belong to.
        meter: Where the time of fetching is noted.
    """

    def __init__(self, members: Members, deliver: Deliver, on_skip: OnSkip, run: Run, meter: CostMeter) -> None:
        self.buffer: BlockBuffer | None = None
        self.tap: Callable[[Block], None] | None = None
        self.run = run
        self.meter = meter
        self._members = members
        self._deliver = WeakMethod(deliver)
        self._on_skip = on_skip
        self._delivering = False
        self._handovers: deque[Block] = deque()
        self._fatal: BaseException | None = None
        self._renew()

    def _renew(self) -> None:
        self.lock = threading.RLock()
        self._thread = DeliveryThread(self._deliver_due)

    def refresh(self) -> None:
        """Begin or cease to gather values, as sinks have come or gone."""
        if self.tap is None and not self._members.hooks["on_block"]:
            self.buffer = None
        elif self.buffer is None:
            self.buffer = BlockBuffer(self._on_skip)

    def flush(self) -> None:
        """Hand over all that waits, on this thread."""
        with self.lock, deferred_interrupts:
            if self._delivering:  # a sink asks for what it is being given
                return
            self._hand_over()
            while (block := self._take()) is not None:
                self._give(block, self._members.hooks["on_block"], self.tap)

    def attend(self, waiting: int) -> None:
        """Look after the steps that wait: the first one, those of a full block, or what the thread has left.

        Args:
            waiting: How many steps wait.
        """
        buffer = self.buffer
        if self._has_left and self.lock.acquire(blocking=False):
            try:
                with deferred_interrupts:
                    self._hand_over()
            finally:
                self.lock.release()
        if buffer is None:
            return
        if waiting < buffer.limit:
            self._thread.notice()
            if not self._has_left:
                buffer.attend_at = buffer.limit
        elif waiting < BACKLOG * buffer.limit and self._thread.wake():
            buffer.attend_at = BACKLOG * buffer.limit
        else:
            self.flush()

    def stop(self) -> None:
        """End the thread; it comes back when it is needed."""
        self._thread.stop()

    def after_fork(self) -> None:
        """Begin anew in a process that was forked off: what waited is the parent's to hand over."""
        self._renew()
        self._handovers.clear()
        self._delivering, self.buffer = False, None
        self.refresh()

    def at_exit(self) -> None:
        """Hand over what waits, at the interpreter's exit."""
        if self.lock.acquire(timeout=EXIT_SECONDS):
            with suppress(Exception):
                self.flush()
            self.lock.release()

    @property
    def _has_left(self) -> bool:
        return bool(self._handovers) or self._fatal is not None

    def _take(self, *, ready_only: bool = False) -> Block | None:
        if not self.buffer:
            return None
        begin = perf_counter()
        block = self.buffer.take(self.run.epoch, ready_only=ready_only)
        self.meter.add(BUS, FETCHED, perf_counter() - begin)
        return block

    def _give(self, block: Block, hooks: Iterable[Hook], tap: Callable[[Block], None] | None = None) -> None:
        self._delivering = True
        try:
            if tap is not None:
                tap(block)
            self._call(hooks, block)
        finally:
            self._delivering = False

    def _call(self, hooks: Iterable[Hook], block: Block) -> None:
        deliver = self._deliver()
        if deliver is not None:
            deliver(hooks, block)

    def _hand_over(self) -> None:
        """Give the sinks of this thread the blocks that were left for them, and raise what the other one met."""
        while self._handovers:
            self._give(self._handovers.popleft(), self._members.foreground)
        fatal, self._fatal = self._fatal, None
        if fatal is not None:
            raise fatal

    def _deliver_due(self) -> float | None:
        """Hand over the blocks that are due, on the delivery's own thread; return when there may be more."""
        with self.lock:
            try:
                return self._deliver_ready()
            except BaseException as error:
                self._fatal = error
                return BLOCK_SECONDS
            finally:
                if self.buffer is not None:
                    self.buffer.attend_at = 0 if self._has_left else self.buffer.limit

    def _deliver_ready(self) -> float | None:
        while self.buffer is not None:
            seconds = self.buffer.seconds_left()
            if seconds is None or seconds > 0:
                return seconds
            block = self._take(ready_only=True)
            if block is None:
                return NOT_READY_SECONDS
            if self._members.foreground:
                self._handovers.append(block)
            self._give(block, self._members.background, self.tap)
        return None
