"""The handle of a Keras model, on the backend of this process (`KERAS_BACKEND`)."""

import contextlib

import keras
import numpy as np
import pytest

from monitor_core.adapters.keras import KerasModel, reset_states

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


def sequential():
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(3, "tanh", name="first"), keras.layers.Dropout(0.5), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential([keras.Input((4,)), *layers], name="net")
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.MeanAbsoluteError(name="mae")])
    return model


@pytest.fixture
def handle():
    return KerasModel(sequential())


def same(ours, theirs):
    return len(ours) == len(theirs) and all(np.array_equal(one, two) for one, two in zip(ours, theirs, strict=True))


def state(handle):
    """Return all state of a model that inspection must not change."""
    variables = [*handle.model.variables, *handle.model.optimizer.variables, *handle.model.metrics_variables]
    return [keras.ops.convert_to_numpy(variable.value).copy() for variable in variables]


def test_weights_are_copies_with_unique_names(handle):
    """Weights come with their paths, and are copies that do not change when the model trains further."""
    before = handle.get_weights()
    kept = [array.copy() for array in before]
    handle.model.fit(X, Y, verbose=0)
    assert same(before, kept)
    assert not same(handle.get_weights(), kept)
    assert [name for name, _ in handle.weights()] == [weight.path for weight in handle.model.weights]
    handle.set_weights(before)
    assert same(handle.get_weights(), kept)


class Asking(keras.callbacks.Callback):
    """Asks a handle for its metrics when training begins, and keeps the names of the first epoch's logs."""

    names = logs = None

    def on_train_begin(self, logs=None):
        self.names = KerasModel(self.model).metric_names()

    def on_epoch_end(self, epoch, logs=None):
        self.logs = set(logs)


def two_outputs():
    """Return a model of two outputs, with losses and metrics of their own."""
    x = keras.Input((4,))
    model = keras.Model(x, [keras.layers.Dense(1, name="a")(x), keras.layers.Dense(1, name="b")(x)])
    model.compile("sgd", ["mse", "mae"], metrics=[["mae"], ["mse", "mae"]])
    return model


@pytest.mark.parametrize("make", [sequential, two_outputs])
def test_metrics_are_known_when_a_fit_begins(make):
    """By the names under which Keras logs them, for validation too, and the learning rate; else not at all."""
    model = make()
    y = Y if make is sequential else [Y, Y]
    for is_first in (True, False):
        model.fit(X, y, validation_data=(X, y), verbose=0, callbacks=[asking := Asking()])
        if make is sequential or not is_first or keras.backend.backend() != "tensorflow":
            assert asking.names == asking.logs | {"learning_rate"}
        else:
            assert asking.names is None


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        None,
        ["acc"],
        "mae",
        [keras.metrics.mean_absolute_error],
        [keras.metrics.AUC(name="auc_2"), "MeanSquaredError"],
        {"only": ["mae", "mse"]},
    ],
)
def test_metrics_of_one_output_are_known_in_any_form(metrics):
    """Whatever `compile` takes, they are those of the logs."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid", name="only")])
    model.compile("sgd", "mse", metrics=[metrics] if isinstance(metrics, str) else metrics)
    model.fit(X, Y, validation_data=(X, Y), verbose=0, callbacks=[asking := Asking()])
    assert asking.names == asking.logs | {"learning_rate"}


def test_metrics_are_not_known_where_they_may_be_any():
    """Without compile, before the model is built, and with a custom training step."""

    class Own(keras.Sequential):
        def train_step(self, *args, **kwargs):
            return super().train_step(*args, **kwargs)

    own = Own([keras.Input((4,)), keras.layers.Dense(1)])
    own.compile("sgd", "mse")
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    unbuilt.compile("sgd", "mse")
    for model in (unbuilt, keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]), own):
        assert KerasModel(model).metric_names() is None


def test_learning_rates_are_read_and_set(handle):
    """The rate is a list of one float, as exact as the optimizer keeps it."""
    handle.learning_rates = [0.25]
    assert handle.learning_rates == [0.25]
    assert not handle.has_rate_schedule


def test_a_schedule_is_read_but_not_set():
    """A rate that is a schedule object is read at its present value; setting it says what to do."""
    model = sequential()
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5)), "mse")
    handle = KerasModel(model)
    assert handle.learning_rates == [0.5]
    with pytest.raises(TypeError, match=r"compile the model with a number, learning_rate=0\.001"):
        handle.learning_rates = [0.1]


def test_several_optimizers_have_a_rate_each():
    """A model with several optimizers provides all rates, and setting sets each."""
    model = sequential()
    slow, fast = keras.optimizers.SGD(0.125), keras.optimizers.Adam(0.5)
    chosen = keras.optimizers.MultiOptimizer(lambda variable: slow if "first" in variable.path else fast)
    model.compile(chosen, "binary_crossentropy")
    handle = KerasModel(model)
    assert handle.learning_rates == [0.125, 0.5]
    handle.learning_rates = [0.25, 1.0]
    model.fit(X, Y, verbose=0)
    assert handle.learning_rates == [0.25, 1.0]


def test_an_uncompiled_model_has_no_rates():
    """A model without an optimizer raises an AttributeError for its rates, as the protocol asks."""
    handle = KerasModel(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))
    assert not hasattr(handle, "learning_rates")


@pytest.mark.parametrize(("name", "weights_only"), [("m.keras", False), ("m.weights.h5", True)])
def test_saved_files_load_back(handle, tmp_path, name, weights_only):
    """Weights come back from whole models and from weights alone."""
    before = handle.get_weights()
    handle.save(tmp_path / name, weights_only=weights_only)
    handle.set_weights([array + 1 for array in before])
    handle.load(tmp_path / name)
    assert same(handle.get_weights(), before)


def test_a_new_model_gets_the_optimizer_of_a_whole_file(handle, tmp_path):
    """A model that has not trained yet takes over the optimizer's state with the weights."""
    handle.model.fit(X, Y, verbose=0)
    handle.save(tmp_path / "m.keras")
    other = KerasModel(sequential())
    other.load(tmp_path / "m.keras")
    assert same(other.training_state()["optimizer"], handle.training_state()["optimizer"])


