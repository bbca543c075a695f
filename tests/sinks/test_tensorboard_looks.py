"""Tensorboard: a look inside, values of the user's own, bad input, failures."""

import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from boards_reader import plugins, scalars, steps, tensors, tree

from monitor_core import Bus, Loop, SetupError, Sink
from monitor_core.sinks.tensorboard import TensorBoard
from tensorboard_support import DATA, LOOKS, Model, batch, board, epochs, run


def test_every_output_is_written(tmp_path):
    """With all options on each output has its tags, in the run and under the plugin that it belongs to."""
    sink = board(tmp_path, text={"notes": "# Notes"}, hparams={"rate": 0.5}, **LOOKS)
    run(Bus(sink, model=Model(), validation_data=DATA, strict=True), 1)
    assert tree(tmp_path) == [".", "embeddings/epoch-0000", "train", "validation"]
    assert plugins(tmp_path / "train") == {
        "dense/activations": "histograms",
        "dense/kernel/gradient": "histograms",
        "dense/kernel/histogram": "histograms",
        "dense/kernel/image": "images",
        "epoch_learning_rate": "scalars",
        "epoch_loss": "scalars",
        "hparams": "text",
        "notes": "text",
    }
    assert plugins(tmp_path / "validation") == {
        "confusion_matrix": "images",
        "epoch_loss": "scalars",
        "evaluation_loss_vs_iterations": "scalars",
        "pr_curve": "pr_curves",
    }
    about = ["experiment", "session_start_info", "session_end_info"]
    metrics = dict.fromkeys(["hparams/loss", "hparams/val_loss"], "scalars")
    assert plugins(tmp_path) == {f"_hparams_/{name}": "hparams" for name in about} | metrics


def test_the_model_is_looked_at_where_epochs_end_alone(tmp_path):
    """Between two batches nothing is asked of the model, and each epoch asks for everything once."""
    model = Model()
    bus = Bus(board(tmp_path, update_freq="batch", **LOOKS), model=model, validation_data=DATA, strict=True)
    bus.train_begin()
    bus.epoch_begin(0)
    batch(bus, 600)
    bus.evaluation_begin()
    bus.evaluation_end({"loss": 1.0})
    assert model.asked == []
    bus.epoch_end(0, {"loss": 1.0})
    assert model.asked == ["weights", "activations", "gradients", "embeddings", "predict"]


@pytest.mark.parametrize(
    ("freq", "expected"),
    [(0, [0, 1, 2, 3]), (3, [0, 3])],
)
def test_looks_inside_come_with_the_histograms_or_each_epoch(tmp_path, freq, expected):
    """Images, activations and gradients are written every histogram_freq epochs, or every epoch if it is 0."""
    sink = board(tmp_path, histogram_freq=freq, write_images=True, write_activations=True, write_gradients=True)
    run(Bus(sink, model=Model(), validation_data=DATA, strict=True), 4)
    found = {tag: steps(tmp_path / "train", tag) for tag in tensors(tmp_path / "train") if tag.startswith("dense")}
    histograms = {"dense/kernel/histogram": expected} if freq else {}
    others = ("dense/kernel/image", "dense/activations", "dense/kernel/gradient")
    assert found == {**dict.fromkeys(others, expected), **histograms}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"histogram_freq": 2}, [0, 2]),
        ({"histogram_freq": 2, "write_activations": False}, []),
        ({"write_images": True}, []),
        ({"write_activations": True}, [0, 1, 2]),
    ],
)
def test_activations_come_with_the_histograms_where_data_are_at_hand(tmp_path, options, expected):
    """As the tutorial promises of histogram_freq; missing validation data are not an error."""
    for folder, data in (("with", DATA), ("without", None)):
        bus = Bus(board(tmp_path / folder, **options), model=Model(), validation_data=data, strict=True)
        run(bus, 3)
    assert steps(tmp_path / "with/train", "dense/activations") == expected
    assert steps(tmp_path / "without/train", "dense/activations") == []


def test_missing_data_are_named_where_activations_are_asked_for(tmp_path, warned):
    """With write_activations=True a warning says what to give; by default nothing is missed."""
    run(Bus(board(tmp_path / "a", histogram_freq=1), model=Model(), strict=True), 1)
    assert warned() == []
    run(Bus(board(tmp_path / "b", write_activations=True), model=Model(), strict=True), 1)
    assert "there are no validation data to read" in warned()[0]


