"""The webhook: what a real server gets, in which order, and what it does not get to see."""

import base64
import logging
import math
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time

import keras
import numpy as np
import pytest

from monitor_core import Bus, History, HookError, Loop, TerminateOnNaN
from monitor_core.adapters.keras import KerasAdapter
from monitor_core.network import retries as attempts
from monitor_core.sinks.webhook import Webhook
from recorders import train
from web_server import Server, free_port, wait_until

SECRETS = ("s3cret", "pa55", "t0ken", "h1dden")


@pytest.fixture
def serve(monkeypatch):
    """Return a function that starts a server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(*answers, **options):
        servers.append(Server(*answers, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def quick(monkeypatch):
    """Let pauses between attempts be short."""
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(attempts, "LONGEST_PAUSE", 0.02)


EVERYTHING = [("train_begin", -1), ("epoch_end", 0), ("epoch_end", 1), ("train_end", 1)]


# --- what is posted --------------------------------------------------------------------------------------------------


def test_events_of_a_run_are_posted_in_order(serve):
    """A run is its begin, each epoch's results and its end, as JSON."""
    server = serve()
    begin = time.time()
    with Loop(Webhook(server.url + "/hook?channel=a")) as loop:
        for epoch in loop.epochs(2):
            for _ in loop.batches(range(3)):
                loop.log(loss=1.0 - epoch)
    common = {"run": 0, "status": "running"}
    bodies = [body for _, _, body in server.posts]
    assert all(begin - 1 <= body.pop("time") <= time.time() + 1 for body in bodies)
    assert bodies == [
        {"event": "train_begin", **common, "epoch": -1, "step": 0, "epochs": None, "steps_per_epoch": None},
        {"event": "epoch_end", **common, "epoch": 0, "step": 3, "logs": {"loss": 1.0}},
        {"event": "epoch_end", **common, "epoch": 1, "step": 6, "logs": {"loss": 0.0}},
        {
            "event": "train_end",
            "run": 0,
            "status": "completed",
            "epoch": 1,
            "step": 6,
            "reason": None,
            "logs": {"loss": 0.0},
        },
    ]
    assert {path for path, _, _ in server.posts} == {"/hook?channel=a"}
    assert {headers["Content-Type"] for _, headers, _ in server.posts} == {"application/json"}


def test_evaluations_within_an_epoch_are_posted(serve):
    """With their name and step; one that no batch follows is in the epoch's results."""
    server = serve()
    with Loop(Webhook(server.url, events=["evaluation", "epoch_end"])) as loop:
        for _ in loop.epochs(1, steps_per_epoch=1000):
            for step in loop.batches(range(1, 1001)):
                loop.log(loss=0.5)
                if step % 100 == 0:
                    with loop.evaluation():
                        loop.log(loss=step)
    assert posted(server, "evaluation") == [
        {"name": "val", "logs": {"val_loss": 100.0 * count}} for count in range(1, 10)
    ]
    assert [body["step"] for _, _, body in server.posts] == [100 * count for count in range(1, 11)]
    assert posted(server, "epoch_end") == [{"logs": {"loss": 0.5, "val_loss": 1000.0}}]


def test_keras_fit_is_posted(serve):
    """A fit's epochs, with their validation, and its batches are posted."""
    server = serve()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    adapter = KerasAdapter(Webhook(server.url, per_batch=True), history := History(per_batch=True), model=model)
    x = np.ones((8, 2), "float32")
    model.fit(x, x[:, :1], batch_size=2, epochs=2, validation_split=0.5, verbose=0, callbacks=adapter)
    assert posted(server, "block") == [
        {"steps": steps, "columns": {"loss": history.batches["loss"][steps[0] - 1 : steps[-1]].tolist()}}
        for steps in ([1, 2], [3, 4])
    ]
    assert posted(server, "epoch_end") == [
        {"logs": {name: float(history[name][epoch]) for name in history}} for epoch in range(2)
    ]