def test_training_state_continues_where_it_was(handle):
    """With weights and training state restored, the same batches give the same weights again."""
    handle.model.fit(X, Y, verbose=0, shuffle=False)
    weights, training = handle.get_weights(), handle.training_state()
    handle.model.fit(X, Y, verbose=0, shuffle=False)
    first = handle.get_weights()
    handle.set_weights(weights)
    handle.load_training_state(training)
    handle.model.fit(X, Y, verbose=0, shuffle=False)
    assert same(handle.get_weights(), first)


def test_training_state_has_the_states_of_recurrent_layers():
    """Which no file of Keras's holds; nested layers and cells with several states too."""
    inner = keras.Sequential([keras.layers.LSTM(2, stateful=True)])
    model = keras.Sequential([keras.layers.SimpleRNN(3, stateful=True, return_sequences=True), inner])
    model.build((4, 5, 2))
    handle = KerasModel(model)
    training = handle.training_state()
    assert [array.shape for array in training["states"]] == [(4, 3), (4, 2), (4, 2)]
    handle.load_training_state({**training, "states": [array + 0.5 for array in training["states"]]})
    assert all((array == 0.5).all() for array in handle.training_state()["states"])
    reset_states(model)
    assert same(handle.training_state()["states"], training["states"])


def test_training_state_of_another_model_is_refused(handle):
    """A state with other arrays than the model's is an error that counts them."""
    with pytest.raises(ValueError, match=r"must have 1 arrays for 'seeds' \(got 0\)"):
        handle.load_training_state({**handle.training_state(), "seeds": []})


def test_activations_are_each_layers_outputs(handle):
    """Each layer's output in inference mode is what the layers compute one after another."""
    before = state(handle)
    found = dict(handle.activations(X))
    assert same(state(handle), before)
    assert list(found) == [layer.name for layer in handle.model.layers]
    values = list(found.values())
    kernel, bias, kernel_2, bias_2 = handle.get_weights()
    hidden = np.tanh(X @ kernel + bias)
    np.testing.assert_allclose(values[0], hidden, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values[2], 1 / (1 + np.exp(-(hidden @ kernel_2 + bias_2))), rtol=1e-4)


