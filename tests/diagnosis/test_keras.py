"""The diagnosis of real Keras trainings, on the backend that is set."""

import numpy as np
import pytest
from diagnosis_support import blobs, severe, symptoms

from monitor_core import Diagnosis
from monitor_core.testing import Recorder

keras = pytest.importorskip("keras")

KerasAdapter = pytest.importorskip("monitor_core.adapters.keras").KerasAdapter
KerasModel = pytest.importorskip("monitor_core.adapters.keras").KerasModel

X, Y = blobs(300)
LAYERS = keras.layers


def model(*layers, loss="sparse_categorical_crossentropy", rate=0.01, metrics=("accuracy",)):
    """Return a compiled chain of layers for two inputs."""
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((2,)), *layers])
    made.compile(keras.optimizers.Adam(rate), loss, metrics=list(metrics))
    return made


def good():
    """Return a model that learns the clouds."""
    return model(LAYERS.Dense(16, "relu", name="hidden"), LAYERS.Dense(3, "softmax", name="out"))


def fitted(made, x=X, y=Y, *, diagnosis=None, **options):
    """Fit a model; return the diagnosis."""
    diagnosis = diagnosis or Diagnosis()
    KerasAdapter(diagnosis).fit(made, x, y, **{"epochs": 4, "batch_size": 50, "verbose": 0, **options})
    return diagnosis


def test_a_good_fit_gives_nothing():
    """And all rules but that on spikes were asked."""
    diagnosis = fitted(good(), validation_split=0.2)
    assert severe(diagnosis.findings) == []
    assert {each.symptom for each in diagnosis.not_looked_at} == {"spike", "waiting_for_data"}


def test_the_arrays_of_fit_are_the_sample():
    """Without those that are split off for validation, which are looked at too."""
    seen = fitted(good(), validation_split=0.2)._examination.seen
    assert (seen.data.rows, seen.validation.rows, seen.fit_shuffles) == (240, 60, True)


def test_data_is_released_after_the_fit():
    """The run keeps no array of the user's."""
    adapter = KerasAdapter(Diagnosis())
    adapter.fit(good(), X, Y, epochs=1, verbose=0)
    assert adapter.run.training_data is None


def test_a_generator_is_never_drawn_from():
    """The rules on data are listed with what would help, and the fit gets all batches."""
    drawn = []

    def batches():
        for first in range(0, 300, 50):
            drawn.append(first)
            yield X[first : first + 50], Y[first : first + 50]

    diagnosis = Diagnosis()
    KerasAdapter(diagnosis).fit(good(), batches(), epochs=1, steps_per_epoch=6, shuffle=False, verbose=0)
    assert drawn == [0, 50, 100, 150, 200, 250]
    reasons = {each.symptom: each.reason for each in diagnosis.not_looked_at}
    assert "pass Diagnosis(sample=(x, y))" in reasons["unscaled_input"]


STATIC = {
    "no softmax": (lambda: model(LAYERS.Dense(3, name="out")), X, Y, "loss_output_mismatch"),
    "labels out of range": (good, X, Y + 1 - (Y == 2), None),
    "raw inputs": (good, 1000 * X, Y, "unscaled_input"),
    "a sigmoid for numbers": (
        lambda: model(LAYERS.Dense(1, "sigmoid"), loss="mean_squared_error", metrics=()), X, X.sum(1),
        "output_range_mismatch",
    ),
    "accuracy of numbers": (
        lambda: model(LAYERS.Dense(1), loss="mean_squared_error"), X, X.sum(1), "accuracy_on_regression",
    ),
    "no activation": (
        lambda: model(LAYERS.Dense(8), LAYERS.Dense(8), LAYERS.Dense(3, "softmax")), X, Y, "missing_nonlinearity",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, case in STATIC.items() if case[3]])
def test_static_mistakes_are_found_before_the_first_step(name):
    """From the compiled model and the arrays of fit."""
    make, x, y, symptom = STATIC[name]
    found = fitted(make(), x, y, epochs=1).findings
    assert [(each.symptom, each.step) for each in found if each.epoch < 0] == [(symptom, 0)]


