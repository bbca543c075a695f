"""Posting to a real web server: what it receives, and how its responses are treated."""

import contextlib
import email.utils
import socket
import threading
import time

import pytest

from monitor_core.network.http import Poster
from monitor_core.network.retries import DeliveryError
from web_server import Server


@pytest.fixture
def serve(monkeypatch):
    """Return a function that starts a server."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(*answers):
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def refusal(server, path=""):
    """Post a body, and return the error that it raises."""
    with pytest.raises(DeliveryError) as caught:
        Poster(server.url + path).post(b"{}")
    return caught.value


def test_body_arrives_with_its_type(serve):
    """A post has the body, its type and length, the path and the query, and no fragment."""
    server = serve()
    Poster(server.url + "/a/b?c=d#e").post(b'{"a": 1}')
    ((path, headers, body),) = server.posts
    assert (path, body) == ("/a/b?c=d", {"a": 1})
    assert (headers["Content-Type"], headers["Content-Length"]) == ("application/json", "8")


@pytest.mark.parametrize(
    ("code", "retry"),
    [(300, False), (400, False), (404, False), (408, False), (429, True), (500, True), (503, True), (599, True)],
)
def test_answer_says_whether_to_try_again(serve, code, retry):
    """Responses of 429 and of 500 and above are retried, others are not."""
    error = refusal(serve(code))
    assert (error.retry, error.after) == (retry, 0.0)
    assert f": HTTP {code}" in str(error)


@pytest.mark.parametrize("code", [200, 201, 202, 204])
def test_answer_of_success_is_one(serve, code):
    """Any 2xx status is a success."""
    server = serve(code)
    Poster(server.url).post(b"{}")
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("7", 7), (" 30 ", 30), ("-5", 0), ("soon", 0), ("9" * 400, 0), ("1.5", 0), ("Mon, 99 Foo", 0), ("", 0)],
)
def test_retry_after_in_seconds_is_read(serve, text, seconds):
    """The wait that a busy server asks for is passed on; a value that is not a number of seconds is ignored."""
    assert refusal(serve((429, {"Retry-After": text}))).after == seconds


@pytest.mark.parametrize(("shift", "least", "most"), [(100, 60, 101), (-100, 0, 0)])
def test_retry_after_as_a_date_is_read(serve, shift, least, most):
    """A date means the seconds until then; a past one means no wait."""
    date = email.utils.formatdate(time.time() + shift, usegmt=True)
    assert least <= refusal(serve((503, {"Retry-After": date}))).after <= most


def test_error_keeps_nothing_of_the_request(serve):
    """The exception holds neither the URL nor the connection."""
    error = refusal(serve(503), "/h1dden?key=t0ken")
    assert error.__context__ is None
    assert "h1dden" not in str(error)
    assert "t0ken" not in str(error)


def test_repr_shows_where_it_posts_and_no_more():
    """Neither the path nor the query, the password nor a header is shown."""
    poster = Poster("https://me:pa55@example.org:8443/h1dden?key=t0ken", {"X": "t0ken"})
    assert repr(poster) == "Poster(url=https://example.org:8443, timeout=5.0)"


@contextlib.contextmanager
def dripping(answer, pause):
    """Serve a response byte by byte at the yielded address, until the client disconnects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for byte in answer:
                    connection.sendall(bytes([byte]))
                    time.sleep(pause)

        thread = threading.Thread(target=drip)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(20)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nX-Header: "])
def test_server_that_drips_holds_nothing_up(monkeypatch, head):
    """The limit covers the whole post, not each byte of the response: this one would take a minute."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    begin = time.monotonic()
    with dripping(head + b"a" * 1200, pause=0.05) as url, pytest.raises(DeliveryError) as caught:
        Poster(url, timeout=0.4).post(b"{}")
    assert time.monotonic() - begin < 20
    assert (str(caught.value), caught.value.retry) == (f"{url}: TimeoutError: timed out", True)


def test_slow_answer_within_the_limit_is_taken(monkeypatch):
    """A response that arrives byte by byte counts like any other."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with dripping(b"HTTP/1.1 204 No Content\r\n\r\n", pause=0.005) as url:
        Poster(url, timeout=20).post(b"{}")


def test_server_that_takes_nothing_holds_nothing_up(monkeypatch):
    """Nor does a body that does not fit into the system's buffers."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(DeliveryError, match="timed out"):
            Poster(url, timeout=0.4).post(bytes(32 << 20))
