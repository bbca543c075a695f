"""Copies of sinks: by copy, deepcopy and pickle, every public sink, new and after a reset."""

import copy
import inspect
import pickle

import attrs
import numpy as np
import pytest

import monitor_core
from monitor_core import Bus, NetworkSink, Sink, TensorBoard
from monitor_core.plotting import LivePlot
from monitor_core.schedules import CosineDecay
from recorders import train

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda sink: pickle.loads(pickle.dumps(sink)),  # noqa: S301 - written a moment ago
}
SINKS = {
    "ActivationDump": (("{epoch}.npz",), {}),
    "CSVLogger": (("log.csv",), {"per_batch": True}),
    "Control": ((), {"folder": "controlled"}),
    "Diagnosis": ((), {"probes": False}),
    "EarlyStopping": (("loss",), {"patience": 3, "restore_best_weights": True}),
    "History": ((), {"per_batch": True}),
    "Inside": ((), {"every": 2, "data": np.zeros((4, 3), np.float32)}),
    "Journal": (("journal",), {"config": {"units": 4}}),
    "LearningRateScheduler": ((CosineDecay(0.5, 4),), {}),
    "LivePlot": ((), {"metrics": ["loss"]}),
    "ModelCheckpoint": (("{epoch}.model",), {"monitor": "loss", "save_best_only": True}),
    "Progress": ((), {}),
    "ReduceLROnPlateau": (("loss",), {"factor": 0.5}),
    "SystemMetrics": ((), {"every": 60.0}),
    "Snapshots": ((), {"class_names": ["a", "b"], "data": np.zeros((4, 3), np.float32)}),
    "TensorBoard": (("logs",), {"update_freq": "batch", "histogram_freq": 1, "hparams": {"units": 4}}),
    "TerminateOnNaN": ((), {}),
    "Webhook": (("http://127.0.0.1:9/hook",), {"retry_seconds": 0.0, "flush_seconds": 0.0}),
}


class Model:
    """A handle of all that these sinks need."""

    learning_rates = (0.5,)

    def get_weights(self):
        return [np.zeros(2)]

    def set_weights(self, weights):
        pass

    def weights(self):
        yield "kernel", np.zeros(2)

    def activations(self, x, layers=None):
        yield "dense", np.asarray(x)

    def save(self, path, *, weights_only=False):
        path.write_text("saved")


def made(name):
    """Return a new sink of that name."""
    arguments, options = SINKS[name]
    return getattr(monitor_core, name, LivePlot)(*arguments, **options)


def run(sink):
    """Run a sink over two epochs of two batches."""
    bus = Bus(sink, model=Model(), validation_data=(np.ones((2, 1)), None))
    train(bus, [{"loss": 3.0}, {"loss": 2.0}], [{"loss": 1.0}, {"loss": 0.5}])
    assert bus.failures == []
    if isinstance(sink, NetworkSink):
        sink.close(0)


def options(sink):
    """Return the arguments that a sink was made with."""
    return {field.name: getattr(sink, field.name) for field in attrs.fields(type(sink)) if field.init}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_every_public_sink_is_tested():
    """A sink that is added to the package is added here."""
    public = (getattr(monitor_core, name) for name in monitor_core.__all__)
    sinks = {each.__name__ for each in public if inspect.isclass(each) and issubclass(each, Sink)}
    assert sinks - {"Sink", "NetworkSink"} | {"LivePlot"} == set(SINKS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SINKS)
def test_a_copy_of_a_new_sink_is_a_sink_of_its_own(name, way):
    """It has the same options, runs, and what it sees leaves the original as it was."""
    original = made(name)
    before = pickle.dumps(original)
    twin = WAYS[way](original)
    assert twin is not original
    assert {name for name, value in options(twin).items() if repr(value) != repr(options(original)[name])} == set()
    run(twin)
    assert pickle.dumps(original) == before
    run(original)


@pytest.mark.parametrize("way", WAYS)
def test_a_board_that_has_written_is_copied_after_a_reset_alone(way):
    """Two would write into one folder at the same time; the message says what to do."""
    board = TensorBoard("logs")
    run(board)
    with pytest.raises(TypeError, match=r"begun to write into .*logs cannot be copied or pickled: call reset\(\)"):
        WAYS[way](board)
    board.reset()
    run(WAYS[way](board))


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_network_sink_delivers_by_itself(way):
    """Of a class of a user's own, also once the original has a thread."""
    original = Collector()
    original.send(1)
    assert original.flush(10)
    twin = WAYS[way](original)
    twin.got = []
    twin.send(2)
    assert twin.flush(10)
    assert (original.got, twin.got) == ([1], [2])


class Collector(NetworkSink):
    """Keep what is delivered."""

    def __init__(self):
        self.got = []

    def deliver(self, message):
        self.got.append(message)
