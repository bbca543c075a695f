"""HTTP connections with one limit for the whole exchange, whatever the server does within it.

Contract. A socket's timeout limits each single wait, so a server that sends one byte a second never exceeds it. Here
each wait gets the time left until a deadline: for the connection, the TLS handshake, a proxy's response, sending, and
the head of the response. The system's lookup of a host name is not limited, and for a host with several addresses that
do not respond, each may take the whole limit.

``urllib3`` does not solve this: its ``Timeout(total=0.5)`` limits each read too, and took 6 s with a server that sent
its response slowly (urllib3 2.8, with the server of ``test_server_that_drips_holds_nothing_up``). What it would add,
proxies and connections, is in the standard library.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import urllib.request
from time import monotonic
from typing import Any

_CHUNK = 1 << 14  # bytes sent within one wait: with TLS, each record waits separately


class _Limited(io.RawIOBase):
    """The data that a socket receives before a deadline."""

    def __init__(self, raw: Any, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        received: int | None = self._raw.readinto(buffer)
        return received

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left(deadline: float) -> float:
    """Return the seconds until a deadline.

    Raises:
        TimeoutError: The deadline has passed.
    """
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _Response(http.client.HTTPResponse):
    def __init__(self, deadline: float, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp: Any = io.BufferedReader(_Limited(self.fp.detach(), sock, deadline))


class _Connection(http.client.HTTPConnection):
    """A connection that fails ``timeout`` seconds after it was opened."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline = monotonic() + float(self.timeout or 0.0)
        self.response_class: Any = functools.partial(_Response, self._deadline)

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_left(self._deadline))

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        for first in range(0, len(data), _CHUNK):
            self.sock.settimeout(_left(self._deadline))
            super().send(data[first : first + _CHUNK])


class _SecureConnection(http.client.HTTPSConnection, _Connection):
    """The same, encrypted; by the order of the bases the handshake comes after `_Connection.connect`."""


class HTTPHandler(urllib.request.HTTPHandler):
    """Opens connections on which a request's timeout covers the whole exchange."""

    def http_open(self, request: urllib.request.Request) -> Any:
        """Open one."""
        return self.do_open(_Connection, request)


class HTTPSHandler(urllib.request.HTTPSHandler):
    """The same, encrypted."""

    def __init__(self, context: Any) -> None:
        super().__init__(context=context)
        self._settings = context

    def https_open(self, request: urllib.request.Request) -> Any:
        """Open one."""
        return self.do_open(_SecureConnection, request, context=self._settings)
