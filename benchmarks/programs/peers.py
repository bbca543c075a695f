"""Published rules, from their descriptions, in our own words, to score them on the same recordings.

They see what a recording has: curves, and probes at some epochs' ends. Where a system looks at each batch, or at values
before an activation, the nearest observation stands in its place, which the rule's docstring says. All that they find
counts as a problem: they know no severities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
import numpy as np

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Moment, Rule
from monitor_core.diagnosis.rules.non_finite import NonFinite
from monitor_core.diagnosis.rules.rates import RateFarTooHigh
from monitor_core.diagnosis.seen import Seen

_RANGES = {"sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, math.inf)}


class _Published(Rule):
    """A rule that yields symptoms; the first is reported."""

    moments: tuple[Moment, ...] = ("epoch",)  # type: ignore[misc]

    def check(self, seen: Seen) -> Finding | None:
        """Return the first symptom that holds."""
        symptom = next(self.symptoms(seen), None)
        return None if symptom is None else self.found(seen, "problem", symptom, symptom=symptom)

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield the symptoms that hold."""
        raise NotImplementedError


def _mean_gradients(seen: Seen) -> list[float]:
    """Return the root mean square of each weight's gradient, in place of the mean magnitude."""
    weights = seen.probes[-1].weights if seen.probes else ()
    return [each.gradient / math.sqrt(max(1, each.size)) for each in weights if each.gradient is not None]


# --- DeepDiagnosis --------------------------------------------------------------------------------------------------


@attrs.frozen
class DeepDiagnosisCurves(_Published):
    """The loss is constant over 5 epochs, or the accuracy over 20."""

    symptom = "not_learning"

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield them."""
        loss = seen.curve("loss").values
        accuracy = seen.curve(seen.accuracy or "accuracy").values
        if (len(loss) >= 5 and np.ptp(loss[-5:]) < 1e-7) or (len(accuracy) >= 20 and np.ptp(accuracy[-20:]) == 0):
            yield "not_learning"


@attrs.frozen
class DeepDiagnosisInside(_Published):
    """Vanishing below 1e-7; half of the outputs saturated; 70% of a layer dead; updates off 1e-3 of a weight by 100."""

    symptom = "vanishing_gradient"
    moments = ("probe",)
    needs = ("probe",)

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield them, dead units of whole samples in place of single outputs."""
        probe = seen.probes[-1]
        if any(mean < 1e-7 for mean in _mean_gradients(seen)):
            yield "vanishing_gradient"
        if any(layer.saturated > 0.5 for layer in probe.layers):
            yield "saturated"
        if any(layer.dead >= 0.7 for layer in probe.layers):
            yield "dead_units"
        ratios = [each.ratio for each in probe.weights if each.ratio is not None]
        if any(ratio > 0.1 for ratio in ratios):
            yield "lr_too_high"
        if any(ratio < 1e-5 for ratio in ratios):
            yield "lr_too_low"


@attrs.frozen
class DeepDiagnosisRange(_Published):
    """Targets outside of the output activation's range."""

    symptom = "output_range_mismatch"
    moments = ("begin",)
    needs = ("model", "data")

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield it."""
        if seen.model is None or seen.data is None or seen.data.y is None:
            return
        known = _RANGES.get(seen.model.output_activation or "")
        integers = seen.data.kind == "integer" and seen.model.loss == "sparse_categorical_crossentropy"
        if known is not None and not integers and (seen.data.y.least < known[0] or seen.data.y.most > known[1]):
            yield "output_range_mismatch"


# --- SageMaker Debugger --------------------------------------------------------------------------------------------


@attrs.frozen
class SageMakerCurves(_Published):
    """The loss is no lower than 10 epochs ago, or validation is 10% above training, or has not improved for 10."""

    symptom = "not_learning"

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield them, epochs in place of steps that are saved."""
        loss, val = seen.curve("loss").values, seen.curve("val_loss").values
        if len(loss) > 10 and loss[-1] >= loss[-11]:
            yield "not_learning"
        if len(val) and len(val) == len(loss) and loss[-1] > 0 and (val[-1] - loss[-1]) / loss[-1] > 0.1:
            yield "overfitting"
        if len(val) > 10 and val[-10:].min() > val[:-10].min() - 0.1:
            yield "overfitting"


