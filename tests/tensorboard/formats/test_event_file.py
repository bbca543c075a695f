"""Event files: written by us, read by TensorBoard, torn, rewound, and shared with other processes."""

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from monitor_core import SetupError
from monitor_core.files import writing
from monitor_core.tensorboard.formats import event_file
from monitor_core.tensorboard.formats.event_file import EventFile, event_files, read_events, rewind_folder
from monitor_core.tensorboard.formats.hparams import session_start_value
from monitor_core.tensorboard.formats.texts import text_value

STEPS = np.arange(1, 6)
TIMES = 1.7e9 + STEPS
VALUES = np.array([0.5, 0.25, np.nan, np.inf, -1.0])
SHOWN = [(1, 0.5), (2, 0.25), (3, "NaN"), (4, "Infinity"), (5, -1.0)]


def add(file, tag, steps, factor=1.0, axis="step"):
    """Add a scalar for each step: the step itself, times a factor."""
    steps = np.asarray(steps)
    file.add_columns(steps, 1.7e9 + steps, {tag: factor * steps}, {tag: None}, axis)


def scalars(path):
    """Return every value of a file as step, tag and value."""
    return [(event.step, each.tag, each.simple_value) for event in read_events(path) for each in event.summary.value]


def steps_of(path):
    """Return the step of each event of a file that has one."""
    return [event.step for event in read_events(path) if event.step]


def run(script, *args, expect=0):
    """Run a script in a separate process and return its output."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == expect, done.stderr
    return done.stdout.strip()


# --- what is written -------------------------------------------------------------------------------------------------


def test_scalars_are_what_tensorboard_shows(tmp_path, either_board):
    """Both of TensorBoard's readers give the steps and the values, NaN and infinities among them."""
    EventFile(tmp_path / "train").add_columns(STEPS, TIMES, {"loss": VALUES}, {"loss": None})
    assert either_board(tmp_path).scalars("train", "loss", 5) == SHOWN


def test_columns_are_what_tensorboard_shows(tmp_path, either_board):
    """Metrics of all steps, and metrics of some steps, are read with their own steps."""
    mask = STEPS % 2 == 1
    columns = {"loss": VALUES, "accuracy": VALUES, "rare": np.where(mask, VALUES, np.nan)}
    EventFile(tmp_path / "train").add_columns(STEPS, TIMES, columns, {"loss": None, "accuracy": None, "rare": mask})
    board = either_board(tmp_path)
    assert board.scalars("train", "loss", 5) == board.scalars("train", "accuracy", 5) == SHOWN
    assert board.scalars("train", "rare", 3) == SHOWN[::2]


def test_scalars_are_read_by_the_scripts_of_users(tmp_path, accumulated):
    """`EventAccumulator.Scalars` returns scalars with their times, as for files of other writers."""
    EventFile(tmp_path).add_columns(STEPS, TIMES, {"loss": VALUES}, {"loss": None})
    found = accumulated(tmp_path).Scalars("loss")
    assert [(each.step, each.wall_time) for each in found] == list(zip(STEPS, TIMES, strict=True))
    np.testing.assert_array_equal([each.value for each in found], VALUES)


def test_a_file_begins_with_its_version_and_a_start(tmp_path):
    """The first events are the format's version and the session's start at the step given."""
    first, second = read_events(EventFile(tmp_path, start=7).path)
    assert first.file_version == "brain.Event:2"
    assert (second.session_log.status, second.step) == (second.session_log.START, 7)


def test_a_file_that_adds_to_others_has_no_start(tmp_path):
    """A file that adds to others has no start, with which TensorBoard would drop the others' values."""
    assert [event.file_version for event in read_events(EventFile(tmp_path, start=None).path)] == ["brain.Event:2"]


@pytest.mark.parametrize(("start", "error"), [(-1, ValueError), (1.5, TypeError)])
def test_a_start_is_a_step(tmp_path, start, error):
    """An invalid ``start`` is refused by name."""
    with pytest.raises(error, match=r"start must be .* \(got -?1"):
        EventFile(tmp_path, start=start)


def test_many_rows_and_columns_are_all_there(tmp_path):
    """Blocks of any size are written whole."""
    steps = np.arange(10_000)
    columns = {f"metric {number}": steps * float(number) for number in range(70)}
    file = EventFile(tmp_path)
    file.add_columns(steps, 1.7e9 + steps, columns, dict.fromkeys(columns))
    found = scalars(file.path)
    assert len(found) == 700_000
    assert sorted(found)[-70:] == sorted((9999, f"metric {number}", 9999.0 * number) for number in range(70))


