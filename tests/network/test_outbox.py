"""The outbox: what is delivered, in which order, what is lost and logged, and how it ends."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core.network import retries as attempts
from monitor_core.network.outbox import LIMIT, Outbox
from monitor_core.network.retries import DeliveryError
from receivers import Server

EXAMPLES = settings(max_examples=1000 if os.environ.get("MONITOR_CORE_LONG") else 60)


def put_all(outbox, messages):
    """Put messages one after another."""
    for message in messages:
        outbox.put(message)


def threads():
    """Return the threads of all outboxes."""
    return [each for each in threading.enumerate() if each.name == "monitor_core outbox"]


def wait_until(condition, seconds=20):
    """Wait until something holds; fail if it does not for long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def run(script):
    """Run a script in its own process; return its exit code, stdout and stderr."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def quick(monkeypatch):
    """Let pauses between attempts be short."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(attempts, "LONGEST_PAUSE", 0.01)


@pytest.fixture
def gate():
    """Return an event that the server waits for; it is set at the end."""
    event = threading.Event()
    yield event
    event.set()


# --- what is delivered -----------------------------------------------------------------------------------------------


def test_messages_are_delivered_in_order_by_one_thread_of_its_own():
    """Messages arrive once, in order, and not on the thread that puts them."""
    outbox = Outbox(server := Server())
    put_all(outbox, range(1000))
    assert outbox.flush(20)
    assert server.taken == list(range(1000))
    assert len(server.threads) == 1
    assert threading.current_thread() not in server.threads
    assert (outbox.delivered, outbox.failed, outbox.dropped, outbox.waiting) == (1000, 0, 0, 0)
    assert outbox.close()


def test_put_returns_during_a_delivery(gate):
    """A server that does not respond does not block `put`."""
    outbox = Outbox(server := Server(gate=gate))
    put_all(outbox, range(100))
    assert server.entered.wait(20)
    put_all(outbox, range(100, 200))
    assert (server.taken, outbox.waiting) == ([], 200)
    gate.set()
    assert outbox.close()
    assert server.taken == list(range(200))


def test_oldest_are_dropped_and_counted_when_it_is_full(gate, warned):
    """Of too many messages the newest are delivered, after the one in flight, and one warning is logged."""
    outbox = Outbox(server := Server(gate=gate), name="Board", limit=10)
    outbox.put(-1)
    assert server.entered.wait(20)
    put_all(outbox, range(100))
    assert (outbox.dropped, outbox.waiting) == (90, 11)
    gate.set()
    assert not outbox.close()
    assert server.taken == [-1, *range(90, 100)]
    assert warned() == ["Board is full: 10 messages wait, and the oldest are dropped"]


def test_what_is_lost_is_counted_in_values_too(gate, warned):
    """Each lost message counts with its values, whether it was dropped, refused, or left at the close."""
    outbox = Outbox(server := Server(DeliveryError("refused", retry=False), gate=gate), limit=2)
    outbox.put("refused", 3)
    assert server.entered.wait(20)
    outbox.put("dropped", 50)
    outbox.put("delivered", 700)
    outbox.put("delivered", 700)
    gate.set()
    assert not outbox.flush(20)
    assert (outbox.failed, outbox.dropped, outbox.lost_values) == (1, 1, 53)
    gate.clear()
    outbox.put("left", 1000)
    outbox.close(0)
    assert outbox.lost_values == 1053
    assert warned()[-1] == "outbox is closed, and 1 waiting messages, with 1000 values, are dropped"


def test_limit_is_2048_by_default(gate):
    """The documented limit is the default."""
    outbox = Outbox(server := Server(gate=gate))
    outbox.put(-1)
    assert server.entered.wait(20)
    put_all(outbox, range(3000))
    assert (LIMIT, outbox.waiting - 1, outbox.dropped) == (2048, 2048, 952)
    outbox.close(0)


