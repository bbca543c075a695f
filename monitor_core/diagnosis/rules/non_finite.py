"""Numbers that are none: which metric, which step, and what came before."""

from __future__ import annotations

import attrs
import numpy as np

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.seen import Floats, Seen
from monitor_core.diagnosis.words import listed, number

_BEFORE = 3


@attrs.frozen
class NonFinite(Rule):
    """A metric is NaN or infinite.

    Of another metric than the loss it is a warning: some are not defined for some data, such as an AUC of one class.
    """

    symptom = "non_finite"
    moments = ("batches", "epoch")
    source = "all published rule sets; Keras's TerminateOnNaN"

    def check(self, seen: Seen) -> Finding | None:
        """Return the first value that is not finite."""
        if seen.batches is not None:
            return self._in_batches(seen)
        for name in _loss_first(seen.names):
            curve = seen.curve(name)
            if len(curve) and int(curve.epochs[-1]) == seen.epoch and not np.isfinite(curve.values[-1]):
                where = f"at the end of epoch {seen.epoch + 1}"
                return self._finding(seen, name, curve.values, where, len(curve.values) - 1, seen.step)
        return None

    def _in_batches(self, seen: Seen) -> Finding | None:
        batches = seen.batches
        assert batches is not None  # noqa: S101 (for the type checker)
        for name in _loss_first(list(batches.columns)):
            steps, values = batches.columns[name]
            wrong = ~np.isfinite(values)
            if wrong.any():
                row = int(wrong.argmax())
                step = int(steps[row])
                where = f"at step {step}, in epoch {batches.epoch + 1}"
                return self._finding(seen, name, values, where, row, step)
        return None

    def _finding(  # noqa: PLR0917
        self, seen: Seen, name: str, values: Floats, where: str, row: int, step: int
    ) -> Finding:
        before = [float(each) for each in values[max(0, row - _BEFORE) : row]]
        grew = len(before) > 1 and before[-1] > 2 * before[0] > 0
        history = f" It was {listed([number(each) for each in before])} before." if before else ""
        is_loss = name.removeprefix("val_") == "loss"
        if not is_loss:
            advice = "Some metrics are not defined for some data, such as an AUC where only one class occurs."
        elif grew:
            advice = "It grew first: try a learning rate ten times lower, or clip the gradients."
        else:
            advice = (
                "Look for a division by 0 or a logarithm of 0 in the loss, for NaN in the data, and try a lower rate."
            )
        return self.found(
            seen,
            "problem" if is_loss else "warning",
            f"{name} became {number(float(values[row]))} {where}.{history}",
            advice,
            step=step,
            metric=name,
            before=before,
        )


def _loss_first(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: name.removeprefix("val_") != "loss")


@attrs.frozen
class NegativeLoss(Rule):
    """A loss that cannot be negative is."""

    symptom = "negative_loss"
    needs = ("loss",)

    def check(self, seen: Seen) -> Finding | None:
        """Return it for losses that are never negative where inputs and targets are right."""
        values = seen.curve("loss").values
        if seen.model is None or seen.model.loss not in _NEVER_NEGATIVE or not len(values) or not values[-1] < -1e-6:
            return None
        return self.found(
            seen,
            "problem",
            f"The loss is {number(values[-1])}, though {seen.model.loss} cannot be negative.",
            "Targets must be labels or lie between 0 and 1, and the output must be probabilities: compare them with "
            "what the loss expects.",
            loss=float(values[-1]),
            threshold=0.0,
        )


_NEVER_NEGATIVE = {
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "binary_crossentropy",
    "mean_squared_error",
    "mean_absolute_error",
}
