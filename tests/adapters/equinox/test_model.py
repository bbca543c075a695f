"""The handle of Equinox models: names, files, rates, and what is inside."""

import numpy as np
import pytest

eqx = pytest.importorskip("equinox")
optax = pytest.importorskip("optax")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from monitor_core.adapters.equinox import EquinoxModel  # noqa: E402
from monitor_core.testing import HandleContract  # noqa: E402

X, Y = np.linspace(-1, 1, 10, dtype="float32").reshape(5, 2), np.ones((5, 1), "float32")
ADAM = optax.inject_hyperparams(optax.adam)(learning_rate=0.25)


def mse(outputs, y):
    return ((outputs - y) ** 2).mean()


def training_of(seed=0, model=None):
    model = eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(seed)) if model is None else model
    optimizer = ADAM.init(eqx.filter(model, eqx.is_array))
    return {"model": model, "optimizer": optimizer, "key": jax.random.key(seed)}


def handle_of(training, **options):
    return EquinoxModel(lambda: training, training.update, **options)


class TestEquinoxModel(HandleContract):
    """A perceptron, its optimizer and a random key."""

    x, y = X, Y

    @pytest.fixture
    def handle(self):
        """Return one with a loss."""
        return handle_of(training_of(), loss=mse)


def test_weights_are_named_by_path():
    """Functions, random keys and the optimizer's state do not count."""
    assert [name for name, _ in handle_of(training_of()).weights()] == [
        "model/layers/0/weight",
        "model/layers/0/bias",
        "model/layers/1/weight",
        "model/layers/1/bias",
    ]


def test_a_file_brings_weights_and_optimizer_back(tmp_path):
    """Into a model with the same functions, by which it computes the same."""
    saved, training = handle_of(training_of()), training_of(1)
    saved.learning_rates = [0.125]
    saved.save(tmp_path / "a.npz")
    handle = handle_of(training)
    handle.load(tmp_path / "a.npz")
    assert handle.learning_rates == [0.125]
    np.testing.assert_array_equal(handle.predict(X), saved.predict(X))


def test_the_training_state_has_optimizer_and_keys():
    """A key of another training becomes that of this one."""
    first, second = training_of(0), training_of(1)
    handle_of(second).load_training_state(handle_of(first).training_state())
    assert jax.random.key_data(second["key"]).tolist() == jax.random.key_data(first["key"]).tolist()
    assert second["key"].dtype == first["key"].dtype


def test_predictions_and_gradients_are_those_of_the_model():
    """Over the batch; gradients have the names of the weights."""
    training = training_of()
    handle, model = handle_of(training, loss=mse), training["model"]
    expected = eqx.filter_grad(lambda each: mse(jax.vmap(each)(X), Y))(model)
    found = dict(handle.gradients(X, Y))
    assert [*found] == [name for name, _ in handle.weights()]
    np.testing.assert_allclose(found["model/layers/0/weight"], expected.layers[0].weight, rtol=1e-6)
    np.testing.assert_allclose(handle.predict(X), jax.vmap(model)(X), rtol=1e-6)


class Sequence(eqx.Module):
    """Calls a layer twice, one within ``vmap``, a cell within a scan, and has a layer that it does not call."""

    twice: eqx.nn.Linear
    each: eqx.nn.Linear
    cell: eqx.nn.GRUCell
    table: eqx.nn.Embedding
    dropout: eqx.nn.Dropout

    def __init__(self, key):
        keys = jax.random.split(key, 4)
        self.twice, self.each = eqx.nn.Linear(2, 2, key=keys[0]), eqx.nn.Linear(1, 1, key=keys[1])
        self.cell, self.table = eqx.nn.GRUCell(1, 3, key=keys[2]), eqx.nn.Embedding(4, 2, key=keys[3])
        self.dropout = eqx.nn.Dropout(0.5)

    def __call__(self, x):
        """Return the last state."""
        x = self.dropout(self.twice(self.twice(x)))
        x = jax.vmap(self.each)(x[:, None])
        assert self.cell.hidden_size == 3
        return jax.lax.scan(lambda state, one: (self.cell(one, state), None), jnp.zeros(3), x)[0]


