"""CSV files, histories as JSON and event files are opened like a journal of the same training."""

import json
import math
import pickle

import numpy as np
import pytest

from monitor_core import CSVLogger, EarlyStopping, History, Journal, Loop, TensorBoard, open_run
from monitor_core.files.csv_table import TooLongError
from monitor_core.journal.files import Kind
from monitor_core.journal.imported import import_runs
from monitor_core.journal.summary import summary_of
from monitor_core.replay import replay


def record(folder, *, per_batch=False):
    """Train with an evaluation within every epoch and at its end; return the paths of what recorded it."""
    history = History(per_batch=per_batch)
    sinks = [
        history,
        Journal(folder / "run", per_batch=per_batch),
        CSVLogger(folder / "run.csv"),
        TensorBoard(folder / "board"),
    ]
    with Loop(*sinks) as loop:
        for epoch in loop.epochs(3):
            for batch in loop.batches(range(4)):
                loop.log(loss=1 / (1 + epoch) + batch / 8)
                if batch in (1, 3):
                    with loop.evaluation(name="test"):
                        loop.log(loss=2.0 - epoch / 4 - batch / 16)
    history.to_json(folder / "run.json")
    return {name: folder / name for name in ("run", "run.csv", "run.json", "board")}


def contents(recorded):
    """Return everything that is compared: results by name, with their places."""
    epochs = recorded.history
    within = recorded.evaluations
    rows = zip(within.epoch, within.steps.tolist(), within.names, within["test_loss"].tolist(), strict=True)
    ends = dict(zip(epochs.epoch, epochs.steps.tolist(), strict=True))
    return (
        epochs.epoch,
        epochs.steps.tolist(),
        {name: epochs[name].tolist() for name in sorted(epochs)},
        [row for row in rows if row[1] < ends[row[0]]],
    )


@pytest.mark.parametrize("name", ["run.csv", "run.json"])
def test_a_log_opens_like_the_journal(tmp_path, name):
    """Epochs, their steps, and the evaluations within them."""
    paths = record(tmp_path)
    assert contents(open_run(paths[name])) == contents(open_run(paths["run"]))
    assert open_run(paths[name]).status == "unknown"


def test_a_history_as_json_has_its_batches(tmp_path):
    """With their epochs and steps."""
    paths = record(tmp_path, per_batch=True)
    read, live = open_run(paths["run.json"]).batches, open_run(paths["run"]).batches
    assert (read["loss"].tolist(), read.steps.tolist(), read.epochs.tolist()) == (
        live["loss"].tolist(), live.steps.tolist(), live.epochs.tolist()
    )  # fmt: skip


def test_a_decision_is_the_same_on_each(tmp_path):
    """Whatever recorded the run, another patience stops it at the same step."""
    paths = record(tmp_path)
    runs = [
        replay(open_run(paths[name]), EarlyStopping("test_loss", patience=1, min_delta=0.3, mode="min"))
        for name in ("run", "run.csv", "run.json")
    ]
    first, *others = [(run.stop_reason, run.epoch, run.step) for run in runs]
    assert first[0] is not None
    assert others == [first, first]


def test_an_event_folder_opens_by_epoch(tmp_path):
    """Training and evaluations, in float32."""
    pytest.importorskip("tensorboard")
    paths = record(tmp_path)
    read, live = open_run(paths["board"]), open_run(paths["run"])
    assert read.history.epoch == live.history.epoch
    for name in ("loss", "test_loss"):
        assert np.array_equal(read.history[name], live.history[name].astype(np.float32))


@pytest.mark.parametrize("has_evaluations", [True, False])
def test_an_event_folder_has_the_steps_that_it_knows(tmp_path, has_evaluations):
    """Those of evaluations and batches; next to epochs, the steps of other tags may be epochs."""
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path)
    with Loop(board) as loop:
        for epoch in loop.epochs(3):
            for _ in loop.batches(range(10)):
                loop.log(loss=1.0 + epoch)
            if has_evaluations:
                with loop.evaluation():
                    loop.log(loss=2.0)
            board.add_scalar("temperature", 3.0, epoch)
    summary = summary_of(open_run(tmp_path).last)
    assert (summary.epochs, summary.step) == (3, 30 if has_evaluations else 0)


