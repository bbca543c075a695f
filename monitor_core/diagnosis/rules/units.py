"""Rules on the outputs of layers: dead, saturated, constant, equal and huge ones."""

from __future__ import annotations

import attrs

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.rules.rates import current_rate, too_high
from monitor_core.diagnosis.seen import Seen
from monitor_core.diagnosis.words import number, percent, portion
from monitor_core.model.probe import LayerProbe, Probe
from monitor_core.values.text import counted

_RECTIFIED = {"relu", "relu6", "relu_squared"}


def since(seen: Seen, holds: dict[int, bool]) -> int:
    """Return the index of the first of the last probes for which something holds without a gap."""
    first = len(seen.probes) - 1
    while first > 0 and holds.get(first - 1):
        first -= 1
    return first


def when(probe: Probe) -> str:
    """Return when a probe was made, as the end of a sentence."""
    return "from the beginning" if probe.epoch < 0 else f"since epoch {probe.epoch + 1}"


def is_output(seen: Seen, layer: LayerProbe) -> bool:
    """Return whether a layer gives the model's output, or does nothing after the layer that does."""
    if seen.model is not None and seen.model.output_layer is not None:
        return layer.name == seen.model.output_layer
    return bool(seen.probes) and bool(seen.probes[-1].layers) and layer is seen.probes[-1].layers[-1]


@attrs.frozen
class DeadUnits(Rule):
    """Units of rectified layers are 0 for every sample, probe after probe.

    Attributes:
        share: The share of a layer's units.
        whole: The share from which on it is a problem.
        units: How many units a layer must have.
    """

    symptom = "dead_units"
    moments = ("probe",)
    needs = ("model", "probe")
    source = "smdebug's DeadRelu, DeepDiagnosis (70%), torchmortem (50%)"

    share: float = 0.7
    whole: float = 0.97
    units: int = 4

    def check(self, seen: Seen) -> Finding | None:
        """Return the layer with the largest share, of at least two probes in a row."""
        if len(seen.probes) < 2:
            return None
        worst = self._worst(seen)
        if worst is None:
            return None
        dead = {index: self._dead(probe, worst.name) for index, probe in enumerate(seen.probes)}
        first = seen.probes[since(seen, dead)]
        is_whole = worst.dead >= self.whole
        others = "All samples look the same to the layers after it" if is_whole else "They no longer learn"
        return self.found(
            seen,
            "problem" if is_whole else "warning",
            f"{portion(worst.dead)} {worst.name}'s {worst.units} units have been 0 for every sample {when(first)}. "
            f"{others}.",
            _against_dead(seen),
            layer=worst.name,
            share=worst.dead,
            units=worst.units,
            threshold=self.share,
        )

    def _worst(self, seen: Seen) -> LayerProbe | None:
        now, before = seen.probes[-1], seen.probes[-2]
        layers = [
            layer
            for layer in now.layers
            if layer.dead >= self.share
            and layer.units >= self.units
            and not is_output(seen, layer)
            and _is_rectified(seen, layer)
            and self._dead(before, layer.name)
        ]
        return max(layers, key=lambda layer: layer.dead, default=None)

    def _dead(self, probe: Probe, name: str) -> bool:
        layer = probe.layer(name)
        return layer is not None and layer.dead >= self.share


def _is_rectified(seen: Seen, layer: LayerProbe) -> bool:
    known = None if seen.model is None else seen.model.layer(layer.name)
    return known is not None and known.activation in _RECTIFIED and known.trainable


def _against_dead(seen: Seen) -> str:
    rate = too_high(seen)
    if rate is not None:
        return f"{rate.rstrip('.')}, or LeakyReLU."
    return "Try a lower learning rate, He initialization with inputs of unit scale, or LeakyReLU."


