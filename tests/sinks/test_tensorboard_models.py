"""TensorBoard on real models: on this process's backend (`KERAS_BACKEND`), against Keras's own, and on PyTorch."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from boards_reader import plugins, scalars, steps, tensors, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Loop, ModelCheckpoint, Sink
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.sinks.tensorboard import TensorBoard

BACKEND = keras.backend.backend()
WORDS = 12
X = np.random.default_rng(0).integers(0, WORDS, (48, 6))
Y = (X.sum(axis=1) > 33).astype("float32")
DATA = (X[:16], Y[:16])
LOOKS = {
    "update_freq": "batch",
    "write_images": True,
    "histogram_freq": 1,
    "write_activations": True,
    "write_gradients": True,
    "embeddings_freq": 1,
    "embeddings_metadata": {"words": [f"word {number}" for number in range(WORDS)]},
    "predictions_freq": 1,
    "class_names": ["bad", "good"],
    "text": {"notes": "# Notes"},
    "hparams": {"rate": 0.5, "optimizer": "adam"},
}


def text_model(dropout=0.5):
    """Return the tutorial's kind of model: an embedding, a convolution, pooling; dropout is random."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Embedding(WORDS, 4, name="words"),
            layers.Conv1D(3, 2, activation="relu", name="first"),
            layers.GlobalMaxPooling1D(name="pool"),
            layers.Dropout(dropout, name="dropout"),
            layers.Dense(1, "sigmoid", name="last"),
        ],
        name="net",
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def small_model(**options):
    """Return a model of one layer, for what does not depend on it."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"], **options)
    return model


def fit(*parts, folder=None, epochs=3, **options):
    """Fit the text model with a board, and return it."""
    model = text_model()
    sinks = [*parts, TensorBoard(folder, **options)] if folder is not None else parts
    KerasAdapter(*sinks).fit(model, X, Y, epochs=epochs, batch_size=8, validation_data=DATA, shuffle=False, verbose=0)
    return model


def without_speed(found):
    """Return scalars without those that no two runs share."""
    return {tag: events for tag, events in found.items() if "steps_per_second" not in tag}


@pytest.mark.parametrize("update_freq", ["epoch", "batch"])
def test_scalars_are_those_of_keras(tmp_path, update_freq):
    """On the same seeded fit the tags, steps and values are those that Keras's own callback writes."""
    fit(folder=tmp_path / "ours", update_freq=update_freq)
    theirs = keras.callbacks.TensorBoard(
        str(tmp_path / "theirs"), update_freq=update_freq, write_steps_per_second=True, write_graph=False
    )
    model = text_model()
    model.fit(X, Y, epochs=3, batch_size=8, validation_data=DATA, shuffle=False, verbose=0, callbacks=[theirs])
    for run in ("train", "validation"):
        found, expected = scalars(tmp_path / "ours" / run), scalars(tmp_path / "theirs" / run)
        assert set(expected) - set(found) <= {"batch_steps_per_second"}
        assert set(found) <= set(expected)
        for tag, events in without_speed(found).items():
            assert [step for step, _ in events] == [step for step, _ in expected[tag]], tag
            assert np.allclose([value for _, value in events], [value for _, value in expected[tag]], 1e-6), tag
    assert steps(tmp_path / "ours/train", "epoch_steps_per_second") == [0, 1, 2]