def test_a_file_of_validation_is_read_with_that_of_training(tmp_path):
    """As Keras lays them out."""
    pytest.importorskip("tensorboard")
    with Loop(TensorBoard(tmp_path)) as loop:
        for epoch in loop.epochs(3):
            loop.log(loss=1.0 + epoch, val_loss=2.0 + epoch)
    [file] = (tmp_path / "train").glob("*tfevents*")
    history = open_run(file).history
    assert (history["loss"].tolist(), history["val_loss"].tolist()) == ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])


def test_what_keras_writes_for_tensorboard_is_read(tmp_path):
    """TensorFlow 2 writes scalars as tensors."""
    pytest.importorskip("tensorboard")
    tf = pytest.importorskip("tensorflow")
    for place, shift in (("train", 0.0), ("validation", 1.0)):
        with tf.summary.create_file_writer(str(tmp_path / place)).as_default():
            for epoch in range(3):
                tf.summary.scalar("epoch_loss", 1.0 + epoch + shift, step=epoch)
    history = open_run(tmp_path).history
    assert (history["loss"].tolist(), history["val_loss"].tolist()) == ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])


def test_scalars_of_other_names_are_by_step(tmp_path):
    """Whether they count epochs is not known."""
    pytest.importorskip("tensorboard")
    torch_board = pytest.importorskip("torch.utils.tensorboard")
    with torch_board.SummaryWriter(str(tmp_path)) as writer:
        for step in (10, 20, 30):
            writer.add_scalar("Loss/train", 100.0 / step, step)
        writer.add_scalar("Loss/val", 7.0, 20)
    batches = open_run(tmp_path).batches
    assert batches.steps.tolist() == [10, 20, 30]
    assert batches["Loss/train"].tolist() == pytest.approx([10.0, 5.0, 10 / 3])
    assert np.array_equal(batches["Loss/val"], [np.nan, 7.0, np.nan], equal_nan=True)


def test_appended_trainings_are_runs(tmp_path):
    """As Keras appends them: with epochs from 0 again."""
    (tmp_path / "a.csv").write_text("epoch,loss\n0,3\n1,2\n0,5\n1,4\n2,3\n")
    recorded = open_run(tmp_path / "a.csv")
    assert recorded.history.run.tolist() == [0, 0, 1, 1, 1]
    assert open_run(tmp_path / "a.csv", run=0).history["loss"].tolist() == [3.0, 2.0]
    with pytest.raises(IndexError, match="there is no run 2"):
        open_run(tmp_path / "a.csv", run=2)


def test_a_gap_is_not_a_nan(tmp_path):
    """An empty field, ``null`` and an epoch without an evaluation are gaps; NaN is a value."""
    (tmp_path / "a.csv").write_text("epoch,loss,val_loss\n0,1,2\n1,nan,\n")
    (tmp_path / "a.json").write_text('{"loss": [1, NaN], "val_loss": [2, null]}')
    history = History()
    with Loop(history) as loop:
        for epoch in loop.epochs(2):
            for _ in loop.batches(range(1)):
                loop.log(loss=math.nan if epoch else 1.0)
            if not epoch:
                with loop.evaluation():
                    loop.log(loss=2.0)
    history.to_json(tmp_path / "b.json")
    for name in ("a.csv", "a.json", "b.json"):
        last = summary_of(open_run(tmp_path / name).last).last
        assert (math.isnan(last["loss"]), last["val_loss"]) == (True, 2.0), name


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("0,1\n1\n", ["1 row is left out: it has another number of fields than the first line"]),
        ("0,1\n1\n2\n", ["2 rows are left out: they have another number of fields than the first line"]),
        ("0,1\n1,0.3x\n2,3\n", ["1 field of 'loss' is not a number"]),
        ("0,1\n1,a\n2,b\n3,4\n4,5\n", ["2 fields of 'loss' are not numbers"]),
        ('0,"1,5"\n1,2\n', ["the column 'loss' is left out: 1 field of 2 is not a number"]),
        ("0,1\n1,0", ["the last line has no line end, so it may be half written: it is left out"]),
    ],
)
def test_damage_is_listed(tmp_path, text, reasons):
    """What is left out is said."""
    (tmp_path / "a.csv").write_text(f"epoch,loss\n{text}")
    damage = open_run(tmp_path / "a.csv").damage
    assert [each.reason for each in damage] == reasons
    assert [str(each) for each in damage] == [f"a.csv: {reason}" for reason in reasons]


