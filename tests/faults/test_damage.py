"""Files that were cut or changed: what is before the damage is read, the damage is reported, nothing else is raised.

Journals cut and flipped are tested in ``tests/journal/test_files.py``, event files cut in
``tests/tensorboard/formats/test_event_file.py``: here are the other files, other readers, and runs that go on with
such files.
"""

import logging
import random
import zlib
from pathlib import Path

import numpy as np
import pytest

from faults.support import Recording, event_records, exact, read_csv
from monitor_core import Bus, CSVLogger, History, ModelCheckpoint, SetupError, TensorBoard
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.files.activations import Activations, load_activations, read_mark, write_activations
from monitor_core.files.state import load_state, save_state
from monitor_core.journal.recorded import open_run
from monitor_core.tensorboard.formats.event_file import EventFile, read_events, rewind_folder
from recorders import train


@pytest.fixture(autouse=True)
def _unflushed(monkeypatch):
    """The files of these tests need not survive a power cut."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def cuts(data, at_most=None):
    """Yield each beginning of some bytes, the whole left out; or so many of them, evenly spread."""
    return (data[:length] for length in spread(len(data), at_most))


def flips(data, at_most=None):
    """Yield the bytes with one bit flipped, each bit in turn, or so many of them, evenly spread."""
    for bit in spread(8 * len(data), at_most):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def spread(count, at_most):
    """Return all places, or about so many; neighbours are an odd number apart, so that each bit of a byte has turns."""
    return range(0, count, 1 if at_most is None else count // at_most | 1)


def outcomes(path, variants, read, errors=(ValueError, OSError)):
    """Return what reading each variant of a file gives; None for an error of those that are allowed."""
    found = []
    for variant in variants:
        path.write_bytes(variant)
        try:
            found.append(read(path))
        except errors:
            found.append(None)
    return found


# --- event files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def events(tmp_path):
    """Return a small event file, its content, and its messages."""
    file = EventFile(tmp_path / "events")
    steps = np.arange(1, 4)
    file.add_columns(steps, 1.7e9 + steps, {"loss": steps / 4}, {"loss": None})
    file.close()
    content = file.path.read_bytes()
    messages, is_damaged = event_records(file.path)
    assert not is_damaged
    return file.path, content, messages


def ours(path):
    """Return a file's messages as our reader gives them."""
    return [event.SerializeToString() for event in read_events(path)]


def test_an_event_file_cut_at_any_byte_gives_tensorboard_what_is_whole(events):
    """Its own reader gives the records before the cut, and so does ours."""
    path, content, messages = events
    ends = [0]
    for message in messages:
        ends.append(ends[-1] + len(message) + 16)
    for cut in cuts(content):
        path.write_bytes(cut)
        whole = messages[: sum(end <= len(cut) for end in ends) - 1]
        assert event_records(path)[0] == whole
        assert len(ours(path)) == len(whole)


