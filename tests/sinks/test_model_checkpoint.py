"""Model checkpoints against Keras's own, under kills, on full disks, and continued; on this process's back end."""

import contextlib
import json
import logging
import operator
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Bus, History, Loop, SetupError, Sink
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.files import replacing
from monitor_core.files.checkpoint_index import Keep
from monitor_core.files.state import load_state
from monitor_core.sinks.early_stopping import EarlyStopping
from monitor_core.sinks.model_checkpoint import ModelCheckpoint

BACKEND = keras.backend.backend()
LONG = 50 if os.environ.get("MONITOR_CORE_LONG") else 1
EXECUTIONS = [1] if BACKEND == "torch" else [1, 3]  # Keras's torch back end knows no steps_per_execution


class Model:
    """A handle of one array, which saves itself in pieces; where told, a save fails."""

    def __init__(self, *values, size=3):
        self.values = np.array(values or [0.0] * size)
        self.error = None
        self.saves = 0

    def save(self, path, *, weights_only=False):
        self.saves += 1
        with Path(path).open("wb") as file:
            np.save(file, self.values)
            if self.error is not None:
                raise self.error

    def load(self, path):
        self.values = np.load(path, allow_pickle=False)


def names(folder):
    """Return the names of the checkpoints in a folder, sorted."""
    return sorted(
        each.relative_to(folder).as_posix()
        for each in Path(folder).rglob("*")
        if each.is_file() and not any(part in each.name for part in (".latest.", ".state-", "-lock-"))
    )


def saved_state(checkpoint):
    """Return the state that a run would be resumed from."""
    return load_state(checkpoint.index_path.with_name(load_state(checkpoint.index_path)["latest"]["state"]))


def drive(bus, epochs, first=0, *, end=True):
    """Drive a bus through epochs, each given by its logs; the model's value is the epoch's number from 1."""
    bus.train_begin()
    for epoch, logs in enumerate(epochs, start=first):
        bus.epoch_begin(epoch)
        bus.batch_begin(bus.run.step + 1)
        bus.batch_end(bus.run.step + 1, {})
        bus.run.model.values = np.full(3, epoch + 1.0)
        bus.epoch_end(epoch, logs)
        if bus.run.stopped:
            break
    if end:
        bus.train_end()
    return bus


def losses(*values):
    return [{"val_loss": value} for value in values]


def run(checkpoint, *values):
    """Run epochs with these validation losses, strictly; return the names of the files that are there."""
    drive(Bus(checkpoint, model=Model(), strict=True), losses(*values))
    return names(checkpoint.index_path.parent)


# --- what is saved ---------------------------------------------------------------------------------------------------


def test_every_epoch_is_saved(tmp_path):
    """Without options each epoch has its file, numbered from 1, and none needs the metric."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch:02d}.npy")
    drive(Bus(checkpoint, model=Model(), strict=True), [{"loss": 3.0}, {}, {"loss": 1.0}])
    assert names(tmp_path) == ["01.npy", "02.npy", "03.npy"]
    assert np.load(tmp_path / "02.npy").tolist() == [2, 2, 2]


def test_the_best_is_saved_over_its_predecessor(tmp_path):
    """With save_best_only and a fixed name the file is that of the best epoch."""
    checkpoint = ModelCheckpoint(tmp_path / "best.npy", save_best_only=True)
    assert run(checkpoint, 3.0, 1.0, 2.0) == ["best.npy"]
    assert np.load(tmp_path / "best.npy").tolist() == [2, 2, 2]
    assert checkpoint.best == 1.0


def test_a_threshold_is_the_first_value_to_beat(tmp_path):
    """Nothing is saved until a value beats initial_value_threshold."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_best_only=True, initial_value_threshold=2.0)
    assert run(checkpoint, 3.0, 2.0, 1.0) == ["3.npy"]


def test_accuracy_is_found_under_either_name(tmp_path):
    """`val_acc` finds `val_accuracy`, and gets better by rising."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{val_acc:.1f}.npy", "val_acc", save_best_only=True)
    logs = [{"val_accuracy": value} for value in (0.5, 0.4, 0.6)]
    drive(Bus(checkpoint, model=Model(), strict=True), logs)
    assert names(tmp_path) == ["1-0.5.npy", "3-0.6.npy"]


def test_fields_may_name_folders(tmp_path):
    """Folders in the template are made when needed."""
    checkpoint = ModelCheckpoint(tmp_path / "a/epoch-{epoch}/{step}.npy")
    run(checkpoint, 1.0, 2.0)
    assert names(tmp_path) == ["a/epoch-1/1.npy", "a/epoch-2/2.npy"]
    assert checkpoint.index_path == tmp_path / "a/step.npy.latest.json"


def test_batch_is_the_last_of_the_epoch_at_its_end(tmp_path):
    """At an epoch's end `batch` is how many the epoch had; Keras has no such name there."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{batch}-{step}.npy")
    bus = Bus(checkpoint, model=Model(), strict=False)
    bus.train_begin()
    for epoch, batches in enumerate((2, 3)):
        bus.epoch_begin(epoch)
        for _ in range(batches):
            bus.batch_end(bus.run.step + 1)
        bus.epoch_end(epoch)
    assert names(tmp_path) == ["1-2-2.npy", "2-3-5.npy"]


