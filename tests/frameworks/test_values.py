"""Log values of JAX, PyTorch and TensorFlow: kept on the device, fetched together, tracers refused by name."""

import gc
import os
import weakref

import numpy as np
import pytest

from monitor_core import Bus, Loop, scalar
from monitor_core.model.handles import to_host
from monitor_core.values.scalars import keep
from recorders import BlockRecorder, Recorder

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

UNDER_TRACING = "log what the compiled function returns"


@pytest.fixture(scope="module")
def jax():
    return pytest.importorskip("jax")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def recorded(*values):
    """Return the values in a block, in an epoch's logs and in an evaluation's, None for missing ones."""
    bus = Bus(blocks := BlockRecorder(), epochs := Recorder("on_epoch_end"))
    bus.train_begin()
    for epoch, value in enumerate(values):
        bus.epoch_begin(epoch)
        bus.batch_end(epoch + 1, {"loss": value})
        bus.epoch_end(epoch, {"loss": value})
    return blocks.column("loss"), [event[2].get("loss") for event in epochs.events]


def column(*values):
    """Return the values of one block, None for missing ones."""
    bus = Bus(blocks := BlockRecorder())
    bus.train_begin()
    for step, value in enumerate(values, 1):
        bus.batch_end(step, {"loss": value})
    bus.flush()
    return blocks.column("loss")


def assert_refused(warned, reason, *values):
    """Assert that values are skipped with one warning for this reason, and that the steps around them are recorded."""
    assert column(1.0, *values, 2.0) == [1.0, *[None] * len(values), 2.0]
    (message,) = warned()
    assert message.startswith("metric 'loss' is skipped: ")
    assert reason in message


# --- JAX ------------------------------------------------------------------------------------------------------------


def test_jax_arrays(jax):
    """JAX arrays of one element and any real type are numbers, alone and mixed."""
    jnp = jax.numpy
    values = [jnp.float32(1), jnp.bfloat16(2), jnp.float16(3), jnp.int32(4), jnp.bool_(True), jnp.full((1, 1), 6.0)]
    expected = [1.0, 2.0, 3.0, 4.0, 1.0, 6.0]
    assert [scalar(value) for value in values] == column(*values) == expected
    assert recorded(*values) == (expected, expected)


def test_jax_array_is_kept_on_the_device(jax):
    """An immutable array is kept itself, and logging does not wait for it."""
    value = jax.numpy.float32(1)
    assert keep(value) is value


def test_large_jax_array_is_let_go(jax, warned):
    """A vector is refused when logged and not kept until the block is closed."""
    vector = jax.numpy.ones(1000)
    kept, reference = keep(vector), weakref.ref(vector)
    del vector
    assert reference() is None
    assert kept.reason == "it has the shape (1000,), and a metric has one element"
    assert_refused(warned, "(3,)", jax.numpy.ones(3))


def test_jax_complex_is_refused(jax, warned):
    """A complex number is not a metric."""
    assert_refused(warned, "a metric is a number", jax.numpy.complex64(1))


@pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
def test_jax_tracer_is_refused(jax, transform, warned):
    """A traced value is skipped, the message says what to log, and the function continues."""
    bus = Bus(blocks := BlockRecorder())

    def step(x):
        bus.batch_end(1, {"loss": x})
        return x * 1.0

    argument = jax.numpy.ones(2) if transform == "vmap" else 1.0
    getattr(jax, transform)(step)(argument)
    bus.batch_end(2, {"loss": 2.0})
    bus.flush()
    assert blocks.column("loss") == [None, 2.0]
    assert warned() == [f"metric 'loss' is skipped: it is a value under tracing: {UNDER_TRACING}"]


def test_traced_vector_is_refused_as_traced(jax):
    """For a traced vector the reason is the tracing, not its shape."""
    reasons = []
    jax.jit(lambda x: reasons.append(keep(x).reason) or x)(jax.numpy.ones(3))
    assert reasons == [f"it is a value under tracing: {UNDER_TRACING}"]