def test_data_that_is_sorted_and_not_shuffled():
    """``fit(shuffle=False)`` says so."""
    order = np.argsort(Y, kind="stable")
    assert symptoms(fitted(good(), X[order], Y[order], epochs=1, shuffle=False).findings) == ["unshuffled"]
    assert symptoms(fitted(good(), X[order], Y[order], epochs=1).findings) == []


def test_dead_units_are_found_with_their_layer():
    """In a model whose hidden layer has a large negative bias."""
    hidden = LAYERS.Dense(16, "relu", name="hidden", bias_initializer=keras.initializers.Constant(-50.0))
    found = fitted(model(hidden, LAYERS.Dense(3, "softmax", name="out"))).findings
    assert [(each.symptom, each.layer) for each in found if each.severity == "problem"] == [("dead_units", "hidden")]


def test_penalties_that_outweigh_the_data():
    """The penalty is read from the model."""
    hidden = LAYERS.Dense(16, "relu", kernel_regularizer=keras.regularizers.L2(3.0))
    found = fitted(model(hidden, LAYERS.Dense(3, "softmax"), rate=0.001)).findings
    assert "overwhelming_regularization" in severe(found)


def test_a_summary_of_a_functional_model():
    """A chain is seen through nested models; a branch is none."""
    inner = keras.Sequential([keras.Input((2,)), LAYERS.Dense(4, "tanh", name="inside")], name="inner")
    entry = keras.Input((2,))
    chain = keras.Model(entry, LAYERS.Dense(3, "softmax", name="out")(inner(entry)))
    summary = KerasModel(chain).summary()
    assert [(layer.name, layer.activation, layer.units) for layer in summary.layers] == [
        ("inner/inside", "tanh", 4),
        ("out", "softmax", 3),
    ]
    assert (summary.is_chain, summary.output_layer, summary.output_activation, summary.output_units) == (
        True, "out", "softmax", 3,
    )  # fmt: skip
    hidden = LAYERS.Dense(2)(entry)
    branched = keras.Model(entry, LAYERS.Dense(1, name="last")(LAYERS.Add()([entry, hidden])))
    summary = KerasModel(branched).summary()
    assert (summary.is_chain, summary.output_layer, summary.output_activation) == (False, "last", "linear")


def test_a_summary_of_the_training():
    """The loss by name or as an object, and whether it takes logits."""
    made = good()
    summary = KerasModel(made).summary()
    assert (summary.loss, summary.from_logits, summary.metrics, summary.optimizer) == (
        "sparse_categorical_crossentropy", False, ("accuracy",), "adam",
    )  # fmt: skip
    assert summary.learning_rate == pytest.approx(0.01)
    made.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    summary = KerasModel(made).summary()
    assert (summary.loss, summary.from_logits, summary.optimizer) == ("binary_crossentropy", True, "sgd")
    made.compile("sgd", lambda true, given: keras.ops.mean(given))
    assert KerasModel(made).summary().loss is None
    made.trainable = False
    assert KerasModel(made).summary().trainable == 0


def test_looks_within_an_epoch_leave_the_training_as_it_is(monkeypatch):
    """Batch normalization and dropout too: the weights are those of a run without looks."""
    monkeypatch.setattr("monitor_core.diagnosis.observer.WITHIN_SECONDS", 0.0)
    monkeypatch.setattr("monitor_core.diagnosis.observer.SHARE", 100.0)
    x, y = blobs(4000)

    def trained(**options):
        keras.utils.set_random_seed(0)
        hidden = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.2)]
        model = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        recorder = Recorder("on_probe")
        KerasAdapter(Diagnosis(**options), recorder).fit(model, x, y, epochs=1, batch_size=4, verbose=0)
        return model.get_weights(), [event[1].step for event in recorder.events]

    weights, steps = trained()
    others, none = trained(probes=False)
    assert none == []
    assert (steps[0], steps[-1]) == (0, 1000)
    assert any(0 < step < 1000 for step in steps)
    for one, other in zip(weights, others, strict=True):
        assert np.array_equal(one, other)