@pytest.mark.parametrize(
    ("keep", "mode", "expected"),
    [
        (Keep(best=2), "min", [2, 5]),
        (Keep(last=2), "min", [5, 6]),
        (Keep(best=1, last=1), "min", [2, 6]),
        (Keep(best=2, last=2), "min", [2, 5, 6]),
        (Keep(best=2), "max", [1, 4]),
        (Keep(best=9), "min", [1, 2, 4, 5, 6]),
        (Keep(best=9, last=1), "min", [1, 2, 4, 5, 6]),
        (Keep(last=9), "min", [1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_best_and_the_last_are_kept(tmp_path, keep, mode, expected):
    """`keep` removes all others of this run; of equal values the older is better, and NaN never is."""
    (tmp_path / "0.npy").touch()
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", mode=mode, keep=keep)
    assert run(checkpoint, 5.0, 1.0, float("nan"), 5.0, 1.0, 2.0) == ["0.npy", *(f"{each}.npy" for each in expected)]


def test_what_would_not_be_kept_is_not_saved(tmp_path):
    """A model that is not among the best is not written in the first place."""
    model = Model()
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", keep=Keep(best=1))
    drive(Bus(checkpoint, model=model, strict=True), losses(1.0, 2.0, 3.0))
    assert model.saves == 1


def test_a_run_removes_no_files_of_another(tmp_path):
    """`keep` counts the files of one run; an earlier run's stay."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{val_loss}.npy", keep=Keep(last=1))
    run(checkpoint, 1.0, 2.0)
    assert run(checkpoint, 3.0, 4.0) == ["2-2.0.npy", "2-4.0.npy"]


# --- what is there: the index ----------------------------------------------------------------------------------------


def test_the_best_and_the_latest_are_named(tmp_path):
    """During and after a run, and in a new process by the index, the paths of the best and latest are known."""
    template = tmp_path / "{epoch}.npy"
    checkpoint = ModelCheckpoint(template)
    assert (checkpoint.best_path, checkpoint.latest_path) == (None, None)
    run(checkpoint, 2.0, 1.0, 3.0)
    for each in (checkpoint, ModelCheckpoint(template)):
        assert (each.best_path, each.latest_path) == (tmp_path / "2.npy", tmp_path / "3.npy")


def test_the_index_moves_with_its_folder(tmp_path):
    """The index names files relative to itself, and is plain JSON."""
    run(ModelCheckpoint(tmp_path / "a" / "{epoch}.npy"), 2.0, 1.0, 3.0)
    (tmp_path / "a").rename(tmp_path / "b")
    checkpoint = ModelCheckpoint(tmp_path / "b" / "{epoch}.npy")
    assert checkpoint.load_best(Model()) == tmp_path / "b" / "2.npy"
    data = json.loads((tmp_path / "b" / "epoch.npy.latest.json").read_text())
    latest = data["state"]["latest"]
    assert re.fullmatch("crc32:[0-9a-f]{8}", latest.pop("checksum"))
    assert latest == {"file": "3.npy", "epoch": 2, "step": 3, "value": 3.0, "state": None}


def test_the_best_path_is_of_a_file_that_is_there(tmp_path):
    """Where a worse model was saved over the best, the best path names what is there now, and `best` what was."""
    checkpoint = ModelCheckpoint(tmp_path / "model.npy")
    run(checkpoint, 1.0, 2.0)
    assert (checkpoint.best, checkpoint.best_path) == (1.0, tmp_path / "model.npy")
    assert checkpoint.state_dict()["files"][0]["value"] == 2.0


def test_checkpoints_are_loaded_back(tmp_path):
    """`load_best` and `load_latest` set a model's state by its handle."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy")
    run(checkpoint, 2.0, 1.0, 3.0)
    model = Model()
    assert checkpoint.load_best(model) == tmp_path / "2.npy"
    assert model.values.tolist() == [2, 2, 2]
    checkpoint.load_latest(model)
    assert model.values.tolist() == [3, 3, 3]


def test_loading_without_a_checkpoint_is_an_error(tmp_path):
    """Where nothing was saved, loading says so."""
    with pytest.raises(FileNotFoundError, match="there is no best checkpoint"):
        ModelCheckpoint(tmp_path / "{epoch}.npy").load_best(Model())


def test_two_checkpoints_share_a_folder(tmp_path):
    """Each has its own index, named like its template."""
    best, last = ModelCheckpoint(tmp_path / "best.npy", save_best_only=True), ModelCheckpoint(tmp_path / "last.npy")
    drive(Bus(best, last, model=Model(), strict=True), losses(1.0, 2.0))
    assert (best.latest_path.name, last.latest_path.name) == ("best.npy", "last.npy")
    assert np.load(tmp_path / "best.npy").tolist() == [1, 1, 1]
    assert np.load(tmp_path / "last.npy").tolist() == [2, 2, 2]


def test_an_index_cannot_name_files_elsewhere(tmp_path):
    """A file outside of the folder in an index or a state is an error: what is no longer kept is removed."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy")
    run(checkpoint, 1.0)
    text = checkpoint.index_path.read_text()
    data = json.loads(text.replace("1.npy", "../1.npy"))
    del data["checksum"]
    checkpoint.index_path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"a checkpoint must lie in the folder of its index \(got '\.\./1\.npy'\)"):
        _ = ModelCheckpoint(tmp_path / "{epoch}.npy").best_path
    state = {**checkpoint.state_dict(), "files": [{"file": "/a.npy", "epoch": 0, "step": 1, "value": None}]}
    with pytest.raises(ValueError, match="a checkpoint must lie in the folder"):
        checkpoint.load_state_dict(state)


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "best"}, ValueError, r"mode must be 'auto', 'min' or 'max' \(got 'best'\)"),
        ({"monitor": ""}, ValueError, "monitor must be a metric's name"),
        ({"save_freq": "step"}, ValueError, r"save_freq must be 'epoch' or a number of steps >= 1 \(got 'step'\)"),
        ({"save_freq": 0}, ValueError, "save_freq must be 'epoch' or a number of steps >= 1"),
        ({"save_freq": True}, ValueError, "save_freq must be 'epoch' or a number of steps >= 1"),
        ({"save_freq": 1.5}, ValueError, "save_freq must be 'epoch' or a number of steps >= 1"),
        ({"initial_value_threshold": float("nan")}, ValueError, "initial_value_threshold must be a number"),
        ({"initial_value_threshold": "1"}, TypeError, "initial_value_threshold must be a number"),
        ({"save_best_only": 1}, TypeError, "save_best_only"),
        ({"keep": 3}, TypeError, "keep"),
        ({"keep": Keep(last=1), "filepath": "model.npy"}, ValueError, "filepath must have a field such as {epoch}"),
        ({"filepath": "{m.__class__}"}, ValueError, "filepath must have fields of a name and a format spec"),
        ({"filepath": "m.keras", "save_weights_only": True}, ValueError, "filepath must end in .weights.h5"),
        ({"filepath": "m.h5", "save_weights_only": True}, ValueError, "filepath must end in .weights.h5"),
        ({"filepath": "m.npy", "save_state": True}, ValueError, "filepath must have {epoch} or {step}"),
        ({"save_freq": 3, "save_state": True}, ValueError, "filepath must have {step}, or {epoch} and {batch},"),
    ],
)
def test_wrong_arguments_fail_at_construction(options, error, message):
    """What is wrong whatever comes is an error that names the argument, the rule and the value."""
    with pytest.raises(error, match=message):
        ModelCheckpoint(**{"filepath": "{epoch}.npy", **options})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "best or last must be >= 1"),
        ({"best": -1}, ValueError, r"best must be >= 0 \(got -1\)"),
        ({"last": 1.5}, TypeError, r"last must be an integer \(got 1\.5\)"),
        ({"last": True}, TypeError, r"last must be an integer \(got True\)"),
    ],
)
def test_what_to_keep_is_checked(options, error, message):
    """Keep needs whole numbers, and at least one of them."""
    with pytest.raises(error, match=message):
        Keep(**options)


def test_an_undecidable_direction_fails_at_train_begin(tmp_path):
    """A metric whose direction nobody knows asks for the mode before the first epoch."""
    bus = Bus(ModelCheckpoint(tmp_path / "m.npy", "score"), model=Model())
    with pytest.raises(SetupError, match="pass mode='min' or mode='max'"):
        bus.train_begin()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("model.npy", {}, r"must end in \.keras or \.h5 for a Keras model with save_weights_only=False"),
        ("model", {}, r"must end in \.keras or \.h5"),
        ("m.npy", {"save_weights_only": True}, r"must end in \.weights\.h5 for a Keras model with save_weights_only=T"),
    ],
)
def test_keras_models_need_their_endings(tmp_path, compiled, name, options, message):
    """A Keras model that could not be saved under the name is an error at train begin."""
    bus = Bus(ModelCheckpoint(tmp_path / name, **options), model=KerasModel(compiled[0][1]))
    with pytest.raises(SetupError, match=message):
        bus.train_begin()


def test_a_folder_in_the_files_place_is_an_error(tmp_path):
    """A folder of the file's name is found at train begin where the name is fixed, else at the save."""
    (tmp_path / "1.npy").mkdir()
    with pytest.raises(SetupError, match="filepath must name a file"):
        run(ModelCheckpoint(tmp_path / "1.npy"), 1.0)
    with pytest.raises(IsADirectoryError, match="a folder stands there"):
        run(ModelCheckpoint(tmp_path / "{epoch}.npy"), 1.0)


def test_an_impossible_folder_is_an_error_at_train_begin(tmp_path):
    """A file where the folder would be fails at train begin, and nothing is written."""
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"ModelCheckpoint cannot write into .*file"):
        run(ModelCheckpoint(tmp_path / "file" / "a" / "{epoch}.npy"), 1.0)


def test_an_epoch_without_a_name_is_skipped(tmp_path, warned):
    """Where a metric of the name comes in every fifth epoch only, those are saved, with one warning, no failure."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.1f}.npy", "loss")
    epochs = [{"loss": 1.0} | ({} if epoch % 5 else {"val_loss": 2.0}) for epoch in range(1, 16)]
    bus = drive(Bus(checkpoint, model=Model()), epochs)
    assert names(tmp_path) == ["05-2.0.npy", "10-2.0.npy", "15-2.0.npy"]
    assert not bus.failures
    assert [each for each in warned() if "saves nothing where its file has no name: no metric 'val_loss'" in each] == (
        warned()
    )
    assert len(warned()) == 1


def test_a_misspelt_name_is_skipped_with_the_nearest(tmp_path, warned):
    """Where nothing is known before the first epoch, the warning names the nearest metric."""
    assert run(ModelCheckpoint(tmp_path / "{epoch}-{val_los:.2f}.npy"), 1.0) == []
    assert "did you mean 'val_loss'?" in warned()[0]


def test_metrics_with_hostile_names_stay_in_the_folder(tmp_path):
    """Names of metrics that look like paths lead nowhere."""
    checkpoint = ModelCheckpoint(tmp_path / "a" / "{epoch}.npy")
    logs = [{"../../evil": 1.0, "/etc/evil": 2.0, "evil\0": 3.0, "epoch": 7.0}]
    drive(Bus(checkpoint, model=Model(), strict=True), logs)
    assert names(tmp_path) == ["a/1.npy"]


# --- against Keras, driven by a stub ---------------------------------------------------------------------------------


class Stub:
    """A model for Keras's callback that notes under which names it was saved."""

    def __init__(self):
        self.metrics = []
        self.saved = []

    def save(self, path, overwrite):
        self.saved.append(Path(path).name)

    save_weights = save


class InFloat64(keras.callbacks.ModelCheckpoint):
    """Keras's callback, comparing numbers as Python does.

    Its `ops.less` makes float32 tensors of what it compares, so that values which differ from the eighth digit on
    are equal, and on some back ends subnormal ones too: that is a difference on purpose, with a test of its own below.
    """

    def _set_monitor_op(self):
        super()._set_monitor_op()
        self.monitor_op = {keras.ops.less: operator.lt, keras.ops.greater: operator.gt}[self.monitor_op]


@pytest.fixture(scope="module")
def unflushed():
    """Skip flushing to disk, which no decision depends on, for thousands of tiny files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replacing, "_sync", lambda path: None)
        yield


class Noting(Model):
    """A handle that notes under which names it was saved."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.saved = []

    def save(self, path, *, weights_only=False):
        Path(path).touch()
        self.saved.append(path)


class Names(ModelCheckpoint):
    """Our checkpoint, noting the names of what it saved."""

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        write = self._store.write

        def write_and_note(model, path, **numbers):
            saved = write(model, path, **numbers)
            if saved is not None:
                model.saved[-1] = path.name
            return saved

        self._store.write = write_and_note


NUMBERS = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1e308, 5e-324, -5e-324, 1.0, 1.0 + 2**-52, float("inf"), float("-inf")]),
)
NO_NUMBERS = st.sampled_from([float("nan"), None, "a text", [1.0, 2.0], "missing"])
OPTIONS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["min", "max"]),
        "save_best_only": st.booleans(),
        "initial_value_threshold": st.none() | st.sampled_from([0.0, 1.0, -1e300, float("inf")]),
        "save_weights_only": st.booleans(),
    }
)


