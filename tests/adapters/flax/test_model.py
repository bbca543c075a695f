"""The handle of Flax NNX modules: names, files, rates, and what is inside."""

import gc

import numpy as np
import pytest

pytest.importorskip("flax")
optax = pytest.importorskip("optax")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402

from monitor_core import EarlyStopping, History, Loop, ModelCheckpoint, ReduceLROnPlateau  # noqa: E402
from monitor_core.adapters.flax import FlaxModel  # noqa: E402
from monitor_core.errors import SetupError  # noqa: E402
from monitor_core.testing import HandleContract  # noqa: E402

X, Y = np.linspace(-1, 1, 10, dtype="float32").reshape(5, 2), np.ones((5, 1), "float32")


def mse(outputs, y):
    return ((outputs - y) ** 2).mean()


def net(seed=0):
    rngs = nnx.Rngs(seed)
    hidden = [nnx.Linear(2, 3, rngs=rngs), nnx.relu, nnx.BatchNorm(3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)]
    return nnx.Sequential(*hidden, nnx.Linear(3, 1, rngs=rngs))


def adam(module, rate=0.25):
    return nnx.Optimizer(module, optax.inject_hyperparams(optax.adam)(learning_rate=rate), wrt=nnx.Param)


def handle_of(seed=0, **options):
    module = net(seed)
    return FlaxModel(module, adam(module), **options)


def variables(module):
    """Return all arrays of a module, by path."""
    found = nnx.to_flat_state(nnx.state(module))
    arrays = {path: variable.get_value() for path, variable in found}
    return {
        path: np.asarray(
            jax.random.key_data(each) if jnp.issubdtype(each.dtype, jax.dtypes.prng_key) else each
        ).tolist()
        for path, each in arrays.items()
    }


class TestFlaxModel(HandleContract):
    """A module with batch normalization and dropout, and its optimizer."""

    x, y = X, Y

    @pytest.fixture
    def handle(self):
        """Return one with a loss."""
        return handle_of(loss=mse)


def test_a_loop_takes_module_and_optimizer():
    """`Loop` makes the handle."""
    module = net()
    optimizer = adam(module)
    loop = Loop(model=module, optimizer=optimizer)
    handle = loop.bus.run.model
    assert (type(handle), handle.module, handle.optimizer) == (FlaxModel, module, optimizer)


def test_weights_are_named_by_path_without_random_streams():
    """Parameters and running statistics are weights, the state of dropout is not."""
    assert [name for name, _ in handle_of().weights()] == [
        "layers/0/bias",
        "layers/0/kernel",
        "layers/2/bias",
        "layers/2/mean",
        "layers/2/scale",
        "layers/2/var",
        "layers/4/bias",
        "layers/4/kernel",
    ]


def test_a_file_holds_weights_and_optimizer_and_no_objects(tmp_path):
    """It is read without pickle, by NumPy too, and brings both back."""
    saved, other = handle_of(), handle_of(seed=1)
    saved.learning_rates = [0.125]
    saved.save(tmp_path / "a.npz")
    names = np.load(tmp_path / "a.npz", allow_pickle=False)["0"].tolist()
    assert {name.partition("/")[0] for name in names} == {"weights", "optimizer"}
    other.load(tmp_path / "a.npz")
    np.testing.assert_equal(dict(other.weights()), dict(saved.weights()))
    assert other.learning_rates == [0.125]


def test_a_file_is_loaded_as_far_as_both_have_it(tmp_path):
    """Weights alone leave the optimizer as it is; without one, that of the file is left out."""
    saved, other = handle_of(), handle_of(seed=1)
    other.learning_rates = [0.5]
    saved.save(tmp_path / "weights.npz", weights_only=True)
    saved.save(tmp_path / "whole.npz")
    other.load(tmp_path / "weights.npz")
    bare = FlaxModel(net(2))
    bare.load(tmp_path / "whole.npz")
    np.testing.assert_equal(dict(other.weights()), dict(saved.weights()))
    np.testing.assert_equal(dict(bare.weights()), dict(saved.weights()))
    assert other.learning_rates == [0.5]


