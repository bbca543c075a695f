"""A queue in front of a server: putting a message never waits, and the queue's own thread delivers them in order.

Contract. Putting never waits and never raises. There is one thread, which starts with the first message, sleeps while
no message waits, and ends when the outbox is closed or no longer referenced; waiting messages keep the outbox alive.
One message is delivered at a time, and a failed one is retried before the next, so that a server receives them in
order; it may receive one twice. Lost messages and values are counted, with one warning for each cause. Any thread may
call any method. A forked process begins with an empty outbox; at the interpreter's exit, waiting messages get
`EXIT_SECONDS`.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from functools import cache
from time import monotonic
from typing import Any

import attrs

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.background.watch import watch
from monitor_core.background.worker import DeliveryThread
from monitor_core.network.losses import Loss, Losses, Remarks
from monitor_core.network.retries import Backoff, description

LIMIT = 2048
"""How many messages wait at most by default."""
RETRY_SECONDS = 30.0
"""For how many seconds a message is retried by default."""
EXIT_SECONDS = 5.0
"""How many seconds closing waits by default, and the interpreter's exit for all outboxes together."""


@attrs.define(eq=False)
class _Item:
    """A message, its number, counted from 1, its number of values, and when its first and last attempt began."""

    number: int
    message: Any
    values: int
    first_attempt: float = 0.0
    last_attempt: float = 0.0


