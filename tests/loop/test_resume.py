"""``resume=...``: what continues, what is refused, and a second run. Kills: see `faults/test_resume.py`."""

import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from monitor_core import (
    CSVLogger,
    EarlyStopping,
    History,
    Journal,
    Loop,
    ModelCheckpoint,
    OrderError,
    SetupError,
    Sink,
    open_run,
)
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.files.state import load_state
from monitor_core.loop import resume
from recorders import Recorder


class CutError(Exception):
    """Ends a training early."""


def trained(folder, *sinks, epochs=4, cut_at=None):
    """Train a single weight by random steps, one a batch, two an epoch; return the loop and the weight."""
    state = {"weight": np.array(1.0)}
    handle = PytreeModel(lambda: state, state.update)
    loop = Loop(*sinks, model=handle, resume=folder)
    with loop:
        for _ in loop.epochs(epochs):
            for _ in loop.batches(range(2)):
                if loop.run.step == cut_at:
                    raise CutError
                state["weight"] = state["weight"] * np.random.uniform(0.5, 1.0)  # noqa: NPY002
                loop.log(loss=state["weight"])
    return loop, float(state["weight"])


@pytest.fixture(autouse=True)
def _saves_are_free(monkeypatch):
    """An epoch here takes less than a save."""
    monkeypatch.setattr(resume, "SHARE", 1e9)


def seed(number):
    np.random.seed(number)  # noqa: NPY002


def test_an_empty_folder_begins_a_new_run(tmp_path):
    """It has a journal and a checkpoint in the end."""
    loop, _ = trained(tmp_path, history := History())
    assert history.epoch == [0, 1, 2, 3]
    assert open_run(tmp_path).history.history == history.history
    names = [path.name for path in (tmp_path / "resume").iterdir() if ".state-" not in path.name]
    assert sorted(names) == ["000003", "000004", "epoch.latest.json"]
    assert loop.run.status == "completed"


@pytest.mark.parametrize("cut_at", [0, 1, 2, 5, 7])
def test_a_run_continues_where_it_was_interrupted(tmp_path, cut_at):
    """The history, the weights and NumPy's generator are as if nothing had been."""
    seed(0)
    _, whole = trained(tmp_path / "whole", expected := History(per_batch=True))
    seed(0)
    with pytest.raises(CutError):
        trained(tmp_path / "cut", History(per_batch=True), cut_at=cut_at)
    seed(99)
    _, weight = trained(tmp_path / "cut", history := History(per_batch=True))
    assert (weight, history.history, history.epoch) == (whole, expected.history, expected.epoch)
    assert history.batches["loss"].tolist() == expected.batches["loss"].tolist()
    assert history.batches.steps.tolist() == list(range(1, 9))
    assert history.run.tolist() == [0] * 4
    assert len(open_run(tmp_path / "cut").runs) == 1


def test_a_run_that_has_ended_trains_no_further(tmp_path, caplog):
    """Started again it has all that it had; a higher total trains the rest."""
    trained(tmp_path, History())
    loop, _ = trained(tmp_path, history := History())
    assert (len(history), loop.run.epoch, loop.run.step) == (4, 3, 8)
    assert "nothing is left to do" in caplog.text
    trained(tmp_path, history := History(), epochs=6)
    assert history.epoch == [0, 1, 2, 3, 4, 5]


def test_a_run_that_its_decider_would_stop_at_once_stays_stopped(tmp_path, caplog):
    """For the reason that it had, with one line that says what to change; then it trains on."""
    first, _ = trained(tmp_path, EarlyStopping("loss", mode="max", patience=2), epochs=9)
    again, _ = trained(
        tmp_path, EarlyStopping("loss", mode="max", patience=2), recorder := Recorder("on_batch_end"), epochs=9
    )
    assert (again.run.status, again.run.stop_reason) == ("stopped", first.run.stop_reason)
    assert recorder.events == []
    assert (
        f"EarlyStopping ends the run before its next epoch: {first.run.stop_reason}; change patience=2" in caplog.text
    )
    assert [each.reason for each in open_run(tmp_path).decisions] == [first.run.stop_reason]
    more, _ = trained(tmp_path, EarlyStopping("loss", mode="max", patience=5), epochs=9)
    assert (more.run.status, more.run.epoch) == ("stopped", 5)


