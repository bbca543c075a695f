"""Rules on gradients and on how far weights move."""

from __future__ import annotations

import math

import attrs
import numpy as np

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.rules.rates import current_rate, too_high, too_low
from monitor_core.diagnosis.seen import Seen
from monitor_core.diagnosis.words import number, percent
from monitor_core.model.probe import Probe, WeightProbe
from monitor_core.values.text import counted


def kernels(seen: Seen, probe: Probe) -> list[WeightProbe]:
    """Return the weights of linear and convolution layers, without biases, in the model's order."""
    if seen.model is None:
        return []
    names = {name for layer in seen.model.layers if layer.role in {"linear", "convolution"} for name in layer.weights}
    return [weight for weight in probe.weights if weight.name in names and weight.axes >= 2]


def profile(weights: list[WeightProbe]) -> list[float]:
    """Return the decimal logarithm of each weight's gradient, as a root mean square; -inf for 0."""
    found = []
    for weight in weights:
        rms = (weight.gradient or 0.0) / math.sqrt(max(1, weight.size))
        found.append(math.log10(rms) if rms > 0 and math.isfinite(rms) else -math.inf)
    return found


def ends(logs: list[float]) -> tuple[float, float]:
    """Return the medians of the first and of the last third."""
    third = max(1, len(logs) // 3)
    return float(np.median(logs[:third])), float(np.median(logs[-third:]))


@attrs.frozen
class VanishingGradient(Rule):
    """Gradients shrink from the last layer to the first, judged by the whole profile.

    Attributes:
        decades: By how many powers of ten the first third is below the last.
        layers: How many layers with weights there must be.
        share: The share of steps from layer to layer in which the gradient must shrink.
    """

    symptom = "vanishing_gradient"
    moments = ("probe",)
    needs = ("model", "probe", "gradients")
    source = "AUTOTRAINER (first/last < 1e-3), as a profile over all layers"

    decades: float = 3.0
    layers: int = 4
    share: float = 0.6

    def check(self, seen: Seen) -> Finding | None:
        """Return a problem while the loss does not fall, a warning if it does."""
        probe = seen.probes[-1]
        weights = [each for each in kernels(seen, probe) if each.gradient is not None and not each.not_finite]
        if len(weights) < self.layers:
            return None
        logs = profile(weights)
        early, late = ends(logs)
        if not math.isfinite(late) or late < -9 or late - early < self.decades:
            return None
        steps = np.diff([max(each, -40.0) for each in logs])
        if float((steps > 0).mean()) < self.share:
            return None
        first, last = weights[0], weights[-1]
        how = "0" if not math.isfinite(early) else f"{number(10 ** (early - late))} times that of the last ones"
        return self.found(
            seen,
            "problem" if not _is_learning(seen) else "warning",
            f"The gradients vanish: over {counted(len(weights), 'layer')}, from {last.name} back to {first.name}, the "
            f"first layers' gradient is {how}. They hardly learn.",
            "Use ReLU with He initialization or residual connections, batch normalization, or fewer layers.",
            layer=first.name,
            profile=[None if math.isinf(each) else round(each, 2) for each in logs],
            decades=late - early if math.isfinite(early) else None,
            threshold=self.decades,
        )


@attrs.frozen
class ExplodingGradient(Rule):
    """Gradients grow from the last layer to the first, judged by the whole profile, or are not finite.

    Attributes:
        decades: By how many powers of ten the first third is above the last.
        layers: How many layers with weights there must be.
        share: The share of steps from layer to layer in which the gradient must grow.
    """

    symptom = "exploding"
    moments = ("probe",)
    needs = ("model", "probe", "gradients")
    source = "AUTOTRAINER (first/last > 70) and TheDeepChecker (growth > 2), as a profile over all layers"

    decades: float = 3.0
    layers: int = 4
    share: float = 0.6

    def check(self, seen: Seen) -> Finding | None:
        """Return a problem where a gradient is not finite, a warning where they grow."""
        weights = [each for each in kernels(seen, seen.probes[-1]) if each.gradient is not None]
        overflown = [each for each in weights if not math.isfinite(each.gradient or 0.0) and math.isfinite(each.norm)]
        if overflown:
            return self._overflown(seen, overflown[-1])
        if len(weights) < self.layers:
            return None
        logs = profile(weights)
        early, late = ends(logs)
        steps = np.diff(logs) if np.isfinite(logs).all() else np.zeros(1)
        if not late + self.decades <= early < math.inf or float((steps < 0).mean()) < self.share:
            return None
        first = weights[0]
        return self.found(
            seen,
            "warning",
            f"The gradients grow from layer to layer: over {counted(len(weights), 'layer')}, from {weights[-1].name} "
            f"back to {first.name}, to {number(10 ** (early - late))} times that of the last ones.",
            "Clip the gradients, use smaller initial weights (Glorot or He) or batch normalization, or fewer layers.",
            layer=first.name,
            profile=[round(each, 2) for each in logs],
            decades=early - late,
            threshold=self.decades,
        )

    def _overflown(self, seen: Seen, weight: WeightProbe) -> Finding:
        return self.found(
            seen,
            "problem",
            f"The gradient of {weight.name} is {number(weight.gradient or 0.0)}, though the weight is finite.",
            "Clip the gradients, use smaller initial weights, and look for a division by 0 or a root of 0 in the loss.",
            symptom="non_finite" if seen.step else "exploding",
            layer=weight.name,
        )


def _is_learning(seen: Seen) -> bool:
    """Return whether the loss has fallen clearly below its start and below a constant answer's."""
    values = seen.curve("loss").values
    if not len(values) or not np.isfinite(values).all():
        return False
    floor = seen.reference if seen.reference is not None else seen.start
    return seen.has_learned or bool(values.min() < 0.8 * floor)


@attrs.frozen
class ZeroGradient(Rule):
    """All gradients are exactly 0 before the model has learned anything."""

    symptom = "zero_gradient"
    moments = ("probe",)
    needs = ("probe", "gradients")
    source = "DeepLocalize, smdebug (AllZero)"

    def check(self, seen: Seen) -> Finding | None:
        """Return it if no weight has a gradient."""
        weights = [weight for weight in seen.probes[-1].weights if weight.gradient is not None]
        if not weights or any(weight.gradient for weight in weights) or any(weight.not_finite for weight in weights):
            return None
        values = seen.curve("loss").values
        if _is_learning(seen) or (len(values) and abs(values[-1]) < 1e-6 and seen.start > 1e-3):
            return None
        return self.found(
            seen,
            "problem",
            f"The gradient of the loss is exactly 0 for all {counted(len(weights), 'weight')}, so nothing is learned.",
            "Look for a layer whose units are all dead, a constant output, or a step that is not differentiable "
            "(argmax, round, detach).",
            weights=len(weights),
        )


@attrs.frozen
class Movement(Rule):
    """Weights do not move, or move by a large share of their size in each step.

    Attributes:
        steps: Over how many steps at least.
        most: The share of its norm by which a weight may move in each step, in the mean over the steps.
        least: The share by which at least one must.
    """

    symptom = "lr_too_low"
    moments = ("probe",)
    needs = ("probe",)
    source = "update to weight ratio: smdebug, torchmortem (1e-5 to 1e-1), TheDeepChecker"

    steps: int = 5
    most: float = 0.3
    least: float = 1e-7

    def check(self, seen: Seen) -> Finding | None:
        """Return it for all weights together."""
        probe = seen.probes[-1]
        moved = [
            each for each in probe.weights if each.ratio is not None and each.steps >= self.steps and each.axes >= 2
        ]
        if current_rate(seen) == 0 or not moved or any(weight.not_finite for weight in moved):
            return None
        with_gradient = [each for each in moved if each.gradient]
        still = [each for each in with_gradient if not each.moved]
        if with_gradient and len(still) == len(with_gradient) and not _is_learning(seen):
            return self._still(seen, still)
        fastest = max(moved, key=lambda weight: weight.ratio or 0.0)
        if (fastest.ratio or 0.0) > self.most:
            return self._fast(seen, fastest)
        if (fastest.ratio or 0.0) < self.least and not _is_learning(seen) and with_gradient:
            return self._slow(seen, fastest)
        return None

    def _still(self, seen: Seen, still: list[WeightProbe]) -> Finding:
        return self.found(
            seen,
            "problem",
            f"No weight has moved in {counted(still[0].steps, 'step')}, though their gradients are not 0.",
            "Check that the optimizer has this model's parameters, that step() is called, and that the rate is not 0.",
            symptom="untrained",
            weights=len(still),
            steps=still[0].steps,
        )

    def _fast(self, seen: Seen, fastest: WeightProbe) -> Finding:
        return self.found(
            seen,
            "warning",
            f"{fastest.name} moves by {percent(fastest.ratio or 0.0)} of its size in each step; about 0.1% is usual.",
            too_high(seen) or "Try a learning rate ten times lower.",
            symptom="lr_too_high",
            layer=fastest.name,
            ratio=fastest.ratio,
            threshold=self.most,
        )

    def _slow(self, seen: Seen, fastest: WeightProbe) -> Finding:
        return self.found(
            seen,
            "warning",
            f"The weights hardly move: {fastest.name}, which moves most, changes by {number(fastest.ratio or 0.0)} of "
            "its size in each step; about 0.001 is usual.",
            too_low(seen) or "Try a learning rate ten times higher.",
            ratio=fastest.ratio,
            threshold=self.least,
        )


@attrs.frozen
class Penalties(Rule):
    """Penalties of the weights are most of the loss, and the data's part does not fall.

    Attributes:
        share: The share of the loss.
        left: The share of a constant answer's loss, or else of the first loss, that the larger part of it must be.
        epochs: After how many epochs.
    """

    symptom = "overwhelming_regularization"
    moments = ("epoch",)
    needs = ("probe",)
    source = "TheDeepChecker (growth of the regularizer's gradient), on the loss"

    share: float = 0.5
    left: float = 0.3
    epochs: int = 2

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning after some epochs."""
        values = seen.curve("loss").values
        penalty = seen.probes[-1].penalty
        if penalty is None or len(values) < self.epochs or not values[-1] > 0 or penalty < self.share * values[-1]:
            return None
        scale = seen.reference if seen.reference is not None else seen.start
        if max(float(values[-1]) - penalty, penalty) < self.left * scale:
            return None  # the data is fitted well nevertheless
        return self.found(
            seen,
            "warning",
            f"Penalties of the weights are {percent(min(1.0, penalty / float(values[-1])))} of the loss "
            f"({number(penalty)} of {number(values[-1])}), so the training shrinks weights more than it fits the data.",
            "Try a penalty ten times lower.",
            penalty=penalty,
            loss=float(values[-1]),
            threshold=self.share,
        )
