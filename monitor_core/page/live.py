"""The live page: the runs of a folder, in a browser, as they train, and the logs in it.

Contract. It reads run folders and writes nothing; no training's process is touched. It answers ``GET`` alone, to the
hosts that it is known by, and where a token is set, only with it. A path outside the folder, by ``..`` or by a link, is
not found; what is listed and cannot be read says why. A run that is killed, deleted or resumed while it is shown is
shown as it is then. If it may control runs, it takes requests to them too, see `monitor_core.page.control`.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import os
import shlex
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes
from zlib import crc32

import attrs

from monitor_core.files import requests
from monitor_core.journal import provenance
from monitor_core.journal.facts import Begin
from monitor_core.journal.files import file_number, journal_files
from monitor_core.journal.recorded import RecordedRun, open_run, record_files, record_state
from monitor_core.journal.summary import main_metric, summary_of
from monitor_core.page.control import Panel, RefusedError, check, outcome, who, wish
from monitor_core.page.family import Family, Relative, family_among
from monitor_core.page.overlay import AXES, overlay_of
from monitor_core.page.report import built, content_policy, render, template
from monitor_core.page.run import PageRun
from monitor_core.page.words import joined, moment, seconds
from monitor_core.runs.catalogue import RUN, FoundRun, find_runs
from monitor_core.runs.control import Pending, ask
from monitor_core.runs.logs import LARGEST
from monitor_core.store.addresses import StorePath, located
from monitor_core.values.text import counted, format_value, valid_text

NO_SERVER = 'the live page needs Starlette and uvicorn: pip install "monitor_core[serve]"'
_LOOK_SECONDS = 0.5
_PAUSE = 4
"""How many times as long as a look took the pause before the next one lasts, where there are thousands of runs."""
_OTHERS_SECONDS = 2.0
_STORE_LOOK_SECONDS = 5.0
"""Each look at a store is a request, which some bill."""
_CHANGED = "event: changed\ndata: \n\n"
_BEAT_SECONDS = 15.0
_MOST_OVERLAID = 12
_CACHED = 8
_COOKIE = "monitor_core_token"
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def application(
    folder: Path,
    *,
    hosts: Iterable[str] = ("127.0.0.1", "localhost", "::1"),
    token: str | None = None,
    control: str | None = None,
) -> Any:
    """Return the live page of a folder as an ASGI application.

    Args:
        folder: The folder with the runs.
        hosts: The names that it may be asked by, without a port: another site's page cannot read it by a name of its
            own that leads here.
        token: What an address must have as ``?token=...``; None for none. With one it may be asked by any address in
            numbers too: this machine may have several, also those of a router or container, and none is a name that
            another site could lead here.
        control: The token by which runs may be controlled, ``#control=...`` in an address; None: they may not.

    Raises:
        ImportError: Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.routing import Route
    except ImportError as error:
        raise ImportError(NO_SERVER) from error
    pages = _Pages(located(folder).resolve(), control=control)
    routes = [
        Route("/", pages.listing),
        Route("/runs/{path:path}", pages.run),
        Route("/overlay", pages.overlay),
        Route("/events", pages.events),
    ]
    if control is not None:
        routes.append(Route("/control/{path:path}", pages.ask, methods=["POST"]))
    return Starlette(routes=routes, middleware=[Middleware(_Guard, hosts=frozenset(hosts), token=token)])


class _Guard:
    """Refuses requests by other names, and without the token; keeps the token in a cookie."""

    def __init__(self, app: Any, hosts: frozenset[str], token: str | None) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse

        request = Request(scope)
        # Still quoted: a path as text has lost the bytes that are not UTF-8, and no route matches a line break.
        path = scope.get("raw_path", b"").decode("ascii", "replace") or quote(scope["path"])
        scope = {**scope, "path": path}
        host = _host(request.headers.get("host", ""))
        if host not in self._hosts and (self._token is None or not _is_address(host)):
            answer = PlainTextResponse("this page is not known by that name", 421, _HEADERS)
            await answer(scope, receive, send)
        elif self._token is None:
            await self._app(scope, receive, send)
        elif _is_equal(request.query_params.get("token", ""), self._token):
            await self._app(scope, receive, _with_cookie(send, self._token))
        elif _is_equal(request.cookies.get(_COOKIE, ""), self._token):
            await self._app(scope, receive, send)
        else:
            answer = PlainTextResponse("open the address that monitor-core printed: it has the token", 403, _HEADERS)
            await answer(scope, receive, send)