class StopsAfterAnEpoch(Sink):
    """As a job does whose time is up."""

    def __init__(self, reason="hour over", *, failed=False):
        self.arguments = {"reason": reason, "failed": failed}

    def on_epoch_end(self, run, epoch, logs):
        run.stop(**self.arguments)


def test_a_run_that_a_sink_stopped_trains_on(tmp_path, caplog):
    """Each start trains; why the last one stopped is logged."""
    caplog.set_level("INFO", logger="monitor_core")
    lengths = []
    for _ in range(3):
        caplog.clear()
        trained(tmp_path, history := History(), StopsAfterAnEpoch(), epochs=9)
        lengths.append(len(history))
    assert lengths == [1, 2, 3]
    assert "it was stopped in epoch 2: hour over" in caplog.text
    assert [(each.reason, each.epoch) for each in open_run(tmp_path).decisions] == [("hour over", n) for n in range(3)]


def test_a_run_that_failed_continues_from_before_that(tmp_path, caplog):
    """Its state then is not one to continue from; why it failed is logged."""
    caplog.set_level("INFO", logger="monitor_core")
    trained(tmp_path, epochs=2)
    trained(tmp_path, StopsAfterAnEpoch("loss is nan", failed=True), epochs=4)
    trained(tmp_path, recorder := Recorder("on_epoch_begin"), epochs=4)
    assert recorder.events == [("epoch_begin", 2), ("epoch_begin", 3)]
    assert "it had ended in epoch 2, at step 6: loss is nan" in caplog.text


def test_runs_that_were_cut_again_and_again_are_one(tmp_path):
    """Even if two continued from the same checkpoint."""
    for cut_at in (3, 3, 2, 5, 5):
        with pytest.raises(CutError):
            trained(tmp_path, cut_at=cut_at)
    trained(tmp_path)
    recorded = open_run(tmp_path)
    assert (len(recorded.runs), recorded.history.epoch, recorded.status) == (1, [0, 1, 2, 3], "completed")


def test_saves_take_a_share_of_the_time(tmp_path, monkeypatch):
    """Where that is tiny, only the run's begin and its last epoch are saved."""
    monkeypatch.setattr(resume, "SHARE", 1e-9)
    trained(tmp_path, epochs=5)
    index = load_state(tmp_path / "resume/epoch.latest.json")
    assert [each["file"] for each in index["resumable"]] == ["000000", "000005"]


def test_a_journal_of_the_folder_is_used(tmp_path):
    """And none is added; without one, batches are recorded if anything else records them."""
    own = Journal(tmp_path, config={"a": 1})
    assert Loop(own, resume=tmp_path).bus.sinks == (own,)
    assert [Loop(History(per_batch=each), resume=tmp_path).bus.sinks[1].per_batch for each in (True, False)] == [
        True,
        False,
    ]


def test_a_run_is_recorded_and_no_checkpoint_kept(tmp_path):
    """By ``record``; runs that are there stay, and a state on record is not continued."""
    for _ in range(2):
        with Loop(record=tmp_path / "a") as loop:
            for epoch in loop.epochs(2):
                loop.log(loss=epoch)
    recorded = open_run(tmp_path / "a")
    assert (recorded.history.epoch, recorded.history.run.tolist()) == ([0, 1, 0, 1], [0, 0, 1, 1])
    assert sorted(path.name for path in (tmp_path / "a").glob("*.mcj")) == ["journal-0000.mcj", "journal-0001.mcj"]


@pytest.mark.parametrize("option", ["record", "resume"])
@pytest.mark.parametrize("make", [Loop, KerasAdapter])
def test_a_journal_elsewhere_is_refused(tmp_path, make, option):
    """With either option, in Loop and adapter alike; one for the same folder is used unchanged."""
    with pytest.raises(
        ValueError, match=rf"{option} and Journal must name one folder \(got {option}='.*/a' and Journal"
    ):
        make(Journal(tmp_path / "b"), **{option: tmp_path / "a"})
    own = Journal(tmp_path / "a", per_batch=False)
    assert make(own, **{option: f"{tmp_path}/b/../a"}).bus.sinks == (own,)


@pytest.mark.parametrize("make", [Loop, KerasAdapter])
def test_two_folders_are_refused(tmp_path, make):
    """To record and to resume are one."""
    with pytest.raises(ValueError, match=r"record and resume must name one folder \(got record='a' and resume='b'\)"):
        make(record="a", resume="b")
    assert [type(each) for each in make(record=tmp_path, resume=str(tmp_path)).bus.sinks] == [Journal]