@pytest.mark.parametrize("fails", ["weights", "activations", "gradients", "embeddings", "predict"])
def test_a_part_that_fails_stops_neither_the_others_nor_the_training(tmp_path, warned, fails):
    """If one output raises, a warning names it once; all others are written, in every epoch."""
    sink = board(tmp_path, **LOOKS)
    bus = Bus(sink, model=Model(fails), validation_data=DATA, strict=True)
    run(bus, 3)
    assert bus.failures == []
    assert len(warned()) == 1
    assert f"RuntimeError: no {fails}; training continues" in warned()[0]
    tags = {
        "weights": ("dense/kernel/histogram", "dense/kernel/image"),
        "activations": ("dense/activations",),
        "gradients": ("dense/kernel/gradient",),
        "predict": ("pr_curve", "confusion_matrix"),
        "embeddings": (),
    }
    found = {**tensors(tmp_path / "train"), **tensors(tmp_path / "validation")}
    assert len(list(tmp_path.glob("embeddings/*"))) == (0 if fails == "embeddings" else 3)
    for part, theirs in tags.items():
        assert {tag: len(found.get(tag, ())) for tag in theirs} == dict.fromkeys(theirs, 0 if part == fails else 3)


def test_missing_validation_data_are_logged(tmp_path, warned):
    """Without validation data the outputs that need them say where to give them, and the others are written."""
    bus = Bus(board(tmp_path, **LOOKS), model=Model(), strict=True)
    run(bus, 2)
    assert len(warned()) == 3
    assert all("pass validation_data=(x, y) to the adapter" in message for message in warned())
    assert steps(tmp_path / "train", "dense/kernel/histogram") == [0, 1]


def test_what_the_model_must_provide_is_known_before_training(tmp_path):
    """Each option needs its member of the handle, and none needs more."""
    assert TensorBoard(tmp_path).needs == ()
    assert TensorBoard(tmp_path, write_images=True).needs == ("weights",)
    assert TensorBoard(tmp_path, **LOOKS).needs == ("weights", "activations", "gradients", "embeddings", "predict")
    with pytest.raises(SetupError, match="TensorBoard needs 'weights' of the model, and no model was given"):
        Bus(TensorBoard(tmp_path, histogram_freq=1)).train_begin()


def test_labels_of_an_unknown_layer_are_a_setup_error(tmp_path):
    """Labels for a layer that is not there end the training before it begins."""
    sink = TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"word": ["a", "b", "c"]})
    with pytest.raises(SetupError, match=r"which are words \(got 'word'\)"):
        Bus(sink, model=Model()).train_begin()


def test_values_of_ones_own_are_written_at_the_step(tmp_path):
    """A number, a distribution, an image and a string get the given step, or the number of ended batches."""
    sink = board(tmp_path)
    bus = Bus(sink, strict=True)
    bus.train_begin()
    bus.epoch_begin(0)
    batch(bus, 4)
    sink.add_scalar("mine/number", np.float32(2.0))
    sink.add_histogram("mine/values", [1.0, 2.0])
    sink.add_image("mine/picture", np.zeros((2, 3)), step=7)
    sink.add_text("mine/text", "**bold**")
    sink.add_scalar("epoch_mine", 1.0, axis="epoch")
    found = tensors(tmp_path / "train")
    assert {tag: events[0][0] for tag, events in found.items()} == {
        "epoch_mine": 0,
        "mine/number": 4,
        "mine/picture": 7,
        "mine/text": 4,
        "mine/values": 4,
    }
    assert plugins(tmp_path / "train")["mine/values"] == "histograms"
    assert found["mine/number"][0][1] == 2.0
    assert found["mine/text"][0][1].item() == b"**bold**"


def test_figures_are_written_as_images(tmp_path):
    """A matplotlib figure becomes an image of its size, and is not changed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([1, 2])
    canvas = figure.canvas
    TensorBoard(tmp_path).add_figure("curve", figure)
    width, height, _ = tensors(tmp_path / "train")["curve"][0][1]
    assert (int(width), int(height)) == (100, 50)
    assert figure.canvas is canvas


def test_graphs_of_ones_own_are_the_run_graph(tmp_path):
    """A graph of operations is the train run's graph."""
    from boards_reader import accumulated
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = GraphDef()
    graph.node.add(name="a", op="Add")
    TensorBoard(tmp_path).add_graph(graph)
    assert [node.name for node in accumulated(tmp_path / "train").Graph().node] == ["a"]


def test_values_may_come_before_and_after_a_run(tmp_path):
    """The files are made when they are needed, and opened again after a run."""
    sink = board(tmp_path)
    sink.add_scalar("before", 1.0)
    bus = Bus(sink, strict=True)
    run(bus, 1)
    sink.add_scalar("after", 2.0)
    run(bus, 1)
    found = scalars(tmp_path / "train")
    assert (found["before"], found["after"], found["epoch_loss"]) == ([(0, 1.0)], [(3, 2.0)], [(0, 0.0), (1, 0.0)])


