"""Inspecting Keras models of every kind, on the backend of this process (`KERAS_BACKEND`)."""

import keras
import numpy as np
import pytest

from monitor_core.adapters.keras import KerasModel

BACKEND = keras.backend.backend()
X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


def found(model, x=X, layers=None):
    """Return the activations of a model."""
    return dict(KerasModel(model).activations(x, layers))


def shapes(activations):
    """Return the shapes of activations by their names."""
    return {name: array.shape for name, array in activations.items()}


class Noise(keras.layers.Layer):
    """Adds noise always, in inference too, and a loss."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x):
        self.add_loss(keras.ops.mean(x))
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


class Block(keras.layers.Layer):
    """A custom layer that consists of others, one of them twice."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = keras.layers.Dense(4, "tanh", name="dense")
        self.unused = keras.layers.Dense(4, trainable=False, name="unused")

    def build(self, shape):
        self.dense.build(shape)
        self.unused.build(shape)

    def call(self, x):
        return self.dense(self.dense(x))


class Net(keras.Model):
    """A subclassed model with layers in a list, and one that differs in training."""

    def __init__(self):
        super().__init__(name="net")
        self.block = Block(name="block")
        self.more = [keras.layers.Dense(3, name="a"), keras.layers.BatchNormalization(name="norm")]
        self.last = keras.layers.Dense(1, name="last")

    def call(self, x, training=False):
        x = self.block(x)
        for layer in self.more:
            x = layer(x)
        return self.last(x if training else 2 * x)


def nested():
    """Return a functional model with a Sequential one inside, used twice, and a sum of two tensors."""
    encoder = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="one"), keras.layers.Dense(2, name="two")], name="encoder"
    )
    first, second = keras.Input((4,), name="x"), keras.Input((4,), name="z")
    total = encoder(first) + encoder(second)
    return keras.Model({"x": first, "z": second}, keras.layers.Dense(1, name="head")(total))


def eventful():
    """Return a compiled model in which every kind of state moves with each step of training."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input(batch_shape=(8, 5, 4))
    recurrent = keras.layers.GRU(3, stateful=True, return_sequences=True, name="gru")
    recurrent.trainable = False  # Keras cannot train stateful ones on PyTorch
    x = recurrent(inputs)
    x = Noise(name="noise")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Dropout(0.5, name="dropout")(keras.layers.Flatten(name="flat")(x))
    model = keras.Model(inputs, keras.layers.Dense(1, activity_regularizer="l2", name="head")(x))
    model.compile("adam", "mse", metrics=["mae"])
    return model


SERIES = np.random.default_rng(1).normal(size=(8, 5, 4)).astype("float32")


def state(model):
    """Return all state of a model that inspection must not change."""
    optimizer = model.optimizer.variables if model.compiled else []
    layers = model._flatten_layers()
    recurrent = [each for layer in layers if isinstance(layer, keras.layers.RNN) for each in layer.states or ()]
    variables = [*model.variables, *optimizer, *model.metrics_variables, *recurrent]
    modes = [each.training for layer in layers for each in layer.modules()] if BACKEND == "torch" else []
    calls = [name for layer in layers for name in vars(layer) if name.endswith("call")]
    return [keras.ops.convert_to_numpy(each.value).tolist() for each in variables], modes, calls


LOOKS = {
    "activations": lambda handle: list(handle.activations(SERIES)),
    "gradients": lambda handle: list(handle.gradients(SERIES, Y)),
    "predict": lambda handle: handle.predict(SERIES),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_leaves_no_trace(look):
    """Weights, metrics, optimizer, seeds, moving averages, recurrent states and modes stay, also in mid-training."""
    model = eventful()
    model.fit(SERIES, Y, epochs=2, batch_size=8, verbose=0)
    before = state(model)
    LOOKS[look](KerasModel(model))
    assert state(model) == before


@pytest.mark.parametrize("look", LOOKS)
def test_looking_inside_does_not_change_the_training(look):
    """Inspection at the end of every epoch does not change the training."""

    def history(callbacks):
        model = eventful()
        looking = [keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: LOOKS[look](KerasModel(model)))]
        model.fit(SERIES, Y, epochs=3, batch_size=8, verbose=0, callbacks=looking if callbacks else None)
        return [array.tolist() for array in model.get_weights()], model.history.history

    assert history(callbacks=True) == history(callbacks=False)


def test_a_look_that_fails_leaves_no_trace():
    """Inputs that the model cannot take raise Keras's error, and the model is as before."""
    model = eventful()
    before = state(model)
    with pytest.raises(Exception, match=r"(?s)gru|shape|input"):
        found(model, SERIES[:3, :, :2])
    assert state(model) == before


