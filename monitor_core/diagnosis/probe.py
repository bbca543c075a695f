"""A probe: what a batch of samples shows inside a model, reduced to a few numbers for each layer and weight.

Contract. Works on host arrays that a model's handle provides, in inference mode, and leaves the model unchanged. The
numbers are those that rules read and a report draws; the arrays are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core.model.summary import LayerSummary, ModelSummary

BINS = 64
"""How many bins a histogram has."""
SAMPLES = 128
"""How many samples a probe has, at most."""
_UNITS = 4_096
"""How many units of a layer are looked at, at most."""

Array = NDArray[Any]


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
        epoch: The last epoch that ended, 0-based; -1 before the first.
        step: The step.
        samples: How many samples were passed through it.
        penalty: What penalties add to the loss, None if that is not known.
        layers: In the order of computation.
        weights: In the model's order.
        histograms: For each layer and weight, the edges and counts of its values, for a report; rules do not read it.
    """

    epoch: int
    step: int
    samples: int
    penalty: float | None = None
    layers: tuple[LayerProbe, ...] = ()
    weights: tuple[WeightProbe, ...] = ()
    histograms: dict[str, tuple[list[float], list[int]]] = attrs.field(factory=dict, repr=False, eq=False)

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
        with_histograms: Whether to make histograms too, which rules do not read.
    """

    summary: ModelSummary | None = None
    with_histograms: bool = False
    _before: dict[str, tuple[int, Array]] = attrs.field(factory=dict, init=False)

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
            epoch: The last epoch that ended.
            step: The step.
            activations: Each layer's name and output.
            weights: Each weight's name and values.
            gradients: Each trainable weight's name and gradient; None if there is no loss to differentiate.
        """
        layers, samples, histograms = [], 0, {}
        for name, output in activations:
            if output.ndim < 2 or output.dtype.kind != "f":
                continue
            samples = len(output)
            layers.append(self._layer(name, output))
            if self.with_histograms:
                histograms[name] = histogram(output)
        found = None if gradients is None else dict(gradients)
        probed = []
        for name, array in weights:
            if found is None or name in found:
                probed.append(self._weight(name, array, None if found is None else found[name], step))
                if self.with_histograms:
                    histograms[name] = histogram(array)
        return Probe(
            epoch=epoch, step=step, samples=samples, layers=tuple(layers), weights=tuple(probed), histograms=histograms
        )

    def _layer(self, name: str, output: Array) -> LayerProbe:
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


def histogram(values: Array, bins: int = BINS) -> tuple[list[float], list[int]]:
    """Return the edges and counts of the finite values, in equal bins."""
    flat = np.asarray(values, np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return [0.0, 0.0], [0]
    counts, edges = np.histogram(flat, bins=bins)
    return [float(edge) for edge in edges], [int(count) for count in counts]
