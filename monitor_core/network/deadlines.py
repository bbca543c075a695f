"""HTTP connections with one limit for the whole exchange, whatever the server does within it.

Contract. A socket's timeout bounds each wait, so that a server which sends a byte a second never meets one. Here each
wait gets what is left until a deadline: for the connection, its encryption, a proxy's answer, the sending and the head
of the answer. Looking up a host's name is left to the system, and of a host with several addresses that do not answer
each may take the whole limit.

``urllib3`` would not do instead: its ``Timeout(total=0.5)`` bounds each read too, and took the 6 s for which a server
dripped (urllib3 2.8, with the server of ``test_server_that_drips_holds_nothing_up``). What it would spare, proxies and
connections, the standard library has.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import urllib.request
from time import monotonic
from typing import Any

_CHUNK = 1 << 14  # bytes sent within one wait: encrypted, each record has a wait of its own


class _Limited(io.RawIOBase):
    """What a socket receives until a deadline."""

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
        TimeoutError: It is over.
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
    """A connection that fails ``timeout`` seconds after it was made."""

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
    """Opens connections on which a request's timeout is for the whole exchange."""

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