def _host(header: str) -> str:
    name = header.rpartition(":")[0] if header.rpartition(":")[2].isdigit() else header
    return name.strip("[]").lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _with_cookie(send: Any, token: str) -> Any:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            cookie = f"{_COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/".encode()
            message = {**message, "headers": [*message["headers"], (b"set-cookie", cookie)]}
        await send(message)

    return sending


class _Others:
    """The runs of a folder, for the pages of single runs: looked for once for all of them, and seldom.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._least = _OTHERS_SECONDS if not isinstance(folder, StorePath) else _STORE_LOOK_SECONDS
        self._next = 0.0
        self._runs: list[FoundRun] = []

    def runs(self) -> list[FoundRun]:
        """Return them, the newest first, as they were a short time ago."""
        begin = monotonic()
        if begin >= self._next:
            self._runs = _runs(self._folder)
            end = monotonic()
            self._next = end + max(self._least, _PAUSE * (end - begin))
        return self._runs


@attrs.define(eq=False)
class _Pages:
    """The pages of a folder.

    Attributes:
        folder: The folder, without links.
        control: The token by which runs may be controlled, or None.
    """

    folder: Path
    control: str | None = attrs.field(default=None, repr=False)
    _others: _Others = attrs.field(
        init=False, default=attrs.Factory(lambda self: _Others(self.folder), takes_self=True)
    )
    _known: dict[Path, tuple[Any, str]] = attrs.field(factory=dict)
    _begun: dict[Path, Begin | None] = attrs.field(factory=dict)

    def listing(self, request: Any) -> Any:
        """Answer with the list of runs."""
        runs = [_Row.of(run, self.folder) for run in _runs(self.folder)]
        page = template("list.html.jinja").render(
            folder=self.folder.name, runs=runs, events="/events", axes=AXES, **_assets()
        )
        return _html(page)

    def run(self, request: Any) -> Any:
        """Answer with a run's page."""
        name = _unquoted(request.path_params["path"])
        path = self._path(name)
        if path is None:
            return _missing(name)
        files = _signature(path)
        known = self._known.get(path)
        if known is None or known[0] != (files, self._liveness(path), self._family(path)):
            try:
                recorded = self._opened(path)
            except (ImportError, ValueError) as error:
                return _unreadable(error)
            if recorded is None:
                return _missing(name)
            liveness, family = self._liveness(path), self._family(path)
            run, quoted = PageRun.of(recorded), _quoted(self._name(path))
            is_here = self.control is not None and not isinstance(path, StorePath)
            panel = None if not is_here else Panel.of(f"/control/{quoted}", run.summary, path)
            key = files, liveness, family
            page = render(run, events=f"/events?run={quoted}&seen={_mark([key])}", control=panel, family=family)
            self._known[path] = known = (key, page)
            for old in list(self._known)[:-_CACHED]:
                del self._known[old]
        return _html(known[1])

    def overlay(self, request: Any) -> Any:
        """Answer with several runs in the same charts."""
        by = request.query_params.get("by", "step")
        names = _chosen(request)[:_MOST_OVERLAID]
        try:
            paths = {
                path: run for name in names if (path := self._path(name)) and (run := self._opened(path)) is not None
            }
        except (ImportError, ValueError) as error:
            return _unreadable(error)
        if by not in AXES:
            return _missing(f"axis {by}; there are {joined(list(AXES))}")
        if not paths:
            return _said("there is no run to overlay: choose some in the list", 404)
        shown = [attrs.evolve(PageRun.of(run), name=self._name(path)) for path, run in paths.items()]
        query = "&".join(f"run={_quoted(self._name(path))}" for path in paths)
        page = template("overlay.html.jinja").render(
            overlay=overlay_of(shown, by), by=by, axes=AXES, query=query, events=f"/events?{query}", **_assets()
        )
        return _html(page)

    async def ask(self, request: Any) -> Any:
        """Ask a run for something, and answer with what became of it."""
        from starlette.responses import JSONResponse

        try:
            check(request, str(self.control))
            verb, value = await wish(request)
            name = _unquoted(request.path_params["path"])
            pending = await asyncio.to_thread(self._asked, name, verb, value, who(request))
        except RefusedError as error:
            return JSONResponse({"done": False, "answer": str(error)}, error.status, _HEADERS)
        return JSONResponse(await outcome(pending), headers=_HEADERS)

    def _asked(self, name: str, verb: str, value: str | None, who: str) -> Pending:
        """Send a request to a run's folder, from which no link may lead elsewhere."""
        path = self._path(name)
        try:
            recorded = None if path is None else self._opened(path)
        except ValueError as error:
            raise RefusedError(404, valid_text(str(error))) from None
        if path is None or recorded is None or self._path(f"{name}/{requests.FOLDER}") != path / requests.FOLDER:
            raise RefusedError(404, f"there is no run {valid_text(name[:200])}")
        try:
            return ask(path, summary_of(recorded.last), verb, value, who=who, name=valid_text(self._name(path)))
        except ValueError as error:
            raise RefusedError(400, str(error)) from None
        except OSError as error:
            raise RefusedError(403, f"the run's folder cannot be written: {error.strerror}") from None

    async def events(self, request: Any) -> Any:
        """Answer with an event whenever the files of the runs, or of the folder, have changed, or a run was killed."""
        from starlette.responses import StreamingResponse

        paths = [self._path(name) for name in _chosen(request)]
        look = self._of_runs([path for path in paths if path is not None]) if paths else _of_folder(self.folder)
        every = _LOOK_SECONDS if not isinstance(self.folder, StorePath) else _STORE_LOOK_SECONDS
        known = await asyncio.to_thread(look)  # before the answer's head: who has that misses no change
        seen = request.query_params.get("seen")
        changes = _changes(request, look, known, every, is_new=seen is not None and seen != _mark(known))
        return StreamingResponse(changes, media_type="text/event-stream", headers=_HEADERS)

    def _path(self, name: str) -> Path | None:
        """Return the path of a run or a log, None if it is outside the folder."""
        try:
            path = (self.folder / name).resolve()
        except (OSError, ValueError, RuntimeError):
            return None
        return path if path.is_relative_to(self.folder) else None

    def _opened(self, path: Path) -> RecordedRun | None:
        """Return what is on record at a path, None if there is nothing; remember how it began.

        Raises:
            ImportError: The package that reads it is not installed.
            ValueError: It cannot be read, or is too large, or holds no run.
        """
        if (reason := _too_large(path)) is not None:
            raise ValueError(f"{reason}; for a report of it: monitor-core report {shlex.quote(self._name(path))}")
        try:
            recorded = open_run(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ValueError(error.strerror or "the system does not say why") from error
        if not recorded.runs:
            raise ValueError("; ".join(["it holds no whole record", *map(str, recorded.damage)]))
        self._begun[path] = recorded.last.begin
        return recorded

    def _liveness(self, path: Path) -> tuple[bool | None, bool]:
        """Return whether a run's process is alive, and whether it listens to requests."""
        begin = self._begun.get(path)
        if begin is None:
            return None, False
        return provenance.is_alive(begin.process), self.control is not None and requests.listens(path, begin.id)

    def _family(self, path: Path) -> Family:
        """Return a run's relatives in the folder; none of what has not been opened, or is a log."""
        begin = self._begun.get(path)
        if begin is None:
            return Family()
        return family_among(path, begin.id, begin.parent, self._others.runs(), self._relative)

    def _relative(self, run: FoundRun) -> Relative:
        name = self._name(run.path)
        return Relative(run.name_in(self.folder), f"/runs/{_quoted(name)}", run.status)

    def _of_runs(self, paths: list[Path]) -> Callable[[], Any]:
        return lambda: [(_signature(path), self._liveness(path), self._family(path)) for path in paths]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _quoted(name: str) -> str:
    return quote(os.fsencode(name))


def _unquoted(name: str) -> str:
    return os.fsdecode(unquote_to_bytes(name))


def _chosen(request: Any) -> list[str]:
    """Return the names of the runs that a request asks for."""
    query = request.scope["query_string"].decode("latin-1")
    return [name for key, name in parse_qsl(query, errors="surrogateescape") if key == "run"]


def _too_large(path: Path) -> str | None:
    """Return why a log is not opened, None if it may be, or is none; a run's own journals may have any size.

    Each change of a log has the whole of it read again: of 16 MB, at worst a million epochs, that takes up to a
    gigabyte and a minute.
    """
    if isinstance(path, StorePath) or file_number(path.name) is not None:
        return None
    try:
        files = [] if path.is_dir() and journal_files(path) else record_files(path)
        size = sum(each.stat().st_size for each in files)
    except OSError:
        return None
    if size <= LARGEST:
        return None
    return f"it has {size / 1e6:,.0f} MB, and this page opens logs of up to {LARGEST / 1e6:.0f} MB"


def _runs(folder: Path) -> list[FoundRun]:
    try:
        return find_runs(folder)[::-1]
    except OSError:
        return []


def _mark(seen: Any) -> str:
    """Return a short text for what a look has seen, by which a page says what it shows."""
    return f"{crc32(repr(seen).encode(errors='replace')):08x}"


async def _changes(
    request: Any, look: Callable[[], Any], known: Any, every: float, *, is_new: bool
) -> AsyncIterator[str]:
    begin = beat = monotonic()
    yield "retry: 1000\n\n"
    if is_new:
        yield _CHANGED
    while not await request.is_disconnected():
        await asyncio.sleep(max(every, _PAUSE * (monotonic() - begin)))
        begin = monotonic()
        present = await asyncio.to_thread(look)
        if present != known:
            known, beat = present, monotonic()
            yield _CHANGED
        elif monotonic() - beat >= _BEAT_SECONDS:
            beat = monotonic()
            yield ": still here\n\n"


def _of_folder(folder: Path) -> Callable[[], Any]:
    return lambda: [
        (str(run.path), run.summary.status, run.summary.epochs, run.summary.step, run.time) for run in _runs(folder)
    ]


def _signature(path: Path) -> Any:
    """Return what changes when a run's record does."""
    try:
        return record_state(path)
    except OSError:
        return None


@attrs.frozen
class _Row:
    """A run in the list.

    Its address is the empty string if it cannot be opened here. It can be chosen for an overlay if its name survives a
    form: one with a line break or bytes that are not UTF-8 does not.
    """

    name: str
    address: str
    status: str
    epochs: str
    steps: str
    best: str
    begun: str
    took: str
    kind: str
    problem: str
    can_be_chosen: bool

    @classmethod
    def of(cls, run: FoundRun, folder: Path) -> _Row:
        """Return a run's row."""
        name, summary = run.path.relative_to(folder).as_posix(), run.summary
        best = main_metric(summary)
        is_closed = run.kind != RUN and run.problem is not None and _too_large(run.path) is not None
        return cls(
            name=name,
            address="" if is_closed else f"/runs/{_quoted(name)}",
            status=run.status,
            epochs=counted(summary.epochs, "epoch"),
            steps=counted(summary.step, "step") if run.kind == RUN or summary.step else "",
            best="" if best is None else f"{best[0]} {format_value(best[1].value)}",
            begun=f"{'' if run.kind == RUN or summary.begun else 'written '}{moment(run.time)}" if run.time else "",
            took=seconds(summary.seconds) if run.kind == RUN or summary.begun else "",
            kind="" if run.kind == RUN else run.kind,
            problem="" if run.problem is None or run.kind == RUN else f"not read: {run.problem}",
            can_be_chosen=not is_closed and not set("\r\n") & set(name) and valid_text(name) == name,
        )


def _assets() -> dict[str, str]:
    script, style = built("page.js"), built("page.css")
    return {"script": script, "style": style, "policy": content_policy(script, style, live=True)}


def _html(page: str) -> Any:
    from starlette.responses import HTMLResponse

    return HTMLResponse(page.encode("utf-8", "replace"), headers=_HEADERS)


def _unreadable(error: Exception) -> Any:
    return _said(f"it cannot be read: {str(error)[:400]}", 404)


def _missing(what: str) -> Any:
    return _said(f"there is no {what[:200]}", 404)


def _said(text: str, status: int) -> Any:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(text.encode("utf-8", "replace"), status, _HEADERS)
