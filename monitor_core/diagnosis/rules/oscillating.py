"""A training loss that goes up and down instead of falling, and single batches far above their neighbors."""

from __future__ import annotations

import attrs
import numpy as np

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.rules.rates import too_high
from monitor_core.diagnosis.seen import Seen
from monitor_core.diagnosis.words import number, percent
from monitor_core.values.text import counted


@attrs.frozen
class Oscillation(Rule):
    """The loss of whole epochs goes up and down by a large share of what it was at the start.

    Attributes:
        epochs: How many of the last epochs are looked at.
        rise: The share of the first loss, or of a constant answer's, that counts as a rise.
        share: The share of these epochs that must be such rises.
    """

    symptom = "oscillation"
    source = "AUTOTRAINER (accuracy moves by 0.03 in 20% of the epochs), on the loss and in units of its scale"

    epochs: int = 12
    rise: float = 0.05
    share: float = 0.25

    def check(self, seen: Seen) -> Finding | None:
        """Return it once so many epochs have ended."""
        curve = seen.curve("loss")
        if len(curve) < self.epochs // 2 + 2 or not curve.is_finite or curve.values.min() <= 0:
            return None
        last = curve.values[-self.epochs :]
        scale = seen.reference or float(np.median(curve.values[:3]))
        moves = np.diff(last) / scale
        least = self.rise if len(last) == self.epochs else 2 * self.rise  # the beginning is uneven
        rises = float((moves > least).mean())
        if rises < self.share or (moves < -least).mean() < self.share / 2:
            return None
        high = too_high(seen)
        return self.found(
            seen,
            "problem" if high else "warning",
            f"The training loss goes up and down: in the last {counted(len(last), 'epoch')} it was between "
            f"{number(last.min())} and {number(last.max())}, and rose in {percent(rises)} of them.",
            high or "Try a lower learning rate, or larger batches.",
            symptom="lr_too_high" if high else None,
            low=float(last.min()),
            high=float(last.max()),
            share_of_rises=rises,
            threshold=self.share,
        )


@attrs.frozen
class Spikes(Rule):
    """A batch's loss is far above its neighbors.

    Of Keras, whose batches log the means of the epoch so far, spikes are not looked for.

    Attributes:
        deviations: How many robust standard deviations above the median of its neighbors.
        ratio: How many times that median at least.
        least: How many neighbors are needed.
    """

    symptom = "spike"
    moments = ("batches",)
    needs = ("batches",)
    source = (
        "OLMo-core (6 standard deviations over 128 steps), with the median and the MAD in place of mean and deviation"
    )

    deviations: float = 20.0
    ratio: float = 5.0
    least: int = 64

    def check(self, seen: Seen) -> Finding | None:
        """Return the highest one."""
        if seen.batches is None or "loss" not in seen.batches.columns:
            return None
        steps, values = seen.batches.columns["loss"]
        if len(values) < self.least or not np.isfinite(values).all():
            return None
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle)))
        row = int(values.argmax())
        if middle <= 0 or values[row] < middle + self.deviations * spread or values[row] < self.ratio * middle:
            return None
        rest = values[row + 1 :]
        if row == 0 or (seen.epoch < 0 and row < self.least // 2):  # the beginning of the training
            return None
        recovered = len(rest) >= 8 and float(np.median(rest[-8:])) < middle + 6 * spread
        return self.found(
            seen,
            "note" if recovered or len(rest) < 8 else "warning",
            f"At step {int(steps[row])} the loss was {number(values[row])}; the batches around it have {number(middle)}"
            f"{'.' if recovered else ', and it has not come back since.' if len(rest) >= 8 else '.'}",
            "Look at that batch, and clip the gradients if it happens again.",
            step=int(steps[row]),
            loss=float(values[row]),
            median=middle,
            deviation=spread,
            threshold=self.deviations,
        )