def test_values_of_ones_own_are_dropped_by_a_rewind(tmp_path):
    """What was added after the step is dropped with the rest."""
    sink = board(tmp_path)
    bus = Bus(sink, strict=True)
    bus.train_begin()
    for epoch in range(2):
        epochs(bus, epoch + 1)
        sink.add_scalar("mine", float(epoch))
    bus.rewind(1, 3)
    assert scalars(tmp_path / "train", "mine") == {"mine": [(3, 0.0)]}


def test_values_of_ones_own_are_dropped_by_their_axis(tmp_path):
    """Whatever they are called: an epoch's by its number, all others by the step."""
    sink = board(tmp_path)
    bus = Bus(sink, strict=True)
    bus.train_begin()
    for epoch in range(3):
        epochs(bus, epoch + 1)
        sink.add_scalar("mine", float(epoch), axis="epoch")
        sink.add_histogram("a/histogram", [1.0])
        sink.add_text("epoch_text", "a", axis="epoch")
    bus.rewind(1, 6)
    found = {tag: steps(tmp_path / "train", tag) for tag in ("mine", "a/histogram", "epoch_text")}
    assert found == {"mine": [0], "a/histogram": [3, 6], "epoch_text": [0]}


def test_any_thread_may_write(tmp_path):
    """Values that several threads add while blocks are written are all there, whole."""
    sink = board(tmp_path, update_freq="batch")
    with Loop(sink, strict=True) as loop:
        threads = [
            threading.Thread(target=lambda name=name: [sink.add_scalar(name, step, step) for step in range(200)])
            for name in ("a", "b", "c")
        ]
        for thread in threads:
            thread.start()
        for _ in loop.epochs(2):
            for value in loop.batches(range(500)):
                loop.log(loss=value)
        for thread in threads:
            thread.join()
    found = scalars(tmp_path / "train")
    assert found["batch_loss"] == [(step, float((step - 1) % 500)) for step in range(1, 1001)]
    assert all(found[name] == [(step, float(step)) for step in range(200)] for name in ("a", "b", "c"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda sink: sink.add_scalar("a", "one"), TypeError, "a metric is a number"),
        (lambda sink: sink.add_scalar("a", 1.0, step=-1), ValueError, r"step must be >= 0 \(got -1\)"),
        (lambda sink: sink.add_image("a", np.zeros((2, 2, 7))), ValueError, "images must have the shape"),
        (lambda sink: sink.add_scalar("a", 1.0, axis="x"), ValueError, r"axis must be 'step' or 'epoch' \(got 'x'\)"),
        (lambda sink: sink.add_text("a", 5), TypeError, r"text must be a string \(got 5\)"),
        (lambda sink: sink.add_histogram("a", "text"), TypeError, "array must have real numbers"),
    ],
)
def test_values_that_are_none_are_refused(tmp_path, call, error, message):
    """A value that cannot be shown raises in the call that adds it."""
    with pytest.raises(error, match=message):
        call(TensorBoard(tmp_path))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"update_freq": 0}, ValueError, r'update_freq must be "epoch", "batch", or a number of .* >= 1 \(got 0\)'),
        ({"update_freq": True}, ValueError, r"update_freq must be .* \(got True\)"),
        ({"update_freq": "steps"}, ValueError, r"update_freq must be .* \(got 'steps'\)"),
        ({"histogram_freq": -1}, ValueError, r"histogram_freq must be >= 0 \(got -1\)"),
        ({"histogram_freq": True}, TypeError, r"histogram_freq must be an integer \(got True\)"),
        ({"write_graph": 1}, TypeError, "write_graph"),
        ({"samples": 0}, ValueError, r"samples must be >= 1 \(got 0\)"),
        ({"text": "notes"}, TypeError, r"text must map tags to strings \(got 'notes'\)"),
        ({"hparams": [1]}, TypeError, "hparams"),
        ({"profile_steps": 3}, TypeError, "profile_steps must be the first and the last step"),
        ({"profile_steps": (0, 3)}, ValueError, r"profile_steps must be >= 1 \(got 0\)"),
        ({"profile_steps": (5, 3)}, ValueError, r"profile_steps must not end before it begins \(got \(5, 3\)\)"),
        ({"embeddings_freq": 1, "embeddings_metadata": ["b"]}, TypeError, "must be a file, or map layers' names"),
        ({"embeddings_history": True}, ValueError, "embeddings_history must be False without embeddings_freq"),
        ({"embeddings_metadata": {"a": ["b"]}}, ValueError, "embeddings_metadata must be None without embeddings_freq"),
        ({"class_names": ["a"]}, ValueError, "class_names must be None without predictions_freq"),
        ({"hparams_metrics": ["loss"]}, ValueError, "hparams_metrics must be None without hparams"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, error, message):
    """An option that breaks its rule, or would have no effect, is an error at once."""
    with pytest.raises(error, match=message):
        TensorBoard(tmp_path, **options)


