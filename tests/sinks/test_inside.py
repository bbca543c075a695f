"""Inside: when it looks, at which samples, and what it needs."""

import numpy as np
import pytest

from monitor_core import Inside, Journal, Loop, SetupError, open_run
from monitor_core.testing import Recorder, SinkContract, play

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6.0)


class Model:
    """A handle of one layer that multiplies; it keeps the samples that it got."""

    def __init__(self):
        self.factor = 1.0
        self.samples = []

    def activations(self, x, layers=None):
        self.samples.append(np.asarray(x).tolist())
        yield "scale", self.factor * np.asarray(x)

    def weights(self):
        yield "scale/factor", np.array([self.factor])

    def gradients(self, x, y):
        yield "scale/factor", np.array([float(np.sum(y))])


class TestContract(SinkContract):
    """What holds for every sink."""

    @pytest.fixture
    def make_sink(self):
        return lambda: Inside(data=(X, Y))


def steps(recorder):
    """Return the epoch and step of each probe."""
    return [(event[1].epoch, event[1].step) for event in recorder.events]


def train(sink, model, epochs=5, **options):
    """Train for some epochs of two batches; return what was shown."""
    with Loop(sink, recorder := Recorder("on_probe"), model=model, **options) as loop:
        for _ in loop.epochs(epochs):
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
                model.factor += 1
    return recorder


def test_it_looks_before_the_first_step_and_every_few_epochs():
    """With statistics, gradients, and how far weights moved."""
    found = train(Inside(every=2, data=(X, Y)), Model())
    assert steps(found) == [(-1, 0), (1, 4), (3, 8)]
    first, second, _ = [event[1] for event in found.events]
    assert (first.layers[0].name, first.weights[0].gradient, first.samples) == ("scale", 15.0, 6)
    assert second.weights[0].ratio == pytest.approx(4 / 4 / 5)
    assert set(second.histograms["gradients"]) == {"scale/factor"}


def test_the_samples():
    """Those that are given, the first of them, or the validation data."""
    train(Inside(data=(X, Y), samples=2), model := Model(), epochs=1)
    assert model.samples[0] == X[:2].tolist()
    train(Inside(), model := Model(), epochs=1, validation_data=(X[3:], Y[3:]))
    assert model.samples[0] == X[3:].tolist()


def test_without_targets_there_are_no_gradients():
    """Activations and weights are seen all the same."""
    found = train(Inside(data=X), Model(), epochs=1)
    assert found.events[0][1].weights[0].gradient is None


def test_samples_that_are_not_available():
    """There are none, or they cannot be read."""
    with pytest.raises(SetupError, match=r"pass Inside\(data=\(x, y\)\)"):
        train(Inside(), Model())
    with pytest.raises(SetupError, match="Inside cannot read samples"):
        train(Inside(data=iter([X])), Model())


def test_a_model_that_cannot_be_looked_into():
    """The need is named."""
    with pytest.raises(SetupError, match="activations"):
        play(Inside(data=X), [{"loss": 1.0}])


@pytest.mark.parametrize("options", [{"every": 0}, {"samples": 0}])
def test_numbers_are_checked(options):
    """At construction."""
    with pytest.raises(ValueError, match=r"must be >= 1 \(got 0\)"):
        Inside(**options)


def test_the_record_has_what_it_sees(tmp_path):
    """In whatever order the sinks stand."""
    for number, order in enumerate((1, -1)):
        folder = tmp_path / str(number)
        sinks = [Journal(folder), Inside(every=5, data=(X, Y))][::order]
        with Loop(*sinks, model=Model()) as loop:
            for _ in loop.epochs(5):
                loop.log(loss=1.0)
        assert open_run(folder).layers.epochs.tolist() == [-1, 4]


def test_a_keras_model(tmp_path):
    """It looks at the arrays that fit gets, and the samples are released at the end."""
    keras = pytest.importorskip("keras")
    from monitor_core.adapters.keras import KerasAdapter

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "relu", name="hidden"), keras.layers.Dense(1)])
    model.compile("sgd", "mean_squared_error")
    sink = Inside(every=2, samples=4)
    KerasAdapter(sink, record=tmp_path).fit(model, X, Y, epochs=4, verbose=0)
    recorded = open_run(tmp_path)
    assert recorded.layers.epochs.tolist() == [-1, 1, 3]
    assert recorded.weights["norm", f"{model.name}/hidden/kernel"].shape == (3,)
    assert np.isfinite(recorded.weights["gradient"]).all()
    assert sink._sample is None


def test_a_model_that_is_not_built_is_built_for_the_first_look(tmp_path):
    """By the samples."""
    keras = pytest.importorskip("keras")
    from monitor_core.adapters.keras import KerasAdapter

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mean_squared_error")
    KerasAdapter(Inside(), record=tmp_path).fit(model, X, Y, epochs=2, verbose=0)
    assert open_run(tmp_path).layers.epochs.tolist() == [-1, 0, 1]