def is_number(value):
    return isinstance(value, float) and value == value  # noqa: PLR0124 (NaN)


@settings(max_examples=100 * LONG)
@given(values=st.lists(st.one_of(NUMBERS, NO_NUMBERS), max_size=12), options=OPTIONS)
def test_epochs_are_saved_as_keras_saves_them(tmp_path_factory, unflushed, values, options):
    """The same epochs are saved, as if those without a number were not there where only the best are saved."""
    ending = ".weights.h5" if options["save_weights_only"] else ".keras"
    stub, theirs = Stub(), InFloat64(f"{{epoch}}{ending}", "m", **options)
    theirs.set_model(stub)
    folder = tmp_path_factory.getbasetemp() / "epochs"
    ours = Noting(folder)
    bus = Bus(Names(folder / f"{{epoch}}{ending}", "m", **options), model=ours, strict=True)
    bus.train_begin()
    for epoch, value in enumerate(values):
        logs = {} if value == "missing" else {"m": value}
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, logs)
        if is_number(value) or not options["save_best_only"]:
            theirs.on_epoch_begin(epoch)
            theirs.on_epoch_end(epoch, logs)
    assert ours.saved == stub.saved


@settings(max_examples=100 * LONG)
@given(
    epochs=st.lists(st.lists(st.one_of(NUMBERS, NO_NUMBERS), max_size=8), max_size=5),
    save_freq=st.integers(1, 9),
    execution=st.integers(1, 4),
    options=OPTIONS,
)
def test_steps_are_saved_as_keras_saves_them(tmp_path_factory, unflushed, epochs, save_freq, execution, options):
    """The same batches are saved, counted over epochs, with several batches for each call too."""
    ending = ".weights.h5" if options["save_weights_only"] else ".keras"
    stub = Stub()
    theirs = InFloat64(f"{{epoch}}-{{batch}}{ending}", "m", save_freq=save_freq, **options)
    theirs.set_model(stub)
    theirs._set_monitor_op()  # within the first epoch it has none, and raises a TypeError
    should_save = theirs._should_save_model
    theirs._should_save_model = lambda epoch, batch, logs, path: (
        should_save(epoch, batch, logs, path) if is_number(logs.get("m")) else not options["save_best_only"]
    )
    folder = tmp_path_factory.getbasetemp() / "steps"
    ours = Noting(folder)
    checkpoint = Names(folder / f"{{epoch}}-{{batch}}{ending}", "m", save_freq=save_freq, **options)
    bus = Bus(checkpoint, model=ours)
    bus.train_begin()
    for epoch, values in enumerate(epochs):
        bus.epoch_begin(epoch)
        theirs.on_epoch_begin(epoch)
        start = bus.run.step
        for call, value in enumerate(values, start=1):
            logs = {} if value == "missing" else {"m": value}
            bus.batch_end(start + call * execution, logs)
            theirs.on_train_batch_end(call * execution - 1, logs)
        bus.epoch_end(epoch, {})
        theirs.on_epoch_end(epoch, {})
    assert not bus.failures
    assert ours.saved == stub.saved


