"""Activation dumps of Keras models, PyTorch modules and others; under limits, kills, full disks, and continued."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from monitor_core import Bus, Loop, SetupError
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.files.activations import Activations, load_activations, write_activations
from monitor_core.files.replacing import replacing
from monitor_core.model.handles import check_layers
from monitor_core.sinks.activation_dump import ActivationDump
from monitor_core.sinks.model_checkpoint import ModelCheckpoint

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


class Model:
    """A handle of two layers that multiply by the epoch, with a third that is not used; it counts the looks.

    Args:
        built: Whether the layers are known before the first batch.
        outputs: What else the handle provides.
    """

    def __init__(self, *, built=True, outputs=None):
        self.built = built
        self.factor = 0.0
        self.looks = []
        self.outputs = outputs or {}

    def layer_names(self):
        return ["one", "two", "unused"] if self.built else None

    def activations(self, x, layers=None):
        check_layers(layers, ["one", "two", "unused", *self.outputs])
        self.looks.append((x.tolist(), layers))
        found = {"one": self.factor * x, "two": x + self.factor, "two:1": x[:, 0], **self.outputs}
        return (
            (name, np.array(each)) for name, each in found.items() if layers is None or name.split(":")[0] in layers
        )

    def save(self, path, *, weights_only=False):
        np.save(path, self.factor)

    def load(self, path):
        self.factor = float(np.load(path))


def train(dump, model, epochs, *, bus=None, data=(X, Y)):
    """Train some epochs of ten steps each, in which the model becomes the epoch."""
    bus = bus or Bus(dump, model=model, validation_data=data)
    bus.train_begin()
    for epoch in epochs:
        bus.epoch_begin(epoch)
        model.factor, model.built = float(epoch), True
        bus.batch_end(10 * epoch + 10, {})
        bus.epoch_end(epoch, {})
    bus.train_end()
    return bus


def names(folder):
    """Return the names of the files in a folder and those within it, sorted."""
    found = (path for path in folder.rglob("*") if path.is_file() and "-lock-" not in path.name)
    return sorted(path.relative_to(folder).as_posix() for path in found)


def shapes(path):
    """Return the shapes of the activations in a file."""
    return {name: array.shape for name, array in load_activations(path).items()}


# --- what is written, and when -------------------------------------------------------------------------------------


def test_each_epoch_has_its_activations(tmp_path):
    """At the end of each epoch every layer's output on the first samples goes into a file of its own."""
    dump, model = ActivationDump(tmp_path / "{epoch:03d}.npz", samples=2), Model()
    train(dump, model, range(3))
    assert dump.files == tuple(tmp_path / f"00{number}.npz" for number in (1, 2, 3))
    for epoch, path in enumerate(dump.files):
        found = load_activations(path)
        assert (found.epoch, found.step) == (epoch, 10 * epoch + 10)
        assert list(found) == ["one", "two", "two:1"]
        np.testing.assert_array_equal(found["one"], epoch * X[:2])
        np.testing.assert_array_equal(found["two"], X[:2] + epoch)


@pytest.mark.parametrize(("every", "wanted"), [(1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6]), (7, [7]), (8, [])])
def test_every_nth_epoch_is_written(tmp_path, every, wanted):
    """Between the N-th epochs nothing is computed; the first look, at train begin, is to try."""
    model = Model()
    train(ActivationDump(tmp_path / "{epoch}.npz", every=every), model, range(7))
    assert names(tmp_path) == [f"{epoch}.npz" for epoch in wanted]
    assert len(model.looks) == 1 + len(wanted)


def test_only_chosen_layers_are_computed(tmp_path):
    """The model is asked for the chosen layers alone, and all outputs of these are written."""
    model = Model()
    train(ActivationDump(tmp_path / "{step}.npz", layers=["two"]), model, range(1))
    assert shapes(tmp_path / "10.npz") == {"two": (1, 4), "two:1": (1,)}
    assert model.looks == [(X[:1].tolist(), ["two"])] * 2


def test_data_of_its_own_take_the_place_of_validation_data(tmp_path):
    """Samples that are given to the sink are what the model sees."""
    model = Model()
    train(ActivationDump(tmp_path / "a.npz", data=2 * X[3:], samples=9), model, range(1))
    assert model.looks[-1] == ((2 * X[3:]).tolist(), None)


