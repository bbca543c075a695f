"""Model checkpoint: what is saved, what is there: the index."""

import json
import re

import numpy as np
import pytest

from model_checkpoint_support import Model, drive, losses, names, run
from monitor_core import Bus
from monitor_core.files.checkpoint_index import Keep
from monitor_core.sinks.model_checkpoint import ModelCheckpoint


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
    """`val_acc` finds `val_accuracy`, and improves by rising."""
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
    """A file outside of the folder in an index or a state is an error: files that are not kept are removed."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy")
    run(checkpoint, 1.0)
    text = checkpoint.index_path.read_text()
    data = json.loads(text.replace("1.npy", "../1.npy"))
    del data["checksum"]
    checkpoint.index_path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"a checkpoint must be in the folder of its index \(got '\.\./1\.npy'\)"):
        _ = ModelCheckpoint(tmp_path / "{epoch}.npy").best_path
    state = {**checkpoint.state_dict(), "files": [{"file": "/a.npy", "epoch": 0, "step": 1, "value": None}]}
    with pytest.raises(ValueError, match="a checkpoint must be in the folder"):
        checkpoint.load_state_dict(state)