# --- where we differ from Keras on purpose: one test a row -----------------------------------------------------------


def keras_saves(*epochs, **options):
    """Return the names under which Keras's callback saves these epochs, given by their logs."""
    stub, callback = Stub(), keras.callbacks.ModelCheckpoint("{epoch}.keras", **options)
    callback.set_model(stub)
    for epoch, logs in enumerate(epochs):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, logs)
    return stub.saved


def test_nan_is_never_the_best(tmp_path):
    """A NaN that comes first is not saved and not the best; in Keras it is both, for ever."""
    values = (float("nan"), 2.0, 1.0)
    assert keras_saves(*losses(*values), save_best_only=True) == ["1.keras"]
    assert run(ModelCheckpoint(tmp_path / "{epoch}.npy", save_best_only=True), *values) == ["2.npy", "3.npy"]


@pytest.mark.filterwarnings("ignore:Can save best model only")
def test_a_missing_metric_is_never_better(tmp_path, warned):
    """An epoch without the metric is not saved, with one warning that lists the names; Keras saves it."""
    epochs = [{"val_loss": 1.0}, {"loss": 5.0}, {"loss": 5.0}]
    assert keras_saves(*epochs, save_best_only=True) == ["1.keras", "2.keras", "3.keras"]
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_best_only=True)
    drive(Bus(checkpoint, model=Model(), strict=True), epochs)
    assert names(tmp_path) == ["1.npy"]
    assert [each for each in warned() if "no metric 'val_loss'" in each and "this epoch has loss" in each] == warned()


def test_save_freq_compares_what_the_batch_has(tmp_path):
    """With save_freq=N and save_best_only the batch's value decides; Keras raises within the first epoch."""
    callback = keras.callbacks.ModelCheckpoint("{batch}.keras", "loss", save_freq=1, save_best_only=True)
    callback.set_model(Stub())
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0, {"loss": 2.0})
    with pytest.raises(TypeError):
        callback.on_train_batch_end(1, {"loss": 1.0})
    checkpoint = ModelCheckpoint(tmp_path / "{step}.npy", "loss", save_freq=1, save_best_only=True)
    bus = Bus(checkpoint, model=Model())
    bus.train_begin()
    bus.epoch_begin(0)
    for step, loss in enumerate((2.0, 1.0, 1.5, np.float32(0.5)), start=1):
        bus.batch_end(step, {"loss": loss})
    assert names(tmp_path) == ["1.npy", "2.npy", "4.npy"]


def test_save_freq_says_once_that_the_batch_lacks_the_metric(tmp_path, warned):
    """A batch without the metric is never better, with one warning; Keras saves each."""
    bus = Bus(ModelCheckpoint(tmp_path / "{step}.npy", save_freq=2, save_best_only=True), model=Model())
    bus.train_begin()
    bus.epoch_begin(0)
    for step in range(1, 9):
        bus.batch_end(step, {"loss": 1.0})
    assert names(tmp_path) == []
    assert len(warned()) == 1
    assert "ModelCheckpoint" in warned()[0]
    assert "no metric 'val_loss' (did you mean 'loss'?); this batch has loss" in warned()[0]


def test_values_are_compared_in_float64(tmp_path):
    """A value that is better from the eighth digit on is better; in Keras it is equal."""
    values = (1.0, 1.0 - 1e-12)
    assert keras_saves(*losses(*values), save_best_only=True) == ["1.keras"]
    assert run(ModelCheckpoint(tmp_path / "{epoch}.npy", save_best_only=True), *values) == ["1.npy", "2.npy"]


def test_the_best_value_begins_anew_with_each_run(tmp_path):
    """A second run's first value is its best; Keras's callback compares it with the run before."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{val_loss}.npy", save_best_only=True)
    run(checkpoint, 1.0)
    assert run(checkpoint, 5.0) == ["1-1.0.npy", "1-5.0.npy"]
    assert checkpoint.best == 5.0


def test_the_best_is_known_without_save_best_only(tmp_path):
    """`best` is the best value that was saved; in Keras it stays what it was at first."""
    stub, callback = Stub(), keras.callbacks.ModelCheckpoint("{epoch}.keras", mode="min")
    callback.set_model(stub)
    for epoch, logs in enumerate(losses(2.0, 1.0, 3.0)):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, logs)
    assert (stub.saved, callback.best) == (["1.keras", "2.keras", "3.keras"], None)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy")
    assert run(checkpoint, 2.0, 1.0, 3.0) == ["1.npy", "2.npy", "3.npy"]
    assert (checkpoint.best, checkpoint.best_path) == (1.0, tmp_path / "2.npy")


def test_steps_are_counted_from_each_runs_begin(tmp_path):
    """Two runs of 3 batches, saved every 4: Keras goes on counting and saves in the second, we save in none."""
    stub, callback = Stub(), keras.callbacks.ModelCheckpoint("{epoch}-{batch}.keras", save_freq=4)
    callback.set_model(stub)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{batch}.npy", save_freq=4)
    for _ in range(2):
        bus = Bus(checkpoint, model=Model())
        bus.train_begin()
        callback.on_train_begin()
        bus.epoch_begin(0)
        callback.on_epoch_begin(0)
        for batch in range(3):
            bus.batch_end(batch + 1, {})
            callback.on_train_batch_end(batch, {})
        bus.epoch_end(0)
        callback.on_epoch_end(0, {})
        bus.train_end()
    assert stub.saved == ["1-1.keras"]
    assert names(tmp_path) == []


def test_only_batches_that_were_trained_are_counted(tmp_path):
    """Two epochs of 4 batches, 3 in each call: Keras counts 12 and saves after "6", we count 8."""
    stub = Stub()
    callback = keras.callbacks.ModelCheckpoint("{epoch}-{batch}.keras", save_freq=5)
    callback.set_model(stub)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{batch}.npy", save_freq=5)
    bus = Bus(checkpoint, model=Model())
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        callback.on_epoch_begin(epoch)
        for begun, done in ((0, 3), (3, 4)):
            callback.on_train_batch_end(begun + 2, {})
            bus.batch_end(4 * epoch + done, {})
        bus.epoch_end(epoch)
        callback.on_epoch_end(epoch, {})
    assert stub.saved == ["1-6.keras", "2-6.keras"]
    assert names(tmp_path) == ["2-3.npy"]


def test_a_value_that_is_no_number_ends_nothing(tmp_path, warned):
    """A text or a list is skipped with a warning; Keras's comparison raises at a text and saves a list."""
    epochs = [{"val_loss": "low"}, {"val_loss": [1.0, 2.0]}, {"val_loss": 1.0}]
    with pytest.raises(Exception, match=r".*"):
        keras_saves({"val_loss": 1.0}, {"val_loss": "low"}, save_best_only=True)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_best_only=True)
    drive(Bus(checkpoint, model=Model(), strict=True), epochs)
    assert names(tmp_path) == ["3.npy"]
    assert len(warned()) == 2  # the bus tells of the value, the checkpoint of the metric that is missing then


