"""What all trackers have in common, with one whose session is a list."""

import copy
import gc
import pickle
import sqlite3
import threading
import weakref

import attrs
import numpy as np
import pytest

from monitor_core import Block, Bus, DeliveryError, Loop, Run, SetupError, TerminateOnNaN
from monitor_core.checks import required
from monitor_core.testing import SinkContract
from monitor_core.trackers.points import About, Points
from monitor_core.trackers.tracker import Desk, Floors, Tracker, flattened, root_cause
from trackers_support import train_epoch, train_two_epochs, train_with_kill


@attrs.define(eq=False)
class Listed(Tracker):
    """Keeps what its sessions get, or fails as told."""

    errors: list = attrs.field(factory=list, kw_only=True, repr=False)
    got: list = attrs.field(factory=list, kw_only=True, repr=False)

    def start_session(self, about):
        """Keep that a run was opened, and return what keeps the rest."""
        self.fail()
        self.got.append(("open", about.resumed, about.step))
        return ListedSession(self)

    def fail(self):
        """Raise what is due."""
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


class ListedSession:
    """Adds what it gets to its sink's list, points without their times."""

    def __init__(self, sink):
        self.sink = sink

    def write(self, points):
        """Keep points."""
        self.sink.fail()
        self.sink.got += [(step, row) for step, _, row in points.rows()]

    def rewind(self, step):
        """Keep that the run went back."""
        self.sink.got.append(("rewind", step))

    def close(self, end):
        """Keep how the run ended."""
        self.sink.got.append(("close", end.status, end.reason))


class TestContract(SinkContract):
    """A tracker passes the contract of sinks."""

    @pytest.fixture
    def make_sink(self):
        """Return what makes one."""
        return lambda: Listed(per_batch=True)


EPOCHS = [
    (2, {"loss": 3.0, "val_loss": 5.0}),
    (4, {"loss": 1.5, "val_loss": 4.0}),
]
CLOSED = ("close", "completed", None)


def test_results_are_placed_at_steps():
    """Those of an epoch at its last step."""
    train_two_epochs(tracker := Listed())
    assert tracker.got == [("open", False, 0), *EPOCHS, CLOSED]


def test_batches_are_sent_if_asked():
    """Under names of their own, and before the results of their epoch."""
    train_two_epochs(tracker := Listed(per_batch=True))
    one, other = (
        [(1, {"batch/loss": 4.0}), (2, {"batch/loss": 2.0})],
        [(3, {"batch/loss": 2.0}), (4, {"batch/loss": 1.0})],
    )
    assert tracker.got == [("open", False, 0), *one, EPOCHS[0], *other, EPOCHS[1], CLOSED]


def test_without_batches_results_are_placed_at_epochs():
    """Else all of them would stand at step 0."""
    with Loop(tracker := Listed()) as loop:
        for _ in loop.epochs(2):
            loop.log(loss=1.0)
    assert tracker.got[1:3] == [(0, {"loss": 1.0}), (1, {"loss": 1.0})]


def test_evaluations_within_an_epoch_are_sent_at_their_steps():
    """Each result once: the epoch's row has only that of its own end."""
    with Loop(tracker := Listed()) as loop:
        for _ in loop.epochs(2):
            for step in loop.batches(range(4)):
                loop.log(loss=1.0)
                if step == 1 or (step == 3 and loop.run.epoch == 1):
                    with loop.evaluation():
                        for value in loop.batches([float(step)]):
                            loop.log(loss=value)
    assert tracker.got[1:-1] == [
        (2, {"val_loss": 1.0}),
        (4, {"loss": 1.0}),
        (6, {"val_loss": 1.0}),
        (8, {"loss": 1.0, "val_loss": 3.0}),
    ]


def test_only_rank_zero_sends():
    """Unless the sink says otherwise, as sinks that write."""
    assert (Tracker.writes, Tracker.per_rank) == (True, False)


def test_the_reason_of_a_stop_is_sent():
    """Or what the training raised."""
    bus = Bus(TerminateOnNaN(), tracker := Listed())
    bus.train_begin()
    train_epoch(bus, 0, [float("nan")])
    bus.epoch_end(0, {})
    bus.train_end()
    assert tracker.got[-1] == ("close", "failed", "loss is nan at step 1, in epoch 1")
    with pytest.raises(ValueError, match="no"), Loop(tracker := Listed()):
        raise ValueError("no")
    assert tracker.got[-1] == ("close", "failed", "ValueError: no")


def test_everything_happens_on_the_sinks_thread():
    """No hook calls a session."""
    threads = set()

    class Noted(Listed):
        def fail(self):
            threads.add(threading.current_thread())

    train_two_epochs(Noted(per_batch=True))
    assert threading.main_thread() not in threads
    assert len(threads) == 1


def test_a_failed_message_is_sent_again(quick):
    """Also where the run could not be opened."""
    train_two_epochs(tracker := Listed(errors=[OSError("down"), None, OSError("down")]))
    assert tracker.got == [("open", False, 0), *EPOCHS, CLOSED]


def test_a_run_that_cannot_be_opened_at_first_is_opened_later(warned):
    """What was refused is counted, and its cause logged once."""
    refusal = DeliveryError("not now", retry=False)
    train_two_epochs(tracker := Listed(errors=[refusal, refusal]))
    assert tracker.got == [("open", False, 0), EPOCHS[1], CLOSED]
    assert (tracker.failed, tracker.lost_values) == (2, 2)
    assert [text for text in warned() if "not now" in text] == [
        "Listed dropped a message (not now); further drops for this reason are only counted"
    ]


