"""Static rules on the data: scale, classes, order, and what training and validation share."""

from __future__ import annotations

import attrs

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.data import DataSummary
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.seen import Seen
from monitor_core.diagnosis.words import listed, number, percent
from monitor_core.values.text import counted

_SCALING = ("Normalization", "Rescaling", "BatchNorm", "Normalize", "Discretization", "Embedding", "TextVectorization")


def _scales_itself(seen: Seen) -> bool:
    """Return whether the model's first layer scales its input, or looks it up."""
    layers = () if seen.model is None else seen.model.layers[:2]
    return any(word in layer.kind for layer in layers for word in _SCALING) or (
        bool(layers) and layers[0].role in {"embedding", "normalization"}
    )


@attrs.frozen
class DataNotFinite(Rule):
    """Inputs or targets are NaN or infinite."""

    symptom = "non_finite"
    moments = ("begin",)
    needs = ("data",)
    source = "TheDeepChecker, smdebug"

    def check(self, seen: Seen) -> Finding | None:
        """Return it with the share of such values."""
        data = seen.data
        if data is None:
            return None
        for what, array in (("inputs", data.x), ("targets", data.y)):
            if array is not None and array.not_finite:
                return self.found(
                    seen,
                    "problem",
                    f"{percent(array.not_finite)} of the {what} are NaN or infinite.",
                    "Remove these rows, or fill the gaps, for example with the feature's median.",
                    what=what,
                    share=array.not_finite,
                )
        return None


@attrs.frozen
class InputScale(Rule):
    """Inputs far from unit scale, for a model that does not scale them itself.

    Attributes:
        high: The largest mean or standard deviation of a feature.
        low: The smallest standard deviation, where means are no larger.
    """

    symptom = "unscaled_input"
    moments = ("begin",)
    needs = ("data",)
    source = "UMLAUT (outside -1 to 1), with bounds that common scalings keep"

    high: float = 40.0
    low: float = 0.01

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning."""
        x = None if seen.data is None else seen.data.x
        if x is None or x.not_finite or _scales_itself(seen) or (seen.data is not None and seen.data.rows < 8):
            return None
        if x.constant == 1.0:
            return self.found(
                seen,
                "problem",
                "The inputs are the same in every row that was looked at.",
                "Check how they are loaded and scaled.",
                symptom="constant_input",
                constant=x.constant,
            )
        if x.widest > self.high or x.farthest > self.high:
            return self.found(
                seen,
                "warning",
                f"The inputs go from {number(x.least)} to {number(x.most)}, which is far from unit scale.",
                "Scale them: divide images by 255, standardize columns (subtract the mean, divide by the deviation).",
                least=x.least,
                most=x.most,
                threshold=self.high,
            )
        if x.widest < self.low and abs(x.farthest) < self.low:
            return self.found(
                seen,
                "warning",
                f"The inputs are all between {number(x.least)} and {number(x.most)}, which is hardly any scale at all.",
                "Check whether they were divided twice, and standardize them.",
                symptom="input_scale_low",
                least=x.least,
                most=x.most,
                threshold=self.low,
            )
        return None


@attrs.frozen
class TargetScale(Rule):
    """Targets of a regression far from unit scale, or with a few values far from all others.

    Attributes:
        high: The largest mean or standard deviation.
        outliers: The largest distance from the median, in median absolute deviations.
    """

    symptom = "unscaled_target"
    moments = ("begin",)
    needs = ("data", "loss")

    high: float = 100.0
    outliers: float = 500.0

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning for losses of numbers."""
        data, model = seen.data, seen.model
        if data is None or data.y is None or model is None or data.y.not_finite:
            return None
        if model.loss not in {"mean_squared_error", "mean_absolute_error", "huber"}:
            return None
        if data.outliers > self.outliers and model.loss == "mean_squared_error":
            return self.found(
                seen,
                "warning",
                f"Some targets are {number(data.outliers)} median deviations from the median; squared, they are all "
                "that counts.",
                "Check them, take the logarithm of the targets, or use the mean absolute error or Huber loss.",
                symptom="outlier_targets",
                distance=data.outliers,
                threshold=self.outliers,
            )
        if data.y.std > self.high or abs(data.y.mean) > 10 * self.high:
            return self.found(
                seen,
                "warning",
                f"The targets have a mean of {number(data.y.mean)} and a standard deviation of {number(data.y.std)}.",
                "Standardize them, and scale the predictions back.",
                mean=data.y.mean,
                std=data.y.std,
                threshold=self.high,
            )
        return None


@attrs.frozen
class ConstantTarget(Rule):
    """All targets are the same."""

    symptom = "constant_metric"
    moments = ("begin",)
    needs = ("data",)

    def check(self, seen: Seen) -> Finding | None:
        """Return it for at least 20 rows."""
        data = seen.data
        if data is None or data.y is None or data.rows < 20 or data.y.constant != 1.0:
            return None
        return self.found(
            seen,
            "problem",
            "The targets are the same in every row that was looked at, so there is nothing to learn.",
            "Check how they are loaded, and whether the data is sorted by class.",
            symptom="class_imbalance",
            value=data.y.mean,
        )


