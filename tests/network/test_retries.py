"""When a failed attempt is followed by another."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import MonitorError
from monitor_core.network import retries as attempts
from monitor_core.network.retries import Backoff, DeliveryError, description


@pytest.fixture(autouse=True)
def _stand_still(monkeypatch):
    """Let it be 100 seconds past."""
    monkeypatch.setattr(attempts, "monotonic", lambda: 100.0)


def test_pauses_grow_over_messages_and_end_with_a_success():
    """The pause between attempts depends on the failures in a row, whichever messages they were for."""
    record = Backoff()
    pauses = []
    for _ in range(12):
        record.fail(OSError(), deadline=1000)
        pauses.append(round(record.due - 100, 6))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30]
    record.succeed()
    record.fail(OSError(), deadline=1000)
    assert round(record.due - 100, 6) == 0.1


def test_wait_that_the_server_asks_for_is_kept():
    """An error's own wait is kept if the message has that much time left; otherwise the message is dropped."""
    record = Backoff()
    assert record.fail(DeliveryError("busy", after=20), deadline=130)
    assert record.due == 120
    assert not record.fail(DeliveryError("busy", after=3600), deadline=130)
    assert record.due == 130


@pytest.mark.parametrize("error", [DeliveryError("no", retry=False), TypeError(), KeyError(), NotImplementedError()])
def test_an_error_that_no_retry_can_fix_causes_no_wait(error):
    """An error caused by the message is not an outage: the message is dropped, and the next is due immediately."""
    record = Backoff()
    assert [record.fail(error, deadline=1000) for _ in range(5)] == [False] * 5
    assert (record.failures, record.due, record.is_failing) == (0, 0.0, False)


def test_trouble_begins_with_the_third_failure_in_a_row():
    """Two failures in a row do not count as an outage."""
    record = Backoff()
    states = []
    for _ in range(4):
        record.fail(OSError(), deadline=1000)
        states.append(record.is_failing)
    record.succeed()
    assert (states, record.is_failing) == ([False, False, True, True], False)


def test_hurry_ends_a_pause_but_not_one_that_the_server_asked_for():
    """`hurry` makes the next attempt due immediately, unless the server asked for a wait."""
    record = Backoff()
    record.fail(OSError(), deadline=1000)
    record.hurry()
    assert record.due <= 100
    record.fail(DeliveryError("busy", after=7), deadline=1000)
    record.hurry()
    assert record.due == 107
    record.succeed()
    record.hurry()
    assert record.due == 0


@given(st.lists(st.floats(0, 1e6)), st.floats(0, 1e6))
def test_no_attempt_comes_after_the_deadline(waits, budget):
    """Whatever the server asks for, a message to retry is due before its deadline, and later than now."""
    record = Backoff()
    for after in waits:
        again = record.fail(DeliveryError("busy", after=after), deadline=100 + budget)
        assert record.due > 100
        assert record.due <= (100 + budget if again else 100 + attempts.LONGEST_PAUSE)


def test_number_of_failures_has_no_end():
    """After a month of failures the pause is what it was after a minute."""
    record = Backoff(failures=10**9)
    assert record.fail(OSError(), deadline=math.inf)
    assert record.due == 130


def test_an_error_is_described():
    """A DeliveryError is shown by its message, any other with its type."""
    assert description(DeliveryError("HTTP 503")) == "HTTP 503"
    assert description(ConnectionRefusedError("refused")) == "ConnectionRefusedError: refused"
    assert issubclass(DeliveryError, MonitorError)