def test_a_resumed_run_says_where_it_continues():
    """The session is opened there, and is not told to go back."""
    assert train_with_kill(lambda: Listed(per_batch=True)).got[0] == ("open", True, 2)


def test_a_run_that_goes_back_notifies_its_session():
    """Between what was sent before and after."""
    bus = Bus(tracker := Listed())
    bus.train_begin()
    for _ in range(2):
        train_epoch(bus, 0, [1.0])
        bus.epoch_end(0, {"loss": 1.0})
        bus.rewind(0, 0)
    bus.train_end()
    assert tracker.got == [("open", False, 0), *([(1, {"loss": 1.0}), ("rewind", 0)] * 2), CLOSED]


def test_a_tracker_that_is_added_to_a_resumed_run_is_notified_of_the_next_return():
    """Nothing takes it back when it begins."""
    bus = Bus()
    bus.load_state_dict({"format": 2, "run": Run().state_dict(), "sinks": []})
    bus.train_begin()
    bus.add(tracker := Listed())
    train_epoch(bus, 0, [1.0])
    bus.epoch_end(0, {"loss": 1.0})
    bus.rewind(0, 0)
    bus.train_end()
    assert tracker.got == [("open", True, 0), (1, {"loss": 1.0}), ("rewind", 0), CLOSED]


def test_two_runs_have_a_session_each():
    """On one bus or two."""
    tracker = Listed()
    train_two_epochs(tracker)
    train_two_epochs(tracker)
    assert [each for each in tracker.got if each in (("open", False, 0), CLOSED)] == [("open", False, 0), CLOSED] * 2


def test_a_session_whose_end_was_lost_is_closed_by_the_next_run():
    """As interrupted: messages are dropped where too many wait."""
    tracker, desk = Listed(), Desk()
    for _ in range(2):
        desk.at(About.of(Run()), tracker.start_session)
    assert tracker.got == [("open", False, 0), ("close", "interrupted", None), ("open", False, 0)]


def test_copies_have_messages_and_sessions_of_their_own():
    """A copy, and a pickled one, begin without what is open."""
    tracker = Prepared()
    Bus(tracker).train_begin()
    assert tracker.flush(20)
    for other in (copy.copy(tracker), pickle.loads(pickle.dumps(tracker))):  # noqa: S301 - our own
        assert (other._desk.session, other.delivered) == (None, 0)


class Prepared(Tracker):
    """Can be pickled: it is a class of this module without lists."""

    def start_session(self, about):
        """Return a session that keeps nothing."""
        return Kept()


class Kept:
    """A session that keeps nothing."""

    def write(self, points):
        """Drop points."""

    def close(self, end):
        """Drop the end."""


def test_blocks_wait_as_arrays():
    """A queued block is the arrays that all sinks share, not lists of floats."""
    column, run = np.ones(256), Run()
    tracker = Prepared(per_batch=True)
    tracker.on_train_begin(run)
    waiting = []
    tracker._outbox.put = lambda message, values: waiting.append((message, values))
    tracker.on_block(run, Block(0, np.arange(256), column, {"loss": column}, {"loss": None}))
    ((_, points), values) = waiting[0]
    assert points.columns["batch/loss"] is column
    assert values == 256


def test_no_reference_to_the_run_is_kept():
    """Neither in the queue nor in the session."""
    bus = Bus(tracker := Listed())
    bus.train_begin()
    alive = weakref.ref(bus)
    bus.train_end()
    del bus
    gc.collect()
    assert alive() is None
    assert tracker.got[-1] == CLOSED


def test_config_is_copied_and_flattened():
    """Inner mappings become names with a slash, as in `Loop.log`."""
    config = {"a": 1, "optimizer": {"rate": np.float32(0.5), "kind": int}}
    tracker = Listed(config=config)
    config["optimizer"]["rate"] = 9
    assert flattened(tracker.config) == {"a": 1, "optimizer/rate": 0.5, "optimizer/kind": "<class 'int'>"}
    with pytest.raises(TypeError, match=r"config must be a mapping \(got \[1\]\)"):
        Listed(config=[1])


def test_a_missing_package_names_the_extra():
    """At construction, with the command to install it."""
    with pytest.raises(SetupError, match=r'Mine needs nowhere: pip install "monitor_core\[mine\]"'):
        required("Mine", "mine", "nowhere.at_all")


def test_floors_are_those_of_each_metric():
    """What was sent is left out only after the run went back."""
    floors = Floors({"loss": 2})
    one = Points.of_logs(0, 2, {"loss": 1.0, "acc": 1.0})
    assert [name for name, *_ in floors.new(one).flat()] == ["acc"]
    floors.note(one)
    assert [name for name, *_ in floors.new(one).flat()] == ["acc"]
    floors.rewind()
    assert list(floors.new(one).flat()) == []


def locked():
    """Return the error of a locked database as libraries wrap it."""
    try:
        try:
            raise sqlite3.OperationalError("database is locked")
        except sqlite3.OperationalError as error:
            raise RuntimeError("(sqlite3.OperationalError) database is locked\n[SQL: SELECT 1]") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (locked(), "OperationalError: database is locked"),
        (ConnectionRefusedError(111, "Connection refused"), "ConnectionRefusedError: Connection refused"),
        (ValueError(), "ValueError"),
        (RuntimeError(TimeoutError("timed out")), "TimeoutError: timed out"),
    ],
)
def test_the_innermost_cause_is_named(error, words):
    """Alike for every message, so that it is logged once."""
    assert root_cause(error) == words
