"""Hostile templates, names and files: refused, nothing outside of the folder is touched, and no pickle is loaded."""

import json
import os
import pickle
import time
import zipfile

import numpy as np
import pytest

from faults.support import Recording, script
from monitor_core import ActivationDump, Bus, History, ModelCheckpoint, TensorBoard
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.files.activations import load_activations, read_mark
from monitor_core.files.checkpoint_index import Keep
from monitor_core.files.replacing import _PREFIX
from monitor_core.files.state import load_state, save_state
from monitor_core.journal.recorded import open_run
from monitor_core.sinks.journal import Journal
from monitor_core.tensorboard.formats.event_file import EventFile, rewind_folder
from recorders import train


@pytest.fixture
def inside(tmp_path):
    """Return a run's folder; the test fails if anything outside of it was changed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.npz").write_bytes(b"mine")
    (outside / "sub").mkdir()
    before = tree(tmp_path, but="run")
    (tmp_path / "run").mkdir()
    yield tmp_path / "run"
    assert tree(tmp_path, but="run") == before


def tree(folder, but):
    """Return the files and folders of a folder with their content, one of those in it left out."""
    paths = [path for path in folder.rglob("*") if path.relative_to(folder).parts[0] != but]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


class Model:
    """A handle with one weight and the activations of layers with any names."""

    def __init__(self, *layers):
        self.weight = np.array(1.0)
        self.layers = layers

    def save(self, path, *, weights_only=False):
        with path.open("wb") as file:
            np.savez(file, self.weight)

    def activations(self, x, *, layers=None):
        return [(name, np.ones((2, 3))) for name in self.layers]

    def embeddings(self):
        return [(name, np.ones((2, 3))) for name in self.layers]

    def weights(self):
        return [(name, np.ones((2, 3))) for name in self.layers]


# --- templates -------------------------------------------------------------------------------------------------------

HOSTILE_TEMPLATES = [
    "{m.__class__}", "{epoch.__class__}", "{epoch.real}", "{epoch[0]}", "{epoch!r}", "{epoch!s:>9}", "{epoch!a}", "{0}",
    "{}", "{epoch:{step}}", "{epoch:999999999d}", "{epoch:0999999999}", "{epoch:1000}", "{epoch:c}", "{epoch:/>9}",
    "{epoch:n}", "{epoch:\x00>9}", "{epoch}/../../evil", "{epoch}/../{step}", "{step}/..", "{epoch}/", "{epoch",
    "a\0{epoch}", "{../../evil}", "{epoch:.999999999}",
]  # fmt: skip


@pytest.mark.parametrize("template", HOSTILE_TEMPLATES)
@pytest.mark.parametrize("sink", [ModelCheckpoint, ActivationDump])
def test_hostile_templates_are_refused_when_a_sink_is_made(inside, sink, template):
    """At once, in no time and memory, by an error that says what is wrong with it."""
    begin = time.monotonic()
    with pytest.raises(ValueError, match=r"filepath must") as raised:
        sink(f"{inside}/{template}.npz" if not template.endswith(("/", "..")) else f"{inside}/{template}")
    assert time.monotonic() - begin < 5
    assert len(str(raised.value)) < 1000


HOSTILE = [
    "../../evil", "/evil", "..", ".", "", "a\0b", "a/b", "~/evil", "$HOME", "{epoch}",
    "C:\\evil", "con", "\n", "x" * 300,
]  # fmt: skip


def test_metrics_with_hostile_names_and_values_get_into_no_path(inside):
    """All that write files, with such metrics in batches and epochs: what they write is in their folder."""
    checkpoint = ModelCheckpoint(inside / "{epoch}-{loss}" / "m.npz", monitor="loss")
    logs = {**dict.fromkeys(HOSTILE, 1.0), **{f"val_{name}": name for name in HOSTILE}, "loss": float("inf")}
    bus = Bus(*Recording(inside).sinks, checkpoint, model=Model())
    train(bus, [logs], [logs])
    assert bus.failures == []
    assert checkpoint.best_path == inside / "1-inf" / "m.npz"


def test_layers_with_hostile_names_get_into_no_path(inside):
    """Activations, distributions and embeddings of such layers are written within the folder."""
    dump = ActivationDump(inside / "{epoch}.npz", data=np.ones((2, 3)))
    board = TensorBoard(inside / "board", histogram_freq=1, embeddings_freq=1, write_graph=False)
    bus = Bus(dump, board, model=Model(*HOSTILE))
    train(bus, [{"loss": 1.0}])
    assert bus.failures == []
    assert list(load_activations(inside / "1.npz")) == HOSTILE


# --- pickles ---------------------------------------------------------------------------------------------------------


class Touch:
    """Unpickling an instance makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def payload(tmp_path):
    """Return something whose unpickling makes a file, and which the test fails by."""
    made = tmp_path / "executed"
    pickle.loads(pickle.dumps(Touch(made))).close()  # noqa: S301 (it would)
    made.unlink()
    yield Touch(made)
    assert not made.exists()