def test_a_run_that_is_continued_need_not_be_the_last_on_record(tmp_path):
    """One that was only recorded since stays what it is."""
    seed(0)
    with pytest.raises(CutError):
        trained(tmp_path, History(), cut_at=5)
    with Loop(record=tmp_path) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=9.0)
    trained(tmp_path, history := History())
    recorded = open_run(tmp_path)
    assert (history.epoch, recorded.history.run.tolist()) == ([0, 1, 2, 3], [0, 1, 1, 1, 1])
    assert recorded.history["loss"].tolist() == [9.0, *history["loss"]]


# --- what is not there any more --------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["resume", "resume/epoch.latest.json"])
def test_a_checkpoint_that_is_gone_is_an_error(tmp_path, gone):
    """Which says what is there and what is missing; nothing is trained, and no file is touched."""
    trained(tmp_path, CSVLogger(tmp_path / "log.csv"))
    (shutil.rmtree if gone == "resume" else os.remove)(tmp_path / gone)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(
        SetupError, match=r"epochs up to 3 \(0-based\), .* missing: there is no .*epoch\.latest\.json\. Put the files"
    ):
        trained(tmp_path, CSVLogger(tmp_path / "log.csv"))
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path in before} == before


@pytest.mark.parametrize("per_batch", [False, True])
@pytest.mark.parametrize("left", [0, 20])
def test_rows_that_are_gone_come_from_the_journal(tmp_path, caplog, per_batch, left):
    """If the file was moved away, or truncated, the rows are restored."""

    def sinks(folder):
        return CSVLogger(folder / "log.csv", per_batch=per_batch), Journal(folder)

    seed(0)
    trained(tmp_path / "whole", *sinks(tmp_path / "whole"))
    seed(0)
    with pytest.raises(CutError):
        trained(tmp_path / "cut", *sinks(tmp_path / "cut"), cut_at=5)
    file = tmp_path / "cut/log.csv"
    file.write_bytes(file.read_bytes()[:left])
    if not left:
        file.unlink()
    trained(tmp_path / "cut", *sinks(tmp_path / "cut"))
    assert file.read_bytes() == (tmp_path / "whole/log.csv").read_bytes()
    assert "rows that it had; the others are taken from the run's journal" in caplog.text


def test_a_run_may_be_copied(tmp_path):
    """Files within its folder are found there, and the original is left alone."""
    with pytest.raises(CutError):
        trained(tmp_path / "a", CSVLogger(tmp_path / "a/log.csv"), cut_at=5)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    before = (tmp_path / "a/log.csv").read_bytes()
    trained(tmp_path / "b", CSVLogger(tmp_path / "b/log.csv"))
    assert (tmp_path / "a/log.csv").read_bytes() == before
    assert len((tmp_path / "b/log.csv").read_bytes().splitlines()) == 5


def test_a_second_run_is_refused(tmp_path):
    """It would take the first one's place."""
    loop, _ = trained(tmp_path)
    with pytest.raises(OrderError, match=r"is for one run.*its own folder"), loop:
        pass


@pytest.mark.parametrize("wrong", [3, b"runs", ["a"], True])
def test_what_is_no_path_is_refused(wrong):
    """When the loop is made."""
    with pytest.raises(TypeError, match=r"resume must be the path of the run's folder \(got"):
        Loop(resume=wrong)


def test_a_run_needs_a_model(tmp_path):
    """Which the message names, at train begin."""
    with (
        pytest.raises(SetupError, match=r"resume needs 'save' of the model, and no model was given"),
        Loop(resume=tmp_path),
    ):
        pass


def test_a_model_that_cannot_be_saved_is_reported_at_the_begin(tmp_path):
    """Not when the first epoch has ended."""
    handle = PytreeModel(lambda: {"a": object()}, print)
    with pytest.raises(SetupError, match=r"cannot be saved to .*resume"), Loop(model=handle, resume=tmp_path):
        pass