@attrs.frozen
class ClassImbalance(Rule):
    """A class is missing, or far rarer than another.

    Attributes:
        ratio: How many times as many rows the most frequent class has.
        rows: How many rows a class would have if all were alike, at least, before one counts as missing.
    """

    symptom = "class_imbalance"
    moments = ("begin",)
    needs = ("data",)
    source = "smdebug (10 to 1)"

    ratio: float = 20.0
    rows: int = 10

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning for targets that are classes."""
        data, model = seen.data, seen.model
        if data is None or len(data.classes) < 2 or not _are_classes(seen, data):
            return None
        units = data.width if data.kind == "one_hot" else None if model is None else model.output_units
        counts, rows = data.classes, sum(data.classes.values())
        if units and units > 1 and len(counts) < units and rows >= self.rows * units:
            missing = [str(number) for number in range(units) if number not in counts]
            return self._missing(seen, missing, units)
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        if counts[most] < self.ratio * counts[least] or len(counts) > 100 or rows < 100:
            return None
        return self.found(
            seen,
            "warning",
            f"Class {most} has {counts[most]:,} rows and class {least} {counts[least]:,}: "
            f"{number(counts[most] / counts[least])} to 1. Always naming class {most} is right in "
            f"{percent(data.largest_share or 0)}.",
            "Watch the recall of each class instead of the accuracy, use class weights, or sample rare classes more.",
            most=most,
            least=least,
            ratio=counts[most] / counts[least],
            threshold=self.ratio,
        )

    def _missing(self, seen: Seen, missing: list[str], units: int) -> Finding:
        return self.found(
            seen,
            "warning",
            f"The output has {units} classes, and the data has no row of class {listed(missing)}.",
            "Check how the labels are encoded, and how the data was split: split by class (stratify) after shuffling.",
            missing=len(missing),
            units=units,
        )


def _are_classes(seen: Seen, data: DataSummary) -> bool:
    if seen.model is not None and seen.model.loss is not None:
        return "crossentropy" in seen.model.loss or seen.model.loss in {"nll", "hinge"}
    return data.kind == "one_hot"


@attrs.frozen
class Unshuffled(Rule):
    """The rows stand class by class, and the training does not shuffle them."""

    symptom = "unshuffled"
    moments = ("begin",)
    needs = ("data",)

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning if it is known that nothing shuffles."""
        if seen.data is None or not seen.data.is_sorted or seen.fit_shuffles is not False:
            return None
        return self.found(
            seen,
            "warning",
            f"The rows stand class by class, {counted(len(seen.data.classes), 'class')} one after the other, and are "
            "not shuffled: each batch has one class.",
            "Shuffle the data, in Keras with fit(shuffle=True), which is the default for arrays.",
            classes=len(seen.data.classes),
        )


@attrs.frozen
class LabelLeak(Rule):
    """A feature gives the target away, or validation rows are training rows.

    Attributes:
        shared: The share of the validation rows.
    """

    symptom = "label_leak"
    moments = ("begin",)
    needs = ("data",)

    shared: float = 0.3

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning."""
        data, validation = seen.data, seen.validation
        if data is not None and data.leak is not None:
            return self.found(
                seen,
                "warning",
                f"Feature {data.leak} determines the target: it explains {percent(data.leak_strength)} of it alone.",
                "Check whether it would be known when the model is used.",
                feature=data.leak,
                share=data.leak_strength,
            )
        if validation is not None and validation.shared is not None and validation.shared >= self.shared:
            return self.found(
                seen,
                "warning",
                f"{percent(validation.shared)} of the validation rows are in the training data too, so validation does "
                "not show how well the model does on new data.",
                "Split before duplicating or augmenting, and drop duplicates.",
                share=validation.shared,
                threshold=self.shared,
            )
        return None


@attrs.frozen
class ValidationScale(Rule):
    """Validation inputs are on another scale than training inputs.

    Attributes:
        deviations: By how many standard deviations the means differ.
        ratio: By which factor the standard deviations differ.
    """

    symptom = "train_validation_shift"
    moments = ("begin",)
    needs = ("data", "validation")

    deviations: float = 2.0
    ratio: float = 3.0

    def check(self, seen: Seen) -> Finding | None:
        """Return a problem: a model cannot do well on both."""
        x = None if seen.data is None else seen.data.x
        other = None if seen.validation is None else seen.validation.x
        if x is None or other is None or not x.std or x.not_finite or other.not_finite:
            return None
        if seen.validation is None or seen.validation.rows < 30 or seen.data is None or seen.data.rows < 30:
            return None
        shift, ratio = abs(other.mean - x.mean) / x.std, other.std / x.std
        if shift < self.deviations and 1 / self.ratio < ratio < self.ratio:
            return None
        return self.found(
            seen,
            "warning",
            f"The validation inputs have a mean of {number(other.mean)} and a deviation of {number(other.std)}; "
            f"those of the training have {number(x.mean)} and {number(x.std)}.",
            "Scale both with the numbers of the training data.",
            mean=x.mean,
            std=x.std,
            validation_mean=other.mean,
            validation_std=other.std,
        )