def test_donated_jax_array_is_refused(jax, warned):
    """An array whose memory was donated before it was read is skipped by name."""
    value, other = jax.numpy.float32(1), jax.numpy.float32(2)
    kept = keep(value)
    value.delete()
    other.delete()
    assert_refused(warned, "it cannot be read any more (", kept, other)


def test_jax_key_is_refused(jax, warned):
    """A random key has one element and is not a number."""
    assert_refused(warned, "", jax.random.key(0))


# --- PyTorch --------------------------------------------------------------------------------------------------------


def test_torch_tensors(torch):
    """Tensors of one element and any real type are numbers, alone and mixed."""
    kinds = ["float32", "float64", "bfloat16", "float16", "int64", "uint8", "bool"]
    values = [torch.ones((), dtype=getattr(torch, kind)) for kind in kinds]
    assert [scalar(value) for value in values] == column(*values) == [1.0] * 7
    for value in values:
        assert column(value, value.reshape(1, 1)) == [1.0, 1.0]
    assert recorded(*values) == ([1.0] * 7, [1.0] * 7)
    assert column(values[0], 2.0, None, values[4]) == [1.0, 2.0, None, 1.0]


def test_torch_values_are_exact(torch):
    """A column has every element at its own precision, including NaN and infinities."""
    values = [torch.tensor(value, dtype=torch.float64) for value in (0.1, float("inf"), -0.0, 2.0**53 + 2)]
    assert [value.hex() for value in column(*values)] == [value.item().hex() for value in values]
    assert str(column(torch.tensor(float("nan")))) == "[nan]"
    assert column(torch.tensor(2**40 + 1), torch.tensor(0.5)) == [2.0**40 + 1, 0.5]


@pytest.mark.parametrize("kind", ["tensor", "view", "parameter", "detached", "numpy"])
def test_torch_tensor_changed_in_place_keeps_its_value(torch, kind):
    """A value that the next step changes in place is recorded as it was when logged."""
    base = torch.ones(3)
    array = np.ones(())
    value = {
        "tensor": lambda: torch.ones(()),
        "view": lambda: base[0],
        "parameter": lambda: torch.nn.Parameter(torch.ones(())),
        "detached": lambda: torch.ones((), requires_grad=True).detach(),
        "numpy": lambda: torch.from_numpy(array),
    }[kind]()
    kept = keep(value)
    with torch.no_grad():
        value += 1
        base += 1
        array += 1
    assert scalar(kept) == 1.0


def test_torch_tensor_that_requires_a_gradient(torch):
    """A loss is recorded, and nothing of its graph is kept alive."""
    weight = torch.ones((), requires_grad=True)
    loss = weight * 2
    reference, kept = weakref.ref(loss), keep(loss)
    loss.backward()
    del loss
    gc.collect()
    assert reference() is None
    assert scalar(kept) == 2.0
    assert recorded(weight * 3) == ([3.0], [3.0])


@pytest.mark.parametrize("make", [lambda torch: torch.ones(3), lambda torch: torch.ones(0)])
def test_torch_vector_is_refused(torch, make, warned):
    """A tensor of more or fewer elements is skipped."""
    assert_refused(warned, "and a metric has one element", make(torch))


def test_torch_complex_is_refused(torch, warned):
    """A complex number is not a metric, even if all values of a block are complex."""
    bus = Bus(blocks := BlockRecorder())
    for step in (1, 2):
        bus.batch_end(step, {"loss": torch.tensor(1 + 2j), "acc": 1})
    bus.flush()
    assert blocks.rows == [(-1, 1, {"acc": 1.0}), (-1, 2, {"acc": 1.0})]
    assert len(warned()) == 1


@pytest.mark.parametrize(
    "make", [lambda torch: torch.nn.MSELoss(), lambda torch: torch.float32, lambda torch: torch.Size([1])]
)
def test_torch_object_that_is_not_a_tensor_is_refused(torch, make, warned):
    """Logging the loss function instead of its result is skipped with a warning."""
    assert_refused(warned, "and a metric is a number", make(torch), make(torch))