def test_samples_are_read_once_a_run_and_let_go(tmp_path):
    """Each run reads the samples at its begin; after its end the sink keeps none."""

    class Data:
        read = 0

        def __iter__(self):
            Data.read += 1
            yield X, Y

    dump, model = ActivationDump(tmp_path / "a.npz"), Model()
    bus = train(dump, model, range(3), data=Data())
    train(dump, model, range(2), bus=bus)
    assert Data.read == 2
    assert dump._x is None


def test_outputs_that_are_not_numbers_are_left_out(tmp_path, warned):
    """Strings are left out with one warning, and the other layers are written."""
    model = Model(outputs={"words": np.array([b"a", b"b"], dtype=object)})
    train(ActivationDump(tmp_path / "{epoch}.npz"), model, range(3))
    assert list(shapes(tmp_path / "3.npz")) == ["one", "two", "two:1"]
    assert warned() == ["ActivationDump leaves out 'words', whose output is not numeric (object)"]


def test_a_layer_that_is_not_used_is_reported_once_a_run(tmp_path, warned):
    """A layer that exists and gives nothing is a warning in each run; where nothing is left, no file is written."""
    train(ActivationDump(tmp_path / "{epoch}.npz", layers=["unused", "one"]), Model(), range(2))
    dump = ActivationDump(tmp_path / "none-{epoch}.npz", layers=["unused"])
    bus = train(dump, Model(), range(2))
    train(dump, bus.run.model, range(2), bus=bus)
    assert names(tmp_path) == ["1.npz", "2.npz"]
    assert warned() == ["ActivationDump finds no output of the layer 'unused': the model does not use it"] * 3


# --- limits --------------------------------------------------------------------------------------------------------


def test_only_the_newest_files_are_kept(tmp_path):
    """Files beyond the number to keep go, the oldest first; those of others stay."""
    (tmp_path / "0.npz").write_bytes(b"mine")
    train(ActivationDump(tmp_path / "{epoch}.npz", keep=2), Model(), range(4))
    assert names(tmp_path) == ["0.npz", "3.npz", "4.npz"]


def test_bytes_are_limited(tmp_path, warned):
    """The oldest files are removed if all have too many bytes; one that alone has too many is logged."""
    train(ActivationDump(tmp_path / "{epoch}.npz"), Model(), range(1))
    size = (tmp_path / "1.npz").stat().st_size
    train(ActivationDump(tmp_path / "{epoch}.npz", max_bytes=2 * size + 9), Model(), range(4))
    assert names(tmp_path) == ["3.npz", "4.npz"]
    assert warned() == []
    train(ActivationDump(tmp_path / "{epoch}.npz", max_bytes=9), Model(), range(6, 8))
    assert names(tmp_path) == ["3.npz", "4.npz", "8.npz"]
    assert warned() == [f"{tmp_path / '7.npz'} alone has {size} bytes, more than max_bytes=9"]


def test_a_new_run_leaves_the_files_of_the_one_before(tmp_path):
    """A run counts its own files only, and replaces those of an earlier one where they have the same names."""
    dump = ActivationDump(tmp_path / "{epoch}.npz", keep=2)
    bus = train(dump, Model(), range(4))
    train(dump, bus.run.model, range(1), bus=bus)
    assert names(tmp_path) == ["1.npz", "3.npz", "4.npz"]
    assert dump.files == (tmp_path / "1.npz",)


# --- arguments and set-up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"filepath": "a.npy"}, ValueError, r"filepath must end in \.npz \(got 'a\.npy'\)"),
        ({"filepath": 3}, TypeError, r"filepath must be a path, as a string or a PathLike of one \(got 3\)"),
        ({"filepath": "{epoch.x}.npz"}, ValueError, "filepath must have fields of a name and a format spec"),
        ({"filepath": "{epoch}/../a.npz"}, ValueError, "filepath must not have '..' after a field"),
        ({"filepath": "{loss}.npz"}, ValueError, r"no other fields than {epoch} and {step} \(got {loss}\)"),
        ({"keep": 1, "filepath": "a.npz"}, ValueError, r"filepath must have a field such as {epoch} with keep"),
        ({"keep": 0}, ValueError, r"keep must be >= 1 \(got 0\)"),
        ({"max_bytes": 0}, ValueError, r"max_bytes must be >= 1 \(got 0\)"),
        ({"every": 0}, ValueError, r"every must be >= 1 \(got 0\)"),
        ({"samples": 1.5}, TypeError, r"samples must be an integer \(got 1\.5\)"),
        ({"layers": "conv"}, TypeError, r"layers must be a sequence of names \(got 'conv'\)"),
        ({"layers": [3]}, TypeError, r"layers must be a sequence of names \(got \[3\]\)"),
        ({"layers": []}, ValueError, "layers must have at least one name"),
    ],
)
def test_wrong_arguments_are_errors(arguments, error, message):
    """Each argument is checked at construction, by an error that names it, its rule and the value."""
    with pytest.raises(error, match=message):
        ActivationDump(**{"filepath": "{epoch}.npz", **arguments})