@given(every=st.integers(1, 9), batches=st.integers(1, 7), epochs=st.integers(1, 4))
@settings(max_examples=5)
def test_every_nth_batch_is_that_of_keras(tmp_path_factory, every, batches, epochs):
    """With update_freq=N the batches' steps and values are those of Keras's callback; ours writes every epoch too."""
    folder = tmp_path_factory.mktemp("logs")
    options = {"epochs": epochs, "batch_size": 8, "shuffle": False, "verbose": 0}
    x, y = np.resize(X, (8 * batches, 6)).astype("float32"), np.resize(Y, 8 * batches)
    KerasAdapter(TensorBoard(folder / "ours", update_freq=every)).fit(small_model(), x, y, **options)
    theirs = keras.callbacks.TensorBoard(str(folder / "theirs"), update_freq=every, write_graph=False)
    small_model().fit(x, y, **options, callbacks=[theirs])
    found, expected = (scalars(folder / name / "train") for name in ("ours", "theirs"))
    for tag in ("batch_loss", "batch_mae"):
        assert [step for step, _ in found.get(tag, [])] == [step for step, _ in expected.get(tag, [])]
        assert np.allclose(*([value for _, value in each.get(tag, [])] for each in (found, expected)), 1e-6)
    # Keras writes an epoch's metrics only where N divides the number of batches so far.
    is_written = [epoch for epoch in range(epochs) if (epoch + 1) * batches % every == 0]
    assert [step for step, _ in expected.get("epoch_loss", [])] == is_written
    assert [step for step, _ in found["epoch_loss"]] == list(range(epochs))


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses steps_per_execution on this backend")
def test_several_batches_in_an_execution_are_counted_as_batches(tmp_path):
    """Every third batch of 12, two in an execution: the first at or after it, where Keras counts six executions."""
    x, y = np.resize(X, (96, 6)).astype("float32"), np.resize(Y, 96)
    theirs = keras.callbacks.TensorBoard(str(tmp_path / "theirs"), update_freq=3, write_graph=False)
    ours = KerasAdapter(TensorBoard(tmp_path / "ours", update_freq=3))
    for callback in (ours, theirs):
        model = small_model(steps_per_execution=2)
        options = {"batch_size": 8, "shuffle": False, "verbose": 0, "callbacks": [callback]}
        model.fit(x, y, **options)
    assert steps(tmp_path / "ours/train", "batch_loss") == [4, 6, 10, 12]
    assert steps(tmp_path / "theirs/train", "batch_loss") == [3, 6]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.summary needs it")
