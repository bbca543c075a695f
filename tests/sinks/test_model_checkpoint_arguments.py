"""Model checkpoint: arguments."""

import pytest

from model_checkpoint_support import (
    Model,
    compiled,  # noqa: F401 (fixtures)
    drive,
    names,
    run,
)
from monitor_core import Bus, SetupError
from monitor_core.adapters.keras import KerasModel
from monitor_core.files.checkpoint_index import Keep
from monitor_core.sinks.model_checkpoint import ModelCheckpoint


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
    """For a metric of unknown direction, an error asks for the mode before the first epoch."""
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
    with pytest.raises(IsADirectoryError, match="but a folder has this name"):
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
    (message,) = warned()
    assert "saves nothing while a field of the file's name is missing: no metric 'val_loss'" in message


def test_a_misspelt_name_is_skipped_with_the_nearest(tmp_path, warned):
    """Where nothing is known before the first epoch, the warning names the nearest metric."""
    assert run(ModelCheckpoint(tmp_path / "{epoch}-{val_los:.2f}.npy"), 1.0) == []
    assert "did you mean 'val_loss'?" in warned()[0]


def test_metrics_with_hostile_names_stay_in_the_folder(tmp_path):
    """Names of metrics that look like paths lead to no other folder."""
    checkpoint = ModelCheckpoint(tmp_path / "a" / "{epoch}.npy")
    logs = [{"../../evil": 1.0, "/etc/evil": 2.0, "evil\0": 3.0, "epoch": 7.0}]
    drive(Bus(checkpoint, model=Model(), strict=True), logs)
    assert names(tmp_path) == ["a/1.npy"]