def test_a_failed_save_is_not_the_best(tmp_path):
    """Where the best could not be written, the next value is compared with the file that is there."""
    model = Model()
    checkpoint = ModelCheckpoint(tmp_path / "best-{epoch}.npy", save_best_only=True)
    bus = Bus(checkpoint, model=model)
    bus.train_begin()
    for epoch, (loss, error) in enumerate(zip((3.0, 1.0, 2.0), (None, OSError("full"), None), strict=True)):
        model.error = error
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"val_loss": loss})
    assert names(tmp_path) == ["best-1.npy", "best-3.npy"]
    assert checkpoint.best == 2.0


# --- against Keras, in real fits -------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


@pytest.fixture(scope="module")
def compiled():
    models = {}
    for execution in EXECUTIONS:
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1, "sigmoid")])
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"], steps_per_execution=execution)
        models[execution] = model
    return models, models[1].get_weights()


def fresh(compiled, execution=1):
    models, start = compiled
    keras.utils.set_random_seed(7)
    models[execution].set_weights(start)
    return models[execution]


def fit(model, callbacks, epochs=4, **options):
    """Fit 4 batches an epoch, without shuffling, which draws from other generators on each back end."""
    return model.fit(
        X[:32],
        Y[:32],
        validation_data=(X[32:], Y[32:]),
        epochs=epochs,
        callbacks=callbacks,
        **{"batch_size": 8, "verbose": 0, "shuffle": False, **options},
    )


@settings(max_examples=10)
@given(
    options=st.one_of(
        st.fixed_dictionaries(
            {
                "monitor": st.sampled_from(["val_loss", "val_accuracy", "loss"]),
                "save_best_only": st.booleans(),
                "save_weights_only": st.booleans(),
                "initial_value_threshold": st.none() | st.just(0.66),
            }
        ),
        st.fixed_dictionaries({"save_freq": st.integers(2, 7), "save_weights_only": st.just(value=True)}),
    ),
    execution=st.sampled_from(EXECUTIONS),
    batch_size=st.sampled_from([8, 16]),
)
def test_a_fit_leaves_the_files_that_keras_leaves(tmp_path_factory, compiled, options, execution, batch_size):
    """Beside Keras's callback in one fit, ours leaves files of the same names, and the last has the same weights."""
    folder = tmp_path_factory.mktemp("fit")
    ending = ".weights.h5" if options["save_weights_only"] else ".keras"
    template = "{epoch}-{batch}" if "save_freq" in options else "{epoch}-{val_loss:.4f}"
    if execution > 1 and "save_freq" in options:
        batch_size = 32 // 6 + 1  # 6 batches, so that no execution is part of one: that is a difference on purpose
    model = fresh(compiled, execution)
    theirs = keras.callbacks.ModelCheckpoint(str(folder / "theirs" / (template + ending)), **options)
    ours = ModelCheckpoint(folder / "ours" / (template + ending), **options)
    fit(model, [KerasAdapter(ours), theirs], batch_size=batch_size)
    (folder / "theirs").mkdir(exist_ok=True)
    assert names(folder / "ours") == names(folder / "theirs")
    if ours.latest_path is not None:
        found = [load(model, path) for path in (ours.latest_path, folder / "theirs" / ours.latest_path.name)]
        assert all(map(np.array_equal, *found))


def load(model, path):
    KerasModel(model).load(path)
    return model.get_weights()


@pytest.mark.parametrize(("ending", "weights_only"), [(".keras", False), (".h5", False), (".weights.h5", True)])
def test_keras_files_are_loaded_back(tmp_path, compiled, ending, weights_only):
    """All three of Keras's formats bring the weights of the best epoch back."""
    model = fresh(compiled)
    checkpoint = ModelCheckpoint(tmp_path / f"m{ending}", save_best_only=True, save_weights_only=weights_only)
    fit(model, KerasAdapter(checkpoint, model=model), epochs=1)
    saved = model.get_weights()
    fit(model, None, epochs=1)
    checkpoint.load_best(KerasModel(model))
    assert all(map(np.array_equal, model.get_weights(), saved))


def test_the_tutorials_callbacks_list_runs(tmp_path, compiled):
    """Early stopping on the accuracy beside a checkpoint of the best loss, in Keras's words and in ours."""
    results = []
    for module, path in ((keras.callbacks, tmp_path / "theirs.h5"), (None, tmp_path / "my_model.h5")):
        early, checkpoint = (
            (module.EarlyStopping, module.ModelCheckpoint) if module else (EarlyStopping, ModelCheckpoint)
        )
        callbacks_list = [
            early(monitor="val_accuracy" if module else "val_acc", patience=1),
            checkpoint(filepath=str(path), monitor="val_loss", save_best_only=True),
        ]
        model = fresh(compiled)
        history = fit(model, callbacks_list if module else KerasAdapter(*callbacks_list, model=model), epochs=12)
        results.append((history.epoch, load(model, path)))
    (their_epochs, their_weights), (our_epochs, our_weights) = results
    assert our_epochs == their_epochs
    assert all(map(np.allclose, our_weights, their_weights))


def test_many_fits_in_a_loop_leave_the_files_of_one(tmp_path, compiled):
    """One run over `fit(epochs=1)` calls saves as one long fit does, under the same names."""
    options = {"monitor": "val_loss", "save_best_only": True, "save_weights_only": True}
    template = "{epoch:02d}-{step}-{val_loss:.4f}.weights.h5"
    model = fresh(compiled)
    fit(model, KerasAdapter(ModelCheckpoint(tmp_path / "one" / template, **options), model=model), epochs=3)
    model = fresh(compiled)
    with Loop(ModelCheckpoint(tmp_path / "many" / template, **options), model=KerasModel(model)) as loop:
        for _ in loop.epochs(3):
            fit(model, KerasAdapter(loop), epochs=1)
    assert names(tmp_path / "many") == names(tmp_path / "one") != []


# --- order and state -------------------------------------------------------------------------------------------------


def test_a_checkpoint_includes_this_epochs_decisions(tmp_path):
    """Given first, it is still called last, and saves what the others have decided in this epoch."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True)
    drive(Bus(checkpoint, EarlyStopping(patience=9), model=Model(), strict=True), losses(1.0, 2.0, 3.0))
    state = saved_state(checkpoint)["state"]
    states = {each["sink"]: each["state"] for each in state["sinks"]}
    assert states["EarlyStopping"]["patience"] == {"waited": 2}
    assert [each["file"] for each in states["ModelCheckpoint"]["files"]] == ["1.npy", "2.npy", "3.npy"]
    assert (state["run"]["epoch"], state["run"]["step"]) == (2, 3)


class Accelerating(Model):
    """A handle with an optimizer's state."""

    def __init__(self):
        super().__init__()
        self.momentum = np.zeros(2)

    def training_state(self):
        return {"momentum": self.momentum.copy()}

    def load_training_state(self, state):
        self.momentum = state["momentum"]


