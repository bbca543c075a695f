"""A probe: what a batch of samples shows inside a model, reduced to a few numbers for each layer and weight.

Contract. Works on host arrays that a model's handle provides, in inference mode, and leaves the model unchanged. The
numbers are those that rules read and a report draws; of the arrays, only the weights are kept, until the next probe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.model.summary import LayerSummary, ModelSummary

BINS = 64
"""How many bins a histogram has."""
SAMPLES = 128
"""How many samples a probe has, at most."""
HISTOGRAMS = 256
"""How many histograms of a kind a probe has, at most: those of the first layers or weights."""
VALUES = 65_536
"""How many values a histogram counts, at most; of more, as many evenly spread ones."""
_UNITS = 4_096
"""How many units of a layer are looked at, at most."""

Array = NDArray[Any]
Counted = Literal["activations", "weights", "gradients"]
"""What histograms are of: the outputs of layers, the weights, and their gradients."""
COUNTED: tuple[Counted, ...] = ("activations", "weights", "gradients")


@attrs.frozen(eq=False)
class Histogram:
    """How often values occur, in `BINS` bins of one width.

    Attributes:
        low: The first bin's lower edge.
        high: The last bin's upper edge.
        counts: How many values each bin has, ``(bins,) int64``.
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def edges(self) -> NDArray[np.float64]:
        """The edges of the bins, ``(bins + 1,) float64``."""
        return np.linspace(self.low, self.high, len(self.counts) + 1)


@attrs.frozen(kw_only=True)
class LayerProbe:
    """One layer's output for the samples.

    Attributes:
        name: The layer's name.
        units: How many units it has: entries of the axis for units, channels of a convolution.
        dead: The share of units that are exactly 0 for every sample.
        constant: The share of units that are the same for every sample, dead ones included.
        saturated: The share of outputs of a sigmoid, tanh or softmax that are at the end of its range.
        alike: The share of units, of those that vary, whose output equals another unit's for every sample.
        mean, std, largest: The outputs' mean, standard deviation and largest magnitude, of finite ones.
        not_finite: The share of outputs that are NaN or infinite.
        drift: Of batch normalization: how far its outputs are from what training makes of the same samples, the median
            over its units; the larger of the distance of their mean in standard deviations, and of the logarithm of the
            ratio of the standard deviations. None for other layers.
    """

    name: str
    units: int
    dead: float
    constant: float
    saturated: float
    alike: float
    mean: float
    std: float
    largest: float
    not_finite: float
    drift: float | None = None


@attrs.frozen(kw_only=True)
class WeightProbe:
    """One trainable weight, its gradient, and how far it has moved since the last probe.

    Attributes:
        name: The weight's name.
        size: How many numbers it has.
        axes: How many axes it has: a bias has one.
        norm: Its Euclidean norm.
        std: The standard deviation of its numbers.
        gradient: The gradient's norm, None if there is no gradient.
        zeros: The share of the gradient's numbers that are exactly 0.
        moved: The norm of its change since the last probe; None at the first.
        steps: Over how many steps.
        not_finite: The share of its numbers, or of its gradient's, that are NaN or infinite.
    """

    name: str
    size: int
    axes: int
    norm: float
    std: float
    gradient: float | None = None
    zeros: float = 0.0
    moved: float | None = None
    steps: int = 0
    not_finite: float = 0.0

    @property
    def ratio(self) -> float | None:
        """How far it moves in a step, as a share of its norm; None if that is not known."""
        return None if self.moved is None or not self.norm or not self.steps else self.moved / self.steps / self.norm


