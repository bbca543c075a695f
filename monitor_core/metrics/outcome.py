"""What a run was decided by: the metrics that sinks watch, their best epochs, and why a sink stopped the run."""

from __future__ import annotations

import attrs


@attrs.define
class Watched:
    """A metric that a sink decides by; the sink adds it to `Run.watched` when the run begins.

    Attributes:
        sink: The sink's name.
        metric: The metric's name.
        mode: ``"min"`` or ``"max"``.
        restores: Whether the sink sets the best epoch's weights when the run ends.
        best_epoch: The epoch of the best value so far, 0-based, as the sink judges it; None while there is none, or
            where the sink does not keep it.
        best_step: The step of the best value; None likewise.
    """

    sink: str
    metric: str
    mode: str
    restores: bool = False
    best_epoch: int | None = None
    best_step: int | None = None


@attrs.define
class Outcome:
    """What a run was decided by and how it ended, for plots and reports.

    Attributes:
        watched: The metrics that sinks decide by.
        stop_reason: Why a sink stopped the run, None if none did.
        stop_epoch: The epoch in which that happened, 0-based, None if none did.
        status: How the run ended, as `Run.status` has it; None if it has not ended, or that is not on record.
    """

    watched: list[Watched] = attrs.field(factory=list)
    stop_reason: str | None = None
    stop_epoch: int | None = None
    status: str | None = None
