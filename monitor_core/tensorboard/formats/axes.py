"""What the steps of values count, as an event file records it: batches, or epochs.

An event says that its step is an epoch by ``source_metadata.writer``, a field for the name of what wrote an event, at
which TensorBoard does not look; the steps of all other events count batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

Axis = Literal["step", "epoch"]
"""What a value's step is: how many batches have ended, or an epoch."""

_WRITER = "monitor_core: epochs"
EPOCH_FIELD = b"\x52" + bytes([len(_WRITER) + 2]) + b"\x0a" + bytes([len(_WRITER)]) + _WRITER.encode()
"""Field 10 of Event, SourceMetadata(writer): what marks an event whose step is an epoch."""


def mark(event: Event, axis: Axis) -> None:
    """Note in an event what its step is."""
    if axis == "epoch":
        event.source_metadata.writer = _WRITER


def axis_of(event: Event) -> Axis:
    """Return what an event's step is."""
    return "epoch" if event.source_metadata.writer == _WRITER else "step"