@attrs.frozen(kw_only=True)
class Probe:
    """What was seen inside a model at one step.

    Attributes:
        epoch: The current epoch, or the one that has just ended, 0-based; -1 before the first.
        step: The step.
        samples: How many samples were passed through it.
        penalty: What penalties add to the loss, None if that is not known.
        layers: In the order of computation.
        weights: In the model's order.
        histograms: How the values are distributed, for a report: for each kind, by the names of layers or weights.
            Rules do not read it.
    """

    epoch: int
    step: int
    samples: int
    penalty: float | None = None
    layers: tuple[LayerProbe, ...] = ()
    weights: tuple[WeightProbe, ...] = ()
    histograms: Mapping[Counted, Mapping[str, Histogram]] = attrs.field(factory=dict, repr=False, eq=False)

    def layer(self, name: str) -> LayerProbe | None:
        """Return the layer of that name, None if there is none."""
        return next((each for each in self.layers if each.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, without the histograms."""
        return attrs.asdict(self, filter=attrs.filters.exclude("histograms"))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Probe:
        """Return what `to_json` returned."""
        layers = tuple(LayerProbe(**each) for each in values["layers"])
        return cls(**{**values, "layers": layers, "weights": tuple(WeightProbe(**each) for each in values["weights"])})


@attrs.define(eq=False)
class Prober:
    """Looks inside a model with the same samples each time.

    Attributes:
        summary: The model's layers, as far as they are known.
    """

    summary: ModelSummary | None = None
    _before: dict[str, tuple[int, Array]] = attrs.field(factory=dict, init=False)

    def probe(self, model: Any, x: Any, y: Any, *, epoch: int, step: int) -> Probe:
        """Return what a model's handle shows; without a loss or targets, there are no gradients.

        Args:
            model: The handle, with ``activations`` and ``weights``.
            x: The samples.
            y: Their targets, or None.
            epoch: The current epoch, or the one that has just ended.
            step: The step.
        """
        gradients = None
        if y is not None and hasattr(model, "gradients"):
            with suppress(TypeError):  # no loss is known
                gradients = list(model.gradients(x, y))
        found = self.look(epoch, step, model.activations(x), model.weights(), gradients)
        return attrs.evolve(found, penalty=model.penalty() if hasattr(model, "penalty") else None)

    def look(
        self,
        epoch: int,
        step: int,
        activations: Iterable[tuple[str, Array]],
        weights: Iterable[tuple[str, Array]],
        gradients: Iterable[tuple[str, Array]] | None,
    ) -> Probe:
        """Return what the model's arrays show.

        Args:
            epoch: The current epoch, or the one that has just ended.
            step: The step.
            activations: Each layer's name and output.
            weights: Each weight's name and values.
            gradients: Each trainable weight's name and gradient; None if there is no loss to differentiate.
        """
        values = dict(weights)
        outputs = {name: output for name, output in activations if output.ndim >= 2 and output.dtype.kind == "f"}
        slopes = None if gradients is None else dict(gradients)
        trained = values if slopes is None else {name: array for name, array in values.items() if name in slopes}
        return Probe(
            epoch=epoch,
            step=step,
            samples=max((len(output) for output in outputs.values()), default=0),
            layers=tuple(self._layer(name, output, values) for name, output in outputs.items()),
            weights=tuple(
                self._weight(name, array, None if slopes is None else slopes[name], step)
                for name, array in trained.items()
            ),
            histograms={
                "activations": histograms(outputs),
                "weights": histograms(trained),
                "gradients": histograms(slopes or {}),
            },
        )

    def _layer(self, name: str, output: Array, weights: Mapping[str, Array]) -> LayerProbe:
        known = None if self.summary is None else self.summary.layer(name)
        units = self._by_unit(output, known)
        finite = np.isfinite(units)
        not_finite = 1.0 - float(finite.mean())
        if not_finite:
            units = np.where(finite, units, 0.0)
        low, high = units.min(axis=0), units.max(axis=0)
        size = np.maximum(np.abs(low), np.abs(high))
        dead, constant = size == 0, high - low <= 1e-6 * size
        return LayerProbe(
            name=name,
            units=units.shape[1],
            dead=float(dead.mean()),
            constant=float(constant.mean()),
            saturated=_saturated(units, None if known is None else known.activation),
            alike=_alike(units[:, ~constant]),
            mean=float(units.mean()),
            std=float(units.std()),
            largest=float(size.max()),
            not_finite=not_finite,
            drift=_drift(units, known, weights),
        )

    def _by_unit(self, output: Array, known: LayerSummary | None) -> NDArray[np.float64]:
        """Return the outputs, ``(samples, units)``; the places of a convolution's output count as samples."""
        channels_first = (self.summary is not None and self.summary.channels_first) and (
            output.ndim >= 4 or (output.ndim == 3 and known is not None and known.role == "convolution")
        )
        if channels_first:
            output = np.moveaxis(output, 1, -1)
        units = output.reshape(-1, output.shape[-1])[:, :_UNITS]
        return units[:: max(1, len(units) // 20_000)].astype(np.float64)

    def _weight(self, name: str, array: Array, gradient: Array | None, step: int) -> WeightProbe:
        values = np.asarray(array, np.float64)
        before = self._before.get(name)
        self._before[name] = (step, values)
        slope = None if gradient is None else np.asarray(gradient, np.float64)
        with np.errstate(all="ignore"):
            moved = None if before is None else float(np.linalg.norm(values - before[1]))
            return WeightProbe(
                name=name,
                size=values.size,
                axes=values.ndim,
                norm=float(np.linalg.norm(values)),
                std=float(values.std()) if values.size else 0.0,
                gradient=None if slope is None else float(np.linalg.norm(slope)),
                zeros=0.0 if slope is None or not slope.size else float((slope == 0).mean()),
                moved=moved,
                steps=0 if before is None else step - before[0],
                not_finite=max(_not_finite(values), 0.0 if slope is None else _not_finite(slope)),
            )


def _not_finite(values: NDArray[np.float64]) -> float:
    return 1.0 - float(np.isfinite(values).mean()) if values.size else 0.0


_RANGES: dict[str, tuple[float, float]] = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softmax": (0.0, 1.0)}


def _saturated(units: NDArray[np.float64], activation: str | None) -> float:
    """Return the share of outputs at an end of the activation's range, where its slope is below a hundredth."""
    if activation not in _RANGES:
        return 0.0
    low, high = _RANGES[activation]
    margin = 0.0025 * (high - low)  # the slope of a sigmoid is y (1 - y), of tanh 1 - y^2: both a hundredth of the most
    if activation == "softmax":
        return float((units.max(axis=1) > high - margin).mean())
    return float(((units < low + margin) | (units > high - margin)).mean())


def _alike(units: NDArray[np.float64]) -> float:
    """Return the share of units that equal another one for every sample, found by a weighted sum over the samples."""
    if units.shape[1] < 2:
        return 0.0
    weights = np.random.default_rng(0).normal(size=len(units))
    sums = np.sort(weights @ units)
    near = np.diff(sums) <= 1e-5 * (np.abs(units).mean() * len(units) ** 0.5 + 1e-300)
    return float((np.append(near, False) | np.insert(near, 0, False)).mean())


def _drift(units: NDArray[np.float64], known: LayerSummary | None, weights: Mapping[str, Array]) -> float | None:
    """Return how far batch normalization in evaluation is from that in training, which gives each unit its own scale.

    In training, a unit's mean is beta and its standard deviation gamma, by the batch's own statistics; in evaluation,
    only if the moving statistics fit.
    """
    if known is None or "BatchNorm" not in known.kind or len(units) < 2:
        return None
    scale, offset = np.ones(units.shape[1]), np.zeros(units.shape[1])
    for name in known.weights:
        array = weights.get(name)
        if array is not None and array.ndim == 1 and len(array) >= units.shape[1]:
            if name.endswith(("gamma", "weight")):
                scale = np.abs(array[: units.shape[1]]).astype(np.float64)
            elif name.endswith(("beta", "bias")):
                offset = array[: units.shape[1]].astype(np.float64)
    used = scale > 1e-6  # else the unit is off
    if not used.any():
        return None
    shift = np.abs(units.mean(axis=0) - offset)[used] / scale[used]
    ratio = units.std(axis=0)[used] / scale[used]
    stretch = np.where(ratio > 1e-12, np.abs(np.log(np.maximum(ratio, 1e-12))), 0.0)  # of a constant input, 0
    return float(np.median(np.maximum(shift, stretch)))


def histograms(arrays: Mapping[str, Array]) -> dict[str, Histogram]:
    """Return a histogram of each array, of the first `HISTOGRAMS`; arrays without a finite number are left out."""
    found = ((name, histogram(array)) for name, array in list(arrays.items())[:HISTOGRAMS])
    return {name: each for name, each in found if each is not None}


def histogram(values: Array, bins: int = BINS) -> Histogram | None:
    """Return how the finite values are distributed, None if there are none; of many values, `VALUES` are counted."""
    flat = np.asarray(values).ravel()
    flat = flat[:: -(-flat.size // VALUES) or 1].astype(np.float64)
    flat = np.clip(flat[np.isfinite(flat)], -1e300, 1e300)  # else their range may be infinite
    if not flat.size:
        return None
    low, high = float(flat.min()), float(flat.max())
    least = 1e-6 * max(abs(low), abs(high), 1e-290)
    if high - low < least:  # too near for bins between them
        low, high = low - least, high + least
    counts, _ = np.histogram(flat, bins=bins, range=(low, high))
    return Histogram(low, high, counts.astype(np.int64))
