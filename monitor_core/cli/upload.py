"""``monitor-core upload``: upload what runs that record to a store have left on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from monitor_core.cli.opening import UnreadableError
from monitor_core.cli.text import plain
from monitor_core.store.addresses import StorePath, located
from monitor_core.store.objects import cause
from monitor_core.store.spool import Spool, all_spools
from monitor_core.store.uploading import upload


def upload_runs(
    address: Annotated[
        Path | None, typer.Argument(help="The address of a run, such as s3://bucket/runs/a; left out, all of them.")
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the local copies of runs that are uploaded whole.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Upload what runs that record to a store have left on this machine, such as those that were killed."""
    is_whole = True
    for spool in _spools(address):
        problem = _problem(spool)
        if problem is None and remove:
            shutil.rmtree(spool.folder)
        is_whole &= problem is None
        if as_json:
            about = {"address": str(spool.address), "folder": str(spool.folder), "problem": problem}
            typer.echo(json.dumps(about))
        else:
            gone = f", and {spool.folder} is removed" if remove else f"; the local copy is {spool.folder}"
            text = f"all of it is there{gone}" if problem is None else f"{problem}; it is in {spool.folder}"
            typer.echo(plain(f"{spool.address}: {text}").plain)
    if not is_whole:
        raise typer.Exit(1)


def _spools(address: Path | None) -> list[Spool]:
    found = all_spools()
    if address is None:
        return found
    place = located(address)
    if not isinstance(place, StorePath):
        raise UnreadableError(f"{address} is not the address of a store, such as s3://bucket/runs/a")
    found = [spool for spool in found if spool.address == place]
    if not found:
        raise UnreadableError(f"nothing on this machine was recorded to {place}")
    return found


def _problem(spool: Spool) -> str | None:
    """Upload what is left in a spool; return why something is left, None if nothing is."""
    try:
        left = upload(spool)
    except Exception as error:
        return cause(error)
    return f"{left} have been recorded meanwhile" if left else None
