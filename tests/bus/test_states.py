"""Which sink gets which state: by what it belongs to, in any position on its bus."""

import json
from pathlib import Path

import pytest

from monitor_core import Bus, CSVLogger, EarlyStopping, Sink
from recorders import Handle, train


class Counter(Sink):
    """Counts epochs."""

    def __init__(self, name, **identity):
        self.name, self.count, self._identity = name, 0, identity

    @property
    def identity(self):
        return self._identity

    def on_train_begin(self, run):
        self.count = 0

    def on_epoch_end(self, run, epoch, logs):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def state_of(*counts_and_sinks):
    """Return the state of a bus with these counters, through JSON."""
    bus = Bus(*(sink for _, sink in counts_and_sinks))
    for count, sink in counts_and_sinks:
        sink.count = count
    return json.loads(json.dumps(bus.state_dict()))


def continued(state, *sinks, home=None):
    """Begin a run from a state; return the sinks' counts."""
    bus = Bus(*sinks, model=Handle())
    bus.resumption.home = home
    bus.load_state_dict(state)
    bus.train_begin()
    return [sink.count for sink in sinks]


def test_the_order_does_not_matter():
    """Names and identities distinguish sinks; new ones just begin."""
    state = state_of((1, Counter("a", file="x")), (2, Counter("a", file="y")), (3, Counter("b")))
    found = continued(state, Counter("b"), Counter("a", file="y"), Counter("a", file="z"), Counter("a", file="x"))
    assert found == [3, 2, 0, 1]


def test_sinks_that_are_alike_get_theirs_in_order():
    """Nothing else distinguishes them."""
    assert continued(state_of((1, Counter("a")), (2, Counter("a"))), Counter("a"), Counter("a")) == [1, 2]


def test_a_state_of_no_sink_is_an_error_that_names_both():
    """What it belongs to, and what this bus has."""
    state = state_of((1, Counter("a", file=Path("runs/x"))))
    with pytest.raises(
        ValueError, match=r"state holds a sink a\(file='runs/x'\), .* has not; it has a\(file='runs/y'\)"
    ):
        continued(state, Counter("a", file=Path("runs/y")))


def test_other_options_distinguish_sinks_of_one_metric():
    """Two that were swapped get their own; one may change, since the other is known."""
    first, second = EarlyStopping("loss", mode="min", min_delta=0.5), EarlyStopping("loss", mode="min", patience=9)
    bus = Bus(first, second)
    train(bus, [{"loss": 1.0}], [{"loss": 0.9}])
    state = bus.state_dict()
    sinks = EarlyStopping("loss", mode="min", patience=9), EarlyStopping("loss", mode="min", min_delta=0.5, patience=7)
    other = Bus(*sinks)
    other.load_state_dict(state)
    other.train_begin()
    assert [sink.best for sink in sinks] == [0.9, 1.0]


def test_states_that_could_belong_to_either_are_an_error():
    """Both have other options than before."""
    bus = Bus(EarlyStopping("loss", patience=1), EarlyStopping("loss", patience=2))
    train(bus, [{"loss": 1.0}])
    other = Bus(EarlyStopping("loss", patience=5), EarlyStopping("loss", patience=6))
    with pytest.raises(ValueError, match=r"not clear which sink each state belongs to: .*'patience': 1.*'patience': 6"):
        other.load_state_dict(bus.state_dict())


def test_two_files_in_another_order_keep_their_rows(tmp_path):
    """Each goes on with its own."""
    files = [tmp_path / "epochs.csv", tmp_path / "other.csv"]
    bus = Bus(*map(CSVLogger, files))
    train(bus, [{"loss": 1.0}], [{"loss": 0.5}])
    bus.remove(bus.sinks[1])
    state = bus.state_dict()
    other = Bus(*map(CSVLogger, reversed(files)))
    other.load_state_dict(state)
    other.train_begin()
    other.epoch_begin(2)
    other.epoch_end(2, {"loss": 0.25})
    rows = [file.read_text().split()[1:] for file in files]
    assert rows == [["0,1.0", "1,0.5", "2,0.25"], ["0,1.0", "1,0.5", "2,0.25"]]


def test_a_path_may_be_spelt_in_another_way_or_have_moved(tmp_path, monkeypatch):
    """If it is the same file, or the old one is gone and the name is the same."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").touch()
    assert continued(state_of((1, Counter("a", file=Path("log.csv")))), Counter("a", file=tmp_path / "log.csv")) == [1]
    gone = state_of((1, Counter("a", file=tmp_path / "gone/log.csv")))
    assert continued(gone, Counter("a", file=tmp_path / "log.csv")) == [1]
    with pytest.raises(ValueError, match="holds a sink"):
        continued(gone, Counter("a", file=tmp_path / "other.csv"))


def test_a_path_in_the_runs_folder_moves_with_it(tmp_path):
    """A copy's file is taken for that of the original, though that is still there."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").touch()
    bus = Bus(sink := Counter("a", file=tmp_path / "one/log.csv"))
    bus.resumption.home, sink.count = tmp_path / "one", 4
    copy = Counter("a", file=tmp_path / "two/log.csv")
    assert continued(bus.state_dict(), copy, home=tmp_path / "two") == [4]


def test_a_sink_begins_fresh_then_gets_its_state_then_goes_back():
    """That the run is resumed is known before."""

    class Told(Counter):
        def __init__(self):
            super().__init__("told")
            self.events = []

        def on_train_begin(self, run):
            self.events.append(("begin", run.resumed))

        def load_state_dict(self, state):
            self.events.append(("state", state))

        def on_rewind(self, run, epoch, step):
            self.events.append(("rewind", epoch, step))

        def load_record(self, recorded):
            self.events.append(("record", recorded))

    bus = Bus(first := Told())
    train(bus, [{"loss": 1.0}])
    other = Bus(second := Told())
    other.load_state_dict(bus.state_dict())
    other.resumption.recorded = "what a journal has"
    other.train_begin()
    other.train_end()
    other.train_begin()
    assert first.events == [("begin", False)]
    assert second.events == [
        ("begin", True),
        ("state", {"count": 1}),
        ("rewind", 1, 1),
        ("record", "what a journal has"),
        ("begin", False),
    ]