@settings(max_examples=20 * LONG)
@given(
    values=st.lists(st.one_of(NUMBERS, NO_NUMBERS), min_size=1, max_size=10),
    cuts=st.sets(st.integers(0, 9), max_size=3),
    best_only=st.booleans(),
    keep=st.none() | st.builds(Keep, best=st.integers(0, 3), last=st.integers(1, 3)),
)
def test_a_run_cut_at_any_epoch_goes_on_as_if_it_was_not(tmp_path_factory, unflushed, values, cuts, best_only, keep):
    """The same files are there, the same value is the best, and the sinks have decided alike."""
    epochs = [{} if value == "missing" else {"val_loss": value} for value in values]
    whole = run_in_parts(tmp_path_factory.mktemp("whole"), epochs, [], save_best_only=best_only, keep=keep)
    cut = run_in_parts(tmp_path_factory.mktemp("cut"), epochs, sorted(cuts), save_best_only=best_only, keep=keep)
    assert cut == whole


def run_in_parts(folder, epochs, cuts, **options):
    """Run epochs up to each cut in turn, each part in new objects, as in a new process; return what came of it."""
    for stop in [*cuts, len(epochs)]:
        checkpoint = ModelCheckpoint(folder / "{epoch}.npy", save_state=True, **options)
        early = EarlyStopping(patience=3, start_from_epoch=1)
        bus = Bus(checkpoint, early, model=Model(), strict=True)
        checkpoint.resume(bus)
        done = bus.run.epoch + 1
        drive(bus, epochs[done:stop], first=done, end=stop == len(epochs))
        if bus.run.stopped:
            break
    files = {name: np.load(folder / name).tolist() for name in names(folder)}
    best = checkpoint.best_path and checkpoint.best_path.name
    state = checkpoint.state_dict()
    for each in state["files"]:
        each["state"] = each["state"] is not None  # its name is another one each time
    return files, best, state, early.state_dict(), bus.run.step, bus.run.stop_reason


def test_resuming_brings_the_model_and_its_training_state_back(tmp_path):
    """The latest model, the optimizer's state and the run's numbers are as they were at that checkpoint."""
    model = Accelerating()
    bus = Bus(ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True), model=model, strict=True)
    model.momentum += 3
    drive(bus, losses(1.0, 2.0), end=False)
    again = Accelerating()
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True)
    loop = Loop(checkpoint, model=again)
    assert checkpoint.resume(loop.bus)
    assert (again.values.tolist(), again.momentum.tolist()) == ([2, 2, 2], [3, 3])
    with loop:
        assert list(loop.epochs(4)) == [2, 3]
    assert names(tmp_path) == ["1.npy", "2.npy", "3.npy", "4.npy"]


def test_resuming_brings_learning_rates_back_where_there_is_no_training_state(tmp_path):
    """A rate that a sink has lowered stays lowered."""
    model, again = Model(), Model()
    model.learning_rates, again.learning_rates = [0.25, 0.5], [1.0, 1.0]
    drive(Bus(ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True), model=model), losses(1.0))
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True)
    checkpoint.resume(Bus(checkpoint, model=again))
    assert again.learning_rates == [0.25, 0.5]


def test_an_epoch_that_was_broken_off_begins_again(tmp_path):
    """Saved within an epoch, a run goes on with that epoch, and steps go on counting."""

    def begin():
        checkpoint = ModelCheckpoint(tmp_path / "{step}.npy", save_freq=3, save_state=True)
        return checkpoint, Bus(checkpoint, History(per_batch=True), model=Model(), strict=True)

    _, bus = begin()
    bus.train_begin()
    bus.epoch_begin(0)
    for step in range(1, 9):
        bus.batch_begin(step)
        bus.batch_end(step, {"loss": 1.0})
    checkpoint, bus = begin()
    assert checkpoint.resume(bus)
    assert (bus.run.epoch, bus.run.step) == (-1, 6)
    assert saved_state(checkpoint)["state"]["sinks"][0]["state"]["batches"] == 6
    bus.train_begin()
    bus.epoch_begin(0)
    for step in range(7, 10):
        bus.batch_begin(step)
        bus.batch_end(step, {"loss": 1.0})
    assert names(tmp_path) == ["3.npy", "6.npy", "9.npy"]


def test_a_keras_fit_goes_on_where_it_was_cut(tmp_path, compiled):
    """Cut after two epochs and continued, a fit ends with the weights and files of one that was not."""
    template = "{epoch}-{val_loss:.5f}.weights.h5"

    def parts(folder, model):
        checkpoint = ModelCheckpoint(folder / template, save_weights_only=True, save_state=True)
        return checkpoint, KerasAdapter(checkpoint, EarlyStopping(patience=5), model=model)

    model = rebuilt(compiled)
    fit(model, parts(tmp_path / "whole", model)[1], epochs=4)
    expected = model.get_weights()
    model = rebuilt(compiled)
    fit(model, parts(tmp_path / "cut", model)[1], epochs=2)
    model = rebuilt(compiled)
    checkpoint, adapter = parts(tmp_path / "cut", model)
    assert checkpoint.resume(adapter.bus)
    fit(model, adapter, epochs=4, initial_epoch=adapter.bus.run.epoch + 1)
    assert names(tmp_path / "cut") == names(tmp_path / "whole")
    assert all(map(np.array_equal, model.get_weights(), expected))


def rebuilt(compiled):
    """Return a new model like the compiled one, as in a new process."""
    model = keras.models.clone_model(compiled[0][1])
    model.set_weights(compiled[1])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def test_resuming_from_nothing_begins_anew(tmp_path):
    """Where nothing was saved, there is nothing to go on with."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True)
    assert not checkpoint.resume(Bus(checkpoint, model=Model()))


def test_resuming_without_a_state_is_an_error(tmp_path):
    """A checkpoint of the model alone says how to load it."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy")
    run(checkpoint, 1.0)
    with pytest.raises(ValueError, match=r"holds no state to go on from.*load_latest\(model\)"):
        checkpoint.resume(Bus(ModelCheckpoint(tmp_path / "{epoch}.npy"), model=Model()))
    with pytest.raises(ValueError, match="bus must have a model's handle with 'load'"):
        drive(Bus(with_state := ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True), model=Model()), losses(1.0))
        with_state.resume(Bus())


class Stateless(Sink):
    """A sink whose state cannot be read in some of the epochs."""

    def __init__(self, *epochs):
        self.epochs, self.epoch = epochs, 0

    def on_epoch_end(self, run, epoch, logs):
        self.epoch = epoch + 1

    def state_dict(self):
        if self.epoch in self.epochs:
            raise RuntimeError("no state today")
        return {"epoch": self.epoch}


