"""The base class of sinks that send over a network: hooks queue messages, the sink's own thread delivers them.

Contract. A hook only copies a message into the sink's outbox, whatever the server's state: no step waits for the
server. The end of a run waits up to ``flush_seconds`` for pending messages, but not for a server that is known to be
failing; those messages are retried while the process lives, see `monitor_core.network.outbox`. A failed delivery never
ends a training; losses are logged at the end of the run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from monitor_core._log import logger
from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.bus.hooks import sink_name
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.network.outbox import EXIT_SECONDS, LIMIT, RETRY_SECONDS, Outbox
from monitor_core.values.blocks import Block, count_values
from monitor_core.values.scalars import scalar


class NetworkSink(Sink):
    """Send a run's events to a server, without blocking the training.

    Subclasses call `send` in their hooks and override `deliver`. A subclass that overrides `on_train_end` calls
    ``super().on_train_end(run, logs)`` last, which waits for the messages, also after an exception. Calling
    ``super().__init__()`` is not required. Set the options below on the class or the instance, before the first
    message.

    Attributes:
        limit: How many messages wait at most; beyond that the oldest are dropped.
        retry_seconds: For how many seconds an undelivered message is retried.
        flush_seconds: For how many seconds the end of a run, and `flush`, wait at most; 0: not at all.

    Example:
        >>> class Gauges(NetworkSink):
        ...     def on_epoch_end(self, run, epoch, logs):
        ...         self.send({"epoch": epoch, **logs})
        ...
        ...     def deliver(self, message):
        ...         requests.post("https://example.org/gauges", json=message, timeout=5).raise_for_status()
    """

    writes: ClassVar[bool] = True

    limit: int = LIMIT
    retry_seconds: float = RETRY_SECONDS
    flush_seconds: float = EXIT_SECONDS

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, without the outbox: a copy has its own messages and thread."""
        return {name: value for name, value in self.__dict__.items() if name != "_outbox_made"}

    def deliver(self, message: Any) -> None:
        """Deliver one message. Called on the sink's own thread, for one message at a time, in order.

        If it raises, the message is retried, unless the exception is a `monitor_core.DeliveryError` that says
        otherwise, or a programming error such as a TypeError. Set a timeout: later messages wait for this one.

        Args:
            message: The message passed to `send`, as plain Python values. It may be delivered more than once.
        """
        raise NotImplementedError(f"{type(self).__name__} must override deliver(message)")

    def send(self, message: Any, *, values: int | None = None) -> None:
        """Queue a message for delivery, without waiting.

        Args:
            message: A number, a string, None, or mappings and sequences of these. Mutable values are copied. Arrays and
                sets become lists, and other values of one element, such as tensors, become floats. A `Block` becomes a
                dict with ``epoch``, lists ``steps`` and ``times``, and ``columns``, a list for each metric with None
                for missing values.
            values: How many values the message holds, for `lost_values`; None: the number in a `Block`, otherwise 1.

        Raises:
            TypeError: The message holds another type.
        """
        if values is None:
            values = count_values(message) if isinstance(message, Block) else 1
        self._outbox.put(_plain(message), values)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all messages sent before are delivered or lost, or cannot be delivered in time.

        Args:
            timeout: For how many seconds to wait at most; None: ``flush_seconds``.

        Returns:
            Whether every message sent before this call has been delivered.
        """
        return self._outbox.flush(self.flush_seconds if timeout is None else timeout)

    def close(self, timeout: float = EXIT_SECONDS) -> bool:
        """Wait as `flush` does, drop and count the remaining messages, and end the thread; `send` starts another.

        Args:
            timeout: For how many seconds to wait at most.

        Returns:
            Whether every message ever sent has been delivered.
        """
        return self._outbox.close(timeout)

    @property
    def waiting(self) -> int:
        """How many messages wait to be delivered."""
        return self._outbox.waiting

    @property
    def delivered(self) -> int:
        """How many messages were delivered."""
        return self._outbox.delivered

    @property
    def failed(self) -> int:
        """How many messages were dropped after failed attempts."""
        return self._outbox.failed

    @property
    def dropped(self) -> int:
        """How many messages were dropped because too many waited, or the sink was closed."""
        return self._outbox.dropped

    @property
    def lost_values(self) -> int:
        """How many values were in the messages that failed or were dropped; see `send`."""
        return self._outbox.lost_values

    @property
    def _outbox(self) -> Outbox:
        found: Outbox | None = self.__dict__.get("_outbox_made")
        if found is not None:
            return found
        made = Outbox(self.deliver, name=sink_name(self), limit=self.limit, retry_seconds=self.retry_seconds)
        return self.__dict__.setdefault("_outbox_made", made)  # type: ignore[no-any-return]  # threads may be sending

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Wait for pending messages, and log the losses."""
        outbox = self._outbox
        with deferred_interrupts.passing():
            outbox.flush(0.0 if outbox.is_failing else self.flush_seconds)
        outbox.rest()
        lost, waiting = outbox.take_losses(), outbox.waiting
        if any(lost) or waiting:
            text = "%s: by the end of the run %d messages were dropped, %d failed (%d values); %d wait and are retried"
            logger.warning(text, sink_name(self), *lost, waiting)


def _plain(value: Any) -> Any:
    """Return a value as plain Python values that share no object with the caller."""
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        return value.tolist()
    if value is None or isinstance(value, (str, int, float, bytes)):
        return value
    if isinstance(value, Mapping):
        return {_plain_key(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    return _plain_block(value) if isinstance(value, Block) else _plain_other(value)


def _plain_key(key: Any) -> Any:
    return key if isinstance(key, (str, int)) else str(key)


def _plain_other(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    try:
        return scalar(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"a message must hold plain values (got {type(value).__name__}: {error})") from None


def _plain_block(block: Block) -> dict[str, Any]:
    columns = {name: column.tolist() for name, column in block.columns.items()}
    for name, mask in block.present.items():
        if mask is not None:
            columns[name] = [value if is_there else None for value, is_there in zip(columns[name], mask, strict=True)]
    steps, times = block.steps.tolist(), block.times.tolist()
    return {"epoch": int(block.epoch), "steps": steps, "times": times, "columns": columns}
