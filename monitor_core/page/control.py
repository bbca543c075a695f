"""Control from the live page: who may ask a run for something, and what becomes of it.

Contract. A request is a ``POST`` of JSON from a page of this very server, with a token that is in the address which
`serve` prints. It is the part of an address that browsers send to no server; the page's script sends it in a header. A
page of another site, or of another port of this machine, has another origin and not the token: cookies, which all ports
share, count for nothing here. What is asked for goes the way that ``monitor-core control`` goes; nothing is executed.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from pathlib import Path
from typing import Any, Literal

import attrs

from monitor_core.files.requests import LIMIT, asker, listens
from monitor_core.journal.summary import Summary
from monitor_core.runs.control import NOT_ANSWERED, Pending

SECONDS = 30.0
"""How long an answer is waited for; the request then stays."""
_LOOK_SECONDS = 0.1
_SENTENCES = {
    "listens": "The run acts before its next batch, or at its epoch's end; its journal says who asked for what.",
    "deaf": "This run cannot be controlled: add Control() to its sinks.",
    "ended": "The run is not training: there is nothing to control.",
}


class RefusedError(Exception):
    """A request that is refused before the run sees it.

    Args:
        status: The status of the answer.
        text: Why, as a sentence.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@attrs.frozen
class Panel:
    """The part of a run's page by which it is controlled.

    Attributes:
        address: Where requests go.
        state: ``"listens"``, ``"deaf"`` of a run without `Control`, ``"ended"`` of one that does not train.
    """

    address: str
    state: Literal["listens", "deaf", "ended"]

    @classmethod
    def of(cls, address: str, summary: Summary, folder: Path) -> Panel:
        """Return a run's panel."""
        if summary.status != "running":
            return cls(address, "ended")
        return cls(address, "listens" if listens(folder, summary.id) else "deaf")

    @property
    def sentence(self) -> str:
        """What can be asked of the run now."""
        return _SENTENCES[self.state]


def check(request: Any, token: str) -> None:
    """Check that a request comes from a page of this server that has the token.

    Raises:
        RefusedError: It does not.
    """
    headers = request.headers
    is_own = headers.get("sec-fetch-site", "same-origin") == "same-origin"
    if not is_own or headers.get("origin") not in {f"http://{headers['host']}", f"https://{headers['host']}"}:
        raise RefusedError(403, "a run is controlled from its own page alone, not from another site's")
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
        raise RefusedError(403, "to control a run, open the address that monitor-core serve printed: it has the token")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "a request is JSON: its Content-Type must be application/json")


async def wish(request: Any) -> tuple[str, str | None]:
    """Return the verb that a request asks for, and its value as it was typed; neither is checked yet.

    Raises:
        RefusedError: It is too long, or not such a request.
    """
    from starlette.requests import ClientDisconnect

    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > LIMIT:
                raise RefusedError(413, f"a request has at most {LIMIT:,} bytes")
        data = json.loads(body)
    except (ClientDisconnect, ValueError, RecursionError):
        raise RefusedError(400, "a request is a JSON object with a verb and a value") from None
    if not isinstance(data, dict) or not {"verb"} <= data.keys() <= {"verb", "value"}:
        raise RefusedError(400, "a request is a JSON object with a verb and a value")
    verb, value = data["verb"], data.get("value")
    if not isinstance(verb, str) or not (value is None or isinstance(value, str)):
        raise RefusedError(400, "verb must be a string, and value a string or null")
    return verb, value


def who(request: Any) -> str:
    """Return who asks, for the journal: this server's user, and from where if that is another machine."""
    client = request.client.host if request.client is not None else ""
    return asker("from the page" if client in {"", "127.0.0.1", "::1"} else f"from the page at {client[:60]}")


async def outcome(pending: Pending) -> dict[str, Any]:
    """Return whether a request was done, None if there is no answer in time, and a sentence."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + SECONDS
    while (answer := await asyncio.to_thread(pending.answer)) is None and clock() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
    done, text = answer or (None, NOT_ANSWERED)
    return {"done": done, "answer": text}
