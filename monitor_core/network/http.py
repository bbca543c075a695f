"""Posting to a URL, with only the standard library.

Contract. Failures raise a `DeliveryError` that says whether to retry: yes after responses of 500 and above, 429 and
connection errors, no after others. ``repr`` and errors show only the URL's scheme, host and port, and none of the
headers'
values: the rest may contain tokens. Redirects are not followed: they would lose the body, or send the headers to
    another
host. Proxies are taken from the environment. A post takes ``timeout`` seconds at most, see
`monitor_core.network.deadlines`.
"""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import attrs

from monitor_core import checks
from monitor_core.network import deadlines
from monitor_core.network.retries import DeliveryError

TIMEOUT = 5.0
"""How many seconds a post may take by default."""

_VISIBLE = re.compile(r"[!-~]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # whatever fits on one line, in Latin-1
_PHRASES = {int(status): status.phrase for status in HTTPStatus}  # the server's own might repeat what it received


def _check_url(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{field.name} must be a string (got {type(value).__name__})")
    if not _is_web(value):
        scheme = _SCHEME.match(value)
        shown = f"{scheme[0]}..." if scheme else "one without a scheme"
        raise ValueError(f"{field.name} must be an http or https URL (got {shown})")
    if not _VISIBLE.fullmatch(value):
        raise ValueError(f"{field.name} must be ASCII without spaces: percent-encode the rest (got {origin(value)})")


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port, or an incomplete IPv6 address
        return False


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _check_headers(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"{field.name} must be a mapping (got {type(value).__name__})")
    for name, text in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{field.name} must have names of letters, digits and hyphens (got {name!r})")
        if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            raise ValueError(f"{field.name} must have values of one line, in Latin-1 (that of {name!r} is not)")


def origin(url: str) -> str:
    """Return the part of a URL that may be shown: its scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{_host(parts)}"


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


@attrs.define(eq=False)
class Poster:
    """Posts to one URL. Only one thread at a time may use it.

    Args:
        url: The URL, http or https. A user name and password in it are sent as basic authentication.
        headers: Headers to send, such as ``Authorization``; they replace the default ones.
        timeout: How many seconds a whole post may take, above 0.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument breaks its rule above.
    """

    url: str = attrs.field(validator=_check_url, repr=origin)
    headers: dict[str, str] = attrs.field(factory=dict, converter=_copied, validator=_check_headers, repr=False)
    timeout: float = attrs.field(default=TIMEOUT, validator=[checks.number(finite=True), attrs.validators.gt(0)])
    _opener: urllib.request.OpenerDirector | None = attrs.field(init=False, default=None, repr=False)

    def post(self, body: bytes, content_type: str = "application/json") -> None:
        """Post a body.

        Raises:
            DeliveryError: The server did not accept it.
        """
        if self._opener is None:
            self._opener = _opener(urlsplit(self.url).scheme)
        try:
            with self._opener.open(self._request(body, content_type), timeout=self.timeout):
                return
        except urllib.error.HTTPError as error:
            with error:  # it holds the connection
                refusal = self._refusal(error)
        except (OSError, http.client.HTTPException) as error:
            refusal = DeliveryError(f"{origin(self.url)}: {_description(error)}")
        raise refusal  # outside the handler, so that it does not keep the original exception

    def _request(self, body: bytes, content_type: str) -> urllib.request.Request:
        parts = urlsplit(self.url)
        address = urlunsplit(parts._replace(netloc=_host(parts), fragment=""))
        request = urllib.request.Request(address, body, method="POST")  # noqa: S310 - checked: http or https
        headers = {"Content-Type": content_type, "User-Agent": "monitor_core"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode('ascii')}"
        for name, value in [*headers.items(), *self.headers.items()]:
            request.add_header(name, value)
        return request

    def _refusal(self, error: urllib.error.HTTPError) -> DeliveryError:
        code = error.code
        cause = f"{origin(self.url)}: HTTP {code} {_PHRASES.get(code, '')}".rstrip()
        if code < HTTPStatus.BAD_REQUEST:
            cause += ", and redirects are not followed: pass the URL that it leads to"
        is_passing = code >= HTTPStatus.INTERNAL_SERVER_ERROR or code == HTTPStatus.TOO_MANY_REQUESTS
        return DeliveryError(cause, retry=is_passing, after=_seconds_until(error.headers.get("Retry-After", "")))


def _opener(scheme: str) -> urllib.request.OpenerDirector:
    """Return an opener with proxies, but without redirects, files and the like."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(deadlines.HTTPHandler())
    if scheme == "https":
        import ssl

        opener.add_handler(deadlines.HTTPSHandler(ssl.create_default_context()))  # loads the certificates once
    opener.add_handler(urllib.request.HTTPDefaultErrorHandler())
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    return opener


def _description(error: OSError | http.client.HTTPException) -> str:
    """Describe a connection error, without any data that was sent or received."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    words = (reason.strerror or "timed out" * isinstance(reason, TimeoutError)) if isinstance(reason, OSError) else ""
    return f"{type(reason).__name__}: {words}" if words else type(reason).__name__


def _seconds_until(retry_after: str) -> float:
    """Return how many seconds a ``Retry-After`` header asks to wait; it holds a number of seconds or a date."""
    try:
        if retry_after.strip().isdecimal():
            return float(int(retry_after))
        moment = email.utils.parsedate_to_datetime(retry_after)
        return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0