def test_without_rows_no_record_is_written(tmp_path):
    """An empty block adds nothing."""
    file = EventFile(tmp_path)
    size = file.path.stat().st_size
    add(file, "loss", [])
    file.add_columns(STEPS, TIMES, {}, {})
    file.add_columns(STEPS, TIMES, {"loss": VALUES}, {"loss": np.zeros(5, np.bool_)})
    assert file.path.stat().st_size == size


def test_other_values_are_added_with_step_and_time(tmp_path):
    """A value is read back unchanged, with the time given or that of the call."""
    file = EventFile(tmp_path)
    file.add_value(text_value("note", "hello"), 3, 1.5e9)
    file.add_value(text_value("note", "again"), 4)
    first, again = (event for event in read_events(file.path) if event.HasField("summary"))
    assert (first.step, first.wall_time, first.summary.value[0]) == (3, 1.5e9, text_value("note", "hello"))
    assert abs(again.wall_time - file.path.stat().st_mtime) < 60


def test_a_name_that_tensorboard_would_mangle_is_cleaned_and_logged_once(tmp_path, warned):
    """Names that cannot be shown stay unique, lose no values, and each is warned about once."""
    file = EventFile(tmp_path)
    for name in ("/loss", "loss", "", "a\nb", "/loss", "\ud800"):
        add(file, name, [1])
    tags = [tag for _, tag, _ in scalars(file.path)]
    assert len(set(tags)) == 5
    assert tags[0] == tags[4]
    assert [warning.rpartition("; ")[0] for warning in warned()] == [
        f"TensorBoard cannot show the name {name!r}" for name in ("/loss", "", "a\nb", "\ud800")
    ]


def test_values_have_clean_names_too(tmp_path, warned):
    """Tags of images and texts are cleaned like those of scalars."""
    file = EventFile(tmp_path)
    file.add_value(text_value("/note", "hello"), np.int64(0))
    add(file, "/note", [1])
    file.add_value(text_value("\ud800", "hello"), 0)
    assert len({tag for _, tag, _ in scalars(file.path)}) == 2
    assert len(warned()) == 1


# --- names and folders -----------------------------------------------------------------------------------------------


def test_names_are_unique_and_in_order(tmp_path, monkeypatch):
    """Files of one second have different names, and are read in order of creation even if a clock is set back."""
    times = iter([1.7e9, 1.7e9, 1.7e9 + 5, 1.7e9 - 1000])
    monkeypatch.setattr(event_file.clock, "time", lambda: next(times))
    paths = [EventFile(tmp_path).path for _ in range(4)]
    assert len(set(paths)) == 4
    assert event_files(tmp_path) == paths
    assert all(path.name.startswith("events.out.tfevents.17000000") for path in paths)


def test_a_name_sorts_after_existing_ones(tmp_path):
    """A new file sorts after those of other hosts, processes and writers: TensorBoard drops what is out of order."""
    for name in ("events.out.tfevents.9999999997.zzz.99.v2", "events.out.tfevents.9999999998.zzz.1.v2"):
        (tmp_path / name).touch()
    path = EventFile(tmp_path).path
    assert path.name.startswith("events.out.tfevents.9999999999.")
    assert event_files(tmp_path)[2] == path


def test_processes_that_begin_together_have_separate_files(tmp_path):
    """Two processes write into one folder, and neither loses a value."""
    script = """
        import sys, numpy as np
        from monitor_core.tensorboard.formats.event_file import EventFile
        file = EventFile(sys.argv[1])
        for step in range(200):
            file.add_columns(np.array([step]), np.array([1.7e9]), {sys.argv[2]: np.array([1.0])}, {sys.argv[2]: None})
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    for process in [subprocess.Popen([*command, tag]) for tag in "ab"]:
        assert process.wait(60) == 0
    files = [scalars(path) for path in event_files(tmp_path)]
    assert sorted(files) == [[(step, tag, 1.0) for step in range(200)] for tag in "ab"]


def test_a_folder_that_cannot_be_written_is_an_error_at_once(tmp_path):
    """The message names the folder."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SetupError, match=r"file.*cannot be written"):
        EventFile(tmp_path / "file" / "train")


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_file_torn_anywhere_gives_what_is_whole(tmp_path):
    """Wherever a file is truncated, the records before are read, and nothing raises."""
    file = EventFile(tmp_path / "whole")
    add(file, "loss", [1, 2])
    content = file.path.read_bytes()
    torn = tmp_path / "torn.tfevents"
    counts = []
    for length in range(len(content) + 1):
        torn.write_bytes(content[:length])
        counts.append(sum(1 for _ in read_events(torn)))
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("place", "read", "warning"), [(-1, 2, "damaged record"), (0, 0, "damaged in a record's length")]
)
def test_reading_stops_at_a_damaged_record(tmp_path, warned, place, read, warning):
    """Events before the damage are read; a warning says why there are no more."""
    file = EventFile(tmp_path)
    add(file, "loss", [1])
    content = bytearray(file.path.read_bytes())
    content[place] ^= 1
    file.path.write_bytes(content)
    assert sum(1 for _ in read_events(file.path)) == read
    assert [warning in message for message in warned()] == [True]