def test_a_folder_that_cannot_be_written_is_a_setup_error(tmp_path):
    """Where no file can be written, that is known before training begins; so is a folder in the file's place."""
    (tmp_path / "file").write_text("")
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(SetupError, match=r"ActivationDump cannot write into .*file"):
        train(ActivationDump(tmp_path / "file" / "{epoch}.npz"), Model(), range(1))
    with pytest.raises(SetupError, match=r"filepath must name a file \(got the folder"):
        train(ActivationDump(tmp_path / "a.npz"), Model(), range(1))


def test_missing_data_are_a_setup_error(tmp_path):
    """Without validation data or with data that cannot be read, the message says what to give."""
    with pytest.raises(SetupError, match=r"there are no validation data: pass ActivationDump\(\.\.\., data=x\), or"):
        train(ActivationDump(tmp_path / "a.npz"), Model(), range(1), data=None)
    with pytest.raises(SetupError, match=r"cannot read samples from the validation data: .* \(got a generator\)"):
        train(ActivationDump(tmp_path / "a.npz"), Model(), range(1), data=(each for each in [X]))
    with pytest.raises(SetupError, match="cannot read samples from data: data must be arrays"):
        train(ActivationDump(tmp_path / "a.npz", data=3), Model(), range(1))


def test_a_handle_without_activations_is_a_setup_error(tmp_path):
    """A model that cannot be looked into is refused with the need named."""
    with pytest.raises(SetupError, match="ActivationDump needs 'activations' of the model"):
        Bus(ActivationDump(tmp_path / "a.npz"), model=object(), validation_data=X).train_begin()


def test_a_model_that_cannot_be_looked_at_is_a_setup_error(tmp_path):
    """A layer that does not exist, or samples of another shape, are known at train begin."""
    with pytest.raises(SetupError, match=r"layers must name layers of the model \(got 'too'\): there are two"):
        train(ActivationDump(tmp_path / "a.npz", layers=["too"]), Model(), range(1))
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    with pytest.raises(SetupError, match="ActivationDump cannot compute the layers' activations: "):
        train(ActivationDump(tmp_path / "a.npz"), KerasModel(model), range(0))
    assert names(tmp_path) == []


def test_a_model_that_is_not_built_is_looked_at_later(tmp_path, warned):
    """Where layers are not known at train begin, one that is missing is a warning, and the others are written."""
    model = Model(built=False)
    train(ActivationDump(tmp_path / "{epoch}.npz", layers=["one", "to"]), model, range(3))
    assert [list(shapes(tmp_path / name)) for name in names(tmp_path)] == [["one"]] * 3
    assert len(model.looks) == 3
    (message,) = warned()
    assert message.startswith("layers must name layers of the model (got 'to'): there are two")
    assert message.endswith("ActivationDump leaves out the missing ones")