@pytest.mark.skipif(BACKEND != "torch", reason="modules have modes on PyTorch alone")
def test_modules_of_pytorch_keep_their_modes_and_generator():
    """A PyTorch module inside of a Keras model computes in evaluation mode, then has its mode again."""
    import torch

    inner = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
    model = keras.Sequential([keras.Input((4,)), keras.layers.TorchModuleWrapper(inner, name="inner")])
    inner.train()
    before = (state(model), {name: tensor.tolist() for name, tensor in inner.state_dict().items()})
    generator = torch.get_rng_state().tolist()
    first, second = found(model), found(model)
    assert first["inner"].tolist() == second["inner"].tolist()
    assert (state(model), {name: tensor.tolist() for name, tensor in inner.state_dict().items()}) == before
    assert inner.training
    assert torch.get_rng_state().tolist() == generator


# --- which layers, under which names -------------------------------------------------------------------------------


def test_inputs_by_name_and_nested_models():
    """Layers of a model within the model have its name before theirs, and each of its uses a number."""
    model = nested()
    activations = found(model, {"x": X, "z": 2 * X})
    (addition,) = set(activations) - {
        "head",
        *(f"encoder{each}" for each in ("", ":1", "/one", "/one:1", "/two", "/two:1")),
    }
    assert list(activations) == [
        "encoder/one", "encoder/two", "encoder", "encoder/one:1", "encoder/two:1", "encoder:1", addition, "head",
    ]  # fmt: skip
    np.testing.assert_array_equal(activations["encoder/two:1"], activations["encoder:1"])
    np.testing.assert_allclose(activations[addition], activations["encoder"] + activations["encoder:1"], rtol=1e-5)
    np.testing.assert_allclose(activations["head"], model.predict({"x": X, "z": 2 * X}, verbose=0), rtol=1e-4)


def test_the_names_of_a_model_are_those_of_its_activations():
    """The names known beforehand are those of the layers, without the numbers."""
    model = nested()
    names = KerasModel(model).layer_names()
    assert sorted(names) == sorted({name.partition(":")[0] for name in found(model, {"x": X, "z": X})})


def test_subclassed_models():
    """Layers of a subclassed model are found where it keeps them, in the order in which it calls them."""
    model = Net()
    model(X)
    activations = found(model)
    assert list(activations) == ["block/dense", "block/dense:1", "block", "a", "norm", "last"]
    np.testing.assert_allclose(activations["last"], model.predict(X, verbose=0), rtol=1e-4)
    np.testing.assert_array_equal(activations["block/dense:1"], activations["block"])
    assert set(KerasModel(model).layer_names()) - {name.partition(":")[0] for name in activations} == {"block/unused"}


def test_layers_of_keras_are_whole():
    """What a layer of Keras consists of is its own affair, and each of its outputs is there."""
    inputs = keras.Input((5, 4))
    recurrent = keras.layers.SimpleRNN(2, return_sequences=True, unroll=True)
    mixed = keras.layers.MultiHeadAttention(1, 2, name="mixed")(inputs, inputs)
    both = keras.layers.Bidirectional(recurrent, name="both")(mixed)
    outputs = keras.layers.GRU(3, return_state=True, unroll=True, name="last")(both)
    activations = found(keras.Model(inputs, outputs), SERIES)
    assert shapes(activations) == {"mixed": (8, 5, 4), "both": (8, 5, 4), "last": (8, 3), "last:1": (8, 3)}


