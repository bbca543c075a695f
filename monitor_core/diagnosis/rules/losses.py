"""Static rules on the loss: whether it fits the output's activation, the labels and the metrics."""

from __future__ import annotations

import attrs

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.seen import Seen
from monitor_core.diagnosis.words import number

_OF_CLASSES = {"categorical_crossentropy", "sparse_categorical_crossentropy"}
_OF_NUMBERS = {
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "huber",
    "log_cosh",
}
_RANGES = {"sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_ABOVE_ZERO = {"relu", "relu6", "softplus", "exponential"}


@attrs.frozen
class OneSoftmaxUnit(Rule):
    """A softmax over a single unit is 1 for every input."""

    symptom = "loss_output_mismatch"
    moments = ("begin",)
    needs = ("model",)
    source = "NeuraLint, UMLAUT; a frequent mistake in the collections of faulty programs"

    def check(self, seen: Seen) -> Finding | None:
        """Return it for the output."""
        model = seen.model
        if model is None or model.output_activation != "softmax" or model.output_units != 1:
            return None
        return self.found(
            seen,
            "problem",
            f"{model.output_layer} is a softmax over one unit, so the output is 1 for every input.",
            "Use sigmoid with one unit and binary cross-entropy, or one unit for each class.",
            layer=model.output_layer,
            units=1,
        )


_SQUASHING = {"softmax", "sigmoid"}


@attrs.frozen
class SquashedTwice(Rule):
    """The output goes through softmax or sigmoid twice, in two layers."""

    symptom = "loss_output_mismatch"
    moments = ("begin",)
    needs = ("model",)
    source = "TheDeepChecker's redundant softmax"

    def check(self, seen: Seen) -> Finding | None:
        """Return it for a chain that ends in both."""
        model = seen.model
        if model is None or not model.is_chain:
            return None
        ends = [layer for layer in model.layers[-2:] if layer.activation in _SQUASHING]
        if len(ends) < 2 or ends[1].role != "activation":
            return None
        return self.found(
            seen,
            "problem",
            f"{ends[0].name} ends in {ends[0].activation}, and {ends[1].name} applies {ends[1].activation} again: "
            "gradients become small, and the probabilities cannot get near 0 or 1.",
            f"Remove {ends[1].name}.",
            layer=ends[1].name,
        )


@attrs.frozen
class LogitsOrProbabilities(Rule):
    """The loss expects probabilities and gets logits, or the other way round."""

    symptom = "loss_output_mismatch"
    moments = ("begin",)
    needs = ("model", "loss")
    source = "UMLAUT, AUTOTRAINER (pairs of activation and loss), NeuraLint"

    def check(self, seen: Seen) -> Finding | None:  # noqa: PLR0911 (a table of cases)
        """Return it where both the output's activation and the loss are known."""
        model = seen.model
        if model is None or model.loss is None or model.output_activation is None:
            return None
        if model.loss not in _OF_CLASSES | {"binary_crossentropy", "nll"}:
            return None
        activation, layer = model.output_activation, model.output_layer
        if model.loss == "nll":
            return None if activation == "log_softmax" else self._nll(seen, activation, layer)
        if model.from_logits and activation in {"softmax", "sigmoid", "log_softmax"}:
            return self._twice(seen, activation, layer)
        if model.from_logits is False and activation not in {"softmax", "sigmoid", "hard_sigmoid"}:
            return self._not_at_all(seen, activation, layer)
        if model.loss in _OF_CLASSES and activation == "sigmoid" and (model.output_units or 0) > 1:
            return self._sigmoid(seen, layer)
        if model.loss == "binary_crossentropy" and activation == "softmax" and (model.output_units or 0) > 1:
            return self._binary_softmax(seen, layer)
        return None

    def _twice(self, seen: Seen, activation: str, layer: str | None) -> Finding | None:
        if activation == "log_softmax":
            return None  # of itself, a softmax of log-probabilities changes nothing
        return self.found(
            seen,
            "problem",
            f"The loss applies {_inside(seen)} itself, and {layer} has applied {activation} already: gradients become "
            "small, and the probabilities cannot get near 0 or 1.",
            f"Remove the {activation}, or tell the loss that it gets probabilities.",
            layer=layer,
            activation=activation,
            from_logits=True,
        )

    def _not_at_all(self, seen: Seen, activation: str, layer: str | None) -> Finding:
        return self.found(
            seen,
            "problem",
            f"The loss expects probabilities, but {layer}'s output has "
            f"{'no activation' if activation == 'linear' else f'the activation {activation}'}.",
            f"Use {_inside(seen)} there, or from_logits=True in the loss.",
            layer=layer,
            activation=activation,
            from_logits=False,
        )

    def _nll(self, seen: Seen, activation: str, layer: str | None) -> Finding:
        return self.found(
            seen,
            "problem",
            f"The negative log-likelihood expects log-probabilities, but {layer} ends in {activation}.",
            "Use log_softmax there, or cross-entropy on the raw output.",
            layer=layer,
            activation=activation,
        )

    def _sigmoid(self, seen: Seen, layer: str | None) -> Finding:
        return self.found(
            seen,
            "warning",
            f"{layer} has sigmoid outputs, and the loss is for classes that exclude each other.",
            "Use softmax; or binary cross-entropy, if a sample can be of several classes.",
            layer=layer,
            activation="sigmoid",
        )

    def _binary_softmax(self, seen: Seen, layer: str | None) -> Finding:
        return self.found(
            seen,
            "warning",
            f"{layer} is a softmax over classes, and the loss is binary cross-entropy.",
            "Use categorical cross-entropy; or sigmoid, if a sample can be of several classes.",
            layer=layer,
            activation="softmax",
        )


def _inside(seen: Seen) -> str:
    return "sigmoid" if seen.model is not None and seen.model.loss == "binary_crossentropy" else "softmax"


@attrs.frozen
class SquaredErrorOnClasses(Rule):
    """A squared error on a softmax: its gradient vanishes where the output is sure and wrong."""

    symptom = "loss_output_mismatch"
    moments = ("begin",)
    needs = ("model", "loss", "data")
    source = "TheDeepChecker, AUTOTRAINER (pairs of activation and loss)"

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning for one-hot targets of at least three classes."""
        model, data = seen.model, seen.data
        if model is None or data is None or model.loss not in _OF_NUMBERS or model.output_activation != "softmax":
            return None
        if data.kind != "one_hot" or data.width < 3:
            return None
        return self.found(
            seen,
            "warning",
            f"{model.output_layer} is a softmax over {data.width} classes, and the loss is a "
            f"{model.loss.replace('_', ' ')}: where the output is sure and wrong, its gradient is nearly 0.",
            "Use categorical cross-entropy.",
            layer=model.output_layer,
            classes=data.width,
        )


@attrs.frozen
class Labels(Rule):
    """Labels that the loss does not take: one-hot against integers, out of range, numbers."""

    symptom = "loss_output_mismatch"
    moments = ("begin",)
    needs = ("model", "loss", "data")
    source = "this package; TheDeepChecker checks labels against outputs"

    def check(self, seen: Seen) -> Finding | None:  # noqa: PLR0911 (a table of cases)
        """Return it where the targets are one array."""
        model, data = seen.model, seen.data
        if model is None or data is None or data.y is None or model.loss not in _OF_CLASSES | {"binary_crossentropy"}:
            return None
        if data.y.not_finite:
            return None
        units, width = model.output_units, data.width
        if model.loss == "sparse_categorical_crossentropy":
            return self._numbers_of_classes(seen, units)
        if model.loss == "binary_crossentropy" and (data.y.least < 0 or data.y.most > 1):
            return self._wrong(
                seen,
                f"The targets go from {number(data.y.least)} to {number(data.y.most)}, and binary "
                "cross-entropy expects 0 to 1.",
                "Map the labels to 0 and 1, or use cross-entropy of classes.",
            )
        if model.loss == "categorical_crossentropy" and width == 1 and data.kind == "integer":
            if units is not None and units > 1:
                return self._wrong(
                    seen,
                    "The labels are integers, and categorical cross-entropy expects one-hot rows.",
                    "Use sparse categorical cross-entropy, or one-hot labels.",
                )
            if units == 1:
                return self._wrong(
                    seen,
                    "Categorical cross-entropy of a single output is 0 for every sample.",
                    "Use binary cross-entropy with sigmoid.",
                )
        if data.kind == "real" and model.loss in _OF_CLASSES:
            return self._wrong(
                seen,
                f"The targets are continuous, and {model.loss} expects labels or probabilities.",
                "Use mean squared error for a regression.",
            )
        return None

    def _numbers_of_classes(self, seen: Seen, units: int | None) -> Finding | None:
        data = seen.data
        if data is None or data.y is None:
            return None
        if data.kind == "one_hot":
            return self._wrong(
                seen,
                "The labels are one-hot rows, and the loss expects the numbers of the classes.",
                "Use categorical cross-entropy, or the labels' argmax.",
            )
        if units is not None and (data.y.least < 0 or data.y.most >= units):
            return self._wrong(
                seen,
                f"The labels go from {number(data.y.least)} to {number(data.y.most)}, and the "
                f"output has {units} units, for classes 0 to {units - 1}.",
                "Number the classes from 0, or add units.",
            )
        return None

    def _wrong(self, seen: Seen, message: str, advice: str) -> Finding | None:
        data = seen.data
        y = None if data is None else data.y
        if data is None or y is None:
            return None
        return self.found(seen, "problem", message, advice, least=y.least, most=y.most, kind=data.kind)


@attrs.frozen
class OutputRange(Rule):
    """Targets of a regression that the output's activation cannot reach.

    Attributes:
        margin: By which share of the range they may be outside.
    """

    symptom = "output_range_mismatch"
    moments = ("begin",)
    needs = ("model", "loss", "data")
    source = "DeepDiagnosis (targets outside the output activation's range)"

    margin: float = 0.01

    def check(self, seen: Seen) -> Finding | None:
        """Return it for losses of numbers."""
        model, data = seen.model, seen.data
        if model is None or data is None or data.y is None or model.loss not in _OF_NUMBERS:
            return None
        activation, y = model.output_activation, data.y
        low, high = _RANGES.get(activation or "", (0.0 if activation in _ABOVE_ZERO else None, None))
        room = self.margin * (y.most - y.least)
        if (low is None or y.least >= low - room) and (high is None or y.most <= high + room):
            return None
        to = f"from {number(low or 0.0)} to {number(high)}" if high is not None else "not below 0"
        return self.found(
            seen,
            "problem",
            f"The targets go from {number(y.least)} to {number(y.most)}, but {model.output_layer} ends in "
            f"{activation}, whose output is {to}.",
            "Use no activation at the output, or scale the targets into its range.",
            layer=model.output_layer,
            least=y.least,
            most=y.most,
            activation=activation,
        )


@attrs.frozen
class AccuracyOnRegression(Rule):
    """Accuracy counts exact hits, of which there are none where targets are continuous."""

    symptom = "accuracy_on_regression"
    moments = ("begin",)
    needs = ("model", "loss", "data")
    source = "a frequent question in forums"

    def check(self, seen: Seen) -> Finding | None:
        """Return it for losses of numbers, or continuous targets."""
        model, data = seen.model, seen.data
        if model is None or data is None or data.kind != "real" or model.loss not in _OF_NUMBERS:
            return None
        name = next((each for each in model.metrics if each in {"acc", "accuracy"}), None)
        if name is None:
            return None
        return self.found(
            seen,
            "warning",
            f"The metric {name} counts how often the output equals the target, and these targets are continuous.",
            "Use the mean absolute error.",
            metric=name,
        )


@attrs.frozen
class OutputShape(Rule):
    """In PyTorch, outputs ``(n, 1)`` and targets ``(n,)`` of a squared error are broadcast to ``(n, n)``."""

    symptom = "shape_mismatch"
    moments = ("begin",)
    needs = ("model", "loss", "data")
    source = "PyTorch's own warning on mse_loss"

    def check(self, seen: Seen) -> Finding | None:
        """Return it for PyTorch's losses of numbers; Keras aligns the shapes."""
        model, data = seen.model, seen.data
        if model is None or data is None or data.y is None or not model.loss_broadcasts:
            return None
        if model.loss not in _OF_NUMBERS or model.output_units != 1 or data.y.shape != () or not model.output_layer:
            return None
        return self.found(
            seen,
            "warning",
            f"{model.output_layer}'s output has the shape (n, 1) and the targets have (n,): the loss compares each "
            "output with every target, and the best the model can do is to give the targets' mean.",
            "Write y.unsqueeze(1), or output.squeeze(1).",
            layer=model.output_layer,
        )