def test_a_symbolic_link_does_not_lead_out_of_the_folder(tmp_path):
    """A folder below the template's own that leads elsewhere is not written into; a link in the file's place goes."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "1").symlink_to(tmp_path / "elsewhere")
    bus = train(ActivationDump(tmp_path / "runs" / "{epoch}" / "a.npz"), Model(), range(2))
    assert [str(each.error).partition(" (")[0] for each in bus.failures] == [
        "filepath must not leave its folder by a symbolic link"
    ]
    assert names(tmp_path / "elsewhere") == []
    (tmp_path / "elsewhere" / "mine.npz").write_bytes(b"mine")
    (tmp_path / "a.npz").symlink_to(tmp_path / "elsewhere" / "mine.npz")
    train(ActivationDump(tmp_path / "a.npz"), Model(), range(1))
    assert (tmp_path / "elsewhere" / "mine.npz").read_bytes() == b"mine"
    assert shapes(tmp_path / "a.npz")["one"] == (1, 4)


# --- continuing ----------------------------------------------------------------------------------------------------


def checkpointed(folder, dump):
    """Return a bus with a dump and a checkpoint of everything, and the checkpoint."""
    checkpoint = ModelCheckpoint(folder / "{epoch}.npy", save_state=True)
    return Bus(dump, checkpoint, model=Model(), validation_data=X), checkpoint


def test_a_resumed_run_goes_on_with_its_files(tmp_path):
    """After a restart, files after the checkpoint are dropped, limits count the others, and foreign ones stay."""
    dump = ActivationDump(tmp_path / "dumps" / "{epoch}.npz")
    train(ActivationDump(tmp_path / "dumps" / "{epoch}.npz"), Model(), [8])  # another run
    bus, _ = checkpointed(tmp_path, dump)
    train(dump, bus.run.model, range(3), bus=bus)
    run = load_activations(dump.files[0]).run
    for epoch in (3, 4):  # written before a kill, after the last checkpoint
        write_activations(tmp_path / "dumps" / f"{epoch + 1}.npz", Activations({}, epoch=epoch, step=0, run=run))
    again = ActivationDump(tmp_path / "dumps" / "{epoch}.npz", keep=2)
    bus, checkpoint = checkpointed(tmp_path, again)
    assert checkpoint.resume(bus)
    train(again, bus.run.model, [], bus=bus)
    assert names(tmp_path / "dumps") == ["1.npz", "2.npz", "3.npz", "9.npz"]
    bus, checkpoint = checkpointed(tmp_path, again)
    assert checkpoint.resume(bus)
    train(again, bus.run.model, [3], bus=bus)
    assert names(tmp_path / "dumps") == ["3.npz", "4.npz", "9.npz"]
    assert {load_activations(path).run for path in again.files} == {run}


def test_a_rewind_drops_what_lies_after(tmp_path):
    """Going back within a run drops the files from that epoch on, of this run alone."""
    (tmp_path / "9.npz").write_bytes(b"mine")
    dump = ActivationDump(tmp_path / "{epoch}.npz")
    bus = Bus(dump, model=Model(), validation_data=X)
    bus.train_begin()
    for epoch in range(5):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {})
    bus.rewind(2, 20)
    assert names(tmp_path) == ["1.npz", "2.npz", "9.npz"]
    assert dump.files == (tmp_path / "1.npz", tmp_path / "2.npz")


def test_going_back_in_a_run_without_files_touches_no_others(tmp_path):
    """A run that has trained, but not written yet, does not take an earlier run's files for its own."""
    train(ActivationDump(tmp_path / "{epoch}.npz"), Model(), range(4))
    bus = Bus(ActivationDump(tmp_path / "{epoch}.npz", every=10), model=Model(), validation_data=X)
    bus.train_begin()
    for epoch in range(3):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {})
    bus.rewind(1, 10)
    assert names(tmp_path) == ["1.npz", "2.npz", "3.npz", "4.npz"]


# --- under hard conditions -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def full_disk(size):
    """Let no file grow beyond a number of bytes, as if the disk was full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 100, 700, 5000])
def test_a_full_disk_costs_the_files_that_do_not_fit(tmp_path, warned, size):
    """On a full disk files are missing, with one warning and a count; what was there stays, and later ones come."""
    model = Model(outputs={"large": np.zeros(2000)})
    bus = Bus(ActivationDump(tmp_path / "{epoch}.npz", keep=2), model=model, validation_data=X)
    bus.train_begin()
    for epoch in range(7):
        bus.epoch_begin(epoch)
        with full_disk(size) if 2 <= epoch <= 5 else contextlib.nullcontext():
            bus.epoch_end(epoch, {})
        if epoch == 5:
            assert names(tmp_path) == ["1.npz", "2.npz"]
    bus.train_end()
    assert [type(each.error) for each in bus.failures] == [OSError] * 4
    assert names(tmp_path) == ["2.npz", "7.npz"]
    assert [message.partition(";")[0] for message in warned()] == [
        "ActivationDump.on_epoch_end raised at step 0",
        "ActivationDump failed 4 times",
    ]


def test_a_folder_that_vanishes_is_created_again(tmp_path):
    """Where the folder is removed in mid-run, the next file is there again."""
    folder = tmp_path / "dumps"
    bus = Bus(ActivationDump(folder / "{epoch}.npz", keep=1), model=Model(), validation_data=X)
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {})
        if epoch == 0:
            shutil.rmtree(folder)
    assert names(folder) == ["2.npz"]
    assert bus.failures == []


KILLED = """
    import itertools, sys
    import numpy as np
    from monitor_core import Bus
    from monitor_core.sinks.activation_dump import ActivationDump

    class Model:
        def activations(self, x):
            return [("layer", np.full(2_000_000, self.number))]

    model = Model()
    model.number = 0.0
    bus = Bus(ActivationDump(sys.argv[1]), model=model, validation_data=np.zeros((1, 1)))
    bus.train_begin()
    for epoch in itertools.count(int(sys.argv[2])):
        model.number = float(epoch)
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {})
        print(epoch, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills are those of POSIX")
def test_a_kill_leaves_whole_files(tmp_path):
    """After a SIGKILL anywhere the file is that of one epoch, whole, and a new run clears what the kill has left."""
    path = tmp_path / "a.npz"
    for kill in range(4):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), str(100 * kill)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            written = [int(child.stdout.readline()) for _ in range(3 + kill)]
            os.kill(child.pid, signal.SIGKILL)  # while it continues with the next
        found = load_activations(path)
        assert found.epoch >= written[-1]
        assert np.unique(found["layer"]).tolist() == [float(found.epoch)]
    (tmp_path / ".monitor_core-999999999-0-a.npz").write_bytes(b"left by a kill")
    train(ActivationDump(path), Model(), [])
    assert names(tmp_path) == ["a.npz"]