def test_a_killed_process_leaves_all_that_it_wrote(tmp_path, either_board):
    """After a kill, with half a record at the end, TensorBoard shows all before it, and the next process's file."""
    script = """
        import os, signal, sys, numpy as np
        from monitor_core.tensorboard.formats.event_file import EventFile
        file = EventFile(sys.argv[1])
        steps = np.arange(100)
        file.add_columns(steps, steps + 1.7e9, {"loss": steps * 1.0}, {"loss": None})
        with open(file.path, "ab") as torn:
            torn.write(file.path.read_bytes()[:30])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run(script, tmp_path / "train", expect=-signal.SIGKILL)
    add(EventFile(tmp_path / "train", start=100), "loss", range(100, 150))
    assert either_board(tmp_path).scalars("train", "loss", 150) == [(step, float(step)) for step in range(150)]


def test_a_full_disk_is_waited_out(tmp_path, monkeypatch):
    """Records that could not be written are written later, whole."""
    monkeypatch.setattr(writing, "FIRST_DELAY", 0.0)
    file = EventFile(tmp_path)
    real = file._file._write_next
    monkeypatch.setattr(file._file, "_write_next", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    add(file, "loss", [1, 2])
    assert scalars(file.path) == []
    monkeypatch.setattr(file._file, "_write_next", real)
    file.flush()
    assert scalars(file.path) == [(1, "loss", 1.0), (2, "loss", 2.0)]


def test_records_beyond_the_limit_are_dropped_and_counted(tmp_path, monkeypatch):
    """The newest records are dropped, and training continues."""
    file = EventFile(tmp_path, limit=100)
    monkeypatch.setattr(file._file, "_write_next", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    for step in range(5):
        add(file, "loss", [step])
    assert file.dropped == 3

    monkeypatch.undo()
    file.close()
    assert [step for step, _, _ in scalars(file.path)] == [0, 1]


def test_a_block_that_is_dropped_counts_with_all_its_values(tmp_path, monkeypatch):
    """Those that are missing in a step are none."""
    file = EventFile(tmp_path, limit=0)
    monkeypatch.setattr(file._file, "_write_next", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    steps, values = np.arange(5), np.zeros(5)
    mask = np.array([True, False, True, False, True])
    file.add_columns(steps, steps + 1.7e9, {"a": values, "b": values, "c": values}, {"a": None, "b": None, "c": mask})
    assert file.dropped == 5 + 5 + 3


def test_closing_twice_and_continuing(tmp_path):
    """A closed file takes what is added later."""
    file = EventFile(tmp_path)
    add(file, "loss", [1])
    file.close()
    file.close()
    add(file, "loss", [2])
    assert steps_of(file.path) == [1, 2]


def test_a_forked_process_writes_nothing(tmp_path):
    """A forked process writes nothing and does not wait for a lock that a thread of its parent holds."""
    script = """
        import os, sys, numpy as np
        from monitor_core.tensorboard.formats.event_file import EventFile
        file = EventFile(sys.argv[1])
        one = np.array([1])
        with file._lock:
            if not os.fork():
                file.add_columns(one, one, {"child": one}, {"child": None})
                file.rewind(lambda step, tag, axis: False)
                file.flush()
                file.close()
                os._exit(0)
            os.wait()
        file.add_columns(one, one, {"parent": one}, {"parent": None})
    """
    run(script, tmp_path)
    assert [scalars(path) for path in event_files(tmp_path)] == [[(1, "parent", 1.0)]]


# --- rewinding -------------------------------------------------------------------------------------------------------


def rewound(step):
    """Return what keeps epochs before 2 and batches up to a step: two scales in one file."""
    return lambda at, tag, axis: at < 2 if axis == "epoch" else at <= step


def two_scales(folder):
    """Return a file with batches of steps 1 to 6, and epochs 0 to 2, in turn."""
    file = EventFile(folder)
    for epoch in range(3):
        add(file, "batch_loss", [2 * epoch + 1, 2 * epoch + 2])
        add(file, "epoch_loss", [epoch], axis="epoch")
    return file


def test_a_rewind_drops_what_lies_after_on_each_scale(tmp_path, either_board):
    """Values added after a rewind continue from there, and TensorBoard shows each step once."""
    file = two_scales(tmp_path / "train")
    file.rewind(rewound(4))
    add(file, "batch_loss", [5, 6], factor=10.0)
    add(file, "epoch_loss", [2], factor=10.0, axis="epoch")
    board = either_board(tmp_path)
    assert board.scalars("train", "epoch_loss", 3) == [(0, 0.0), (1, 1.0), (2, 20.0)]
    assert board.scalars("train", "batch_loss", 6) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 50.0), (6, 60.0)]


def test_a_rewind_splits_events_with_several_values(tmp_path):
    """Of one step's values, only those to keep remain."""
    file = EventFile(tmp_path)
    file.add_columns(STEPS, TIMES, {"a": STEPS * 1.0, "b": STEPS * 2.0}, {"a": None, "b": None})
    file.rewind(lambda step, tag, axis: step <= 2 or (tag == "b" and step == 4))
    assert scalars(file.path) == [(1, "a", 1.0), (1, "b", 2.0), (2, "a", 2.0), (2, "b", 4.0), (4, "b", 8.0)]


