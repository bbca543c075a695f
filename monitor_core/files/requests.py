"""Requests to a running training, as files in its folder: who asks for what, and what became of it.

Contract. A request is a small JSON file that appears whole in the folder ``control`` of the run's folder; the run
replaces it by an answer of the same number, which the asker removes once it has read it. There is no port and no lock,
so it works wherever both see the files. Files are not trusted: of a request only the verb, from a short list, and its
checked value count, and nothing is executed.
"""

from __future__ import annotations

import getpass
import json
import math
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from monitor_core.files.replacing import replacing
from monitor_core.values.text import shortened

VERBS = ("stop", "rate", "checkpoint", "note")
"""What may be asked for."""
LIMIT = 16_384
"""How many bytes a request or an answer has at most: the longest text takes 12,000, if JSON escapes each character."""
TEXT = 1000
"""How many characters a text has at most."""
FOLDER = "control"
"""The folder of requests, in a run's folder."""
_WHO = 200
_LISTENS = "listening.json"
_REQUEST = re.compile(r"request-(\d{1,20}-[0-9a-f]{8})\.json")


def _check_verb(_: Any, __: Any, verb: Any) -> None:
    if verb not in VERBS:
        raise ValueError(f"verb must be one of {', '.join(VERBS)} (got {verb!r})")


@attrs.frozen(kw_only=True)
class Request:
    """What a run is asked for.

    Attributes:
        verb: One of `VERBS`.
        value: For ``rate`` the learning rate, finite and above 0; for ``note`` the text; for ``stop`` why, or None;
            for ``checkpoint`` None.
        who: Who asks, as `asker` says it.
        time: When, seconds since 1970, by the asker's clock.
        run: The id of the run that is meant.
        number: Its number, which names its file.

    Raises:
        ValueError: A member breaks its rule.
    """

    verb: str = attrs.field(validator=_check_verb)
    value: float | str | None = attrs.field(default=None)
    who: str = attrs.field()
    time: float = attrs.field(factory=time.time)
    run: str = attrs.field()
    number: str = attrs.field(factory=lambda: f"{time.time_ns()}-{secrets.token_hex(4)}")

    @value.validator
    def _check_value(self, _: Any, value: Any) -> None:
        if self.verb == "rate":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < math.inf:
                raise ValueError(f"rate must be a number > 0 and finite (got {value!r})")
        elif self.verb == "checkpoint":
            if value is not None:
                raise ValueError(f"checkpoint takes no value (got {value!r})")
        elif not (value is None and self.verb == "stop") and not _is_text(value, TEXT):
            raise ValueError(
                f"{self.verb} must be a text of 1 to {TEXT} characters, each of them printable (got {_cut(value)})"
            )

    @who.validator
    def _check_who(self, _: Any, value: Any) -> None:
        if not _is_text(value, _WHO):
            raise ValueError(f"who must be a text of 1 to {_WHO} characters (got {_cut(value)})")

    @time.validator
    def _check_time(self, _: Any, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"time must be seconds since 1970 (got {value!r})")

    def __str__(self) -> str:
        what = {"rate": f"the learning rate {self.value:g}" if isinstance(self.value, float) else ""}.get(self.verb)
        return what or (self.verb if self.value is None else f"{self.verb}: {self.value}")


def asker(by: str = "") -> str:
    """Return who asks from this process, as ``user@host``, and by what, if that is given: ``user@host (the page)``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user is known, as in a container
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    way = f" ({by})" if by else ""
    return f"{user}@{platform.node() or 'unknown'}"[: _WHO - len(way)] + way


# --- the asker's side ----------------------------------------------------------------------------------------------


def listens(folder: Path, run: str) -> bool:
    """Return whether a run says that it looks at requests in its folder."""
    return _read(folder / FOLDER / _LISTENS).get("run") == run


def send(folder: Path, request: Request) -> None:
    """Leave a request in a run's folder.

    Raises:
        OSError: It cannot be written.
    """
    data = {name: value for name, value in attrs.asdict(request).items() if name != "number"}
    _write(_file(folder, "request", request), data)


def answer_to(folder: Path, request: Request) -> tuple[bool, str] | None:
    """Return whether a request was done, and a sentence; None while there is no answer. The answer is then removed."""
    file = _file(folder, "answer", request)
    data = _read(file)
    if not isinstance(data.get("done"), bool) or not isinstance(data.get("text"), str):
        return None
    with suppress(OSError):
        file.unlink()
    return data["done"], data["text"][:TEXT]


def withdraw(folder: Path, request: Request) -> bool:
    """Remove a request; return whether it was there still."""
    try:
        _file(folder, "request", request).unlink()
    except OSError:
        return False
    return True


# --- the run's side ------------------------------------------------------------------------------------------------


def listen(folder: Path, run: str) -> None:
    """Say that a run looks at requests, and remove answers that were never read.

    Raises:
        OSError: It cannot be written.
    """
    (folder / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in (folder / FOLDER).glob("answer-*.json"):
        with suppress(OSError):
            old.unlink()
    _write(folder / FOLDER / _LISTENS, {"run": run, "time": time.time()})


def stop_listening(folder: Path) -> None:
    """Say that the run does not look any more."""
    with suppress(OSError):
        (folder / FOLDER / _LISTENS).unlink()


def take(folder: Path) -> Iterator[Request | str]:
    """Yield the requests in a run's folder, the oldest first, and remove them; of a malformed one what is wrong."""
    try:
        names = sorted(each for each in os.listdir(folder / FOLDER) if _REQUEST.fullmatch(each))  # noqa: PTH208
    except OSError:
        return
    for name in names:
        file = folder / FOLDER / name
        data = _read(file)
        try:
            file.unlink()
        except OSError:
            continue  # else it would be acted on again and again
        try:
            members = {each: data[each] for each in ("verb", "value", "who", "time", "run")}
            yield Request(**members, number=name.removeprefix("request-").removesuffix(".json"))
        except KeyError as error:
            yield f"a request is malformed: it has no {error}"
        except (TypeError, ValueError) as error:
            yield f"a request is malformed: {_cut(error)}"


def answer(folder: Path, request: Request, *, done: bool, text: str) -> None:
    """Leave the answer to a request, if it can be written."""
    with suppress(OSError):
        _write(_file(folder, "answer", request), {"done": done, "text": text[:TEXT]})


def _file(folder: Path, kind: str, request: Request) -> Path:
    return folder / FOLDER / f"{kind}-{request.number}.json"


def _read(file: Path) -> dict[str, Any]:
    """Return what a small regular file holds; empty if it is none."""
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as opened:
            text = opened.read(LIMIT + 1)
        data = json.loads(text) if len(text) <= LIMIT else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _write(file: Path, data: dict[str, Any]) -> None:
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(data), encoding="ascii")


def _is_text(value: object, limit: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= limit and value.isprintable()


def _cut(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return shortened(text, 100)