def object_array(payload):
    """Return an array that NumPy writes as a pickle."""
    array = np.empty(1, dtype=object)
    array[0] = payload
    return array


def hostile_files(folder, payload, names):
    """Yield files in which there is a pickle: as an archive of arrays, as one array, and bare."""
    for kind, write in {
        "archive": lambda file: np.savez(file, **{name: object_array(payload) for name in names}),
        "array": lambda file: np.save(file, object_array(payload), allow_pickle=True),
        "bare": lambda file: pickle.dump(payload, file),
    }.items():
        path = folder / f"{kind}.npz"
        with path.open("wb") as file:
            write(file)
        yield path


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (History.from_npz, ["format", "runs", "per_batch", "epochs/loss"]),
        (History.from_json, []),
        (load_activations, ["__epoch__", "__step__", "__run__", "dense"]),
        (PytreeModel(dict, dict).load, ["0", "1"]),
        (load_state, []),
    ],
)
def test_no_reader_loads_a_pickle(tmp_path, payload, read, names):
    """Each refuses it by a ValueError."""
    for path in hostile_files(tmp_path, payload, names):
        with pytest.raises(ValueError):
            read(path)
        assert read_mark(path) is None


def test_a_states_arrays_are_no_pickle(tmp_path, payload):
    """Also where the state is right and only its arrays were replaced."""
    save_state(tmp_path / "a.json", {"weights": np.ones(3)})
    (arrays,) = tmp_path.glob("a.*.npz")
    (tmp_path / "hostile").mkdir()
    for path in hostile_files(tmp_path / "hostile", payload, ["0"]):
        arrays.write_bytes(path.read_bytes())
        with pytest.raises(ValueError, match="holds no state"):
            load_state(tmp_path / "a.json")


def test_a_checkpoint_that_was_replaced_by_a_pickle_is_refused(tmp_path, payload):
    """Loading the best, the latest, and resuming."""
    state = {"weight": np.array(4.0)}
    handle = PytreeModel(lambda: state, state.update)

    def made():
        return ModelCheckpoint(tmp_path / "{epoch}.npz", monitor="loss", save_state=True)

    train(Bus(made(), model=handle), [{"loss": 1.0}])
    (tmp_path / "hostile").mkdir()
    for path in hostile_files(tmp_path / "hostile", payload, ["0", "1"]):
        (tmp_path / "1.npz").write_bytes(path.read_bytes())
        for use in (made().load_best, made().load_latest, lambda each: made().resume(Bus(made(), model=each))):
            with pytest.raises(ValueError, match="is damaged, or another file"):
                use(handle)
        with pytest.raises(ValueError, match="holds no arrays"):
            handle.load(tmp_path / "1.npz")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pytorch_models_are_loaded_without_their_pickles(tmp_path, payload):
    """In PyTorch's own formats, the old and the new, and bare."""
    torch = pytest.importorskip("torch")
    from monitor_core.adapters.torch import TorchModel

    handle = TorchModel(torch.nn.Linear(2, 1))
    path = tmp_path / "a.pt"
    for write in (
        lambda: torch.save({"weight": payload}, path),
        lambda: torch.save(payload, path, _use_new_zipfile_serialization=False),
        lambda: path.write_bytes(pickle.dumps(payload)),
    ):
        write()
        with pytest.raises(pickle.UnpicklingError):
            handle.load(path)


