"""What a rank asks for between two exchanges: a stop, a learning rate, or the end that Ctrl-C asks for."""

from __future__ import annotations

import attrs


@attrs.define
class Requests:
    """The requests of this rank that the others do not know yet.

    Attributes:
        stop_reason: Why the run should stop, or None.
        failed: Whether that is a failure.
        rate: The learning rate that was set last, or None.
        interrupted: Whether Ctrl-C was pressed.
    """

    stop_reason: str | None = None
    failed: bool = False
    rate: float | None = None
    interrupted: bool = False

    def stop(self, reason: str, *, failed: bool) -> bool:
        """Ask for a stop; return whether it is the first request for one, which counts."""
        if self.stop_reason is not None:
            return False
        self.stop_reason, self.failed = reason, failed
        return True
