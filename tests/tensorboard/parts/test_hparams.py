"""Hyperparameters and how the run ended, read back by TensorBoard's plugin."""

import pytest
from boards_reader import accumulated, scalars, tensors

from monitor_core import Run
from monitor_core.tensorboard.parts.files import RunFiles
from monitor_core.tensorboard.parts.hparams import HParams


def contents(folder):
    """Return the messages of the plugin in a folder by their tags, the first of each, as TensorBoard takes it."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    accumulator = accumulated(folder)
    found = {}
    for tag in accumulator.Tags()["tensors"]:
        if not tag.startswith("_hparams_/"):
            continue
        data = HParamsPluginData.FromString(accumulator.SummaryMetadata(tag).plugin_data.content)
        found[tag.removeprefix("_hparams_/")] = getattr(data, data.WhichOneof("data"))
    return found


def trained(part, files, status="completed"):
    """Call a part's methods as in a run."""
    run = Run()
    part.begin(run, files)
    run.status = status
    part.end(run, files)


def test_hyperparameters_are_those_of_the_log_folder(tmp_path):
    """Numbers, booleans and strings keep their type; others become strings; the Text tab has the table too."""
    HParams({"rate": 0.5, "layers": 2, "bias": True, "name": "a", "none": None}, None).begin(Run(), RunFiles(tmp_path))
    (start,) = contents(tmp_path).values()
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert found == {"rate": 0.5, "layers": 2.0, "bias": True, "name": "a", "none": "None"}
    assert b"| rate | 0.5 |" in tensors(tmp_path / "train")["hparams"][0][1].item()


@pytest.mark.parametrize(("status", "expected"), [("completed", 1), ("stopped", 1), ("failed", 2), ("interrupted", 2)])
def test_the_end_has_the_status(tmp_path, status, expected):
    """A run that completed or was stopped by a sink is a success, else a failure."""
    trained(HParams({"rate": 0.5}, None), RunFiles(tmp_path), status)
    assert contents(tmp_path)["session_end_info"].status == expected


def test_a_further_run_drops_the_end(tmp_path):
    """TensorBoard takes the first end that it finds, so an earlier run's is dropped when the next begins."""
    part, files = HParams({"rate": 0.5}, None), RunFiles(tmp_path)
    trained(part, files, "failed")
    part.begin(Run(), files)
    assert set(contents(tmp_path)) == {"session_start_info"}
    trained(part, files)
    assert contents(tmp_path)["session_end_info"].status == 1


def test_what_an_earlier_process_left_is_dropped(tmp_path):
    """In a folder that already has hyperparameters, those of the new run are shown."""
    trained(HParams({"rate": 0.5}, None), RunFiles(tmp_path), "failed")
    trained(HParams({"rate": 0.25}, None), RunFiles(tmp_path))
    found = contents(tmp_path)
    assert found["session_start_info"].hparams["rate"].number_value == 0.25
    assert found["session_end_info"].status == 1


def test_metrics_that_are_chosen_are_named_from_the_begin(tmp_path):
    """Chosen metrics are those of the log folder, and the table has every value of a hyperparameter."""
    HParams({"rate": 0.5}, ["loss", "val_accuracy"]).begin(Run(), RunFiles(tmp_path))
    experiment = contents(tmp_path)["experiment"]
    assert [(info.name.group, info.name.tag) for info in experiment.metric_infos] == [
        ("", "hparams/loss"),
        ("", "hparams/val_accuracy"),
    ]
    assert [(info.name, info.WhichOneof("domain")) for info in experiment.hparam_infos] == [("rate", None)]


@pytest.mark.parametrize(("metrics", "expected"), [(None, ["loss", "val_loss"]), (["val_loss"], ["val_loss"])])
def test_metrics_are_in_the_log_folder_with_the_hyperparameters(tmp_path, metrics, expected):
    """An epoch's metrics, all of the first epoch's or those chosen, are written where TensorBoard looks for them."""
    part, files = HParams({"rate": 0.5}, metrics), RunFiles(tmp_path)
    part.begin(Run(), files)
    for epoch in range(2):
        part.record({"loss": 0.5 + epoch, "val_loss": 0.25 + epoch}, epoch, files)
    found = scalars(tmp_path)
    assert {tag: [step for step, _ in values] for tag, values in found.items()} == {
        f"hparams/{name}": [0, 1] for name in expected
    }
    assert found["hparams/val_loss"] == [(0, 0.25), (1, 1.25)]
    assert [info.name.tag for info in contents(tmp_path)["experiment"].metric_infos] == sorted(found)