@attrs.frozen
class UnitsDied(Rule):
    """All units of a rectified layer gave outputs before the first step, and died in the first epochs.

    Attributes:
        alive: Up to which share may have been 0 for every sample at the start.
        dead: The share that is so now.
        epochs: Within how many epochs.
    """

    symptom = "lr_too_high"
    moments = ("probe",)
    needs = ("model", "probe")
    lasts = True
    source = "Lu et al. 2019: units die at the start, or by steps that are too large"

    alive: float = 0.5
    dead: float = 0.97
    epochs: int = 2

    def check(self, seen: Seen) -> Finding | None:
        """Return the first such layer."""
        first, now = seen.probes[0], seen.probes[-1]
        if first.step > 0 or now.epoch >= self.epochs:
            return None
        for layer in now.layers:
            before = first.layer(layer.name)
            if before is None or before.dead > self.alive or layer.dead < self.dead or not _is_rectified(seen, layer):
                continue
            rate = current_rate(seen)
            known = "" if rate is None else f", at a rate of {number(rate)}"
            return self.found(
                seen,
                "warning",
                f"{portion(1 - before.dead)} {layer.name}'s {layer.units} units gave outputs before the first step; "
                f"after {counted(now.step, 'step')}{known}, {percent(layer.dead)} are 0 for every sample: the first "
                "steps were too large.",
                too_high(seen) or "Try a rate ten times lower, a warm-up, or clipped gradients.",
                layer=layer.name,
                before=before.dead,
                now=layer.dead,
                rate=rate,
                threshold=self.dead,
            )
        return None


@attrs.frozen
class SaturatedUnits(Rule):
    """Most outputs of a hidden sigmoid or tanh layer are at the ends of its range.

    Attributes:
        share: The share of a layer's outputs.
    """

    symptom = "saturated"
    moments = ("probe",)
    needs = ("model", "probe")
    source = "smdebug's SaturatedActivation, TheDeepChecker, DeepDiagnosis"

    share: float = 0.7

    def check(self, seen: Seen) -> Finding | None:
        """Return the layer with the largest share, of at least two probes in a row."""
        if len(seen.probes) < 2:
            return None
        now, before = seen.probes[-1], seen.probes[-2]
        layers = [layer for layer in now.layers if layer.saturated >= self.share and not is_output(seen, layer)]
        layers = [
            each for each in layers if (old := before.layer(each.name)) is not None and old.saturated >= self.share
        ]
        if not layers:
            return None
        worst = max(layers, key=lambda layer: layer.saturated)
        return self.found(
            seen,
            "warning",
            f"{percent(worst.saturated)} of {worst.name}'s outputs are at the ends of their activation's range, where "
            "gradients hardly pass.",
            "Scale the inputs, use smaller initial weights (Glorot), batch normalization, or ReLU.",
            layer=worst.name,
            share=worst.saturated,
            threshold=self.share,
        )


@attrs.frozen
class ConstantOutput(Rule):
    """The model's output is the same for every sample.

    Attributes:
        samples: How many samples are needed.
    """

    symptom = "constant_output"
    moments = ("probe",)
    needs = ("probe",)
    source = "DeepDiagnosis (unchanged outputs)"

    samples: int = 16

    def check(self, seen: Seen) -> Finding | None:
        """Return it for two probes in a row, and targets that vary."""
        if len(seen.probes) < 2 or seen.probes[-1].samples < self.samples:
            return None
        if seen.data is not None and seen.data.y is not None and seen.data.y.constant == 1.0:
            return None
        outputs = [self._output(seen, probe) for probe in seen.probes[-2:]]
        if any(each is None or each.constant < 1.0 or each.not_finite for each in outputs):
            return None
        layer = outputs[-1]
        assert layer is not None  # noqa: S101 (for the type checker)
        return self.found(
            seen,
            "problem",
            f"The output of {layer.name} is the same for every one of {seen.probes[-1].samples} samples.",
            "Look for a layer whose units are all dead, and for penalties or a rate that drive the weights to 0.",
            layer=layer.name,
            samples=seen.probes[-1].samples,
        )

    def _output(self, seen: Seen, probe: Probe) -> LayerProbe | None:
        if seen.model is not None and seen.model.output_layer is not None:
            return probe.layer(seen.model.output_layer)
        return probe.layers[-1] if probe.layers else None