@attrs.frozen
class SageMakerInside(_Published):
    """Half of a layer's ReLUs dead; half saturated; gradients below 1e-7; updates above 10 or below 1e-8; zeros."""

    symptom = "dead_units"
    moments = ("probe",)
    needs = ("probe",)

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield them."""
        probe = seen.probes[-1]
        if any(layer.dead > 0.5 for layer in probe.layers):
            yield "dead_units"
        if any(layer.saturated > 0.5 for layer in probe.layers):
            yield "saturated"
        if any(mean < 1e-7 for mean in _mean_gradients(seen)):
            yield "vanishing_gradient"
        ratios = [each.ratio for each in probe.weights if each.ratio is not None]
        if any(ratio > 10 for ratio in ratios):
            yield "lr_too_high"
        if any(ratio < 1e-8 for ratio in ratios):
            yield "lr_too_low"
        variances = [each.std**2 for each in probe.weights if each.axes >= 2 and each.std]
        if probe.step == 0 and variances and max(variances) / min(variances) > 10:
            yield "bad_init"


@attrs.frozen
class SageMakerClasses(_Published):
    """The largest class is more than 10 times the smallest."""

    symptom = "class_imbalance"
    moments = ("begin",)
    needs = ("data",)

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield it."""
        classes = {} if seen.data is None else seen.data.classes
        if classes and max(classes.values()) > 10 * min(classes.values()):
            yield "class_imbalance"


# --- AUTOTRAINER ---------------------------------------------------------------------------------------------------


@attrs.frozen
class AutotrainerCurves(_Published):
    """Oscillating accuracy, slow convergence, an accuracy below 0.6 after 30% of the epochs, a loss above 1e3."""

    symptom = "oscillation"

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield them."""
        loss = seen.curve("loss").values
        if len(loss) and loss[-1] >= 1e3:
            yield "exploding"
        accuracy = seen.curve(seen.accuracy or "accuracy").values
        if len(accuracy) < 3:
            return
        moves = np.diff(accuracy)
        if len(accuracy) >= 10 and (np.abs(moves[moves < 0]) >= 0.03).sum() >= 0.2 * len(accuracy):
            yield "oscillation"
        if (seen.progress or 0) >= 0.3 and accuracy.max() < 0.6:
            yield "not_learning"
        if (seen.progress or 0) >= 0.3 and moves.max() < 0.01:
            yield "lr_too_low"


@attrs.frozen
class AutotrainerInside(_Published):
    """The first gradient against the last, dying ReLUs by zeros of gradients, hidden outputs above 10."""

    symptom = "vanishing_gradient"
    moments = ("probe",)
    needs = ("probe",)

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield them."""
        probe = seen.probes[-1]
        kernels = [each for each in probe.weights if each.axes >= 2 and each.gradient is not None]
        if len(kernels) < 2:
            return
        first, last = kernels[0].gradient or 0.0, kernels[-1].gradient or 0.0
        if first < 1e-4 and first < 1e-3 * last:
            yield "vanishing_gradient"
        if not math.isfinite(first) or (last and first > 70 * last):
            yield "exploding"
        if any(each.zeros >= 0.7 for each in kernels):
            yield "dead_units"
        if any(abs(layer.mean) >= 10 for layer in probe.layers[:-1]):
            yield "unscaled_input"


# --- four simple rules ---------------------------------------------------------------------------------------------


@attrs.frozen
class Simple(_Published):
    """The loss is not lower than at the start, or validation rises for 5 epochs."""

    symptom = "not_learning"

    def symptoms(self, seen: Seen) -> Iterator[str]:
        """Yield them."""
        loss, val = seen.curve("loss").values, seen.curve("val_loss").values
        if len(loss) >= 5 and loss[-1] > 0.98 * loss[0]:
            yield "not_learning"
        if len(val) > 5 and (np.diff(val[-6:]) > 0).all():
            yield "overfitting"


PEERS: dict[str, tuple[Rule, ...]] = {
    "DeepDiagnosis": (NonFinite(), DeepDiagnosisCurves(), DeepDiagnosisInside(), DeepDiagnosisRange()),
    "SageMaker Debugger": (NonFinite(), SageMakerCurves(), SageMakerInside(), SageMakerClasses()),
    "AUTOTRAINER": (NonFinite(), AutotrainerCurves(), AutotrainerInside()),
    "four simple rules": (NonFinite(), Simple(), RateFarTooHigh()),
}
"""The published systems, each with its rules."""