def test_a_column_without_numbers_is_named(tmp_path):
    """It is not damage."""
    (tmp_path / "a.csv").write_text("epoch,loss,when\n0,1,12:03\n1,2,12:04\n")
    recorded = open_run(tmp_path / "a.csv")
    assert (recorded.last.log.texts, recorded.damage) == (("when",), ())


def test_a_log_has_as_many_epochs_as_rows(tmp_path):
    """Not as many as the last number says."""
    (tmp_path / "a.csv").write_text("epoch,loss\n0,1\n5,2\n100,3\n")
    summary = summary_of(open_run(tmp_path / "a.csv").last)
    assert (summary.epochs, summary.best["loss"].epoch, summary.last["loss"]) == (3, 0, 3.0)


@pytest.mark.parametrize("text", [None, '{"loss": [1, 2]}', '[{"loss": 1}, {"loss": 2}]', "epoch,loss\n0,1\n1,2\n"])
def test_a_log_of_too_many_epochs_is_refused(tmp_path, text):
    """Of every kind that is read as a whole, a `History` among them."""
    file = tmp_path / ("a.csv" if text and text.startswith("epoch") else "a.json")
    if text is None:
        with Loop(history := History()) as loop:
            for _ in loop.epochs(2):
                loop.log(loss=1.0)
        history.to_json(file)
    else:
        file.write_text(text)
    assert len(import_runs(file, most_epochs=2)[0][0].rows(Kind.EPOCH)) == 2
    with pytest.raises(TooLongError, match="it has more than 1 rows of epochs"):
        import_runs(file, most_epochs=1)


@pytest.mark.parametrize("name", ["training.log", "log", "history.log"])
def test_a_log_of_any_name_is_read(tmp_path, name):
    """Keras's documentation calls its CSV file ``training.log``."""
    (tmp_path / name).write_text('{"loss": [2, 1]}' if name == "history.log" else "epoch,loss\n0,2\n1,1\n")
    assert open_run(tmp_path / name).history["loss"].tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"loss": [1.0]}), "TensorBoard. It is pickled, and to open it might run what is in it"),
        (b"", "TensorBoard. It is empty"),
        (b"Epoch 1/3\nloss: 0.5\n", "a history as JSON, or an event file of TensorBoard$"),
    ],
)
def test_a_file_that_is_no_record_is_refused_by_what_can_be_read(tmp_path, content, message):
    """Not as a broken journal."""
    (tmp_path / "a.log").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a.log is not a training's record: a journal, .*{message}"):
        open_run(tmp_path / "a.log")


@pytest.mark.parametrize("text", ["{rows}", '{{"history": {rows}}}'])
def test_a_list_of_epochs_is_read(tmp_path, text):
    """A mapping for each; what one lacks is a gap, and what is not a number is left out."""
    rows = [{"epoch": 1, "loss": 2.0, "when": "12:03"}, {"epoch": 3, "loss": 1, "val_loss": math.nan}]
    (tmp_path / "a.json").write_text(text.format(rows=json.dumps(rows)))
    [run] = open_run(tmp_path / "a.json").runs
    epochs = run.rows(Kind.EPOCH)
    assert [(each.epoch, sorted(each.names)) for each in epochs] == [(1, ["loss"]), (3, ["loss", "val_loss"])]
    assert [each.logs()["loss"] for each in epochs] == [2.0, 1.0]