def test_a_file_under_way_is_not_taken_for_one(tmp_path):
    """What another process is writing in the folder is left alone."""
    with replacing(tmp_path / "5.npz") as temporary:
        temporary.write_bytes(b"under way")
        train(ActivationDump(tmp_path / "{epoch}.npz", keep=1), Model(), range(2))
        assert temporary.exists()


# --- real models ---------------------------------------------------------------------------------------------------


def network(*, built=True):
    """Return a compiled network on this process's backend."""
    keras.utils.set_random_seed(3)
    first, last = keras.layers.Dense(3, "relu", name="first"), keras.layers.Dense(1, name="last")
    layers = [first, keras.layers.Dropout(0.5), last]
    model = keras.Sequential([keras.Input((4,)), *layers] if built else layers)
    model.compile("sgd", "mse")
    return model


def test_a_keras_fit_writes_what_the_layers_give(tmp_path):
    """In a real fit the last file holds what the trained model's layers give for the first validation samples."""
    model, dump = network(), ActivationDump(tmp_path / "{epoch:03d}.npz", layers=["first", "last"], samples=3)
    KerasAdapter(dump).fit(model, X, Y, epochs=2, validation_data=(X, Y), verbose=0)
    assert names(tmp_path) == ["001.npz", "002.npz"]
    found = load_activations(tmp_path / "002.npz")
    kernel, bias = model.get_layer("first").get_weights()
    np.testing.assert_allclose(found["first"], np.maximum(X[:3] @ kernel + bias, 0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["last"], model.predict(X[:3], verbose=0), rtol=1e-4)


def test_a_keras_fit_is_the_same_with_and_without(tmp_path):
    """Dumps change nothing in the training, random numbers included."""

    def weights(*sinks):
        model = network()
        KerasAdapter(*sinks).fit(model, X, Y, epochs=3, batch_size=2, validation_data=(X, Y), verbose=0)
        return [array.tolist() for array in model.get_weights()]

    assert weights(ActivationDump(tmp_path / "{epoch}.npz")) == weights()


def test_a_keras_model_that_is_not_built_can_be_dumped(tmp_path):
    """A loop around fits begins before the model is built; its first file comes after the first fit."""
    model = network(built=False)
    dump = ActivationDump(tmp_path / "{epoch}.npz")
    with Loop(dump, model=KerasModel(model), validation_data=(X, Y)) as loop:
        for _ in loop.epochs(2):
            model.fit(X, Y, verbose=0, callbacks=KerasAdapter(loop))
    assert [set(shapes(path)) for path in dump.files] == [{layer.name for layer in model.layers}] * 2


def test_a_pytorch_loop_writes_what_the_modules_give(tmp_path):
    """In a PyTorch loop the file holds the modules' outputs, and the module stays in training mode."""
    torch = pytest.importorskip("torch")
    from monitor_core.adapters.torch import TorchModel

    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    dump = ActivationDump(tmp_path / "{epoch}.npz", samples=5)
    with Loop(dump, model=TorchModel(module, optimizer), validation_data=loader) as loop:
        for _ in loop.epochs(2):
            for x, y in loop.batches(loader):
                loss = torch.nn.functional.mse_loss(module(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loop.log(loss=loss)
    assert shapes(dump.files[-1]) == {"0": (5, 3), "1": (5, 3), "2": (5, 1)}
    with torch.no_grad():
        np.testing.assert_array_equal(load_activations(dump.files[-1])["2"], module(torch.tensor(X[:5])).numpy())
    assert module.training
