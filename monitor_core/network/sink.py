"""The base class of sinks that talk to a network: hooks make messages, a thread of the sink's delivers them.

Contract. A hook only copies a message into the sink's outbox, whatever state the server is in: no step waits for it.
A run's end waits up to ``flush_seconds`` for the messages under way, but not for a server that is known to be in
trouble; what waits then is tried further while the process lives, see
`monitor_core.network.outbox`. Nothing that happens to a message ends a training; what was lost is told at the run's
end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

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
    """Listen to a run and tell a server of it, without making the training wait.

    Subclasses call `send` in their hooks and override `deliver`. One that overrides `on_train_end` calls
    ``super().on_train_end(run, logs)`` last; after an exception, too, that is where the messages are waited for.
    ``super().__init__()`` needs not be called. The options below may be set on the class or the instance, before the
    first message.

    Attributes:
        limit: How many messages wait at most; when there are more, the oldest are dropped.
        retry_seconds: For how many seconds a message that cannot be delivered is tried again.
        flush_seconds: For how many seconds a run's end, and `flush`, wait at most; 0: not at all.

    Example:
        >>> class Gauges(NetworkSink):
        ...     def on_epoch_end(self, run, epoch, logs):
        ...         self.send({"epoch": epoch, **logs})
        ...
        ...     def deliver(self, message):
        ...         requests.post("https://example.org/gauges", json=message, timeout=5).raise_for_status()
    """

    limit: int = LIMIT
    retry_seconds: float = RETRY_SECONDS
    flush_seconds: float = EXIT_SECONDS

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs, which has messages and a thread of its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_outbox_made"}

    def deliver(self, message: Any) -> None:
        """Deliver one message; called on the sink's own thread, with one at a time, in order.

        What it raises is tried again, unless it is a `monitor_core.DeliveryError` that says otherwise, or a mistake in
        the program such as a TypeError. It should have a time-out of its own: whatever comes behind waits.

        Args:
            message: What was sent, as plain Python values. It may come more than once.
        """
        raise NotImplementedError(f"{type(self).__name__} must override deliver(message)")

    def send(self, message: Any, *, values: int | None = None) -> None:
        """Have a message delivered, without waiting for anything.

        Args:
            message: A number, a text, None, or mappings and sequences of such. What may change is copied. Arrays
                become lists, sets too, and other values of one element, such as tensors, floats. A `Block` becomes a
                dict with ``epoch``, lists ``steps`` and ``times``, and ``columns``, a list for each metric with None
                where it is missing.
            values: How many values the message holds, for `lost_values`; None: those of the `Block` that it is, else 1.

        Raises:
            TypeError: It holds something else.
        """
        if values is None:
            values = count_values(message) if isinstance(message, Block) else 1
        self._outbox.put(_plain(message), values)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until what was sent before is delivered or lost, or it is clear that it will not be in time.

        Args:
            timeout: For how many seconds to wait at most; None: ``flush_seconds``.

        Returns:
            Whether all that was ever sent before has been delivered.
        """
        return self._outbox.flush(self.flush_seconds if timeout is None else timeout)

    def close(self, timeout: float = EXIT_SECONDS) -> bool:
        """Wait as `flush` does, drop and count what is left then, and end the thread; `send` starts another.

        Args:
            timeout: For how many seconds to wait at most.

        Returns:
            Whether all that was ever sent has been delivered.
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
        """How many messages were given up after an attempt to deliver them."""
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
        """Wait for the messages under way, and tell what was lost."""
        outbox = self._outbox
        with deferred_interrupts.passing():
            outbox.flush(0.0 if outbox.is_failing else self.flush_seconds)
        outbox.rest()
        lost, waiting = outbox.take_losses(), outbox.waiting
        if any(lost) or waiting:
            text = "%s: by the end of the run %d messages were dropped, %d failed (%d values); %d wait and are tried on"
            logger.warning(text, sink_name(self), *lost, waiting)


def _plain(value: Any) -> Any:
    """Return a value as plain Python values that nobody else holds."""
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
        raise TypeError(f"a message holds plain values (got {type(value).__name__}: {error})") from None


def _plain_block(block: Block) -> dict[str, Any]:
    columns = {name: column.tolist() for name, column in block.columns.items()}
    for name, mask in block.present.items():
        if mask is not None:
            columns[name] = [value if is_there else None for value, is_there in zip(columns[name], mask, strict=True)]
    steps, times = block.steps.tolist(), block.times.tolist()
    return {"epoch": int(block.epoch), "steps": steps, "times": times, "columns": columns}
