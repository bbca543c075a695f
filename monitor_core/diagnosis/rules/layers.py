"""Static rules on the layers: whether anything is trained, and whether anything bends."""

from __future__ import annotations

import attrs

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.seen import Seen
from monitor_core.diagnosis.words import percent
from monitor_core.model.summary import LayerSummary

_LINEAR = ("linear", "convolution")


@attrs.frozen
class NothingTrainable(Rule):
    """No weight is trained."""

    symptom = "untrained"
    moments = ("begin",)
    needs = ("model",)

    def check(self, seen: Seen) -> Finding | None:
        """Return it for a model that has weights."""
        model = seen.model
        if model is None or model.trainable or not any(layer.weights for layer in model.layers):
            return None
        return self.found(
            seen,
            "problem",
            "No weight of the model is trainable, so the training changes nothing.",
            "Set trainable=True (Keras) or requires_grad=True (PyTorch) before compiling or making the optimizer.",
            trainable=0,
        )


@attrs.frozen
class MissingNonlinearity(Rule):
    """Two layers follow each other, and together they can do no more than one of them."""

    symptom = "missing_nonlinearity"
    moments = ("begin",)
    needs = ("model",)
    source = "NeuraLint (missing ReLU between layers)"

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning for a chain of layers, unless the first of the two is a narrow bottleneck."""
        model = seen.model
        if model is None or not model.is_chain:
            return None
        pairs = _linear_pairs(model.layers)
        if not pairs:
            return None
        names = [f"{first.name} and {second.name}" for first, second in pairs]
        whole = len(pairs) == sum(layer.role in _LINEAR for layer in model.layers) - 1
        what = ": the whole network is one linear function" if whole else ", so each pair can do no more than one layer"
        return self.found(
            seen,
            "warning",
            f"Between {', and between '.join(names[:3])} there is no activation{what}.",
            "Add an activation such as ReLU after each hidden layer.",
            layer=pairs[0][0].name,
            pairs=len(pairs),
        )


def _linear_pairs(layers: tuple[LayerSummary, ...]) -> list[tuple[LayerSummary, LayerSummary]]:
    found = []
    before: LayerSummary | None = None
    for layer in layers:
        if layer.role in _LINEAR:
            if before is not None and not _is_bottleneck(before, layer):
                found.append((before, layer))
            before = layer if layer.activation == "linear" else None
        elif layer.role not in {"dropout", "normalization"} and not _only_moves(layer):
            before = None
    return found


def _only_moves(layer: LayerSummary) -> bool:
    return layer.role == "other" and any(
        word in layer.kind
        for word in ("Flatten", "Reshape", "Permute", "Identity", "Unflatten", "AveragePool", "AvgPool")
    )


def _is_bottleneck(first: LayerSummary, second: LayerSummary) -> bool:
    """A narrow layer between wide ones factorizes a matrix, which is done by intent; so is depthwise and pointwise."""
    return "Depthwise" in first.kind or (first.units or 0) * 4 <= (second.units or 0)


@attrs.frozen
class HighDropout(Rule):
    """A layer drops most of its input.

    Attributes:
        rate: From which rate on.
    """

    symptom = "high_dropout"
    moments = ("begin",)
    needs = ("model",)

    rate: float = 0.75

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning that names the layer with the highest rate."""
        drops = [] if seen.model is None else [each for each in seen.model.layers if (each.rate or 0) >= self.rate]
        if not drops:
            return None
        most = max(drops, key=lambda layer: layer.rate or 0)
        return self.found(
            seen,
            "warning",
            f"{most.name} drops {percent(most.rate or 0)} of its input in each training step.",
            "Usual rates are 0.1 to 0.5. In Keras and PyTorch the argument is the share that is dropped, not kept.",
            layer=most.name,
            rate=most.rate,
            threshold=self.rate,
        )


@attrs.frozen
class DropoutOnOutput(Rule):
    """Dropout is applied to the output itself, or to the logits before its activation."""

    symptom = "dropout_on_logits"
    moments = ("begin",)
    needs = ("model",)
    source = "NeuraLint"

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning for a chain."""
        model = seen.model
        if model is None or not model.is_chain:
            return None
        for layer in reversed(model.layers):
            if layer.role == "dropout" and layer.rate:
                return self.found(
                    seen,
                    "warning",
                    f"{layer.name} drops parts of the output itself: in training, {percent(layer.rate)} of it are 0.",
                    "Put dropout before the last layer that has weights.",
                    layer=layer.name,
                    rate=layer.rate,
                )
            if layer.role != "activation" and not _only_moves(layer):
                return None
        return None