def test_what_pandas_writes_is_read(tmp_path):
    """Rows in the order of their numbers."""
    (tmp_path / "a.json").write_text('{"loss": {"10": 0.3, "2": 0.4, "1": 0.5}, "acc": {"1": 1, "2": null, "10": 3}}')
    history = open_run(tmp_path / "a.json").history
    assert history["loss"].tolist() == [0.5, 0.4, 0.3]
    assert np.array_equal(history["acc"], [1.0, math.nan, 3.0], equal_nan=True)


def test_an_evaluation_that_is_nan_everywhere_comes_back(tmp_path):
    """A null is a gap."""
    history = History()
    with Loop(history) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
                with loop.evaluation(name="test"):
                    loop.log(loss=math.nan)
    history.to_json(tmp_path / "a.json")
    recorded = open_run(tmp_path / "a.json")
    assert np.isnan(recorded.evaluations["test_loss"]).tolist() == [True]
    assert math.isnan(summary_of(recorded.last).last["test_loss"])
    data = json.loads((tmp_path / "a.json").read_text())
    data["evaluations"]["test_loss"] = [None, None]
    data["epochs"] = {"loss": [None], "test_loss": [None]}
    (tmp_path / "b.json").write_text(json.dumps(data))
    assert summary_of(open_run(tmp_path / "b.json").last).last == {}
    assert np.isnan(History.from_json(tmp_path / "b.json")["loss"][0])


@pytest.mark.parametrize(
    "text",
    [
        '{"loss": "0.5"}', '{"loss": {"a": 1}}', '{"loss": {"0": 1}, "acc": {"1": 1}}', '{"loss": {"0": 1}, "acc": []}',
        json.dumps({"labels": {"run": [0], "epoch": [10**20], "step": [1]}, "epochs": {"loss": [1]}, "evaluations": {},
                    "evaluation_labels": {"run": [], "epoch": []}, "batch_labels": {"run": [], "epoch": []}}),
        "[1, 2]", "7", "{}", "not json", '{"loss": 3}', '{"loss": ["a"]}', '{"loss": [1, 2], "val_loss": [1]}',
        '{"labels": {}, "epochs": {}}', '{"loss": [[1]]}', "[" * 100_000,
        json.dumps({"labels": {"run": [0], "epoch": ["x"], "step": [1]}, "epochs": {}, "evaluation_labels": {},
                    "evaluations": {}, "batch_labels": {}, "batches": {}}),
        json.dumps({"labels": {"run": [0], "epoch": [1e400], "step": [1]}, "epochs": {}, "evaluations": {},
                    "evaluation_labels": {"run": [], "epoch": []}, "batch_labels": {"run": [], "epoch": []}}),
    ],
)  # fmt: skip
def test_other_json_is_refused(tmp_path, text):
    """In one sentence."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a.json is not a history: "):
        open_run(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"loss": [null, [1]]}', r"the values of 'loss' must be numbers \(got a list\)"),
        ('{"loss": ["high"]}', r"the values of 'loss' must be numbers \(got \"high\"\)"),
        ('{"loss": 3}', r"'loss' must be a list of numbers, or a mapping from rows to them \(got 3\)"),
        ("[" * 100_000, "its lists or mappings are nested too deeply"),
        (f'{{"loss": [1{"0" * 5000}]}}', "it has a number of more than 300 digits"),
        ("7", r"it must be a mapping from metrics to their values \(got 7\)"),
        ("[1, 2]", "a list must hold a mapping from names to numbers for each epoch"),
        ('[{"epoch": 0, "name": "a"}]', "its rows have no numbers"),
        ('[{"epoch": 1, "loss": 1}, {"epoch": 0, "loss": 2}]', "the epochs of its rows must ascend"),
        ('{"labels": {}, "epochs": {}}', "its members are not those that a history has"),
    ],
)
def test_other_json_is_refused_in_plain_words(tmp_path, text, message):
    """Not in those of Python's errors."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=rf"a.json is not a history: {message}$"):
        open_run(tmp_path / "a.json")