def test_a_rewind_keeps_events_without_values(tmp_path):
    """A rewind keeps the version, the start and a graph."""
    from tensorboard.compat.proto.event_pb2 import Event

    file = EventFile(tmp_path)
    file.add_event(Event(graph_def=b"graph"))
    add(file, "loss", [1])
    before = [event for event in read_events(file.path) if not event.HasField("summary")]
    file.rewind(lambda step, tag, axis: False)
    assert list(read_events(file.path)) == before


def test_a_rewind_repairs_a_file(tmp_path, warned):
    """A rewind drops a damaged record and a truncated end, and keeps the whole records before and between."""
    file = EventFile(tmp_path)
    sizes = []
    for step in (1, 2, 3):
        add(file, "loss", [step])
        sizes.append(file.path.stat().st_size)
    content = bytearray(file.path.read_bytes())
    content[sizes[1] - 1] ^= 1
    file.path.write_bytes(content + content[:20])
    file.rewind(lambda step, tag, axis: True)
    assert steps_of(file.path) == [1, 3]
    assert [warning.partition(" has ")[2] for warning in warned()] == ["a damaged record, which is dropped"]


def test_a_folder_is_rewound_with_the_files_of_earlier_processes(tmp_path):
    """A rewind rewrites every event file of the run's own folder, but not those of runs below it."""
    run(
        """
        import sys, numpy as np
        from monitor_core.tensorboard.formats.event_file import EventFile
        steps = np.arange(1, 4)
        EventFile(sys.argv[1]).add_columns(steps, steps + 1.7e9, {"loss": steps * 1.0}, {"loss": None})
        """,
        tmp_path,
    )
    add(file := EventFile(tmp_path, start=4), "loss", [4, 5])
    add(below := EventFile(tmp_path / "below"), "loss", [9])
    rewind_folder(tmp_path, lambda step, tag, axis: step <= 2)
    add(file, "loss", [3])
    assert [steps_of(path) for path in event_files(tmp_path)] == [[1, 2], [4, 3]]
    assert steps_of(below.path) == [9]


def test_files_with_nothing_to_drop_are_left_alone(tmp_path):
    """Files with nothing to drop are not rewritten."""
    add(file := EventFile(tmp_path), "loss", [1])
    before = file.path.stat()
    rewind_folder(tmp_path, lambda step, tag, axis: True)
    assert file.path.stat() == before


def test_a_torn_file_of_an_earlier_process_is_repaired(tmp_path):
    """A rewind drops a truncated end, even if it drops nothing else."""
    add(file := EventFile(tmp_path), "loss", [1])
    content = file.path.read_bytes()
    file.path.write_bytes(content + content[:20])
    rewind_folder(tmp_path, lambda step, tag, axis: True)
    assert file.path.read_bytes() == content