@pytest.mark.parametrize("keep", [None, Keep(last=1)])
def test_a_state_that_cannot_be_read_costs_no_checkpoint(tmp_path, warned, keep):
    """Where a state raises, the model is saved, with one warning, and the last checkpoint with a state stays."""
    template, sink = tmp_path / "{epoch}.npy", Stateless(3, 4)
    checkpoint = ModelCheckpoint(template, save_state=True, keep=keep)
    drive(Bus(checkpoint, sink, model=Model(), strict=True), losses(1.0, 2.0, 3.0, 4.0))
    assert names(tmp_path) == ([f"{epoch}.npy" for epoch in (1, 2, 3, 4)] if keep is None else ["2.npy", "4.npy"])
    assert [each for each in warned() if each.startswith("ModelCheckpoint saves the model without")] == [
        "ModelCheckpoint saves the model without a state; the last checkpoint that can be resumed from stays"
    ]
    again = ModelCheckpoint(template, save_state=True, keep=keep)
    bus = Bus(again, Stateless(), model=(model := Model()))
    assert again.resume(bus)
    assert (bus.run.epoch, model.values.tolist()) == (1, [2, 2, 2])


@pytest.mark.parametrize(("state", "error"), [(None, "no state today"), ({"a": print}, "must hold JSON values")])
def test_a_state_that_can_never_be_saved_is_refused(tmp_path, state, error):
    """What can be known at train begin is an error then, which names the sink that asks and what to do."""
    sink = Stateless(0)
    if state is not None:
        sink.state_dict = lambda: state
    bus = Bus(ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True), sink, model=Model())
    with pytest.raises(SetupError, match=f"ModelCheckpoint cannot save the state.*{error}.*leave save_state=True out"):
        bus.train_begin()


def test_a_state_never_belongs_to_another_runs_file(tmp_path):
    """Where a new run replaces the file that an old index names, a kill in between leaves no wrong state."""
    template = tmp_path / "{epoch}.npy"
    run(ModelCheckpoint(template, save_state=True), 1.0)
    checkpoint = ModelCheckpoint(template, save_state=True)
    bus = Bus(checkpoint, model=Model())
    bus.train_begin()
    checkpoint._store.write(bus.run.model, tmp_path / "1.npy", epoch=0, step=1, value=None)  # and then a kill
    assert not ModelCheckpoint(template, save_state=True).resume(Bus(checkpoint, model=Model()))


# --- kills and full disks --------------------------------------------------------------------------------------------

SAVER = """
    import itertools, os, random, signal, sys, time
    from pathlib import Path
    import numpy as np
    from monitor_core import Bus
    from monitor_core.sinks.model_checkpoint import ModelCheckpoint
    from monitor_core.files.state import load_state

    class Model:
        pause = pipe = None

        def save(self, path, *, weights_only=False):
            with open(path, "wb") as file:
                for piece in range(20):
                    file.write(np.full(1000, self.number).tobytes())
                    file.flush()
                    if (self.number, piece) == self.pause:
                        os.write(self.pipe, b"in the middle")
                        signal.pause()

    def checkpoint(folder, state):
        name = "{step}.npy" if state else "model.npy"
        return ModelCheckpoint(Path(folder) / name, save_freq=1, save_state=state)

    def save_on(folder, first, state, model):
        sink = checkpoint(folder, state)
        bus = Bus(sink, model=model)
        bus.run.step = first
        bus.train_begin()
        bus.epoch_begin(0)
        for step in itertools.count(first + 1):
            model.number = float(step)
            bus.batch_end(step, {})

    def number_in(path):
        values = np.frombuffer(path.read_bytes())
        assert len(values) == 20_000 and len(set(values.tolist())) == 1, (len(values), set(values.tolist()))
        return int(values[0])
"""

KILLS = (
    SAVER
    + """
    def strays(folder):
        return [each for each in os.listdir(folder) if each.startswith(".monitor_core") and "-lock-" not in each]

    folder, kills, state = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "state"
    draw = random.Random(3)
    number = in_the_middle = 0
    for kill in range(kills):
        model = Model()
        ear, model.pipe = os.pipe()
        paused = kill % 2 == 0
        if paused:
            model.pause = (float(number + 2), draw.randrange(20))
        child = os.fork()
        if child == 0:
            try:
                save_on(folder, number, state, model)
            finally:
                os._exit(1)
        sink = checkpoint(folder, state)
        if paused:
            os.read(ear, 100)
        else:
            while number_in(sink.latest_path) <= number if sink.latest_path else True:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ear)
        os.close(model.pipe)
        in_the_middle += bool(strays(folder))
        now = number_in(sink.latest_path)
        assert now == number + 1 if paused else now > number, (now, number)
        if state:
            index = load_state(sink.index_path)
            saved = load_state(folder / index["latest"]["state"])
            assert index["latest"]["step"] == saved["state"]["run"]["step"] == now
            for each in folder.glob("*.npy"):
                if each.name[0] != ".":
                    assert number_in(each) == int(each.stem)
                    if int(each.stem) < now:
                        each.unlink()
        number = now
    Bus(checkpoint(folder, state), model=Model()).train_begin()
    print(kills, in_the_middle >= kills // 2, strays(folder))
"""
)


def in_fresh_process(code, *args):
    """Run code in a fresh process and return what it prints."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are those of POSIX")
@pytest.mark.parametrize(("kills", "state"), [(100, "model"), (30, "state")])
def test_a_kill_in_the_middle_of_a_save_leaves_the_last_good_file(tmp_path, kills, state):
    """After many SIGKILLs, half of them within the model's own writing, half anywhere, the newest file is whole."""
    assert in_fresh_process(KILLS, tmp_path, kills, state) == f"{kills} True []"


KERAS_SAVER = """
    import itertools, sys
    import keras
    from monitor_core import Bus
    from monitor_core.adapters.keras import KerasModel
    from monitor_core.sinks.model_checkpoint import ModelCheckpoint
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300)])
    bus = Bus(ModelCheckpoint(sys.argv[1], save_freq=1), model=KerasModel(model))
    print("ready", flush=True)
    first = int(input())
    bus.train_begin()
    bus.epoch_begin(0)
    for number in itertools.count(first):
        model.set_weights([0 * each + number for each in model.get_weights()])
        bus.batch_end(number, {})
        print(number, flush=True)
"""


def test_killed_keras_saves_leave_the_last_good_file(tmp_path):
    """Three times killed in the middle of saving a Keras model over its predecessor, the file is whole."""
    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300)])
    command = [sys.executable, "-c", textwrap.dedent(KERAS_SAVER), str(path)]
    with contextlib.ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        children = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(3)]
        stack.callback(lambda: [child.kill() for child in children])
        number = 0
        for child in children:
            assert child.stdout.readline() == "ready\n"
            child.stdin.write(f"{number + 1}\n")
            child.stdin.flush()
            saved = [int(child.stdout.readline()) for _ in range(3)]
            os.kill(child.pid, signal.SIGKILL)  # while it goes on with the next
            KerasModel(model).load(path)
            (number,) = {int(value) for each in model.get_weights() for value in np.unique(each)}
            assert number >= saved[-1]
            child.wait()


