"""Ranks that are lost, and those that come back."""

import threading
import time

import pytest
from ranks_support import Memory

from monitor_core.ranks.meeting import meet
from monitor_core.ranks.watch import Watch

SECONDS = 1.5
"""After how long a rank is lost: a loaded machine may let a thread wait for a part of it."""


class Watched:
    """A watch, and what it told.

    Args:
        board: The notes.
        rank: The rank's number.
        ranks: How many there are.
        seconds: After how long one is lost.
    """

    def __init__(self, board, rank, ranks, seconds=SECONDS):
        self.gone, self.overdue = [], threading.Event()
        self.watch = Watch(board, rank, ranks, seconds, on_gone=self.gone.append, on_overdue=self.overdue.set)
        self.watch.announce()
        watches.append(self.watch)


watches = []


@pytest.fixture(autouse=True)
def _stopped():
    """Stop what a test has started."""
    yield
    while watches:
        watches.pop().stop()


def started(ranks, seconds=SECONDS):
    """Return ranks that watch over each other; each has its own view of the same notes."""
    memory = Memory()
    found = [Watched(Memory(memory.notes, memory.lock), rank, ranks, seconds) for rank in range(ranks)]
    for each in found:
        each.watch.start()
    return found


def until(condition):
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_every_other_rank_learns_which_one_is_lost():
    """From its silence, or from rank 0; each tells once, and then that its time is over."""
    ranks = started(4)
    ranks[2].watch.stop()  # as a killed process would
    others = [ranks[0], ranks[1], ranks[3]]
    until(lambda: all(each.gone for each in others))
    assert [each.gone for each in others] == [[{2: f"no sign of life for {SECONDS} s"}]] * 3
    assert all(each.overdue.wait(10) for each in others)
    assert not ranks[2].gone


def test_rank_zero_is_missed_by_all():
    """By their own reading, as no other rank reports it."""
    ranks = started(3)
    ranks[0].watch.stop()
    until(lambda: all(each.gone for each in ranks[1:]))
    assert all(list(each.gone[0]) == [0] for each in ranks[1:])


def test_rank_zero_stays_until_the_others_have_read_which_rank_is_lost():
    """If it ended at once, they would take it for the lost one."""
    ranks = started(3)
    ranks[0].watch._on_overdue = ranks[0].watch.stop  # as on_lost_rank="exit" ends it
    ranks[2].watch.stop()
    until(lambda: ranks[1].gone)
    assert list(ranks[1].gone[0]) == [2]


def test_notes_that_do_not_answer_are_a_lost_rank_zero():
    """It usually keeps them, and the thread that asks for them is stuck."""
    ranks = started(2)
    until(lambda: ranks[1].watch._signs)
    ranks[1].watch._board.is_stuck.set()
    until(lambda: ranks[1].gone)
    assert list(ranks[1].gone[0]) == [0]
    assert "the store that connects the ranks" in ranks[1].gone[0][0]
    ranks[1].watch._board.is_stuck.clear()


def test_a_rank_that_continues_is_alive_again(caplog):
    """On every rank; lost once more, it is reported once more."""
    ranks = started(3)
    stuck = ranks[2].watch._board.is_stuck
    for times in (1, 2):
        stuck.set()  # as a stopped process would
        until(lambda: all(len(each.gone) == times for each in ranks[:2]))  # noqa: B023 (called at once)
        stuck.clear()
        until(lambda: not any(each.watch.lost for each in ranks[:2]))
    assert caplog.messages.count("rank 2 is alive again") == 4


def test_a_rank_that_leaves_is_not_lost():
    """The others learn why at once, and that it is overdue only after the time in which it would be lost."""
    ranks = started(2, seconds=2.0)
    ranks[1].watch.leave("KeyboardInterrupt")
    until(lambda: ranks[0].gone)
    assert ranks[0].gone == [{1: "KeyboardInterrupt"}]
    assert not ranks[0].overdue.is_set()
    assert ranks[0].overdue.wait(10)


def test_ranks_that_are_all_alive_are_known_to_be():
    """So that an error of one of them is not taken for the loss of another; one that is silent is not alive."""
    ranks = started(2)
    until(lambda: ranks[0].watch.are_all_alive_after(time.monotonic() - 1.0))
    ranks[1].watch.stop()
    until(lambda: ranks[0].gone)
    moment = time.monotonic()
    assert not ranks[0].watch.are_all_alive_after(moment)


def test_the_wait_is_over_once_all_have_come():
    """And not before."""
    ranks = started(3, seconds=5.0)
    arrivals = [ranks[0].watch.arrive(), ranks[1].watch.arrive()]
    assert not arrivals[0].over.wait(0.3)
    arrivals.append(ranks[2].watch.arrive())
    assert all(each.over.wait(10) for each in arrivals)
    assert not any(each.is_off for each in arrivals)


def test_an_exchange_is_off_if_a_rank_that_has_come_leaves():
    """A collective without it would never end."""
    ranks = started(2, seconds=5.0)
    first = ranks[0].watch.arrive()
    until(lambda: first.is_counted)
    ranks[0].watch.leave("it is elsewhere")
    second = ranks[1].watch.arrive()
    assert second.over.wait(10)
    assert second.is_off


def meeting(ranks, seconds=20.0, job=None):
    """Let ranks meet, after so many seconds each; return which each of them found missing."""
    job = Memory() if job is None else job
    found = {}

    def come(rank, after):
        time.sleep(after)
        found[rank] = meet(job, job.part("run"), rank, 3, seconds)

    threads = [threading.Thread(target=come, args=item) for item in ranks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_all_ranks_meet():
    """In any order."""
    assert meeting({0: 0.2, 1: 0.0, 2: 0.1}) == {0: [], 1: [], 2: []}


def test_ranks_that_do_not_come_are_named_and_all_continue_alone():
    """One that comes too late finds the same outcome, and so do all later runs, without waiting."""
    job = Memory()
    assert meeting({0: 0.0, 1: 0.1}, seconds=0.3, job=job) == {0: [2], 1: [2]}
    assert meeting({2: 0.0}, job=job) == {2: [0, 1]}
    assert meet(job, job.part("another run"), 0, 3, 1000.0) == [1, 2]