def test_another_model_is_an_error(tmp_path):
    """What is on record stays."""
    trained(tmp_path, cut_at=None)
    tree = {"other": np.zeros(3)}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with (
        pytest.raises(SetupError, match="cannot continue"),
        Loop(model=PytreeModel(lambda: tree, print), resume=tmp_path),
    ):
        pass
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_removed_sink_is_an_error(tmp_path):
    """One that is gone; a new one begins with what is left."""
    with pytest.raises(CutError):
        trained(tmp_path, EarlyStopping("loss", patience=9), cut_at=5)
    with pytest.raises(
        SetupError,
        match=r"holds a sink EarlyStopping\(monitor='loss', unit='epoch'\), which this bus has not; it has Journal",
    ):
        trained(tmp_path)
    trained(tmp_path, EarlyStopping("loss", patience=9), history := History())
    assert history.epoch == [2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is held up by a pipe")
def test_a_run_that_another_process_is_at_is_refused(tmp_path):
    """The error has the process's pid; once it has ended, the run continues."""
    code = "\n".join([
        "import sys, numpy as np",
        "from monitor_core import Loop",
        "from monitor_core.adapters.pytree import PytreeModel",
        "state = {'weight': np.array(1.0)}",
        f"with Loop(model=PytreeModel(lambda: state, state.update), resume={str(tmp_path)!r}) as loop:",
        "    print('begun', flush=True)",
        "    sys.stdin.read()",
    ])  # fmt: skip
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline().strip() == b"begun"
        with pytest.raises(SetupError, match=f"cannot be begun: process {other.pid} on .* is writing it"):
            trained(tmp_path)
    finally:
        other.kill()
        other.communicate()
    loop, _ = trained(tmp_path)
    assert loop.run.status == "completed"


def test_without_its_journal_a_run_continues_with_a_warning(tmp_path, caplog):
    """The decisions and the model are in the checkpoint."""
    with pytest.raises(CutError):
        trained(tmp_path, History(), cut_at=5)
    for file in tmp_path.glob("*.mcj"):
        file.unlink()
    trained(tmp_path, history := History())
    assert history.epoch == [2, 3]
    assert "its journal is missing" in caplog.text


def test_a_damaged_state_is_refused(tmp_path):
    """And nothing of it is touched."""
    with pytest.raises(CutError):
        trained(tmp_path, cut_at=5)
    for state in (tmp_path / "resume").glob("*.state-*.json"):
        data = json.loads(state.read_text())
        del data["state"]["state"]["run"]
        state.write_text(json.dumps(data))
    with pytest.raises(SetupError, match="cannot continue"):
        trained(tmp_path)


def damage(path, how):
    """Flip a bit in the middle of a file, or leave a part of it, or nothing, or something else."""
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"flipped": flipped, "empty": b"", "truncated": content[:middle], "foreign": b"GIF89a"}[how])


@pytest.mark.parametrize("how", ["flipped", "empty", "truncated", "foreign"])
def test_a_run_continues_from_the_checkpoint_before_a_damaged_one(tmp_path, caplog, how):
    """As if it had been killed then; the warning names the file."""
    seed(0)
    _, whole = trained(tmp_path / "whole", expected := History(per_batch=True))
    seed(0)
    with pytest.raises(CutError):
        trained(tmp_path / "cut", History(per_batch=True), cut_at=5)
    damage(tmp_path / "cut/resume/000002", how)
    seed(99)
    _, weight = trained(tmp_path / "cut", history := History(per_batch=True))
    assert (weight, history.history, history.epoch) == (whole, expected.history, expected.epoch)
    assert "000002 is damaged, or another file" in caplog.text
    assert f"resuming from the checkpoint before it, {tmp_path / 'cut/resume/000001'}" in caplog.text
    assert len(open_run(tmp_path / "cut").runs) == 1


@pytest.mark.parametrize("how", ["flipped", "empty", "truncated", "foreign"])
def test_a_run_without_a_whole_checkpoint_is_refused(tmp_path, how):
    """By an error that names the files, and says what to do."""
    with pytest.raises(CutError):
        trained(tmp_path, cut_at=5)
    for name in ("000001", "000002"):
        damage(tmp_path / "resume" / name, how)
    message = r"000002 is damaged.*000001 is damaged.*restore it from a copy, or begin a new run in another folder"
    with pytest.raises(SetupError, match=message):
        trained(tmp_path)


@pytest.mark.parametrize("how", ["empty", "truncated", "foreign"])
def test_a_run_with_a_damaged_index_is_refused(tmp_path, how):
    """By an error that names it."""
    with pytest.raises(CutError):
        trained(tmp_path, cut_at=5)
    damage(tmp_path / "resume/epoch.latest.json", how)
    with pytest.raises(SetupError, match=r"epoch\.latest\.json is damaged: restore it from a copy"):
        trained(tmp_path)