def test_summaries_of_tensorflow_within_layers_are_not_written(tmp_path):
    """Keras's callback writes what a layer gives to tf.summary; ours has methods for custom values."""
    import tensorflow as tf

    class Noted(keras.layers.Layer):
        def call(self, x):
            tf.summary.scalar("mean", tf.reduce_mean(x))
            return x

    theirs = keras.callbacks.TensorBoard(str(tmp_path / "theirs"), update_freq=1, write_graph=False)
    for callback in (KerasAdapter(TensorBoard(tmp_path / "ours", update_freq=1)), theirs):
        model = keras.Sequential([keras.Input((6,)), Noted(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(X.astype("float32"), Y, verbose=0, callbacks=[callback])
    found, expected = (scalars(tmp_path / name / "train") for name in ("ours", "theirs"))
    assert {"batch_loss"} <= set(found) & set(expected)
    assert [sum(tag.endswith("mean") for tag in tags) for tags in (found, expected)] == [0, 1]


def test_histograms_and_images_have_the_names_of_keras(tmp_path):
    """The weights' tags are those of Keras's callback, and the histograms count the same values."""
    fit(folder=tmp_path / "ours", histogram_freq=1, write_images=True)
    theirs = keras.callbacks.TensorBoard(
        str(tmp_path / "theirs"), histogram_freq=1, write_images=True, write_graph=False
    )
    text_model().fit(X, Y, epochs=3, batch_size=8, validation_data=DATA, shuffle=False, verbose=0, callbacks=[theirs])
    found, expected = tensors(tmp_path / "ours/train"), tensors(tmp_path / "theirs/train")
    weights = {tag for tag in expected if tag.endswith(("/histogram", "/image"))}
    assert len(weights) > 8
    assert weights <= set(found)
    for tag in weights:
        assert [step for step, _ in found[tag]] == [step for step, _ in expected[tag]]
        if tag.endswith("/histogram"):
            ours, other = found[tag][-1][1], expected[tag][-1][1]
            assert ours[:, 2].sum() == other[:, 2].sum()
            assert np.allclose((ours[0, 0], ours[-1, 1]), (other[0, 0], other[-1, 1]))


def test_every_output_is_there(tmp_path):
    """With every option on, each tab has the model's data: layers, weights, words, curves, strings, a table."""
    fit(folder=tmp_path, **LOOKS)
    snapshots = ["embeddings/epoch-0002"]
    assert tree(tmp_path) == [".", *snapshots, "train", "validation"]
    found = plugins(tmp_path / "train")
    weights = [weight.path for weight in text_model().weights]
    layers = ["words", "first", "pool", "dropout", "last"]
    kinds = {f"{weight}/{kind}": "histograms" for weight in weights for kind in ("histogram", "gradient")}
    kinds |= {f"{weight}/image": "images" for weight in weights}
    kinds |= {f"{layer}/activations": "histograms" for layer in layers}
    kinds |= {"graph": "graph_run_metadata_graph", "keras": "graph_keras_model"}
    kinds |= {"model": "text", "notes": "text", "hparams": "text"}
    assert {tag: kind for tag, kind in found.items() if kind != "scalars"} == kinds
    assert {kind for tag, kind in plugins(tmp_path / "validation").items() if kind != "scalars"} == {
        "pr_curves",
        "images",
    }
    assert {
        tuple(steps(tmp_path / "train", tag)) for tag, kind in kinds.items() if kind in ("histograms", "images")
    } == {(0, 1, 2)}


def test_the_graph_has_the_models_layers(tmp_path):
    """TensorBoard's own converter reads the conceptual graph, with each layer and what feeds it."""
    from tensorboard.plugins.graph.keras_util import keras_model_to_graph_def

    fit(folder=tmp_path, epochs=1)
    content = tensors(tmp_path / "train")["keras"][0][1].item()
    graph = keras_model_to_graph_def(json.loads(content))
    found = {node.name: list(node.input) for node in graph.node}
    assert found["net/first"] == ["net/words"]
    assert found["net/last"] == ["net/dropout"]
    assert b"Conv1D" in tensors(tmp_path / "train")["model"][0][1].item()


def test_training_is_the_same_with_every_output(tmp_path):
    """With every look at the model the weights, the metrics and the seeds come out as without any."""
    bare, watched = fit(Sink.__new__(Silent)), fit(folder=tmp_path, **LOOKS)
    for ours, theirs in zip(watched.variables, bare.variables, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(ours.value), keras.ops.convert_to_numpy(theirs.value))
    assert watched.history.history == bare.history.history


class Silent(Sink):
    """Listen to a run's end, and do nothing."""

    def on_train_end(self, run, logs):
        """Do nothing."""


def test_a_subclassed_model_has_what_it_can_have(tmp_path, warned):
    """A subclassed model trains, and what can be known of it is written."""

    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1, "sigmoid", name="dense")

        def call(self, x):
            return self.dense(keras.ops.cast(x, "float32"))

    model = Mine()
    model.compile("adam", "binary_crossentropy")
    adapter = KerasAdapter(TensorBoard(tmp_path, histogram_freq=1, write_activations=True, predictions_freq=1))
    adapter.fit(model, X, Y, epochs=2, validation_data=DATA, verbose=0)
    assert adapter.bus.failures == []
    found = tensors(tmp_path / "train")
    kernel = next(tag for tag in found if tag.endswith("dense/kernel/histogram"))
    assert [step for step, _ in found[kernel]] == [0, 1]
    assert steps(tmp_path / "validation", "pr_curve") == [0, 1]


def test_a_thousand_fits_are_numbered_on(tmp_path):
    """Repeated fits of one epoch with one board give epochs and steps that ascend, without a Loop too."""
    model = text_model()
    board = TensorBoard(tmp_path, update_freq="batch")
    for _ in range(4):
        model.fit(X, Y, epochs=1, batch_size=16, verbose=0, callbacks=KerasAdapter(board, model=model))
    assert steps(tmp_path / "train", "epoch_loss") == [0, 1, 2, 3]
    assert steps(tmp_path / "train", "batch_loss") == list(range(1, 13))


def test_a_loop_around_fits_is_one_run(tmp_path):
    """Inside of a Loop the epochs are the loop's, whose validation data are looked at."""
    model = text_model()
    board = TensorBoard(tmp_path, predictions_freq=1)
    with Loop(board, model=KerasModel(model), validation_data=DATA) as loop:
        for _ in loop.epochs(3):
            model.fit(X, Y, epochs=1, verbose=0, callbacks=KerasAdapter(loop))
    assert steps(tmp_path / "train", "epoch_loss") == [0, 1, 2]
    assert steps(tmp_path / "validation", "pr_curve") == [0, 1, 2]


def test_a_resumed_fit_continues_in_the_same_folder(tmp_path):
    """From the last checkpoint on the files hold what an uninterrupted fit would have written."""

    def attached(**options):
        checkpoint = ModelCheckpoint(tmp_path / "{epoch}.keras", monitor="loss", save_state=True)
        model = text_model(dropout=0.0)
        return model, checkpoint, KerasAdapter(TensorBoard(tmp_path / "logs", **options), checkpoint, model=model)

    class Dies(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    arguments = {"epochs": 4, "batch_size": 8, "shuffle": False, "verbose": 0}
    model, _, adapter = attached(update_freq="batch")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=[adapter, Dies()], **arguments)
    model, checkpoint, adapter = attached(update_freq="batch")
    assert checkpoint.resume(adapter.bus)
    adapter.fit(model, X, Y, **arguments)
    assert steps(tmp_path / "logs/train", "epoch_loss") == [0, 1, 2, 3]
    assert steps(tmp_path / "logs/train", "batch_loss") == list(range(1, 25))
    whole = text_model(dropout=0.0)
    expected = whole.fit(X, Y, **arguments).history["loss"]
    found = [value for _, value in scalars(tmp_path / "logs/train")["epoch_loss"]]
    assert np.allclose(found, expected, 1e-6)


def reviews(torch):
    """Return the text model in PyTorch."""

    class Reviews(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(WORDS, 4)
            self.dropout = torch.nn.Dropout(0.5)
            self.last = torch.nn.Linear(4, 1)

        def forward(self, x):
            return torch.sigmoid(self.last(self.dropout(self.words(x).mean(dim=1))))

    return Reviews()


def torch_run(*sinks):
    """Train the PyTorch model in a loop, and return its weights."""
    torch = pytest.importorskip("torch")
    from monitor_core.adapters.torch import TorchModel

    torch.manual_seed(0)
    module = reviews(torch)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    loss_function = torch.nn.functional.binary_cross_entropy
    handle = TorchModel(module, optimizer, loss=loss_function)
    data = (DATA[0], DATA[1][:, np.newaxis])
    with Loop(*sinks, model=handle, validation_data=data) as loop:
        for _ in loop.epochs(2):
            for start in loop.batches(range(0, 48, 16)):
                batch = slice(start, start + 16)
                loss = loss_function(module(torch.tensor(X[batch])), torch.tensor(Y[batch])[:, None])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loop.log(loss=loss)
    return handle.get_weights()


def test_a_torch_loop_has_every_output(tmp_path):
    """The same sink in a custom PyTorch loop writes every output, and changes nothing."""
    watched, bare = torch_run(TensorBoard(tmp_path, **LOOKS)), torch_run()
    assert all(np.array_equal(one, two) for one, two in zip(watched, bare, strict=True))
    assert tree(tmp_path) == [".", "embeddings/epoch-0001", "train", "validation"]
    found = plugins(tmp_path / "train")
    weights = ["words.weight", "last.weight", "last.bias"]
    kinds = {f"{weight}/{kind}": "histograms" for weight in weights for kind in ("histogram", "gradient")}
    kinds |= {f"{weight}/image": "images" for weight in weights}
    kinds |= {f"{layer}/activations": "histograms" for layer in ("words", "dropout", "last")}
    kinds |= {"graph": "graph_run_metadata_graph", "keras": "graph_keras_model"}
    kinds |= {"model": "text", "notes": "text", "hparams": "text"}
    assert {tag: kind for tag, kind in found.items() if kind != "scalars"} == kinds
    assert steps(tmp_path / "train", "batch_loss") == list(range(1, 7))
    assert plugins(tmp_path / "validation")["pr_curve"] == "pr_curves"


FRESH = """
import builtins, sys

asked, original = [], builtins.__import__

def spy(name, globals=None, *rest, **named):
    if name.partition(".")[0] == "tensorflow":
        asked.append((globals or {}).get("__name__"))
    return original(name, globals, *rest, **named)

builtins.__import__ = spy
sys.modules["tensorflow"] = None  # as if it were not installed
sys.path[:0] = FOLDERS
from pathlib import Path
import test_tensorboard_models as models
models.WRITE(folder=Path(FOLDER), profile_steps=(2, 3), **models.LOOKS)
print([name for name in asked if not name.startswith("keras.")])
"""


def torch_run_in(folder, **options):
    """Train the PyTorch model with a board."""
    torch_run(TensorBoard(folder, **options))


@pytest.mark.parametrize("write", ["fit", "torch_run_in"])
@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras itself imports it on this backend")
def test_everything_is_written_without_tensorflow(tmp_path, write):
    """With every output on, nothing of ours asks for TensorFlow, and all is there where it is not installed."""
    if write == "torch_run_in":
        pytest.importorskip("torch")
    folders = [str(folder) for folder in Path(__file__).parents[:2]]
    code = FRESH.replace("FOLDERS", repr(folders)).replace("FOLDER", repr(str(tmp_path))).replace("WRITE", write)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=280)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
    assert "TensorBoard cannot write" not in done.stderr
    tabs = {*plugins(tmp_path / "train").values(), *plugins(tmp_path / "validation").values()}
    graphs = {"graph_keras_model", "graph_run_metadata_graph"}
    assert tabs == {"scalars", "histograms", "images", "text", "pr_curves"} | graphs


def test_chosen_steps_are_profiled(tmp_path):
    """The framework's own profiler writes into the train run's folder."""
    fit(folder=tmp_path, profile_steps=(2, 3), epochs=1)
    pattern = "*.pt.trace.json" if BACKEND == "torch" else "plugins/profile/*/*.xplane.pb"
    assert len(list((tmp_path / "train").glob(pattern))) == 1