def posted(server, event):
    """Return what was posted of one event beyond what every event has."""
    common = {"event", "run", "epoch", "step", "status", "time", "times"}
    bodies = [body for _, _, body in server.posts if body["event"] == event]
    return [{name: value for name, value in body.items() if name not in common} for body in bodies]


def test_numbers_that_are_not_finite_are_texts(serve):
    """NaN and infinities arrive as the strings that other formats use."""
    server = serve()
    logs = {"a": math.nan, "b": math.inf, "c": -math.inf}
    train(Bus(Webhook(server.url, events=["epoch_end"])), [logs])
    assert server.posts[0][2]["logs"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}


def test_batches_are_posted_as_blocks_if_asked(serve):
    """With `per_batch` a block is one message with columns, before the end of its epoch."""
    server = serve()
    train(Bus(hook := Webhook(server.url, per_batch=True)), [{"loss": 1.0}, {"loss": math.nan, "acc": 0.5}])
    assert server.events == [("train_begin", -1), ("block", 0), ("epoch_end", 0), ("train_end", 0)]
    block = server.posts[1][2]
    assert len(block.pop("times")) == 2
    assert block["columns"] == {"loss": [1.0, "NaN"], "acc": [None, 0.5]}
    assert (block["steps"], block["step"], sorted(block)) == (
        [1, 2],
        2,
        ["columns", "epoch", "event", "run", "status", "step", "steps", "time"],
    )
    assert hook.background


def test_reason_of_a_stop_is_posted(serve):
    """How a run ended, and why, is in its last message."""
    server = serve()
    train(Bus(TerminateOnNaN(), Webhook(server.url, events=("train_end",))), [{"loss": math.nan}])
    (body,) = [body for _, _, body in server.posts]
    assert (body["status"], body["reason"]) == ("failed", "loss is nan at step 1, in epoch 1")


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "interrupted"), (ValueError("no"), "failed")])
def test_exception_is_posted_before_it_propagates(serve, error, status):
    """An exception or Ctrl-C in the training is posted, and how the run ended."""
    server = serve()
    with pytest.raises(type(error)), Loop(Webhook(server.url)) as loop:
        for _ in loop.epochs(1):
            raise error
    assert server.events == [("train_begin", -1), ("exception", 0), ("train_end", 0)]
    assert server.posts[1][2]["error"] == f"{type(error).__name__}: {error}".removesuffix(": ")
    assert server.posts[2][2]["status"] == status


def test_only_the_events_asked_for_are_posted(serve):
    """The choice of events is kept."""
    server = serve()
    train(Bus(Webhook(server.url, events={"epoch_end"})), [{"loss": 1.0}], [{"loss": 0.5}])
    assert server.events == [("epoch_end", 0), ("epoch_end", 1)]


def test_format_makes_the_body(serve):
    """A function makes what a chat shows of an event, from floats as they are; None posts nothing."""
    server = serve()

    def as_text(event):
        if event["event"] == "epoch_end":
            return {"text": f"epoch {event['epoch']}: loss {event['logs']['loss']:.2f}"}
        return None

    train(Bus(Webhook(server.url, format=as_text)), [{"loss": 0.126}], [{"loss": math.nan}])
    assert [body for _, _, body in server.posts] == [{"text": "epoch 0: loss 0.13"}, {"text": "epoch 1: loss nan"}]


def test_format_that_raises_costs_its_event_alone(serve, warned):
    """An event that cannot be formatted is logged once, not tried again, and does not end the training."""
    server = serve()
    hook = Webhook(server.url, format=lambda event: {"loss": event["logs"]["loss"]})
    bus = Bus(hook)
    train(bus, [{"loss": 1.0}])
    assert [body for _, _, body in server.posts] == [{"loss": 1.0}, {"loss": 1.0}]
    assert (hook.failed, bus.failures) == (1, [])
    assert warned()[0] == (
        "Webhook dropped a message (an event cannot be formatted as JSON: KeyError: 'logs'); "
        "further drops for this reason are only counted"
    )