@attrs.define(eq=False, slots=False)
class Outbox:
    """Keep messages until a thread has delivered them.

    Args:
        deliver: Called on the thread with one message at a time. If it raises, the message is retried, unless the
            exception is a `DeliveryError` that says otherwise, or a programming error such as a TypeError.
        name: The name of the outbox in warnings.
        limit: How many messages wait at most; beyond that the oldest are dropped.
        retry_seconds: For how many seconds a message is retried, from its first attempt on.

    Attributes:
        delivered: How many messages were delivered.
        failed: How many messages were dropped after failed attempts.
        dropped: How many messages were dropped because the outbox was full, or was closed.
        lost_values: How many values were in the messages that failed or were dropped.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range.
    """

    deliver: Callable[[Any], object] = attrs.field(validator=attrs.validators.is_callable(), repr=False)
    name: str = attrs.field(default="outbox", kw_only=True)
    limit: int = attrs.field(default=LIMIT, kw_only=True, validator=checks.count(least=1))
    retry_seconds: float = attrs.field(
        default=RETRY_SECONDS, kw_only=True, validator=checks.number(least=0, finite=True)
    )

    def __attrs_post_init__(self) -> None:
        self._remarks = Remarks()
        self._renew()
        watch(self, exits_last=True)

    def _renew(self) -> None:
        self._lock = threading.RLock()  # a signal handler may put a message while its thread is putting one
        self._changed = threading.Condition(self._lock)
        self._attempts = Backoff()
        self._items: deque[_Item] = deque()
        self._in_flight: _Item | None = None
        self._losses = Losses()
        self._put = self.delivered = 0
        self._remarks.drop()
        self._telling = False
        self._renew_thread()

    def _renew_thread(self) -> None:
        self._thread = DeliveryThread(self._attend, name="monitor_core outbox")

    @property
    def failed(self) -> int:
        """How many messages were dropped after failed attempts."""
        return self._losses.total.failed

    @property
    def dropped(self) -> int:
        """How many messages were dropped because the outbox was full, or was closed."""
        return self._losses.total.dropped

    @property
    def lost_values(self) -> int:
        """How many values were in the messages that failed or were dropped."""
        return self._losses.total.values

    @property
    def waiting(self) -> int:
        """How many messages wait, including the one being delivered."""
        with self._lock:
            return len(self._items) + (self._in_flight is not None)

    @property
    def is_failing(self) -> bool:
        """Whether waiting is pointless: attempts keep failing, or one does not end."""
        with self._lock:
            item = self._in_flight
            hangs = item is not None and monotonic() - item.last_attempt >= EXIT_SECONDS
            return hangs or self._attempts.is_failing

    def put(self, message: Any, values: int = 1) -> None:
        """Queue a message for delivery; if too many wait, the oldest is dropped.

        It takes 1.5 us, 3 us if one is dropped, and 20 us if it wakes the thread.

        Args:
            message: The message.
            values: How many values it holds, to count lost values.
        """
        with self._lock:
            items = self._items
            if not items:
                _filled.add(self)
            elif len(items) >= self.limit:
                self._drop(items.popleft())
            self._put = number = self._put + 1
            items.append(_Item(number, message, values))
            self._thread.notice()
        if self._remarks:
            self._remarks.log()

    def flush(self, timeout: float) -> bool:
        """Wait until all messages put before are delivered or lost; cut a pause between attempts short.

        A pause that the server asked for is kept, and the wait ends early if the next attempt would come too late.

        Args:
            timeout: For how many seconds to wait at most.

        Returns:
            Whether every message put before this call has been delivered.
        """
        deadline = monotonic() + timeout
        with self._lock:
            last, has_thread = self._put, True
            if self._items:
                self._attempts.hurry()
                has_thread = self._thread.wake()
            while self._telling or self._waits_for(last):
                left = deadline - monotonic()
                if left <= 0 or self._is_vain(deadline) or not has_thread:
                    return False
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
            return not self._losses.any_up_to(last)

    def close(self, timeout: float = EXIT_SECONDS) -> bool:
        """Wait as `flush` does, drop and count the other messages, and end the thread; the next `put` starts another.

        Closing twice has no effect. A delivery that hangs is abandoned, and counted as dropped.

        Args:
            timeout: For how many seconds to wait at most.

        Returns:
            Whether every message ever put has been delivered.
        """
        try:
            self.flush(timeout)
        finally:
            self._abandon()
        return self._losses.first is None

    def rest(self) -> None:
        """End the thread if no message waits; the next `put` starts another."""
        with self._lock:
            if not self.waiting:
                self._thread.stop()
                self._renew_thread()

    def take_losses(self) -> Loss:
        """Return the losses since the last call."""
        with self._lock:
            return self._losses.take()

    def after_fork(self) -> None:
        """Start empty in a forked process: the parent delivers the waiting messages."""
        self._renew()
        _filled.discard(self)

    def at_exit(self) -> None:
        """Deliver the waiting messages at the interpreter's exit."""
        deadline = _exit_deadline()
        if self._items and not self._thread.wake():  # from Python 3.12 on, no thread can be started at this point
            self._attend(deadline)
        self.close(max(0.0, deadline - monotonic()))

    # --- on the thread -----------------------------------------------------------------------------------------------

    def _attend(self, deadline: float = math.inf) -> float | None:
        """Deliver the messages that are due; return the seconds until the next attempt, None if no message waits."""
        while monotonic() < deadline:
            with self._lock:
                if not self._items or self._in_flight is not None:
                    return None
                now = monotonic()
                if now < self._attempts.due:
                    return self._attempts.due - now
                item = self._in_flight = self._items.popleft()
                item.first_attempt, item.last_attempt = item.first_attempt or now, now
            if not self._settle(item, self._attempt(item.message)):
                return None
        return None

    def _attempt(self, message: Any) -> BaseException | None:
        try:
            self.deliver(message)
        except BaseException as error:
            return error
        return None

    def _settle(self, item: _Item, error: BaseException | None) -> bool:
        """Record how an attempt ended; return whether it still counts."""
        with self._lock:
            if self._in_flight is not item:  # the outbox was closed in between
                return False
            self._in_flight = None
            if error is None:
                self._note_success()
            else:
                self._note_failure(item, error)
            if not self._items:
                _filled.discard(self)
            self._telling = bool(self._remarks)
            self._changed.notify_all()
        if self._telling:
            self._remarks.log()
            with self._lock:
                self._telling = False
                self._changed.notify_all()
        return True

    def _note_success(self) -> None:
        self.delivered += 1
        if self._attempts.is_failing:
            lost = self._losses.total
            text = "%s delivers again; it has lost %d messages, with %d values, so far"
            self._remarks.add(text, self.name, lost.dropped + lost.failed, lost.values)
        self._attempts.succeed()

    def _note_failure(self, item: _Item, error: BaseException) -> None:
        """Put a message back at the head of the queue, or drop it."""
        cause = description(error)
        was_in_trouble = self._attempts.is_failing
        again = self._attempts.fail(error, item.first_attempt + self.retry_seconds)
        if self._attempts.is_failing and not was_in_trouble:
            self._remarks.know(cause)
            text = "%s cannot deliver (%s); training continues, it keeps retrying, and up to %d messages wait"
            self._remarks.add(text, self.name, cause, self.limit)
        if not again:
            self._fail(item, cause)
        elif len(self._items) < self.limit:
            self._items.appendleft(item)
        else:
            self._drop(item)

    # --- what is lost ------------------------------------------------------------------------------------------------

    def _fail(self, item: _Item, cause: str) -> None:
        self._losses.add(item.number, Loss(failed=1, values=item.values))
        text = "%s dropped a message (%s); further drops for this reason are only counted"
        self._remarks.add_once(cause, text, self.name, cause)

    def _drop(self, item: _Item) -> None:
        self._losses.add(item.number, Loss(dropped=1, values=item.values))
        text = "%s is full: %d messages wait, and the oldest are dropped"
        self._remarks.add_once("full", text, self.name, self.limit)

    def _abandon(self) -> None:
        """Drop the waiting messages, end the thread, and abandon a delivery that does not end."""
        with self._lock:
            left = [*([self._in_flight] if self._in_flight else []), *self._items]
            for item in left:
                self._losses.add(item.number, Loss(dropped=1, values=item.values))
            self._items.clear()
            self._in_flight = None
            self._thread.stop()
            self._renew_thread()
            _filled.discard(self)
            self._changed.notify_all()
        if left:
            text = "%s is closed, and %d waiting messages, with %d values, are dropped"
            logger.warning(text, self.name, len(left), sum(item.values for item in left))

    def _waits_for(self, last: int) -> bool:
        """Return whether any message up to this number is neither delivered nor lost."""
        first = self._in_flight or (self._items[0] if self._items else None)
        return first is not None and first.number <= last

    def _is_vain(self, deadline: float) -> bool:
        """Return whether no attempt will be made before this time."""
        return self._in_flight is None and not self._telling and self._attempts.due > deadline


_filled: set[Outbox] = set()
"""Outboxes with waiting messages, kept alive by being in this set."""


@cache
def _exit_deadline() -> float:
    """Return until when the interpreter's exit waits, for all outboxes together, as their threads run in parallel."""
    return monotonic() + EXIT_SECONDS
