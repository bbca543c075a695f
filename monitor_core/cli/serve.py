"""``monitor-core serve``: the runs of a folder in a browser, as they train."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import secrets
import socket
from pathlib import Path
from typing import Annotated

import typer

from monitor_core.cli.opening import UnreadableError, readable
from monitor_core.page.live import NO_SERVER, application
from monitor_core.store.addresses import located

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ALL = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def serve(
    folder: Annotated[Path, typer.Argument(help="A folder with runs in it or below it.")] = Path(),
    host: Annotated[
        str, typer.Option(help="The address to listen at; any but loopback asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8430,
    control: Annotated[
        bool,
        typer.Option("--control", help="Let the printed address control runs that have Control() among their sinks."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The address as JSON, for programs.")] = False,
) -> None:
    """Show the runs of a folder in a browser, and follow those that train."""
    folder = located(folder)
    with readable():
        is_there = folder.is_dir()
    if not is_there:
        raise UnreadableError(f"there is no folder {folder}")
    token = None if _is_loopback(host) else secrets.token_urlsafe(24)
    controls = secrets.token_urlsafe(24) if control else None
    try:
        import uvicorn

        app = application(folder, hosts=[*LOOPBACK, host.lower(), *_names(host)], token=token, control=controls)
    except ImportError:
        raise UnreadableError(NO_SERVER) from None
    listening = _socket(host, port)
    shown = _reached_by(host)
    shown = f"[{shown}]" if ":" in shown else shown
    address = f"http://{shown}:{listening.getsockname()[1]}/" + (f"?token={token}" if token else "")
    address += f"#control={controls}" if controls else ""
    typer.echo(json.dumps({"address": address}) if as_json else f"{folder}: {address} (Ctrl-C ends it)")
    config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _names(host: str) -> list[str]:
    """Return the names by which a server at all addresses may be asked: those of this machine."""
    return [name.lower() for name in (socket.gethostname(), socket.getfqdn())] if host in _ALL else []


def _reached_by(host: str) -> str:
    """Return an address that others can use: for a server at all addresses, the one that the machine sends from."""
    if host not in _ALL:
        return host
    family, other = (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((other, 9))  # an address of documentation: it chooses the route, and sends nothing
        return str(probe.getsockname()[0])
    return socket.gethostname()


def _socket(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UnreadableError(f"port {port} is in use: --port 0 takes a free one") from None
        raise UnreadableError(f"cannot listen at {host} port {port}: {error.strerror}") from None