def test_headers_and_a_password_are_sent(serve):
    """Headers win over the usual ones, and a user in the address becomes basic authentication."""
    server = serve()
    url = server.url.replace("//", "//me:pa55%3A@")
    for hook in (
        Webhook(url, headers={"X-Token": "t0ken", "user-agent": "mine"}),
        Webhook(url, headers={"authorization": "B"}),
    ):
        train(Bus(hook))
    headers = [{name.lower(): value for name, value in headers.items()} for _, headers, _ in server.posts[::2]]
    basic = "Basic " + base64.b64encode(b"me:pa55:").decode()
    assert [each["authorization"] for each in headers] == [basic, "B"]
    assert (headers[0]["x-token"], headers[0]["user-agent"]) == ("t0ken", "mine")
    assert headers[0]["host"] == f"127.0.0.1:{server.server_port}"


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_server_that_is_down_ends_no_training(quick, monkeypatch, warned):
    """Without a server a run completes, and a warning says how many messages wait."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    hook = Webhook(f"http://127.0.0.1:{free_port()}/h1dden", flush_seconds=0.2)
    bus = Bus(hook)
    train(bus, [{"loss": 1.0}])
    assert (bus.run.status, bus.failures, hook.delivered, hook.waiting) == ("completed", [], 0, 3)
    assert not hook.close(0)
    assert hook.dropped == 3
    down, at_end, closed = warned()
    assert "ConnectionRefusedError: Connection refused" in down
    assert (
        at_end == "Webhook: by the end of the run 0 messages were dropped, 0 failed (0 values); 3 wait and are retried"
    )
    assert closed == "Webhook is closed, and 3 waiting messages, with 3 values, are dropped"
    assert "h1dden" not in down


def test_server_that_goes_away_and_comes_back_gets_all(quick, serve, warned):
    """What happens during an outage is posted after it, in order."""
    first = serve()
    bus = Bus(hook := Webhook(first.url))
    bus.train_begin()
    assert hook.flush(20)
    first.stop()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": 1.0})
    assert not hook.flush(0.3)
    second = serve(port=first.server_port)
    assert hook.flush(20)
    bus.train_end()
    assert (first.events, second.events) == (EVERYTHING[:1], EVERYTHING[1:])
    assert [text.split(" (")[0].split(";")[0] for text in warned()] == [
        "Webhook cannot deliver",
        "Webhook delivers again",
    ]


def test_server_that_hangs_holds_up_no_step(serve):
    """While a server does not answer, hooks return; the request ends with its time-out and is tried again."""
    server = serve()
    server.gate.clear()
    hook = Webhook(server.url, timeout=0.2, flush_seconds=0)
    train(Bus(hook), *[[{"loss": 1.0}]] * 50)
    assert server.entered.wait(20)
    assert (hook.delivered, hook.waiting) == (0, 52)
    wait_until(lambda: len(server.posts) >= 2)
    server.gate.set()
    assert hook.flush(20)
    assert hook.delivered == 52


@pytest.mark.parametrize("code", [500, 503, 429, 599])
def test_answers_that_may_pass_are_tried_again(quick, serve, code, warned):
    """After a server's error, or when it is busy, the same event is posted again, before the next."""
    server = serve(200, code, code, 200)
    train(Bus(hook := Webhook(server.url)), [{"loss": 1.0}], [{"loss": 1.0}])
    assert server.events == [EVERYTHING[0], *[EVERYTHING[1]] * 3, *EVERYTHING[2:]]
    assert (hook.delivered, hook.failed, warned()) == (4, 0, [])


@pytest.mark.parametrize("code", [400, 401, 404, 410])
def test_answers_that_will_not_change_are_not_tried_again(serve, code, warned):
    """A post that is refused is dropped at once, logged once, and the next ones are posted."""
    server = serve(code, code, code)
    train(Bus(hook := Webhook(server.url + "/h1dden")), [{"loss": 1.0}], [{"loss": 1.0}])
    assert server.events == EVERYTHING
    assert (hook.delivered, hook.failed) == (1, 3)
    told, at_end = warned()
    assert told.startswith(f"Webhook dropped a message ({server.url}: HTTP {code} ")
    assert (
        at_end == "Webhook: by the end of the run 0 messages were dropped, 3 failed (3 values); 0 wait and are retried"
    )