def test_activations_are_what_the_layers_return():
    """Calls are numbered, also those in a scan; a layer within ``vmap`` yields all of its rows."""
    training = training_of(model=Sequence(jax.random.key(0)))
    handle, model = handle_of(training), training["model"]
    once = jax.vmap(model.twice)(X)
    for _ in range(2):  # the second time, the compiled function is used again
        found = dict(handle.activations(X))
        assert {name: array.shape for name, array in found.items()} == {
            "twice": (5, 2),
            "twice:1": (5, 2),
            "each": (5, 2, 1),
            "cell": (5, 3),
            "cell:1": (5, 3),
            "dropout": (5, 2),
        }
        np.testing.assert_allclose(found["twice"], once, rtol=1e-6)
        np.testing.assert_allclose(found["twice:1"], jax.vmap(model.twice)(once), rtol=1e-6)
        np.testing.assert_allclose(found["cell:1"], handle.predict(X), rtol=1e-5)
    assert handle.layer_names() == ["twice", "each", "cell", "table", "dropout"]
    assert [name for name, _ in handle.activations(X, ["each"])] == ["each"]


def test_a_layer_alone_has_the_name_of_its_class():
    """A model may be a single layer."""
    handle = handle_of(training_of(model=eqx.nn.Linear(2, 1, key=jax.random.key(0))))
    assert [(name, array.shape) for name, array in handle.activations(X)] == [("Linear", (5, 1))]


def test_embeddings_are_found_by_type():
    """Each ``eqx.nn.Embedding`` yields its matrix."""
    training = training_of(model=Sequence(jax.random.key(0)))
    ((name, matrix),) = handle_of(training).embeddings()
    assert name == "table"
    np.testing.assert_array_equal(matrix, training["model"].table.weight)


class Normed(eqx.Module):
    """A network with batch normalization."""

    layer: eqx.nn.Linear
    norm: eqx.nn.BatchNorm

    def __init__(self, key):
        self.layer = eqx.nn.Linear(2, 3, key=key)
        self.norm = eqx.nn.BatchNorm(3, axis_name="batch", mode="batch")

    def __call__(self, x, state):
        """Return numbers for a sample, and the state."""
        return self.norm(self.layer(x), state)


def test_a_model_with_a_state_is_called_with_it():
    """Running statistics are weights, and inspection leaves them as they are."""
    model, state = eqx.nn.make_with_state(Normed)(jax.random.key(0))
    run = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    _, state = run(X, state)
    training = {"model": model, "state": state}
    handle = handle_of(training, loss=mse)
    names = [name for name, _ in handle.weights()]
    before = handle.get_weights()
    inference = jax.vmap(eqx.nn.inference_mode(model), axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    np.testing.assert_allclose(handle.predict(X), inference(X, state)[0], rtol=1e-6)
    assert {name: array.shape for name, array in handle.activations(X)} == {"layer": (5, 3), "norm": (5, 3)}
    assert [*dict(handle.gradients(X, Y))] == [name for name in names if name.startswith("model/")]
    assert sum(name.startswith("state/") for name in names) == len(names) - 4 > 0
    np.testing.assert_equal(handle.get_weights(), before)


def test_without_an_optimizer_there_are_weights_alone(tmp_path):
    """The file of a whole training is loaded as far as it fits; the error about rates says what to give."""
    whole, bare = handle_of(training_of()), handle_of({"model": training_of(1)["model"]})
    whole.save(tmp_path / "a.npz")
    bare.load(tmp_path / "a.npz")
    np.testing.assert_equal(bare.get_weights(), whole.get_weights())
    with pytest.raises(AttributeError, match=r"optax\.inject_hyperparams"):
        _ = bare.learning_rates


def test_other_parts_are_refused():
    """The error says what `get` must return."""
    with pytest.raises(TypeError, match=r"get must return a mapping with an eqx\.Module as 'model' \(got MLP\)"):
        EquinoxModel(lambda: training_of()["model"], print)
    with pytest.raises(TypeError, match=r"an eqx\.Module as 'model' \(got NoneType\)"):
        EquinoxModel(dict, print)