@attrs.frozen
class SymmetricUnits(Rule):
    """Units of a hidden layer compute the same, because they began alike and get the same gradient.

    Attributes:
        share: The share of those units of a layer that vary.
        units: How many units a layer must have.
    """

    symptom = "symmetric_units"
    moments = ("probe",)
    needs = ("model", "probe")
    source = "NeuraLint (constant initialization), TheDeepChecker"

    share: float = 0.95
    units: int = 4

    def check(self, seen: Seen) -> Finding | None:
        """Return the first such layer with weights."""
        for layer in seen.probes[-1].layers:
            known = None if seen.model is None else seen.model.layer(layer.name)
            if known is None or known.role not in {"linear", "convolution", "recurrent"} or not known.trainable:
                continue
            if layer.units < self.units or layer.alike < self.share or is_output(seen, layer) or layer.constant > 0.5:
                continue
            return self.found(
                seen,
                "problem",
                f"{portion(layer.alike)} {layer.name}'s {layer.units} units compute exactly the same: they act as one.",
                "Initialize its weights randomly (Glorot or He), not with a constant.",
                layer=layer.name,
                share=layer.alike,
                threshold=self.share,
            )
        return None


@attrs.frozen
class ConstantWeights(Rule):
    """A hidden layer's initial weights are all the same number.

    Zeros may be meant, as in the second matrix of an adapter; only where all layers have them nothing can be learned.
    """

    symptom = "symmetric_units"
    moments = ("probe",)
    needs = ("model", "probe")
    lasts = True
    source = "NeuraLint (constant initialization)"

    def check(self, seen: Seen) -> Finding | None:
        """Return it at the first probe."""
        probe = seen.probes[-1]
        if len(seen.probes) > 1 or probe.step > 0 or seen.model is None:
            return None
        kernels = {
            name: layer
            for layer in seen.model.layers
            if layer.role in {"linear", "convolution"}
            for name in layer.weights
        }
        every = [weight for weight in probe.weights if weight.name in kernels and weight.axes >= 2]
        if len(every) > 1 and not any(weight.norm for weight in every):
            return self._zeros(seen, len(every))
        for weight in every:
            layer = kernels[weight.name]
            if layer.name == seen.model.output_layer or (layer.units or 2) < 2:
                continue
            if weight.std <= 1e-7 * weight.norm and weight.norm:
                return self.found(
                    seen,
                    "problem",
                    f"All {weight.size:,} weights of {layer.name} begin with one value, so its {layer.units or ''} "
                    "units get the same gradient and act as one.",
                    "Initialize them randomly (Glorot or He).",
                    layer=layer.name,
                    std=weight.std,
                )
        return None

    def _zeros(self, seen: Seen, layers: int) -> Finding:
        return self.found(
            seen,
            "problem",
            f"The weights of all {counted(layers, 'layer')} begin with 0, so no gradient passes through them.",
            "Initialize them randomly (Glorot or He).",
            layers=layers,
        )


@attrs.frozen
class HugeOutputs(Rule):
    """Outputs of a layer grow from layer to layer until they overflow, or have.

    Attributes:
        ratio: How many times the largest input a layer's largest output must be.
        least: How large it must be.
    """

    symptom = "exploding"
    moments = ("probe",)
    needs = ("probe",)
    source = "AUTOTRAINER (abnormal data), DeepLocalize (numerical errors by layer)"

    ratio: float = 1e4
    least: float = 1e4

    def check(self, seen: Seen) -> Finding | None:
        """Return the first layer that has such outputs."""
        probe = seen.probes[-1]
        x = None if seen.data is None else seen.data.x
        scale = max(1.0, abs(x.most), abs(x.least)) if x is not None and not x.not_finite else 1.0
        for layer in probe.layers:
            if layer.not_finite:
                return self.found(
                    seen,
                    "problem",
                    f"{percent(layer.not_finite)} of {layer.name}'s outputs are NaN or infinite "
                    f"{'before the first step' if not probe.step else f'at step {probe.step}'}; the layers before it "
                    "are finite.",
                    "Replace exponential activations, use smaller initial weights, or batch normalization.",
                    symptom="non_finite" if probe.step else "exploding",
                    layer=layer.name,
                    share=layer.not_finite,
                )
            if layer.largest > max(self.least, self.ratio * scale) and not is_output(seen, layer):
                return self.found(
                    seen,
                    "problem",
                    f"{layer.name}'s outputs reach {number(layer.largest)}, from inputs of at most {number(scale)}.",
                    too_high(seen)
                    or "Use smaller initial weights (Glorot or He), bounded activations, or batch normalization.",
                    layer=layer.name,
                    largest=layer.largest,
                    threshold=max(self.least, self.ratio * scale),
                )
        return None


