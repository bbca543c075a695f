"""A real S3 server on this machine, moto's, that can be stopped and told to refuse, to be slow, or to list late."""

import contextlib
import os
import random
import socket
import threading
import time
from collections import Counter

import pytest

s3fs = pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")

_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_EMPTY = (
    b"<?xml version='1.0'?><ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"
)


class S3Server:
    """The server.

    Attributes:
        requests: How many requests of each method there were.
        refuses: Which methods are refused with status 403.
        delay: How many seconds an answer takes.
        lists_late: Whether listings are empty.
    """

    def __init__(self):
        self.requests = Counter()
        self.refuses = frozenset()
        self.delay = 0.0
        self.lists_late = self.is_down = False
        self._app = moto_server.DomainDispatcherApplication(moto_server.create_backend_app)
        self._server = None
        self._port = _free_port()

    @property
    def address(self):
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def environment(self):
        """Return the environment by which S3's clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",  # the mirror's own attempts are to be seen, not those of the client
        }

    def start(self):
        """Begin to answer, at the port that it had before."""
        from werkzeug.serving import make_server

        handler = moto_server.MotoRequestHandler
        self._server = make_server("127.0.0.1", self._port, self, threaded=True, request_handler=handler)
        self.is_down = False
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        """Answer no more, not over connections that are open either; what is stored stays."""
        if self.is_down:
            return
        self.is_down = True
        self._server.shutdown()
        self._server.server_close()

    def heal(self):
        """End all faults."""
        self.refuses, self.delay, self.lists_late = frozenset(), 0.0, False
        if self.is_down:
            self.start()

    def __call__(self, environ, start_response):
        """Answer a request."""
        method = environ["REQUEST_METHOD"]
        self.requests[method] += 1
        if self.is_down:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)  # else the client waits for an answer
            raise ConnectionError
        if self.delay:
            time.sleep(self.delay)
        if method in self.refuses:
            return _answer(environ, start_response, "403 Forbidden", _DENIED)
        if self.lists_late and method == "GET" and "list-type=2" in environ.get("QUERY_STRING", ""):
            return _answer(environ, start_response, "200 OK", _EMPTY)
        return self._app(environ, start_response)


def _free_port():
    """Return a port that no client gets: else one that connects while the server is stopped may take it."""
    for port in random.sample(range(15000, 30000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("there is no free port")


def _answer(environ, start_response, status, body):
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def started():
    """Start a server for this process and those that it starts; yield it."""
    server = S3Server()
    server.start()
    before, retries = dict(os.environ), s3fs.S3FileSystem.retries
    os.environ.update(server.environment())
    s3fs.S3FileSystem.retries = 1
    try:
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
        s3fs.S3FileSystem.retries = retries
        server.stop()