def test_many_threads_may_put_at_once():
    """No message of several threads is lost, and those of each thread arrive in order."""
    outbox = Outbox(server := Server(), limit=10_000)
    makers = [
        threading.Thread(target=put_all, args=(outbox, [(name, index) for index in range(1000)])) for name in range(8)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert outbox.close()
    assert len(server.threads) == 1
    for name in range(8):
        assert [index for maker, index in server.taken if maker == name] == list(range(1000))


@EXAMPLES
@given(
    st.lists(st.sampled_from(["put", "flush", "close", "rest", "fork"]), max_size=40),
    st.sets(st.integers(0, 40)),
    st.sets(st.integers(0, 40)),
)
def test_every_message_is_delivered_or_counted_whatever_is_called(calls, refused, delayed):
    """After any calls each message was delivered in order, or failed by its own fault, and `flush` is right."""
    taken, failed_once = [], set()

    def deliver(message):
        if message in refused:
            raise DeliveryError("refused", retry=False)
        if message in delayed and message not in failed_once:
            failed_once.add(message)
            raise OSError
        taken.append(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "FIRST_PAUSE", 0.0005)
        outbox = Outbox(deliver)
        count, since_fork = 0, 0
        for call in [*calls, "close"]:
            if call == "put":
                outbox.put(count)
                count += 1
            elif call == "fork":  # as if in a child, when nothing is under way
                outbox.flush(20)
                outbox.after_fork()
                since_fork = count
            elif call == "rest":
                outbox.rest()
            else:
                lost = refused & set(range(since_fork, count))
                assert (outbox.flush(20) if call == "flush" else outbox.close()) == (not lost)
                assert taken == [each for each in range(count) if each not in refused]
                assert (outbox.failed, outbox.dropped, outbox.waiting) == (len(lost), 0, 0)


# --- failures --------------------------------------------------------------------------------------------------------


def test_message_that_fails_is_tried_again_before_the_next(quick, warned):
    """A short break of the connection changes neither the order nor the messages, and logs no warning."""
    outbox = Outbox(server := Server(OSError(), OSError()))
    put_all(outbox, "abc")
    assert outbox.close()
    assert server.tried == ["a", "a", "a", "b", "c"]
    assert server.taken == ["a", "b", "c"]
    assert warned() == []


def test_message_is_dropped_when_its_time_is_over(quick, warned):
    """A message that fails for longer than its budget is counted as failed, and the next one is tried."""
    outbox = Outbox(server := Server(*[OSError("no route")] * 2), name="Board", retry_seconds=0.0)
    put_all(outbox, "abc")
    assert not outbox.close()
    assert (server.taken, outbox.failed, outbox.delivered) == (["c"], 2, 1)
    assert warned() == ["Board dropped a message (OSError: no route); further drops for this reason are only counted"]


@pytest.mark.parametrize("error", [DeliveryError("HTTP 400", retry=False), TypeError("bad"), KeyError("loss")])
def test_what_no_attempt_would_mend_is_tried_once(error):
    """A message that is refused, or meets a programming error, is dropped immediately."""
    outbox = Outbox(server := Server(error))
    put_all(outbox, "ab")
    assert not outbox.close()
    assert (server.tried, server.taken, outbox.failed) == (["a", "b"], ["b"], 1)


def test_one_warning_for_each_cause(quick, warned):
    """However many messages fail, there is one warning for each reason."""
    errors = [DeliveryError(f"HTTP {code}", retry=False) for code in (400, 404, 400, 400, 404)]
    outbox = Outbox(Server(*errors), name="Board")
    put_all(outbox, range(5))
    outbox.close()
    assert outbox.failed == 5
    text = "Board dropped a message (HTTP {}); further drops for this reason are only counted"
    assert warned() == [text.format(400), text.format(404)]


def test_causes_without_end_are_not_logged_without_end(warned):
    """If each message's error has its own wording, the warnings stop after some."""
    outbox = Outbox(Server(*[DeliveryError(f"no {index}", retry=False) for index in range(100)]))
    put_all(outbox, range(100))
    outbox.close()
    assert (outbox.failed, len(warned())) == (100, 20)


def test_an_outage_is_logged_once_and_its_end_once(quick, warned):
    """An outage logs two warnings, and every message that fits into the queue arrives after it."""
    outbox = Outbox(server := Server(*[ConnectionRefusedError("refused")] * 50), name="Board", limit=100)
    put_all(outbox, range(20))
    assert outbox.flush(20)
    assert server.taken == list(range(20))
    outbox.close()
    down, back = warned()
    assert down == (
        "Board cannot deliver (ConnectionRefusedError: refused); training continues, it keeps retrying, and up to 100 "
        "messages wait"
    )
    assert back == "Board delivers again; it has lost 0 messages, with 0 values, so far"


def test_server_that_is_gone_is_not_asked_for_each_message(monkeypatch):
    """Thousands of messages cost a server that is down one attempt a pause, not a time-out each."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 30.0)
    outbox = Outbox(server := Server(forever=OSError()), limit=100, retry_seconds=1000)
    outbox.put(0)
    assert server.entered.wait(20)
    wait_until(lambda: outbox._in_flight is None)
    put_all(outbox, range(1, 5000))
    assert server.tried == [0]
    assert (outbox.waiting, outbox.dropped) == (100, 4900)
    assert not outbox.close(1)


def test_deliverer_that_exits_ends_nothing(quick):
    """Even a BaseException stays on the thread, and costs a message at most its attempts."""
    outbox = Outbox(server := Server(SystemExit(), KeyboardInterrupt()))
    outbox.put("a")
    assert outbox.close()
    assert server.taken == ["a"]


# --- flush and close -------------------------------------------------------------------------------------------------


def test_flush_says_that_it_was_in_vain(gate):
    """`flush` returns False for messages not delivered in time, and delivery continues."""
    outbox = Outbox(server := Server(gate=gate))
    outbox.put("a")
    assert not outbox.flush(0.01)
    gate.set()
    assert outbox.flush(20)
    assert server.taken == ["a"]
    outbox.close()


def test_flush_tries_at_once_and_returns_if_the_next_attempt_is_too_late(monkeypatch):
    """Within a pause, a flush is one attempt, and does not wait out its timeout in vain."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 100.0)
    monkeypatch.setattr(attempts, "LONGEST_PAUSE", 100.0)
    outbox = Outbox(server := Server(OSError(), OSError()), retry_seconds=1000)
    outbox.put("a")
    wait_until(lambda: len(server.tried) == 1)
    begin = time.monotonic()
    assert not outbox.flush(50)
    assert time.monotonic() - begin < 25
    assert server.tried == ["a", "a"]
    assert outbox.flush(50)
    assert server.taken == ["a"]
    outbox.close()


def test_flush_does_not_wait_for_what_is_put_meanwhile(gate):
    """A flush ends when the messages put before it are settled, whatever was put later."""
    steps = threading.Semaphore(0)
    outbox = Outbox(lambda message: steps.acquire(timeout=20))
    put_all(outbox, "ab")
    answers = []
    flusher = threading.Thread(target=lambda: answers.append(outbox.flush(20)))
    flusher.start()
    wait_until(lambda: outbox._changed._waiters)
    outbox.put("c")
    steps.release(2)
    flusher.join(20)
    assert (answers, outbox.waiting) == ([True], 1)
    steps.release()
    assert outbox.close()


def test_close_is_bounded_where_a_delivery_never_ends(gate, warned):
    """Closing takes its five seconds, no more; the remaining messages are dropped, counted and logged once."""
    outbox = Outbox(server := Server(gate=gate), name="Board")
    put_all(outbox, range(10))
    begin = time.monotonic()
    assert not outbox.close()
    assert time.monotonic() - begin < 6
    assert (outbox.dropped, outbox.waiting, server.taken) == (10, 0, [])
    assert not outbox.close()
    assert time.monotonic() - begin < 6
    assert warned() == ["Board is closed, and 10 waiting messages, with 10 values, are dropped"]


def test_close_may_be_repeated(warned):
    """Closing an outbox that is closed, or was never used, has no effect."""
    outbox = Outbox(server := Server())
    assert outbox.close()
    outbox.put("a")
    assert [outbox.close() for _ in range(3)] == [True] * 3
    assert (server.taken, outbox.dropped, warned()) == (["a"], 0, [])
    wait_until(lambda: not server.threads & set(threading.enumerate()))


def test_put_after_close_begins_again():
    """A closed outbox accepts and delivers later messages, on another thread."""
    outbox = Outbox(server := Server())
    outbox.put("a")
    assert outbox.close()
    outbox.put("b")
    assert outbox.close()
    assert server.taken == ["a", "b"]
    assert len(server.threads) == 2


def test_delivery_that_was_left_to_itself_disturbs_nothing_when_it_ends(gate, quick):
    """A delivery that hung when the outbox was closed is counted once, and delivers no later message."""
    first = threading.Event()

    def deliver(message):
        if message == "hangs":
            entered.set()
            first.wait(20)
            raise OSError
        gate.wait(20)
        taken.append((message, threading.current_thread()))

    taken, entered, before = [], threading.Event(), set(threads())
    outbox = Outbox(deliver)
    outbox.put("hangs")
    assert entered.wait(20)
    (old,) = set(threads()) - before
    outbox.close(0)
    put_all(outbox, "ab")
    first.set()
    old.join(20)
    assert not old.is_alive()
    assert (outbox.dropped, outbox.failed, outbox.waiting) == (1, 0, 2)
    gate.set()
    outbox.close()
    assert [message for message, _ in taken] == ["a", "b"]
    assert old not in {thread for _, thread in taken}


# --- threads, forks and exits ----------------------------------------------------------------------------------------


def test_there_is_no_thread_without_a_message():
    """An outbox costs no thread before its first message, nor after `rest`."""
    before = set(threads())
    outbox = Outbox(Server())
    outbox.rest()
    assert set(threads()) <= before
    outbox.put("a")
    assert len(set(threads()) - before) == 1
    assert outbox.flush(20)
    outbox.rest()
    wait_until(lambda: set(threads()) <= before)


def test_thread_ends_with_the_last_reference():
    """An outbox without references is freed, with its thread."""
    before = set(threads())
    outbox = Outbox(Server())
    outbox.put("a")
    assert outbox.flush(20)
    reference = weakref.ref(outbox)
    del outbox
    wait_until(lambda: gc.collect() is not None and reference() is None and set(threads()) <= before)


def test_what_waits_keeps_the_outbox_alive(quick):
    """A sink may lose its last reference with messages waiting: they are still delivered."""
    server = Server(*[OSError()] * 5)
    put_all(Outbox(server), range(10))
    gc.collect()
    wait_until(lambda: server.taken == list(range(10)))


def test_messages_wait_if_no_thread_can_start(monkeypatch):
    """If no thread can be started, no call blocks, and the messages are delivered once one can."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    outbox = Outbox(server := Server())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        put_all(outbox, "ab")
        assert not outbox.flush(20)
    outbox.put("c")
    assert outbox.close()
    assert server.taken == ["a", "b", "c"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are those of POSIX")
def test_forked_child_delivers_nothing_of_the_parents_and_can_work():
    """A child has an empty outbox, a free lock and no thread; the parent loses no message."""
    code = """
        import os, sys, threading
        from monitor_core.network.outbox import Outbox
        taken, gate = [], threading.Event()
        outbox = Outbox(lambda message: (gate.wait(20), taken.append(message)))
        codes = []
        for number in range(200):
            outbox.put(number)
            if number % 20 == 0:
                if number % 40 == 0:
                    held, leave = threading.Event(), threading.Event()
                    def hold():
                        with outbox._lock:
                            held.set()
                            leave.wait(20)
                    holder = threading.Thread(target=hold)
                    holder.start()
                    held.wait(20)
                child = os.fork()
                if not child:
                    gate.set()
                    counts = outbox.waiting, outbox.dropped, outbox.failed, outbox.delivered
                    before = len(taken)
                    outbox.put("child")
                    os._exit(counts != (0, 0, 0, 0) or not outbox.close() or taken[before:] != ["child"])
                codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                if number % 40 == 0:
                    leave.set()
                    holder.join()
        gate.set()
        assert codes == [0] * 10, codes
        assert outbox.close()
        assert taken == list(range(200)), taken
    """
    assert run(code) == (0, "", "")


def test_what_waits_is_delivered_at_the_interpreters_exit():
    """A script that simply ends loses no message, not even one that is being retried."""
    code = """
        from monitor_core.network.outbox import Outbox
        failed = []
        def deliver(message):
            if message == 0 and len(failed) < 3:
                failed.append(message)
                raise OSError
            print(message, end=" ", flush=True)
        outbox = Outbox(deliver)
        for number in range(10):
            outbox.put(number)
    """
    code, out, err = run(code)
    assert (code, out) == (0, "0 1 2 3 4 5 6 7 8 9 ")
    assert err.count("\n") == 2  # the outage and its end


def test_what_waits_is_delivered_at_an_exit_that_starts_no_thread():
    """If no more threads can be started at exit, the main thread delivers the messages, until the deadline."""
    code = """
        import os, threading, time
        from monitor_core.network import outbox
        def refuse(self):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        threading.Thread.start = refuse
        outbox.EXIT_SECONDS = 0.5
        def deliver(message):
            os.write(1, b"%d " % message)
            time.sleep(message)
        box = outbox.Outbox(deliver)
        for message in (0, 0, 1, 2):
            box.put(message)
    """
    code, out, err = run(code)
    assert (code, out) == (0, "0 0 1 ")
    assert err == "outbox is closed, and 1 waiting messages, with 1 values, are dropped\n"


def test_exit_is_bounded_for_all_outboxes_together():
    """Several servers that hang hold up the interpreter's exit for five seconds, not for five each."""
    code = """
        import threading
        from monitor_core.network.outbox import Outbox
        boxes = [Outbox(lambda message: threading.Event().wait(), name=name) for name in "abc"]
        for box in boxes:
            box.put(1)
    """
    begin = time.monotonic()
    code, _, err = run(code)
    assert time.monotonic() - begin < 5 + 8  # and the interpreter's start
    assert code == 0
    assert sorted(err.splitlines()) == [
        f"{name} is closed, and 1 waiting messages, with 1 values, are dropped" for name in "abc"
    ]


def test_interrupt_ends_the_wait_of_a_close_and_not_its_promise(gate):
    """Ctrl-C during a close is raised after the waiting messages were dropped and counted."""
    outbox = Outbox(server := Server(gate=gate))
    outbox.put("a")
    assert server.entered.wait(20)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        outbox.close(20)
    assert (outbox.dropped, outbox.waiting) == (1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, r"limit must be >= 1 \(got 0\)"),
        ({"limit": 1.5}, r"limit must be an integer \(got 1.5\)"),
        ({"retry_seconds": -1}, r"retry_seconds must be >= 0 and finite \(got -1\)"),
        ({"deliver": "print"}, r"'deliver' must be callable"),
    ],
)
def test_arguments_are_checked(options, message):
    """The error for a wrong argument names it and its rule."""
    with pytest.raises((TypeError, ValueError), match=message):
        Outbox(**{"deliver": print, **options})
