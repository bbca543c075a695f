"""A training loss that rises: without bound, or above where it began."""

from __future__ import annotations

import attrs
import numpy as np

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.rules.rates import too_high
from monitor_core.diagnosis.seen import Floats, Seen
from monitor_core.diagnosis.words import number
from monitor_core.values.text import counted


@attrs.frozen
class Rising(Rule):
    """The training loss is far above where it began, and has been for some epochs.

    Attributes:
        ratio: How many times the loss at the start it must be.
        unbounded: The same, for ``exploding``.
        epochs: For how many epochs.
    """

    symptom = "loss_rising"
    source = "divergence: AUTOTRAINER (loss >= 1e3), TheDeepChecker; ratios chosen on our own programs"

    ratio: float = 1.5
    unbounded: float = 100.0
    epochs: int = 3

    def check(self, seen: Seen) -> Finding | None:
        """Return it for a loss that is positive where it began; of others a ratio says nothing."""
        values = seen.curve("loss").values
        if not len(values) or not np.isfinite(values).all():
            return None
        start = min(seen.start, float(values[0])) if seen.start > 0 else float(values[0])
        if start <= 0 or values.min() < 0 or seen.has_learned:
            return None
        now = float(values[-1])
        if now > self.unbounded * start:
            return self._finding(seen, "exploding", start, now, "has exploded", self.unbounded)
        last = values[-self.epochs :]
        if len(values) > self.epochs and last.min() > self.ratio * start and _is_rising(values):
            return self._finding(seen, "loss_rising", start, now, "rises", self.ratio)
        return None

    def _finding(  # noqa: PLR0917
        self, seen: Seen, symptom: str, start: float, now: float, what: str, threshold: float
    ) -> Finding:
        return self.found(
            seen,
            "problem",
            f"The training loss {what}: it was {number(start)} at the start and is {number(now)} after "
            f"{counted(seen.epochs_ended, 'epoch')}.",
            too_high(seen)
            or "Try a learning rate ten times lower, clip the gradients, and check the sign of the loss.",
            symptom=symptom,
            start=start,
            loss=now,
            ratio=now / start,
            threshold=threshold,
        )


def _is_rising(values: Floats) -> bool:
    """Return whether the second half of the epochs is above the first half, by their medians."""
    half = len(values) // 2
    return bool(np.median(values[half:]) > np.median(values[:half]))