@pytest.mark.parametrize(
    "make",
    [lambda torch: torch.ones((), device="meta"), lambda torch: torch.ones(1).to_sparse()],
    ids=["meta", "sparse"],
)
def test_torch_tensor_that_cannot_be_fetched(torch, make):
    """A tensor without data, or of another layout, is skipped or read, and affects no other metric."""
    bus = Bus(blocks := BlockRecorder())
    for step in (1, 2):
        bus.batch_end(step, {"loss": make(torch), "acc": step})
    bus.flush()
    assert blocks.column("acc") == [1.0, 2.0]
    assert blocks.column("loss") in ([None, None], [1.0, 1.0])


def test_torch_tensor_under_vmap_is_refused(torch, warned):
    """A tensor that escaped the transform it was logged in is skipped."""
    bus = Bus(blocks := BlockRecorder())

    def step(x):
        bus.batch_end(1, {"loss": x, "acc": 1})
        return x * 2

    torch.func.vmap(step)(torch.ones(3))
    bus.flush()
    assert blocks.rows == [(-1, 1, {"acc": 1.0})]
    assert len(warned()) == 1


def test_torch_tensor_under_grad(torch):
    """Inside `torch.func.grad` a value is concrete, and recorded."""
    bus = Bus(blocks := BlockRecorder())

    def step(x):
        bus.batch_end(1, {"loss": x})
        return x * 2

    torch.func.grad(step)(torch.ones(()))
    bus.flush()
    assert blocks.column("loss") == [1.0]