def test_a_folder_that_cannot_be_written_is_a_setup_error(tmp_path):
    """It is found before training begins."""
    (tmp_path / "logs").touch()
    with pytest.raises(SetupError, match="cannot be written"):
        Bus(TensorBoard(tmp_path / "logs")).train_begin()


def test_a_run_whose_file_cannot_be_made_later_costs_nothing_else(tmp_path):
    """What cannot be made in the middle of a training is tried again, and the others are written meanwhile."""
    bus = Bus(board(tmp_path, histogram_freq=1), model=Model())
    bus.train_begin()
    (tmp_path / "validation").touch()
    epochs(bus, 5)
    (tmp_path / "validation").unlink()
    epochs(bus, 6)
    assert {type(failure.error) for failure in bus.failures} == {OSError}
    for tag in ("epoch_loss", "dense/kernel/histogram"):
        assert steps(tmp_path / "train", tag) == [0, 1, 2, 3, 4, 5]
    assert steps(tmp_path / "validation", "epoch_loss") == [5]


def test_a_missing_package_is_named():
    """Without the package tensorboard, constructing the sink says how to get it."""
    code = textwrap.dedent("""
        import sys
        sys.modules["tensorboard"] = None
        from monitor_core.sinks.tensorboard import TensorBoard
        try:
            TensorBoard("logs")
        except ValueError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == 'TensorBoard needs tensorboard: pip install "monitor_core[tensorboard]"\n'


def test_what_was_written_outlives_a_kill(tmp_path):
    """A process that is killed within an epoch leaves each block and each epoch that came before."""
    code = textwrap.dedent(f"""
        import os, signal
        from monitor_core import Loop
        from monitor_core.sinks.tensorboard import TensorBoard
        with Loop(TensorBoard({str(tmp_path)!r}, update_freq="batch", write_steps_per_second=False)) as loop:
            for epoch in loop.epochs(3):
                for value in loop.batches(range(4)):
                    loop.log(loss=value)
                    if loop.run.step == 10:
                        loop.bus.flush()
                        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert done.returncode < 0
    assert steps(tmp_path / "train", "batch_loss") == list(range(1, 11))
    assert steps(tmp_path / "train", "epoch_loss") == [0, 1]


def test_other_sinks_may_write_from_their_hooks(tmp_path):
    """A custom sink adds a value at the end of its epoch, with the step of that moment."""
    sink = board(tmp_path)

    class Mine(Sink):
        def on_epoch_end(self, run, epoch, logs):
            sink.add_scalar("mine/double", 2 * logs["loss"])

    run(Bus(Mine(), sink, strict=True), 2)
    assert scalars(tmp_path / "train", "mine") == {"mine/double": [(3, 0.0), (6, 2.0)]}


@pytest.mark.parametrize(("status", "expected"), [("completed", 1), ("failed", 2), ("interrupted", 2)])
def test_hyperparameters_say_how_the_run_ended(tmp_path, status, expected):
    """The table shows a run as a success or a failure, as its status says."""
    from boards_reader import accumulated
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    bus = Bus(TensorBoard(tmp_path, hparams={"rate": 0.1}), strict=True)
    bus.train_begin()
    {
        "completed": bus.train_end,
        "failed": lambda: bus.exception(ValueError("no")),
        "interrupted": bus.interrupt,
    }[status]()
    metadata = accumulated(tmp_path).SummaryMetadata("_hparams_/session_end_info")
    assert HParamsPluginData.FromString(metadata.plugin_data.content).session_end_info.status == expected


def test_a_metric_of_any_name_is_shown(tmp_path, warned):
    """A name that TensorBoard cannot show is cleaned, with a warning; others stay as they are."""
    bus = Bus(board(tmp_path), strict=True)
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {"a b/ü<&>": 1.0, "line\nbreak": 2.0})
    found = scalars(tmp_path / "train")
    assert found["epoch_a b/ü<&>"] == [(0, 1.0)]
    assert len(found) == 2
    assert any("cannot show the name 'epoch_line" in message for message in warned())