@attrs.frozen
class TrainEvalMismatch(Rule):
    """Batch normalization's moving statistics are not those of the data, so that evaluation computes something else.

    Attributes:
        drift: How far a layer's outputs are off, in standard deviations or as a logarithm of their ratio.
        epochs: How many epochs must have ended: moving statistics begin with 0 and 1.
        steps: How many steps must have ended.
        settling: What share of it must be left since half as many steps: less, and the statistics are on their way.
        ratio: How many times the training loss the validation loss must be, if there is one.
    """

    symptom = "train_eval_mismatch"
    moments = ("probe",)
    needs = ("model", "probe")
    source = "TheDeepChecker (outputs in training and evaluation differ by more than 50%)"

    drift: float = 0.7
    epochs: int = 3
    steps: int = 50
    settling: float = 0.9
    ratio: float = 1.5

    def check(self, seen: Seen) -> Finding | None:
        """Return the layer that is farthest off, as it was after half as many steps."""
        now = seen.probes[-1]
        if seen.epochs_ended < self.epochs or now.step < self.steps or not self._shows(seen):
            return None
        earlier = [probe for probe in seen.probes if probe.step <= now.step / 2][-1:]
        layers = [
            layer
            for probe in earlier
            for layer in now.layers
            if (layer.drift or 0.0) > self.drift
            and (old := probe.layer(layer.name)) is not None
            and (layer.drift or 0.0) >= self.settling * (old.drift or 0.0) > self.settling * self.drift
        ]
        if not layers:
            return None
        worst = max(layers, key=lambda layer: layer.drift or 0.0)
        return self.found(
            seen,
            "warning",
            f"In evaluation, {worst.name} normalizes with statistics that are not those of the data: its outputs are "
            f"off by {number(worst.drift or 0.0)} standard deviations (or that power of e) for half of its units.",
            "Lower its momentum in Keras, or raise it in PyTorch, or train for more steps; let training batches be "
            "like the validation data, and larger; check that the model is in training mode when it trains.",
            layer=worst.name,
            drift=worst.drift,
            threshold=self.drift,
        )

    def _shows(self, seen: Seen) -> bool:
        """Return whether the validation loss, if there is one, is far above that of training."""
        loss, val = seen.curve("loss").values, seen.curve("val_loss").values
        return not len(val) or not len(loss) or not val[-1] <= self.ratio * loss[-1]


@attrs.frozen
class BadInit(Rule):
    """The first loss is many times that of an output of 0, or of equal probabilities.

    Attributes:
        ratio: How many times.
    """

    symptom = "bad_init"
    moments = ("batches", "epoch")
    needs = ("loss", "data")
    lasts = True
    source = "TheDeepChecker (the initial loss against -log(1/k))"

    ratio: float = 8.0

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning in the first epoch."""
        if seen.epochs_ended > 1 or not seen.start > 0 or seen.data is None or seen.data.y is None:
            return None
        reference = seen.reference
        if reference is None or seen.model is None:
            return None
        if seen.model.loss == "mean_squared_error":
            reference += seen.data.y.mean**2
        elif seen.model.loss == "mean_absolute_error":
            reference += abs(seen.data.y.mean)
        if reference <= 0 or not self.ratio * reference < seen.start < float("inf"):
            return None
        return self.found(
            seen,
            "warning",
            f"The first loss is {number(seen.start)}; an output that knows nothing has {number(reference)}.",
            "Use smaller initial weights (Glorot or He), and scale the inputs.",
            start=seen.start,
            reference=reference,
            threshold=self.ratio,
        )