def test_torch_means(torch):
    """A loop's epoch logs are means of device values, weighted by device values."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x, weight in loop.batches([(1.0, 3), (5.0, 1)]):
                loop.log(loss=torch.tensor(x, requires_grad=True), weight=torch.tensor(weight))
    assert recorder.events == [("epoch_end", 0, {"loss": 2.0})]


# --- TensorFlow -----------------------------------------------------------------------------------------------------


def test_tensorflow_tensors(tf):
    """Eager tensors of one element and any real type are numbers, alone and mixed."""
    kinds = ["float32", "float64", "bfloat16", "float16", "int64", "bool"]
    values = [*[tf.cast(1, kind) for kind in kinds], tf.ones((1, 1))]
    assert [scalar(value) for value in values] == column(*values) == [1.0] * 7
    assert recorded(*values) == ([1.0] * 7, [1.0] * 7)


def test_tensorflow_tensor_is_kept_on_the_device(tf):
    """An immutable tensor is kept itself."""
    value = tf.constant(1.0)
    assert keep(value) is value


def test_tensorflow_variable_keeps_its_value(tf):
    """A variable that the next step assigns is recorded as it was when logged."""
    variable = tf.Variable(1.0)
    kept = keep(variable)
    variable.assign_add(1.0)
    assert scalar(kept) == 1.0
    assert recorded(variable) == ([2.0], [2.0])


@pytest.mark.parametrize(
    "make",
    [
        lambda tf: tf.ones(3),
        lambda tf: tf.constant("text"),
        lambda tf: tf.constant(1j),
        lambda tf: tf.Variable([1.0, 2.0]),
    ],
    ids=["vector", "text", "complex", "variable"],
)
def test_tensorflow_value_that_is_not_a_number_is_refused(tf, make, warned):
    """Vectors, strings and complex numbers are skipped."""
    assert_refused(warned, "", make(tf), make(tf))


def test_tensorflow_symbolic_tensor_is_refused(tf, warned):
    """A value that is logged inside a `tf.function` is skipped, and the message says what to log."""
    bus = Bus(blocks := BlockRecorder())

    @tf.function
    def step(x):
        bus.batch_end(1, {"loss": x})
        return x * 2

    step(tf.constant(1.0))
    bus.batch_end(2, {"loss": 2.0})
    bus.flush()
    assert blocks.column("loss") == [None, 2.0]
    (message,) = warned()
    assert UNDER_TRACING in message


# --- all of them ----------------------------------------------------------------------------------------------------


def test_values_of_all_frameworks_in_one_column(jax, torch, tf):
    """A column may mix values of all kinds."""
    values = [1.0, jax.numpy.float32(2), torch.tensor(3.0), tf.constant(4.0), np.float32(5), None, tf.Variable(7.0)]
    assert column(*values) == [1.0, 2.0, 3.0, 4.0, 5.0, None, 7.0]


@pytest.mark.parametrize("framework", ["numpy", "jax", "torch", "torch parameter", "tensorflow", "tensorflow variable"])
def test_to_host_is_a_copy(framework, request):
    """An array of any framework becomes a NumPy array with its own memory."""
    package = (
        None
        if framework == "numpy"
        else request.getfixturevalue({"tensorflow": "tf"}.get(framework.split()[0], framework.split()[0]))
    )
    array = {
        "numpy": lambda: np.ones((2, 3)),
        "jax": lambda: package.numpy.ones((2, 3)),
        "torch": lambda: package.ones((2, 3), dtype=package.bfloat16),
        "torch parameter": lambda: package.nn.Parameter(package.ones((2, 3))),
        "tensorflow": lambda: package.ones((2, 3)),
        "tensorflow variable": lambda: package.Variable(package.ones((2, 3))),
    }[framework]()
    first, second = to_host(array), to_host(array)
    first += 1
    assert (type(second), second.tolist()) == (np.ndarray, [[1.0] * 3] * 2)
    assert to_host(array).tolist() == [[1.0] * 3] * 2


# --- reasons ----------------------------------------------------------------------------------------------------------


def refusal(value):
    """Return why a value is refused."""
    with pytest.raises((TypeError, ValueError)) as caught:
        scalar(value)
    return str(caught.value)


def test_a_jax_key_is_called_a_key(jax):
    """Random keys are not reported as symbolic tensors."""
    keys = jax.random.key(0), jax.random.split(jax.random.key(0))
    assert [refusal(key) for key in keys] == ["it is a random key of JAX, and a metric is a number"] * 2


def test_a_tensorflow_string_is_called_a_string(tf):
    """Strings, one or many, in a variable or not, and variants are not reported as symbolic tensors."""
    strings = tf.constant("a"), tf.constant(["a", "b"]), tf.Variable("a")
    assert [refusal(each) for each in strings] == ["it is a tensor of strings, and a metric is a number"] * 3
    variant = tf.data.experimental.to_variant(tf.data.Dataset.range(2))
    assert refusal(variant) == "it is a tensor of the type variant, and a metric is a number"


def test_a_tensorflow_variable_in_a_function_is_under_tracing(tf):
    """Inside a `tf.function` a variable has no value either."""
    variable, reasons = tf.Variable(1.0), []

    @tf.function
    def step(x):
        reasons.append(refusal(variable))
        return x

    step(tf.constant(1.0))
    assert reasons == [f"it is a value under tracing: {UNDER_TRACING}"]


def test_a_tensor_that_a_keras_model_is_built_of_is_refused():
    """A symbolic tensor of any shape has no value."""
    keras = pytest.importorskip("keras")
    reason = "it is a symbolic tensor of Keras, which has no value: log what the model returns"
    assert [refusal(keras.Input(shape)) for shape in [(), (2,)]] == [reason] * 2


def test_torch_tensors_without_numbers_are_refused(torch):
    """Tensors on the meta device or inside `vmap` cannot be read; "log a copy" would not help."""
    reasons = []

    def step(x):
        reasons.append(refusal(x))
        return x

    torch.vmap(step)(torch.ones(2))
    assert [*reasons, refusal(torch.ones((), device="meta"))] == [
        "it is a tensor inside vmap: log what the mapped function returns",
        f"it is a tensor without numbers, as under tracing: {UNDER_TRACING}",
    ]


def test_a_value_of_no_framework_that_cannot_be_read_is_called_what_it_is():
    """An object whose `item` raises is not reported as a symbolic tensor."""

    class Sheet:
        def item(self):
            raise NotImplementedError("empty")

        def __repr__(self):
            return "Sheet()"

    assert refusal(Sheet()) == "it is Sheet(), which has no number to read (empty)"