@pytest.mark.skipif(BACKEND == "torch", reason="Keras compiles no parts of models there")
def test_compiled_parts_of_a_model_are_left_out():
    """The parts of a custom layer have no values within a compiled loop; the layer itself has."""

    class Scanning(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="scanning")
            self.dense = keras.layers.Dense(4, name="dense")

        def call(self, x):
            x = self.dense(x)
            return keras.ops.vectorized_map(self.dense, x[:, None, :])[:, 0, :]

    model = keras.Sequential([keras.Input((4,)), Scanning()])
    assert {name: shape for name, shape in shapes(found(model)).items() if ":" not in name} == {
        "scanning/dense": (8, 4), "scanning": (8, 4),
    }  # fmt: skip


@pytest.mark.parametrize("layers", [["encoder/one"], ("head", "encoder"), set()])
def test_only_chosen_layers_are_returned(layers):
    """The named layers are returned with all their uses, and no others."""
    data = {"x": X, "z": X}
    wanted = {name: array for name, array in found(nested(), data).items() if name.partition(":")[0] in layers}
    assert shapes(found(nested(), data, layers)) == shapes(wanted)


def test_an_unknown_layer_is_an_error():
    """An unknown layer is an error that suggests the nearest names."""
    with pytest.raises(ValueError, match=r"layers must name layers of the model \(got 'enc/one'\): .*encoder/one"):
        found(nested(), {"x": X, "z": X}, ["enc/one"])


# --- models that are not built -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Net, lambda: keras.Sequential([keras.layers.Dense(2, name="only")])])
def test_a_model_that_is_not_built_is_built_for_any_number_of_samples(make):
    """Before it is built a model has no names; then it is built, and accepts any number of samples afterwards."""
    model = make()
    assert KerasModel(model).layer_names() is None
    assert found(model)
    assert KerasModel(model).layer_names()
    assert {tensor.shape[0] for tensor in getattr(model, "inputs", ())} <= {None}
    model.compile("sgd", "mse")
    model.fit(X[:5], Y[:5], batch_size=3, verbose=0)
    assert len(model.predict(X[:3], verbose=0)) == 3


def test_gradients_build_a_model_and_its_loss():
    """A compiled model that has seen no data yet, with two losses, has gradients, and trains afterwards."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(1, name="a")(inputs), keras.layers.Dense(1, name="b")(inputs)])
    model.compile("sgd", ["mse", "mae"])
    gradients = dict(KerasModel(model).gradients(X, [Y, Y]))
    assert shapes(gradients) == {"a/kernel": (4, 1), "a/bias": (1,), "b/kernel": (4, 1), "b/bias": (1,)}
    model.fit(X, [Y, Y], verbose=0)
    assert set(model.history.history) == {"loss", "a_loss", "b_loss"}
    subclassed = Net()
    subclassed.compile("sgd", "mse")
    assert len(dict(KerasModel(subclassed).gradients(X, Y))) == len(subclassed.trainable_variables) == 8


def test_gradients_include_the_losses_of_layers():
    """Regularizers of weights and of activities, and losses that layers add, are part of the loss."""
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(2, kernel_regularizer="l2", activity_regularizer="l1", name="dense")
    model = keras.Model(inputs, dense(inputs))
    model.compile("sgd", loss=lambda y, z: 0.0 * z)
    kernel, bias = (keras.ops.convert_to_numpy(each.value) for each in dense.variables)
    gradients = dict(KerasModel(model).gradients(X, np.zeros((8, 2))))
    signs = np.sign(X @ kernel + bias)
    np.testing.assert_allclose(gradients["dense/kernel"], 0.02 * kernel + 0.01 * X.T @ signs / 8, rtol=1e-4, atol=1e-6)


def test_gradients_without_targets():
    """A model whose layers add all of its loss needs no targets."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, use_bias=False, name="dense"), Noise()])
    model.compile("sgd")
    ((name, gradient),) = KerasModel(model).gradients(X, None)
    assert name.endswith("dense/kernel")
    np.testing.assert_allclose(gradient, np.repeat(X.mean(axis=0)[:, None] / 2, 2, axis=1), rtol=1e-4, atol=1e-6)


def test_gradients_need_a_compiled_model():
    """Without a loss there are none, and the message says so."""
    with pytest.raises(TypeError, match="gradients need a loss: the model 'net' is not compiled"):
        list(KerasModel(Net()).gradients(X, Y))