def test_the_file_of_another_model_is_refused(tmp_path):
    """Other names, other shapes, and files that no handle wrote; nothing is set, also not what fits."""
    handle = handle_of()
    before = dict(handle.weights())
    small = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    FlaxModel(small).save(tmp_path / "small.npz")
    with pytest.raises(
        ValueError, match=r"small\.npz must have the model's 8 arrays \(got 2; different: bias, kernel,"
    ):
        handle.load(tmp_path / "small.npz")
    FlaxModel(nnx.Linear(2, 4, rngs=nnx.Rngs(0))).save(tmp_path / "wide.npz")
    with pytest.raises(ValueError, match=r"wide\.npz must have the shape \(3,\) for bias \(got \(4,\)\)"):
        FlaxModel(small).load(tmp_path / "wide.npz")
    np.savez(tmp_path / "other.npz", **{"0": np.ones(3)})
    with pytest.raises(ValueError, match=r"other\.npz must be a file that a handle's save wrote"):
        handle.load(tmp_path / "other.npz")
    np.testing.assert_equal(dict(handle.weights()), before)


def test_variables_keep_their_dtype_and_devices(tmp_path):
    """Also bfloat16, and arrays that were committed to a device."""
    module = nnx.Linear(2, 1, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    module.kernel[...] = jax.device_put(module.kernel[...], jax.devices()[0])
    handle = FlaxModel(module)
    handle.save(tmp_path / "a.npz")
    handle.load(tmp_path / "a.npz")
    kernel, bias = module.kernel.get_value(), module.bias.get_value()
    assert (kernel.dtype, kernel.committed, bias.committed) == (jnp.bfloat16, True, False)


def test_the_training_state_has_optimizer_and_random_streams():
    """Dropout and Adam continue as if there had been no break."""

    def train(module, optimizer, steps):
        for _ in range(steps):
            gradients = nnx.grad(lambda each: mse(each(X), Y))(module)
            optimizer.update(module, gradients)
        return variables(module)

    module = net()
    optimizer = adam(module)
    whole = train(net_ := net(), adam(net_), 4)
    train(module, optimizer, 2)
    first, second = FlaxModel(module, optimizer), handle_of(seed=5)
    second.set_weights(first.get_weights())
    second.load_training_state(first.training_state())
    assert train(second.module, second.optimizer, 2) == whole


def test_rates_are_those_that_optax_injects():
    """In each group of a chain or a partition; a schedule cannot be set."""
    module = net()
    rates = {"a": optax.inject_hyperparams(optax.sgd)(0.5), "b": optax.inject_hyperparams(optax.adam)(0.25)}
    labels = lambda params: jax.tree_util.tree_map_with_path(  # noqa: E731
        lambda path, _: "a" if "kernel" in jax.tree_util.keystr(path) else "b", params
    )
    optimizer = nnx.Optimizer(module, optax.partition(rates, labels), wrt=nnx.Param)
    handle = FlaxModel(module, optimizer)
    assert handle.learning_rates == [0.5, 0.25]
    handle.learning_rates = [0.125, 0.0625]
    assert handle.learning_rates == [0.125, 0.0625]
    with pytest.raises(ValueError, match=r"one rate for each of 2 groups \(got 1\)"):
        handle.learning_rates = [0.5]


def test_a_rate_that_is_a_schedule_is_read_and_cannot_be_set():
    """A sink that would set it is refused at train begin."""
    module = net()
    handle = FlaxModel(module, adam(module, optax.linear_schedule(0.5, 0.0, 10)))
    assert (handle.learning_rates, handle.has_rate_schedule) == ([0.5], True)
    with pytest.raises(TypeError, match="learning rate is a schedule"):
        handle.learning_rates = [0.5]
    loop = Loop(ReduceLROnPlateau("loss"), model=handle)
    with pytest.raises(SetupError, match="give the optimizer a number"), loop:
        pass


def test_without_a_rate_in_the_state_a_sink_says_what_is_missing():
    """The error names ``optax.inject_hyperparams``."""
    module = net()
    handle = FlaxModel(module, nnx.Optimizer(module, optax.adam(0.1), wrt=nnx.Param))
    with pytest.raises(AttributeError, match=r"optax\.inject_hyperparams\(optax\.adam\)\(learning_rate=0\.001\)"):
        _ = handle.learning_rates


def test_predictions_are_those_of_the_evaluation_mode():
    """With running statistics and without dropout, whatever mode the module is in."""
    handle = handle_of()
    handle.module.train()
    before = variables(handle.module)
    predicted = handle.predict(X)
    assert variables(handle.module) == before
    handle.module.eval()
    np.testing.assert_allclose(predicted, handle.module(X), rtol=1e-6)


def test_gradients_are_those_of_the_loss():
    """As ``nnx.grad`` computes them in evaluation mode."""
    handle = handle_of(loss=mse)
    handle.module.eval()
    expected = nnx.grad(lambda module: mse(module(X), Y))(handle.module)
    found = dict(handle.gradients(X, Y))
    assert [*found] == [name for name, _ in handle.weights() if not name.endswith(("mean", "var"))]
    np.testing.assert_allclose(found["layers/0/kernel"], expected["layers"][0]["kernel"][...], rtol=1e-6)


def test_gradients_need_a_loss_of_one_element():
    """The error says how to give one."""
    with pytest.raises(TypeError, match=r"gradients need a loss: FlaxModel\(\.\.\., loss="):
        list(handle_of().gradients(X, Y))
    with pytest.raises(TypeError, match=r"one element \(got the shape \(5, 1\)\)"):
        list(handle_of(loss=lambda outputs, y: outputs - y).gradients(X, Y))


class Own(nnx.Linear):
    """A layer that inherits ``__call__``."""


class Wide(nnx.Linear):
    """A layer that calls that of its base."""

    def __call__(self, inputs):
        """Double."""
        return 2 * super().__call__(inputs)


class Sowing(nnx.Module):
    """Calls a layer twice, sows an intermediate, and has a recurrent layer and one that is not called."""

    def __init__(self, rngs):
        self.twice = Own(2, 2, rngs=rngs)
        self.wide = Wide(2, 2, rngs=rngs)
        self.rnn = nnx.RNN(nnx.SimpleCell(2, 3, rngs=rngs))
        self.unused = nnx.Embed(4, 2, rngs=rngs)

    def __call__(self, x):
        """Return the last state."""
        x = self.wide(self.twice(self.twice(x)))
        self.sow(nnx.Intermediate, "middle", x)
        return self.rnn(x[:, None])[:, -1]


def test_activations_are_what_the_layers_return():
    """Calls are numbered; what is inside of a scan yields nothing; parents and intermediates are yielded by name."""
    module = Sowing(nnx.Rngs(0))
    handle = FlaxModel(module)
    once = module.twice(X)
    twice = module.twice(once)
    found = dict(handle.activations(X))
    assert [*found] == ["twice", "twice:1", "wide"]
    np.testing.assert_allclose(found["twice"], once, rtol=1e-6)
    np.testing.assert_allclose(found["twice:1"], twice, rtol=1e-6)
    np.testing.assert_allclose(found["wide"], module.wide(twice), rtol=1e-6)
    chosen = dict(handle.activations(X, ["rnn", "middle", "Sowing"]))
    assert {name: array.shape for name, array in chosen.items()} == {
        "rnn": (5, 1, 3),
        "middle": (5, 2),
        "Sowing": (5, 3),
    }
    assert "__call__" not in vars(Own)


def test_a_module_that_sows_is_looked_into_without_a_trace():
    """Predictions and gradients leave no intermediates."""
    module = Sowing(nnx.Rngs(0))
    handle, before = FlaxModel(module, loss=lambda outputs, _: outputs.sum()), variables(module)
    assert handle.predict(X).shape == (5, 3)
    assert {name for name, _ in handle.gradients(X, Y)} == {name for name, _ in handle.weights()}
    assert variables(module) == before


def test_an_unknown_layer_is_refused_with_the_nearest_name():
    """Of modules and intermediates."""
    with pytest.raises(ValueError, match=r"layers must name layers of the model \(got 'midle'\): there are middle"):
        list(FlaxModel(Sowing(nnx.Rngs(0))).activations(X, ["midle"]))


def test_embeddings_are_found_by_type():
    """Each ``nnx.Embed`` yields its matrix."""
    module = Sowing(nnx.Rngs(0))
    ((name, matrix),) = FlaxModel(module).embeddings()
    assert name == "unused"
    np.testing.assert_array_equal(matrix, module.unused.embedding[...])


def test_several_inputs_are_given_as_for_the_module():
    """By position or by name."""

    class Sum(nnx.Module):
        def __call__(self, a, b):
            return a - b

    handle = FlaxModel(Sum())
    assert handle.predict((X, 2 * X)).tolist() == handle.predict({"b": 2 * X, "a": X}).tolist() == (-X).tolist()


def test_a_compiled_module_is_looked_into_from_outside():
    """What a method of ``nnx.jit`` returns is recorded, what it calls is not, and it is restored."""

    class Jitted(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(2, 3, rngs=rngs)

        @nnx.jit
        def __call__(self, x):
            return self.layer(x)

    class Outer(nnx.Module):
        def __init__(self, rngs):
            self.parts = nnx.List([Jitted(rngs)])

        def __call__(self, x):
            return self.parts[0](x)

    own = vars(Jitted)["__call__"]
    handle = FlaxModel(Outer(nnx.Rngs(0)))
    assert list(handle.activations(X)) == []
    assert [(name, array.shape) for name, array in handle.activations(X, ["parts/0"])] == [("parts/0", (5, 3))]
    assert vars(Jitted)["__call__"] is own
    assert "__call__" not in vars(nnx.List)


def test_several_optimizers_are_given_as_a_dict():
    """All rates are read and set."""
    module = net()
    handle = FlaxModel(module, nnx.Dict(a=adam(module, 0.5), b=adam(module, 0.25)))
    assert handle.learning_rates == [0.5, 0.25]


def test_other_arguments_are_refused():
    """The errors name the argument, the rule and the value."""
    with pytest.raises(TypeError, match=r"module must be an nnx\.Module \(got int\)"):
        FlaxModel(3)
    with pytest.raises(TypeError, match=r"optimizer must be an nnx\.Optimizer, or an nnx\.Dict of them \(got Adam\)"):
        FlaxModel(net(), type("Adam", (), {})())
    with pytest.raises(TypeError, match="loss must be a function of outputs and targets"):
        FlaxModel(net(), loss="mse")


def test_a_handle_is_recalled_while_its_parts_live():
    """Nothing keeps a module alive between two runs."""
    handle = handle_of()
    again = handle.recall()
    assert again().module is handle.module
    del handle
    gc.collect()
    assert again() is None


def test_sinks_use_the_handle(tmp_path):
    """The best weights are restored, the rate is reduced, and the checkpoint is loaded again."""
    module = net()
    optimizer = adam(module)
    checkpoint = ModelCheckpoint(tmp_path / "best.npz", "loss", save_best_only=True)
    sinks = [checkpoint, ReduceLROnPlateau("loss", patience=1, factor=0.5), EarlyStopping("loss", patience=3)]
    with Loop(*sinks, history := History(), model=module, optimizer=optimizer) as loop:
        for epoch in loop.epochs(5):
            for _ in loop.batches(range(2)):
                loop.log(loss=jnp.float32(epoch + 1))
            module.layers[0].bias[...] += 1
    assert history["loss"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert loop.run.learning_rate == pytest.approx(0.25 / 8)
    checkpoint.load_best(FlaxModel(module, optimizer))
    assert module.layers[0].bias[...].tolist() == [1.0, 1.0, 1.0]