def test_activations_of_a_branched_model_with_a_shared_layer():
    """A functional model of two inputs provides each use of a shared layer under its own name."""
    one, two = keras.Input((4,)), keras.Input((4,))
    shared = keras.layers.Dense(2, name="shared")
    model = keras.Model([one, two], keras.layers.Add(name="sum")([shared(one), shared(two)]))
    found = dict(KerasModel(model).activations([X, 2 * X]))
    assert set(found) == {"shared", "shared:1", "sum"}
    np.testing.assert_allclose(found["sum"], found["shared"] + found["shared:1"], rtol=1e-5)


def test_activations_of_an_unbuilt_model_build_it():
    """A Sequential model that has not seen data yet is built by the samples."""
    model = keras.Sequential([keras.layers.Dense(2, name="only")])
    assert [(name, array.shape) for name, array in KerasModel(model).activations(X)] == [("only", (8, 2))]


def test_gradients_are_those_of_the_loss_and_leave_no_trace(handle):
    """Gradients equal central differences of the compiled loss; weights, metrics, optimizer and seeds do not move."""
    handle.model.fit(X, Y, verbose=0)
    before = state(handle)
    found = dict(handle.gradients(X, Y))
    assert same(state(handle), before)
    weights = handle.get_weights()
    for index, gradient in enumerate(found.values()):
        losses = []
        for sign in (1, -1):
            moved = [array.copy() for array in weights]
            moved[index].flat[0] += sign * 1e-2
            handle.set_weights(moved)
            losses.append(handle.model.evaluate(X, Y, verbose=0, return_dict=True)["loss"])
        np.testing.assert_allclose(gradient.flat[0], (losses[0] - losses[1]) / 2e-2, rtol=0.02, atol=1e-4)


def test_predict_returns_host_arrays(handle):
    """Predictions are NumPy arrays, and dropout plays no part."""
    first, second = handle.predict(X), handle.predict(X)
    assert isinstance(first, np.ndarray)
    np.testing.assert_array_equal(first, second)


def test_directions_are_the_metrics_own(handle):
    """Keras's own direction of a compiled metric is returned, validation or not; None if Keras does not know it."""
    handle.model.fit(X, Y, verbose=0)
    names = ("loss", "val_loss", "accuracy", "val_accuracy", "mae", "unknown")
    assert [handle.direction(name) for name in names] == ["min", "min", "max", "max", "min", None]


class Named(keras.metrics.MeanAbsoluteError):
    """A metric with a direction of its choice."""

    def __init__(self, name, direction):
        super().__init__(name=name)
        self._direction = direction


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize(
    "metrics",
    [
        [],
        [("loss", "up")],
        [("loss", "down")],
        [("score", "up")],
        [("score", "up"), ("score", "down")],
        [("score", "down"), ("score", "up")],
        [("loss", "down"), ("loss", "up")],
    ],
)
def test_directions_are_those_of_keras(metrics, trained):
    """A metric's own direction wins over that of the name ``loss``, and the last of one name over the others."""
    model = sequential()
    model.compile("sgd", "mse", metrics=[Named(*each) for each in metrics])
    model.fit(X, Y, verbose=0)  # Keras's callback knows the metrics from then on
    if not trained:
        ours = sequential()
        ours.compile("sgd", "mse", metrics=[Named(*each) for each in metrics])
    for name in ("loss", "val_loss", "score"):
        callback = keras.callbacks.EarlyStopping(name)
        callback.set_model(model)
        with contextlib.suppress(ValueError):
            callback._set_monitor_op()
        expected = {None: None, keras.ops.less: "min", keras.ops.greater: "max"}[callback.monitor_op]
        assert KerasModel(model if trained else ours).direction(name) == expected


def test_directions_are_known_before_the_first_batch():
    """A metric object's direction is known as soon as the model is compiled, under its name."""
    model = sequential()
    area, count = keras.metrics.AUC(name="area"), keras.metrics.MeanAbsoluteError(name="off_by")
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy", area], weighted_metrics=[count])
    handle = KerasModel(model)
    assert [handle.direction(name) for name in ("val_area", "off_by", "unknown")] == ["max", "min", None]


def test_only_keras_models_have_this_handle():
    """Anything else is refused by type."""
    with pytest.raises(TypeError, match=r"model must be a keras\.Model \(got int\)"):
        KerasModel(3)