def test_wait_that_a_busy_server_asks_for_is_kept(serve):
    """After a `Retry-After` within the budget the same event is posted again, and not before, even while flushing."""
    server = serve((429, {"Retry-After": "2"}))
    hook = Webhook(server.url, flush_seconds=1)
    begin = time.monotonic()
    train(Bus(hook))
    assert (len(server.posts), hook.waiting) == (1, 2)
    assert hook.flush(20)
    assert time.monotonic() - begin >= 2
    assert server.events == [("train_begin", -1), ("train_begin", -1), ("train_end", -1)]


def test_wait_beyond_the_budget_gives_the_event_up(serve, warned):
    """A server that asks for an hour loses the event, not the training its time."""
    server = serve((503, {"Retry-After": "3600"}))
    train(Bus(hook := Webhook(server.url, events=["train_begin"])))
    assert (len(server.posts), hook.failed) == (1, 1)
    assert "HTTP 503 Service Unavailable" in warned()[0]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve, code, warned):
    """An answer that leads elsewhere, of whatever scheme, is an error that says so; nothing is sent there."""
    elsewhere = serve()
    server = serve(
        *[(code, {"Location": where}) for where in (elsewhere.url, "ftp://127.0.0.1/", "file:///etc/passwd")]
    )
    train(Bus(hook := Webhook(server.url, headers={"X": "t0ken"})), [{"loss": 1.0}])
    assert (elsewhere.posts, hook.failed, len(server.posts)) == ([], 3, 3)
    assert "redirects are not followed: pass the URL that it leads to" in warned()[0]


def test_oldest_are_dropped_if_the_server_is_slow(serve):
    """If the server is too slow, the newest events are kept, and the others counted."""
    server = serve()
    server.gate.clear()
    hook = Webhook(server.url, limit=3, events=["epoch_end"], flush_seconds=0)
    bus = Bus(hook)
    bus.train_begin()
    for epoch in range(50):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": 1.0})
        assert server.entered.wait(20)
    server.gate.set()
    assert not hook.close()
    assert server.events == [("epoch_end", epoch) for epoch in (0, 47, 48, 49)]
    assert (hook.delivered, hook.dropped) == (4, 46)


def test_lost_events_count_with_their_values(serve):
    """Of a block those of all its batches, of an epoch its metrics, of any other event one."""
    hook = Webhook(serve(*[404] * 9).url, per_batch=True, events=["train_begin", "epoch_end"])
    with Loop(hook) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches(range(5)):
                loop.log(a=1.0, b=2.0)
            loop.log(c=3.0)
    assert (hook.failed, hook.lost_values) == (3, 1 + 5 * 2 + 3)