def test_a_rewind_of_a_folder_that_is_not_there_does_nothing(tmp_path):
    """There is nothing to drop."""
    rewind_folder(tmp_path / "none", lambda step, tag, axis: False)
    assert not (tmp_path / "none").exists()


# --- starting and continuing -----------------------------------------------------------------------------------------


def test_a_run_from_scratch_replaces_the_earlier_one(tmp_path, either_board):
    """Both readers drop the earlier values from the new ones' first step on."""
    add(EventFile(tmp_path / "train"), "loss", range(10))
    add(EventFile(tmp_path / "train"), "loss", range(5), factor=2.0)
    found = either_board(tmp_path).scalars("train", "loss", 5)
    assert found == [(step, 2.0 * step) for step in range(5)]


def test_a_run_that_continues_keeps_the_earlier_values_of_all_scales(tmp_path, either_board):
    """With a start after all steps, no reader drops an epoch because of a step's number."""
    two_scales(tmp_path / "train")
    file = EventFile(tmp_path / "train", start=7)
    add(file, "batch_loss", [7, 8])
    add(file, "epoch_loss", [3])
    board = either_board(tmp_path)
    assert [step for step, _ in board.scalars("train", "batch_loss", 8)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [step for step, _ in board.scalars("train", "epoch_loss", 4)] == [0, 1, 2, 3]


def test_a_file_that_adds_to_others_drops_nothing_of_theirs(tmp_path, either_board):
    """Hyperparameters written into a run's folder do not affect its scalars."""
    add(EventFile(tmp_path / "train"), "loss", range(5))
    EventFile(tmp_path / "train", start=None).add_value(session_start_value({"units": 3}), 0)
    assert [step for step, _ in either_board(tmp_path).scalars("train", "loss", 5)] == [0, 1, 2, 3, 4]


# --- what is imported ------------------------------------------------------------------------------------------------


def test_scalars_need_no_other_package(tmp_path):
    """Without tensorboard, the checksums' package and all others, scalars are still written."""
    run(
        """
        import sys, importlib.abc
        import numpy as np, attrs
        class Refuse(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "monitor_core"}:
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Refuse())
        from monitor_core.tensorboard.formats.event_file import EventFile
        steps = np.arange(1, 1000)
        EventFile(sys.argv[1]).add_columns(steps, steps + 1.7e9, {"loss": steps * 1.0}, {"loss": None})
        """,
        tmp_path,
    )
    assert [scalars(path) for path in event_files(tmp_path)] == [[(step, "loss", step) for step in range(1, 1000)]]


def test_nothing_imports_tensorflow(tmp_path):
    """Every kind of value is made, written, read and rewound without TensorFlow, installed or not."""
    shown = run(
        """
        import sys, time, types
        import numpy as np
        from monitor_core.tensorboard.formats import confusion
        from monitor_core.tensorboard.formats import graphs
        from monitor_core.tensorboard.formats import hparams
        from monitor_core.tensorboard.formats import images
        from monitor_core.tensorboard.formats import pr_curves
        from monitor_core.tensorboard.formats import projector
        from monitor_core.tensorboard.formats import texts
        from monitor_core.tensorboard.formats.event_file import EventFile, read_events, rewind_folder
        from monitor_core.tensorboard.formats.histograms import histogram_value
        x = np.linspace(0, 1, 12)
        node = types.SimpleNamespace(name="dense", kind="Dense", dtype="float32")
        file = EventFile(sys.argv[1])
        for value in [
            texts.text_value("text", texts.table({"a": 1})),
            histogram_value("histogram", x),
            images.image_value("image", x.reshape(3, 4)),
            images.image_value("weight", images.weight_image(x)),
            images.image_value("confusion", confusion.confusion_image(np.eye(2))),
            pr_curves.pr_curve_value("curve", x > 0.5, x),
            hparams.experiment_value({"rate": 0.1}, ["loss"]),
            hparams.session_start_value({"rate": 0.1}),
            hparams.session_end_value(),
            graphs.layers_value(types.SimpleNamespace(name="model", nodes=[node], edges=[])),
        ]:
            file.add_value(value, 0)
        projector.write_embeddings(sys.argv[1] + "/embedding", {"e": (x.reshape(3, 4), list("abc"), None)})
        rewind_folder(sys.argv[1], lambda step, tag, axis: tag != "text")
        print(sum(1 for _ in read_events(file.path)), "tensorflow" in sys.modules)
        """,
        tmp_path,
    )
    assert shown == "11 False"