def test_keras_models_are_loaded_without_their_pickles(tmp_path, payload):
    """A pickle by any of the endings, and a layer whose configuration holds code."""
    keras = pytest.importorskip("keras")
    from monitor_core.adapters.keras import KerasModel

    def made(*layers):
        return keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1)])

    handle = KerasModel(made())
    for ending in (".keras", ".h5", ".weights.h5"):
        path = tmp_path / f"a{ending}"
        path.write_bytes(pickle.dumps(payload))
        with pytest.raises((ValueError, OSError, zipfile.BadZipFile)):
            handle.load(path)
    code = f"lambda x: open({str(payload.path)!r}, 'w').close() or x"
    made(keras.layers.Lambda(eval(code))).save(tmp_path / "code.keras")  # noqa: S307
    payload.path.unlink(missing_ok=True)  # building the model has run it
    KerasModel(made()).load(tmp_path / "code.keras")


# --- links and other things that are not regular files ---------------------------------------------------------------


def test_a_checkpoint_is_not_written_through_a_linked_folder(inside):
    """A folder below the template's own that leads elsewhere is refused, as by `ActivationDump`."""
    (inside / "1").symlink_to(inside.parent / "outside")
    checkpoint = ModelCheckpoint(inside / "{epoch}" / "new.npz", monitor="loss")
    train(Bus(checkpoint, model=Model()), [{"loss": 1.0}])
    found = (inside.parent / "outside" / "new.npz").exists()
    (inside.parent / "outside" / "new.npz").unlink(missing_ok=True)
    assert not found


def test_a_checkpoint_removes_nothing_through_a_linked_folder(inside):
    """A state names a file that is no longer kept, by a link that leads out of the folder."""
    victim = inside.parent / "outside" / "sub" / "victim.npz"
    victim.write_bytes(b"victim")
    (inside / "link").symlink_to(victim.parent)
    checkpoint = ModelCheckpoint(inside / "{epoch}.npz", monitor="loss", keep=Keep(last=1))
    entry = {"file": "link/victim.npz", "epoch": 0, "step": 1, "value": 1.0}
    bus = Bus(checkpoint, model=Model())
    try:
        checkpoint.load_state_dict({**checkpoint.state_dict(), "files": [entry]})
        train(bus, [{"loss": 1.0}])
    except ValueError:
        pass
    found = victim.exists()
    victim.unlink(missing_ok=True)
    assert found


def test_a_link_in_a_files_place_is_replaced_and_not_followed(inside):
    """Checkpoints, their index, states and histories."""
    mine = inside.parent / "outside" / "mine.npz"
    for name in ("1.npz", "epoch.npz.latest.json", "a.json", "h.json", "h.npz"):
        (inside / name).symlink_to(mine)
    train(Bus(history := History(), ModelCheckpoint(inside / "{epoch}.npz", monitor="loss"), model=Model()),
          [{"loss": 1.0}])  # fmt: skip
    save_state(inside / "a.json", {"x": 1})
    history.to_json(inside / "h.json")
    history.to_npz(inside / "h.npz")
    assert not [path.name for path in inside.iterdir() if path.is_symlink()]


def test_strays_are_not_removed_through_a_linked_folder(inside):
    """What broken-off writes have left is looked for in the template's own folders."""
    outside = inside.parent / "outside" / "sub"
    stray = outside / f"{_PREFIX}999999999-0-a.npz"
    stray.write_bytes(b"somebody's")
    (inside / "1").symlink_to(outside)
    ModelCheckpoint(inside / "{epoch}" / "a.npz").on_train_begin(Bus(model=Model()).run)
    assert stray.read_bytes() == b"somebody's"
    stray.unlink()


