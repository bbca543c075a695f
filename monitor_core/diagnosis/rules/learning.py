"""A training that does not get anywhere: against the loss of a constant answer, or too slowly."""

from __future__ import annotations

import math

import attrs
import numpy as np

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.rules.rates import too_high, too_low
from monitor_core.diagnosis.seen import Floats, Seen
from monitor_core.diagnosis.trends import falls
from monitor_core.diagnosis.words import number, percent
from monitor_core.values.text import counted

_REFERENCES = {
    "categorical_crossentropy": "always giving the labels' frequencies",
    "sparse_categorical_crossentropy": "always giving the labels' frequencies",
    "binary_crossentropy": "always giving the labels' frequencies",
    "mean_squared_error": "always giving the targets' mean",
    "mean_absolute_error": "always giving the targets' median",
}


@attrs.frozen
class NotLearning(Rule):
    """The loss is that of a constant answer, or has not moved, though the model had time to learn.

    Attributes:
        share: Which share of the planned epochs must have ended.
        epochs: How many epochs must have ended, if it is not known how many are planned.
        least: How many epochs must have ended in any case.
        steps: How many steps must have ended in any case, if that is known.
        margin: How near to a constant answer's loss counts as the same.
        fall: The share of the first loss by which it must have fallen, where no constant answer's loss is known.
    """

    symptom = "not_learning"
    source = (
        "ln k, label entropy or variance as the reference: runmedic, TheDeepChecker; 30% of the epochs: AUTOTRAINER"
    )

    share: float = 0.25
    epochs: int = 10
    least: int = 3
    steps: int = 60
    margin: float = 0.02
    fall: float = 0.01

    def check(self, seen: Seen) -> Finding | None:
        """Return it once there was time to learn, unless an accuracy shows that the model has learned."""
        curve = seen.curve("loss")
        if not curve.is_finite or seen.has_learned or not self._had_time(seen):
            return None
        best = float(curve.values.min())
        reference = seen.reference
        if reference is not None and reference > 1e-3:
            return self._against_constant(seen, curve.values, best, reference)
        return self._against_start(seen, curve.values, best)

    def _had_time(self, seen: Seen) -> bool:
        ended, planned = seen.epochs_ended, seen.epochs_planned
        wanted = self.epochs if planned is None else max(self.least, math.ceil(self.share * planned))
        return ended >= min(wanted, 100) and (not seen.step or seen.step >= self.steps)

    def _against_constant(self, seen: Seen, values: Floats, best: float, reference: float) -> Finding | None:
        if best < (1 - self.margin) * reference:
            return None
        is_above = best > (1 + 2 * self.margin) * reference
        if is_above and (seen.start - best) > 0.05 * abs(seen.start) and falls(values):
            return None  # penalties or weights change the scale of the loss, and it falls
        if falls(values[len(values) // 2 :]):
            return None  # slow, which the end will show
        loss = seen.model.loss if seen.model is not None and seen.model.loss is not None else ""
        return self.found(
            seen,
            "problem",
            f"After {counted(seen.epochs_ended, 'epoch')} the training loss is {number(float(values[-1]))}, no better "
            f"than {_REFERENCES.get(loss, 'a constant answer')}, which gives {number(reference)}, and does not fall.",
            _advice(seen),
            symptom=_by_rate(seen),
            loss=best,
            reference=reference,
            threshold=(1 - self.margin) * reference,
        )

    def _against_start(self, seen: Seen, values: Floats, best: float) -> Finding | None:
        start = seen.start
        scale = max(abs(start), abs(float(values[0])))
        if scale == 0 or float(np.ptp(values)) > self.fall * scale or (start - best) > self.fall * scale:
            return None
        is_frozen = float(np.ptp(values)) == 0
        if not is_frozen and falls(values):
            return None
        return self.found(
            seen,
            "problem" if is_frozen else "warning",
            f"The training loss has moved by {percent(float(np.ptp(values)) / scale)} in "
            f"{counted(seen.epochs_ended, 'epoch')}: it was {number(start)} at the start and is {number(values[-1])}.",
            _advice(seen),
            symptom=_by_rate(seen),
            start=start,
            loss=best,
            threshold=self.fall,
        )


def _by_rate(seen: Seen) -> str | None:
    """Return the symptom that an unusual rate makes of it, None for a usual one."""
    return "lr_too_high" if too_high(seen) else "lr_too_low" if too_low(seen) else None


def _advice(seen: Seen) -> str:
    rate = too_high(seen) or too_low(seen)
    if rate is not None:
        return rate
    return (
        "Check that inputs and targets belong together, then try to overfit a single batch: if that fails, the model, "
        "the loss or the rate is wrong."
    )


@attrs.frozen
class Undertrained(Rule):
    """The training has ended while the loss was still falling as fast as before.

    Attributes:
        share: The share of the whole fall that must fall into the last third of the epochs.
        left: The share of the first loss, or of a constant answer's, that must be left.
    """

    symptom = "undertrained"
    moments = ("end",)
    source = "AUTOTRAINER's slow convergence; shares chosen on our own programs"

    share: float = 0.2
    left: float = 0.3

    def check(self, seen: Seen) -> Finding | None:
        """Return it for a run of at least 5 epochs; of fewer, a third says little."""
        curve = seen.curve("loss")
        if len(curve) < 5 or not curve.is_finite or curve.values.min() <= 0:
            return None
        values = curve.values
        scale = max(seen.reference or 0.0, float(values[0]))
        third = max(1, len(values) // 3)
        fall, late = float(values[0] - values[-1]), float(values[-1 - third] - values[-1])
        if fall <= 0.02 * scale or late < self.share * fall or values[-1] < self.left * scale or not falls(values):
            return None
        low = too_low(seen)
        return self.found(
            seen,
            "warning",
            f"The training ended while the loss was still falling: from {number(values[0])} to {number(values[-1])} in "
            f"{counted(len(values), 'epoch')}, {percent(late / fall)} of it in the last {counted(third, 'epoch')}.",
            low or "Train longer, or try a learning rate 3 to 10 times higher.",
            symptom="lr_too_low" if low else "undertrained",
            start=float(values[0]),
            loss=float(values[-1]),
            late_share=late / fall,
            threshold=self.share,
        )


@attrs.frozen
class Plateau(Rule):
    """The loss has not improved for a long time.

    Attributes:
        share: For which share of the epochs so far.
        epochs: For how many epochs at least.
        fall: The share of the best loss that counts as an improvement.
    """

    symptom = "plateau"
    source = "Keras's ReduceLROnPlateau; runmedic (last tail gains < 2%)"

    share: float = 0.4
    epochs: int = 10
    fall: float = 0.005

    def check(self, seen: Seen) -> Finding | None:
        """Return a note: most good trainings end on a plateau."""
        curve = seen.curve("loss")
        if len(curve) < 2 * self.epochs or not curve.is_finite or curve.values.min() <= 0:
            return None
        values, wait = curve.values, max(self.epochs, int(self.share * len(curve)))
        before, best = float(values[:-wait].min()), float(values.min())
        if best < (1 - self.fall) * before:
            return None
        return self.found(
            seen,
            "note",
            f"The training loss has not improved for {counted(wait, 'epoch')}: its best is {number(best)}.",
            "Lower the learning rate, for example with ReduceLROnPlateau, or stop.",
            best=best,
            epochs=wait,
            threshold=self.fall,
        )
