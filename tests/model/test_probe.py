"""What a probe makes of a model's arrays: histograms, and how far batch normalization is from its data."""

import numpy as np
import pytest

from monitor_core.model.probe import HISTOGRAMS, VALUES, Prober, histogram, histograms
from monitor_core.model.summary import LayerSummary, ModelSummary


def test_a_histogram_counts_what_is_finite():
    """In 64 bins of one width, from the least to the largest value."""
    found = histogram(np.array([0.0, 1.0, np.nan, np.inf, 1.0, 0.51]))
    assert (found.low, found.high, found.counts.dtype) == (0.0, 1.0, np.int64)
    assert np.flatnonzero(found.counts).tolist() == [0, 32, 63]
    assert found.counts[[0, 32, 63]].tolist() == [1, 1, 2]
    assert np.array_equal(found.edges, np.linspace(0, 1, 65))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(3),
        np.full(3, 1e300),
        np.array([1.0, np.nextafter(1.0, 2)]),
        np.array([5e-324, 0.0]),
        np.array([-1.7e308, 1.7e308]),
        np.array([3, 3], np.int8),
        np.array([True, False]),
        np.ones((2, 2), np.float16),
    ],
    ids=str,
)
def test_a_histogram_of_extreme_values(values):
    """Of one value, values that are too near for bins between them, or too far apart, and of other types."""
    found = histogram(values)
    assert found.counts.sum() == values.size
    assert found.low < found.high
    assert np.isfinite(found.edges).all()
    assert (np.diff(found.edges) > 0).all()


@pytest.mark.parametrize("values", [np.array([]), np.array([np.nan, -np.inf])], ids=["empty", "not finite"])
def test_nothing_to_count_has_no_histogram(values):
    """Where there is no finite number."""
    assert histogram(values) is None
    assert histograms({"a": values, "b": np.ones(2)}).keys() == {"b"}


def test_of_many_values_some_are_counted():
    """Evenly spread ones, so that the shape is that of all."""
    values = np.linspace(0, 1, 10 * VALUES)
    found = histogram(values)
    assert VALUES / 2 < found.counts.sum() <= VALUES
    assert found.counts.max() - found.counts.min() <= 2


def test_many_layers_have_histograms_up_to_a_limit():
    """The first ones."""
    arrays = {str(number): np.ones(2) for number in range(HISTOGRAMS + 5)}
    assert list(histograms(arrays)) == list(arrays)[:HISTOGRAMS]


def look(output, *, weights=(), kind="BatchNormalization", names=("bn/gamma", "bn/beta")):
    """Return the probe of one layer's output."""
    layer = LayerSummary(name="bn", kind=kind, role="normalization", weights=names)
    return Prober(ModelSummary(layers=(layer,))).look(0, 1, [("bn", output)], weights, None)


def drift(*arguments, **options):
    """Return the drift of one layer's output."""
    return look(*arguments, **options).layers[0].drift


NORMAL = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
NORMAL = (NORMAL - NORMAL.mean(axis=0)) / NORMAL.std(axis=0)


def test_drift_of_batch_normalization():
    """0 where the outputs have the mean beta and the deviation gamma, whatever these are."""
    gamma, beta = np.array([2.0, 0.1, -1.0]), np.array([5.0, 0.0, -3.0])
    weights = [("bn/gamma", gamma), ("bn/beta", beta)]
    assert drift(NORMAL) == pytest.approx(0, abs=1e-5)
    assert drift(NORMAL * gamma + beta, weights=weights) == pytest.approx(0, abs=1e-5)
    assert drift(NORMAL * gamma + beta) > 0.5


def test_drift_is_a_distance_or_the_logarithm_of_a_ratio():
    """The larger of both, the median over the units."""
    assert drift(NORMAL + np.array([0.0, 2.0, 4.0])) == pytest.approx(2, abs=1e-4)
    assert drift(NORMAL * np.exp([0.0, -1.5, 3.0])) == pytest.approx(1.5, abs=1e-4)


def test_drift_in_pytorch_s_names():
    """A batch normalization's weight and bias; of a convolution's output, places count as samples."""
    names = ("1.weight", "1.bias")
    weights = [("1.weight", np.full(3, 2.0)), ("1.bias", np.full(3, 1.0))]
    output = (2 * NORMAL + 1).reshape(40, 10, 10, 3)
    assert drift(output, weights=weights, kind="BatchNorm2d", names=names) == pytest.approx(0, abs=1e-4)


def test_other_layers_have_no_drift():
    """Layer normalization does the same in training; neither has a layer that is off, or one sample."""
    assert drift(NORMAL, kind="LayerNormalization") is None
    assert drift(NORMAL, weights=[("bn/gamma", np.zeros(3))]) is None
    assert drift(NORMAL[:1]) is None
    assert Prober().look(0, 1, [("bn", NORMAL)], [], None).layers[0].drift is None


def test_constant_inputs_of_batch_normalization_do_not_drift():
    """Their deviation is 0 in training too."""
    assert drift(np.zeros((8, 3), np.float32)) == 0


def test_a_probe_has_histograms_of_each_kind():
    """By the names of layers and weights; weights without a gradient are not trained."""
    output, kernel = np.ones((4, 3), np.float32), np.ones((3, 3))
    probe = Prober().look(0, 1, [("a", output)], [("a/kernel", kernel), ("a/frozen", kernel)], [("a/kernel", kernel)])
    assert {kind: list(found) for kind, found in probe.histograms.items()} == {
        "activations": ["a"], "weights": ["a/kernel"], "gradients": ["a/kernel"],
    }  # fmt: skip
    without = Prober().look(0, 1, [("a", output)], [("a/kernel", kernel)], None)
    assert list(without.histograms["gradients"]) == []
    assert [weight.name for weight in without.weights] == ["a/kernel"]