def test_a_journal_takes_no_name_that_is_a_link(inside):
    """Whether or not the link has a target."""
    for number, target in enumerate(["mine.npz", "nothing", "sub"]):
        (inside / f"journal-{number:04d}.mcj").symlink_to(inside.parent / "outside" / target)
    train(Bus(journal := Journal(inside)), [{"loss": 1.0}])
    assert journal.path == inside / "journal-0003.mcj"
    assert open_run(inside).history["loss"].tolist() == [1.0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes by name are those of POSIX")
def test_pipes_and_folders_by_a_journals_or_an_event_files_name_are_passed_over(inside):
    """Opening a pipe would wait forever; a run is recorded and read in spite of one."""
    os.mkfifo(inside / "journal-0000.mcj")
    (inside / "journal-0001.mcj").mkdir()
    os.mkfifo(inside / "events.out.tfevents.0000000001.a")
    (inside / "events.out.tfevents.0000000002.a").mkdir()
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from monitor_core import Bus
        from monitor_core.journal.recorded import open_run
        from monitor_core.sinks.journal import Journal
        from monitor_core.tensorboard.formats.event_file import EventFile, rewind_folder
        from recorders import train
        train(Bus(Journal(sys.argv[1])), [{"loss": 1.0}])
        print(open_run(sys.argv[1]).history["loss"].tolist())
        EventFile(sys.argv[1])
        rewind_folder(sys.argv[1], lambda step, tag, axis: True)
    """
    assert script(code, inside, timeout=20) == "[1.0]\n"


def test_an_event_file_that_is_a_link_is_not_rewritten_elsewhere(inside):
    """A rewind puts a file in the link's place, and leaves what it led to as it was."""
    other = inside.parent / "outside" / "sub"
    file = EventFile(other)
    steps = np.arange(1, 4)
    file.add_columns(steps, 1.7e9 + steps, {"loss": steps / 4}, {"loss": None})
    file.close()
    content = file.path.read_bytes()
    (inside / file.path.name).symlink_to(file.path)
    rewind_folder(inside, lambda step, tag, axis: step < 2)
    assert file.path.read_bytes() == content
    assert not (inside / file.path.name).is_symlink()
    file.path.unlink()


# --- JSON ------------------------------------------------------------------------------------------------------------

OUTSIDE_NAMES = ["../outside/mine.npz", "{absolute}", "a/../../outside/mine.npz"]


@pytest.mark.parametrize("name", OUTSIDE_NAMES)
@pytest.mark.parametrize("which", ["latest", "best"])
def test_an_index_that_points_outside_is_refused(inside, name, which):
    """By every use of it; what it points to is neither read nor removed."""
    state = {"weight": np.array(4.0)}
    handle = PytreeModel(lambda: state, state.update)
    train(Bus(made := checkpoint_of_all(inside), model=handle), [{"loss": 1.0}])
    index = json.loads(made.index_path.read_text())
    del index["checksum"]
    index["state"][which]["file"] = name.replace("{absolute}", str(inside.parent / "outside" / "mine.npz"))
    made.index_path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match="a checkpoint must be in the folder"):
        getattr(checkpoint_of_all(inside), f"load_{which}")(handle)
    checkpoint = checkpoint_of_all(inside)
    with pytest.raises(ValueError, match="a checkpoint must be in the folder"):
        checkpoint.resume(Bus(checkpoint, model=handle))


def checkpoint_of_all(folder):
    """Return a checkpoint with the state of everything."""
    return ModelCheckpoint(folder / "{epoch}.npz", monitor="loss", save_state=True)


DEEP = ["[" * 100_000, '{"a":' * 100_000]
OTHER = ["9" * 10_000, '{"format": 1e999}', "\ud800", "{}", "null"]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((load_state, text) for text in DEEP + OTHER),
        *((History.from_json, text) for text in DEEP + OTHER),
    ],
    ids=lambda each: repr(each)[:20],
)
def test_json_that_is_deep_or_huge_is_a_value_error(tmp_path, read, text):
    """Whatever Python's own reader says to it."""
    path = tmp_path / "a.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ValueError):
        read(path)