def test_answer_that_is_no_http_is_tried_again(quick, monkeypatch):
    """A server that talks nonsense, or closes the connection, is as good as down."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk():
            for answer in (b"nonsense\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n"):
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=talk)
        thread.start()
        hook = Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}", events=["train_begin"])
        train(Bus(hook))
        assert hook.flush(20)
        thread.join(20)
    assert (len(asked), hook.delivered) == (3, 1)


# --- what is not shown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [[400] * 3, [500] * 1000, [(302, {"Location": "http://x/t0ken"})] * 3, None])
def test_no_secret_is_shown(quick, monkeypatch, serve, caplog, answers):
    """Whatever goes wrong, neither the log nor `repr` has the path, query, password or headers."""
    caplog.set_level(logging.DEBUG)
    port = free_port() if answers is None else serve(*answers).server_port
    url = f"http://s3cret:pa55@127.0.0.1:{port}/h1dden?key=t0ken#t0ken"
    hook = Webhook(url, headers={"X-Token": "t0ken"}, flush_seconds=0.2, retry_seconds=0.1)
    bus = Bus(hook, bad := Webhook(url, format=lambda event: object()))
    train(bus, [{"loss": 1.0}])
    wait_until(lambda: hook.failed and bad.failed)
    hook.close(0)
    shown = [repr(hook), repr(bus.failures), *(record.getMessage() + str(record.exc_info) for record in caplog.records)]
    assert repr(hook) == f"Webhook(url=http://127.0.0.1:{port}, per_batch=False)"
    assert not [text for text in shown if any(secret in text for secret in SECRETS)]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://s3cret:pa55@example.org/h1dden",
        "file:///h1dden",
        "example.org/h1dden",
        "http:///h1dden",
        "https://s3cret:pa55/t0ken@example.org:port/h1dden",
        "https://example.org:99999/h1dden",
        "http://[::1/h1dden",
        "javascript:h1dden()",
        "",
    ],
)
def test_url_must_be_of_the_web(url):
    """Any other address is refused, without being shown."""
    with pytest.raises(ValueError, match=r"url must be an http or https URL \(got ") as caught:
        Webhook(url)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


@pytest.mark.parametrize(
    "url", ["https://example.org/h1dden\n", "https://example.org/h1dden ä", "http://example.org/\r\nX: y"]
)
def test_url_must_be_encoded(url):
    """An address that cannot be sent as it is is refused, without its path."""
    with pytest.raises(ValueError, match=r"url must be ASCII without spaces.*\(got https?://example.org\)$"):
        Webhook(url)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": b"http://x/t0ken"}, r"url must be a string \(got bytes\)"),
        ({"headers": ["t0ken"]}, r"headers must be a mapping \(got list\)"),
        ({"headers": {"X\nY": "t0ken"}}, r"headers must have names of letters, digits and hyphens \(got 'X\\nY'\)"),
        ({"headers": {"X": "t0ken\r\nY: 1"}}, r"headers must have values of one line.*\(that of 'X' is not\)"),
        ({"headers": {"X": 5}}, r"headers must have values of one line"),
        ({"timeout": 0}, r"'timeout' must be > 0: 0"),
        ({"timeout": math.nan}, r"timeout must be finite \(got nan\)"),
        ({"events": "epoch_end"}, r"events must be a sequence of names \(got 'epoch_end'\)"),
        ({"events": ["epoch"]}, r"events must be among .*epoch_end.* \(got 'epoch'\)"),
        ({"format": "text"}, r"'format' must be callable"),
        ({"per_batch": 1}, r"per_batch must be True or False \(got 1\)"),
        ({"limit": 0}, r"limit must be >= 1 \(got 0\)"),
        ({"retry_seconds": math.inf}, r"retry_seconds must be >= 0 and finite \(got inf\)"),
        ({"flush_seconds": -1}, r"flush_seconds must be >= 0 and finite \(got -1\)"),
    ],
)
def test_arguments_are_checked(options, message):
    """A wrong argument is named with its rule, and no secret."""
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        Webhook(**{"url": "https://example.org", **options})
    assert "t0ken" not in str(caught.value)


# --- processes -------------------------------------------------------------------------------------------------------


def test_what_waits_is_posted_when_a_script_ends(serve):
    """A script that ends in mid-run, while its server is slow, posts what it has seen."""
    server = serve()
    server.gate.clear()
    code = """
        import sys
        from monitor_core import Bus
        from monitor_core.sinks.webhook import Webhook
        bus = Bus(Webhook(sys.argv[1], per_batch=True))
        bus.train_begin()
        bus.epoch_begin(0)
        bus.batch_end(1, {"loss": 1.0})
    """
    command = [sys.executable, "-c", textwrap.dedent(code), server.url]
    child = subprocess.Popen(command, env={**os.environ, "no_proxy": "127.0.0.1"})
    assert server.entered.wait(30)
    time.sleep(0.2)
    server.gate.set()
    assert child.wait(30) == 0
    assert server.events == [("train_begin", -1), ("block", 0)]


def test_webhook_is_a_sink_without_a_thread_until_it_has_something_to_say(serve):
    """Made and put on a bus, it costs no thread."""
    before = set(threading.enumerate())
    Bus(Webhook(f"http://127.0.0.1:{free_port()}"))
    assert set(threading.enumerate()) == before
    with pytest.raises(HookError):
        Bus(Webhook)