@contextlib.contextmanager
def full_disk(size):
    """Let no file grow beyond a number of bytes, as if the disk was full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def fill_and_free(checkpoint, handle, warned):
    """Save, fail four times on a full disk, save again; return what was there after each part."""
    bus = Bus(checkpoint, model=handle)
    bus.train_begin()
    found = []
    for epoch in range(6):
        handle.number = epoch
        bus.epoch_begin(epoch)
        with full_disk(4096) if 1 <= epoch <= 4 else contextlib.nullcontext():
            bus.epoch_end(epoch, {"val_loss": 9.0 - epoch})
        if epoch in {0, 4, 5}:
            found.append((names(checkpoint.index_path.parent), checkpoint.best, checkpoint.latest_path.read_bytes()))
    assert [type(each.error) for each in bus.failures] == [OSError] * 4
    assert len([each for each in warned() if "cut off" in each]) == 0
    return found


def test_a_full_disk_leaves_the_last_good_file(tmp_path, warned):
    """Failed saves leave no trace and are never the end: the old file stays until one succeeds."""
    state = {"x": np.zeros(10_000)}
    checkpoint = ModelCheckpoint(tmp_path / "best.npz", save_best_only=True)
    first, full, last = fill_and_free(checkpoint, PytreeModel(lambda: state, state.update), warned)
    assert first == full
    assert (first[0], first[1], last[0], last[1]) == (["best.npz"], 9.0, ["best.npz"], 4.0)


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5"])
def test_a_full_disk_leaves_the_last_good_keras_file(tmp_path, warned, ending):
    """However Keras and HDF5 say that the disk is full, the old file stays, and no save is the last."""
    model = keras.Sequential([keras.Input((60,)), keras.layers.Dense(60)])
    checkpoint = ModelCheckpoint(tmp_path / f"m{ending}", save_best_only=True, save_weights_only="weights" in ending)
    first, full, last = fill_and_free(checkpoint, KerasModel(model), warned)
    assert first == full
    assert (first[1], last[1]) == (9.0, 4.0)


@pytest.mark.parametrize(
    "message",
    [
        "Can't decrement id ref count (file write failed: errno = 28, error message = 'No space left on device')",
        "[enforce fail at inline_container.cc:783] . PytorchStreamWriter failed writing file data/0: file write failed",
    ],
)
def test_a_write_that_failed_by_any_other_name_is_no_reason_to_cut_off(tmp_path, message):
    """What h5py and PyTorch raise on a full disk is reported as the OSError that it is."""
    model = Model()
    model.error = RuntimeError(message)
    bus = drive(Bus(ModelCheckpoint(tmp_path / "{epoch}.npy"), model=model), losses(4.0, 3.0, 2.0, 1.0))
    assert [type(each.error) for each in bus.failures] == [OSError] * 4
    assert model.saves == 4
    assert names(tmp_path) == []


def test_a_pytorch_module_in_a_loop_is_saved_and_goes_on(tmp_path, warned):
    """In a plain PyTorch loop the best is loaded back, a cut run goes on, and a full disk leaves the old file."""
    torch = pytest.importorskip("torch")
    from monitor_core.adapters.torch import TorchModel

    def train(epochs):
        torch.manual_seed(7)
        module = torch.nn.Linear(60, 60)
        model = TorchModel(module, optimizer := torch.optim.Adam(module.parameters()))
        checkpoint = ModelCheckpoint(tmp_path / "{epoch}.pt", "loss", keep=Keep(best=1, last=2), save_state=True)
        loop = Loop(checkpoint, model=model)
        checkpoint.resume(loop.bus)
        with loop:
            for epoch in loop.epochs(epochs):
                for x in loop.batches(torch.ones(2, 60)):
                    optimizer.zero_grad()
                    loss = (module(x) ** 2).mean() * (1 if epoch != 2 else 9)
                    loss.backward()
                    optimizer.step()
                    loop.log(loss=loss)
        return checkpoint, model

    train(2)
    checkpoint, model = train(4)
    cut = model.get_weights()
    assert names(tmp_path) == ["3.pt", "4.pt"]
    for each in tmp_path.iterdir():
        each.unlink()
    checkpoint, model = train(4)
    assert all(map(np.array_equal, cut, model.get_weights()))
    checkpoint.load_best(model)
    (tmp_path / "disk").mkdir()
    first, full, _ = fill_and_free(ModelCheckpoint(tmp_path / "disk" / "m.pt", save_best_only=True), model, warned)
    assert first == full


READ_ONLY = (
    SAVER
    + """
    from monitor_core import SetupError
    from monitor_core.metrics.decisions import Best
    folder = Path(sys.argv[1])
    sink, model = checkpoint(folder, False), Model()
    model.number = 1.0
    first, second = Bus(sink, model=model), Bus(checkpoint(folder, False), model=model)
    first.train_begin()
    first.epoch_begin(0)
    folder.chmod(0o555)
    if os.getuid() == 0:
        os.setuid(65534)
    first.batch_end(1, {})
    print([type(each.error).__name__ for each in first.failures], list(folder.glob("[!.]*")))
    try:
        second.train_begin()
    except SetupError as error:
        print("cannot write into" in str(error))
"""
)


def test_a_read_only_folder_is_an_error_at_train_begin():
    """A folder that cannot be written fails at train begin; one that turns so later fails the save alone."""
    with tempfile.TemporaryDirectory() as home:  # pytest's own are closed to the user that root becomes
        folder = Path(home) / "folder"
        folder.mkdir()
        Path(home).chmod(0o755)
        assert in_fresh_process(READ_ONLY, folder).split("\n") == ["['PermissionError'] []", "True"]


def test_strays_in_folders_of_the_template_are_removed(tmp_path):
    """What a kill has left is removed at train begin, in folders that a field named too; other files are not."""
    (tmp_path / "1").mkdir()
    strays = [tmp_path / ".monitor_core-999999999-0-a.npy", tmp_path / "1" / ".monitor_core-999999999-1-a.npy"]
    for each in [*strays, tmp_path / "1" / "other.npy"]:
        each.touch()
    Bus(ModelCheckpoint(tmp_path / "{epoch}" / "a.npy"), model=Model()).train_begin()
    assert names(tmp_path) == ["1/other.npy"]


def test_a_save_is_logged(tmp_path, caplog):
    """Each save is told to the logger, for those who want to see it."""
    caplog.set_level(logging.INFO, "monitor_core")
    run(ModelCheckpoint(tmp_path / "{epoch}.npy"), 1.0)
    assert f"ModelCheckpoint saved {tmp_path / '1.npy'}" in caplog.messages


def test_nothing_is_heard_per_batch_without_need(tmp_path):
    """Only a number of steps makes it listen to batches, which keeps Keras's dispatch asynchronous otherwise."""
    assert not Bus(ModelCheckpoint(tmp_path / "a.npy"), model=Model()).has_listeners("on_batch_end", "on_block")
    assert Bus(ModelCheckpoint(tmp_path / "a.npy", save_freq=9), model=Model()).has_listeners("on_batch_end")