def test_a_state_that_cannot_be_read_costs_no_checkpoint(tmp_path, caplog):
    """The run continues from the last one that has a state, after the first epoch."""

    class Unreadable(Recorder):
        def state_dict(self):
            if any(each[0] == "epoch_end" and each[1] == 1 for each in self.events):
                raise RuntimeError("no state today")
            return {}

        def load_state_dict(self, state):
            pass

    with pytest.raises(CutError):
        trained(tmp_path, Unreadable("on_epoch_end"), cut_at=5)
    assert "resume saves the model without a state" in caplog.text
    trained(tmp_path, Unreadable("on_epoch_end"), history := History())
    assert history.epoch == [1, 2, 3]


# --- Keras -----------------------------------------------------------------------------------------------------------


def compiled():
    """Return a small model, always with the same weights."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


X = np.arange(16.0).reshape(8, 2)
DATA = {"x": X, "y": X.sum(axis=1), "batch_size": 4, "verbose": 0, "shuffle": False}


class CutAfter(keras.callbacks.Callback):
    """Raises when an epoch has ended."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch > self.epoch:
            raise CutError


def fitted(folder, way, *parts, epochs=4, model=None):
    """Fit with the sinks, by one of the three ways of attaching them; return history and model."""
    model = model or compiled()
    adapter = KerasAdapter(*parts, history := History(), model=model, resume=folder)
    if way == "fit":
        adapter.fit(model, **DATA, epochs=epochs)
    else:
        model.fit(**DATA, epochs=epochs, callbacks=adapter if way == "whole" else [adapter])
    return history, model


@pytest.mark.parametrize("way", ["fit", "whole", "list"])
def test_a_fit_continues_where_it_was_interrupted(tmp_path, way):
    """The epochs, their results and the weights are those of one fit."""
    expected, whole = fitted(tmp_path / "whole", way)
    with pytest.raises(CutError):
        fitted(tmp_path / "cut", way, CutAfter(1))
    history, model = fitted(tmp_path / "cut", way)
    assert (history.history, history.epoch) == (expected.history, [0, 1, 2, 3])
    for one, other in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    history, _ = fitted(tmp_path / "cut", way)
    assert history.epoch == [0, 1, 2, 3]


def test_a_fit_whose_epochs_are_done_says_so(tmp_path, caplog):
    """And trains nothing."""
    fitted(tmp_path, "fit", epochs=2)
    history, _ = fitted(tmp_path, "fit", epochs=2)
    assert history.epoch == [0, 1]
    assert "fit(epochs=2): nothing is left to do" in caplog.text


def test_keras_callbacks_that_begin_again_are_named(tmp_path, caplog):
    """Their state is not known."""
    with pytest.raises(CutError):
        fitted(tmp_path, "whole", CutAfter(1))
    fitted(tmp_path, "whole", CutAfter(9))
    assert "begin from scratch: CutAfter" in caplog.text


def test_a_second_fit_is_refused(tmp_path):
    """It would be another run."""
    model = compiled()
    adapter = KerasAdapter(model=model, resume=tmp_path)
    adapter.fit(model, **DATA, epochs=1)
    with pytest.raises(OrderError, match="put several fits into one Loop"):
        adapter.fit(model, **DATA, epochs=1)


def test_a_loop_is_given_its_folder_itself(tmp_path):
    """The adapter around it refuses one."""
    with pytest.raises(ValueError, match="pass the sinks, validation_data, record, resume and strict to the Loop"):
        KerasAdapter(Loop(), resume=tmp_path)


def test_a_model_that_is_not_built_is_reported_at_the_begin(tmp_path):
    """A loop's run begins before the first fit would build it."""
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(SetupError, match="has not yet been built"), Loop(model=KerasModel(model), resume=tmp_path):
        pass


def test_a_custom_checkpoint_is_kept_too(tmp_path):
    """Its files and numbers are its own."""
    own = ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True)
    with pytest.raises(CutError):
        fitted(tmp_path, "whole", own, CutAfter(1))
    fitted(tmp_path, "whole", ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True))
    assert sorted(path.name for path in tmp_path.glob("[!.]*.h5")) == [f"{epoch}.weights.h5" for epoch in (1, 2, 3, 4)]