def test_an_event_file_with_any_bit_flipped_gives_what_is_before(events, caplog):
    """Every bit: both readers give the records before the damage; ours reports it, or the file looks unfinished."""
    path, content, messages = events
    caplog.set_level(logging.INFO, "monitor_core")
    expected = ours(path)
    for number, flipped in enumerate(flips(content)):
        path.write_bytes(flipped)
        caplog.clear()
        read = ours(path)
        assert read == expected[: len(read)] != expected
        assert caplog.records
        before, is_damaged = event_records(path)
        assert is_damaged
        assert before == messages[: len(before)]
        assert len(before) == sum(sum(len(each) + 16 for each in messages[: n + 1]) <= number // 8 for n in range(5))


@pytest.mark.parametrize("seed", range(3))
def test_a_folder_of_damaged_event_files_can_be_rewound(tmp_path, events, seed):
    """A run goes on with what is whole, whatever was done to the files of the one before."""
    path, content, _ = events
    draw = random.Random(seed)
    for number in range(60):
        variant = content[: draw.randrange(len(content))] if number % 2 else next(flips(content[draw.randrange(99) :]))
        path.write_bytes(variant)
        rewind_folder(path.parent, lambda step, tag, axis: step < 3)
        records, is_damaged = event_records(path)
        assert not is_damaged
        assert all(event.step < 3 for event in read_events(path))
        assert len(records) <= 4
    assert list(path.parent.iterdir()) == [path]


def test_a_message_of_another_type_is_logged(events, warned):
    """A record whose checksums are right and whose content is no event: what is before is read."""
    from monitor_core.tensorboard.formats.records import frame

    path, content, _ = events
    path.write_bytes(content + frame(b"\xff\xff\xff"))
    assert len(ours(path)) == 5
    assert len(warned()) == 1
    rewind_folder(path.parent, lambda step, tag, axis: step < 3)
    assert len(ours(path)) == 4


# --- CSV -------------------------------------------------------------------------------------------------------------


def csv_file(path):
    """Write three epochs, with a metric that comes late and a name that needs quotes; return the content."""
    logger = CSVLogger(path)
    train(Bus(logger), [{"loss": 0.5}], [{"loss": 0.25, 'a "b",\nc': 1.0}], [{"loss": 0.125}])
    return path.read_bytes()


def test_a_csv_file_cut_at_any_byte_is_gone_on_with_or_refused(tmp_path):
    """The ``csv`` module reads complete lines unchanged and the new rows; the incomplete line is dropped."""
    path = tmp_path / "log.csv"
    content = csv_file(path)
    whole = read_csv(path)
    refused = 0
    for cut in cuts(content):
        path.write_bytes(cut)
        try:
            train(Bus(CSVLogger(path, append=True)), [{"loss": 9.0}])
        except SetupError as error:
            refused += 1
            assert "cannot be appended to" in str(error)  # noqa: PT017
            assert path.read_bytes() == cut
            continue
        rows = read_csv(path)
        kept = len(rows) - 2
        assert [row[1] for row in rows[1:]] == [row[1] for row in whole[1 : kept + 1]] + ["9.0"]
        assert rows[-1][0] == str(kept)
    assert refused == 0


def test_a_csv_file_with_any_bit_flipped_is_gone_on_with_or_refused(tmp_path):
    """Nothing but the error that a train begin may raise, and then the file is as it was; else it can be read."""
    path = tmp_path / "log.csv"
    for flipped in flips(csv_file(path)):
        path.write_bytes(flipped)
        try:
            train(Bus(CSVLogger(path, append=True)), [{"loss": 9.0}])
        except SetupError:
            assert path.read_bytes() == flipped
            continue
        text = path.read_bytes().decode(errors="replace")
        assert "9.0" in text


# --- states, indexes, histories, activations -------------------------------------------------------------------------

STATE = {"epoch": 3, "best": float("nan"), "text": "two\nlines", "list": [1, {"a": 0.5}], "weights": [np.arange(3.0)]}


def same_state(state):
    """Return whether this is the state above, or nothing."""
    return state is None or (list(state) == list(STATE) and state["weights"][0].tolist() == [0, 1, 2])


def test_a_state_cut_at_any_byte_is_refused(tmp_path):
    """The JSON and its arrays: a ValueError, or an OSError, never a part of the state."""
    path = tmp_path / "a.json"
    save_state(path, STATE)
    (arrays,) = tmp_path.glob("*.npz")
    for file in (path, arrays):
        content = file.read_bytes()
        assert set(map(type, outcomes(file, cuts(content), lambda _: load_state(path)))) == {type(None)}
        file.write_bytes(content)
    assert same_state(load_state(path))


def test_a_state_with_any_bit_flipped_is_refused_or_as_it_was(tmp_path):
    """Of the arrays every bit counts; the JSON has no checksum, and may say something else, but raises nothing else."""
    path = tmp_path / "a.json"
    save_state(path, STATE)
    (arrays,) = tmp_path.glob("*.npz")
    content = path.read_bytes()
    outcomes(path, flips(content), load_state)
    path.write_bytes(content)
    assert all(map(same_state, outcomes(arrays, flips(arrays.read_bytes(), 700), lambda _: load_state(path))))


def checkpoint_in(folder):
    """Return a checkpoint with the state of everything, on a bus with a model of one weight."""
    state = {"weight": np.array(4.0)}
    checkpoint = ModelCheckpoint(folder / "{epoch}.npz", monitor="loss", save_state=True)
    return checkpoint, Bus(History(), checkpoint, model=PytreeModel(lambda: state, state.update)), state


class Growing:
    """Sets the weight to 4 in the first epoch, and to one more in each that follows."""

    def __init__(self, state):
        self.state = state

    def on_epoch_begin(self, run, epoch):
        self.state["weight"] = np.array(4.0 + epoch)


@pytest.mark.parametrize("name", ["*.latest.json", "2.npz", "{state}.json", "{state}.*.npz"])
def test_a_checkpoint_cut_or_flipped_anywhere_is_refused_or_as_it_was(tmp_path, name):
    """Index, model and state: the damage is found, and the checkpoint before is resumed from where there is one."""
    _, bus, state = checkpoint_in(tmp_path)
    bus.add(Growing(state))
    train(bus, [{"loss": 1.0}], [{"loss": 0.5}])
    latest = load_state(tmp_path / "epoch.npz.latest.json")["latest"]["state"].removesuffix(".json")
    (path,) = tmp_path.glob(name.replace("{state}", latest))
    content = path.read_bytes()

    def resume(_):
        checkpoint, bus, state = checkpoint_in(tmp_path)
        try:
            checkpoint.resume(bus)
        except (ValueError, OSError):
            bus.train_begin()
            raise
        return float(state["weight"]), bus.run.epoch

    first, second = (4.0, 0), (5.0, 1)
    assert set(outcomes(path, cuts(content, 150), resume)) == {None if "latest.json" in path.name else first}
    assert set(outcomes(path, flips(content, 150), resume)) <= {None, first, second}


@pytest.mark.parametrize("form", ["json", "npz"])
def test_a_history_cut_or_flipped_anywhere_is_refused_or_readable(tmp_path, form):
    """A ValueError or an OSError, and from an archive never other values."""
    history = History(per_batch=True)
    train(Bus(history), [{"loss": 0.5}, {"loss": float("nan"), "a/b": 1.0}], [{"loss": 0.25}])
    path = tmp_path / f"history.{form}"
    getattr(history, f"to_{form}")(path)
    content = path.read_bytes()
    read = getattr(History, f"from_{form}")
    assert set(outcomes(path, cuts(content, 300), read)) == {None}
    for variant in outcomes(path, flips(content, 400), read):
        if variant is not None and form == "npz":
            assert exact(variant.batches["loss"]) == exact(history.batches["loss"])
            assert exact(variant["loss"]) == exact(history["loss"])


def test_activations_cut_or_flipped_anywhere_are_refused_or_as_they_were(tmp_path):
    """A ValueError or an OSError; what a file says of itself is then None."""
    path = tmp_path / "a.npz"
    write_activations(path, Activations({"dense": np.arange(6.0).reshape(2, 3)}, epoch=3, step=7, run="r"))
    content = path.read_bytes()
    assert set(outcomes(path, cuts(content), load_activations)) == {None}
    path.write_bytes(content)
    outcomes(path, cuts(content), read_mark, errors=())
    for variant in outcomes(path, flips(content, 700), load_activations):
        assert variant is None or all(each.tolist() == [[0, 1, 2], [3, 4, 5]] for each in variant.values())


# --- whole runs ------------------------------------------------------------------------------------------------------


def test_a_run_folder_with_damage_everywhere_is_read_for_the_rest(tmp_path):
    """Junk in the middle of the journal: the rest is read, the damage is located, and a new run can use the folder."""
    recording = Recording(tmp_path)
    train(Bus(*recording.sinks), *[[{"loss": float(step)} for step in range(20)]] * 3)
    (path,) = (tmp_path / "journal").glob("*.mcj")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = zlib.compress(b"junk")[:9] * 5
    path.write_bytes(content)
    recorded = open_run(tmp_path / "journal")
    assert 0 < len(recorded.damage) <= 2
    assert set(recorded.batches["loss"].tolist()) <= set(map(float, range(20)))
    assert len(recorded.batches) in (40, 60)
    train(Bus(*Recording(tmp_path).sinks), [{"loss": 1.0}])
    assert open_run(tmp_path / "journal", run=-1).batches["loss"].tolist() == [1.0]


def test_a_board_continues_after_damaged_files(tmp_path):
    """A resumed TensorBoard rewinds what is whole of them, and a new one does not look."""
    board = TensorBoard(tmp_path, update_freq="batch", write_graph=False)
    bus = Bus(board)
    train(bus, *[[{"loss": float(step)} for step in range(5)]] * 2)
    state = bus.state_dict()
    for path in tmp_path.rglob("*tfevents*"):
        path.write_bytes(path.read_bytes()[:-7])
    again = Bus(TensorBoard(tmp_path, update_freq="batch", write_graph=False))
    again.load_state_dict(state)
    again.train_begin()
    again.epoch_begin(2)
    again.batch_end(11, {"loss": 7.0})
    again.epoch_end(2, {"loss": 7.0})
    again.train_end()
    assert again.failures == []
    for path in Path(tmp_path).rglob("*tfevents*"):
        assert not event_records(path)[1]
