"""The application: its subcommands, and what becomes of errors."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from typing import Annotated

import typer

from monitor_core._version import __version__
from monitor_core.cli.opening import UnreadableError, not_permitted
from monitor_core.cli.text import plain

COMMANDS = {
    "list": "list_runs",
    "show": "show",
    "watch": "watch",
    "compare": "compare_runs",
    "query": "query_runs",
    "diagnose": "diagnose_run",
    "gate": "gate_run",
    "replay": "replay_run",
    "plot": "plot",
    "export": "export_run",
    "report": "report",
    "serve": "serve",
    "control": "control",
    "upload": "upload_runs",
}
"""The subcommands, each with its function in the module of its name; in the order of the help."""
_OBJECTS = 200_000
"""After how many new objects Python looks for garbage; after its 700, that is a fifth of ``list``'s time."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"monitor-core {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    return


def application(only: str | None = None) -> typer.Typer:
    """Return the application.

    Args:
        only: The subcommand that is called, so that no other is imported; None for all of them.
    """
    app = typer.Typer(
        name="monitor-core",
        help="Look at recorded runs.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in [only] if only in COMMANDS else COMMANDS:
        module = importlib.import_module(f"monitor_core.cli.{name}")
        app.command(name, cls=getattr(module, "COMMAND_CLASS", None))(getattr(module, COMMANDS[name]))
    return app


def run() -> int:
    """Run the command; return its exit code. An error that a user can mend is one line, without a traceback.

    A character that the output's encoding lacks becomes a question mark, and a reader that has seen enough, such as
    ``head``, is not an error.
    """
    gc.set_threshold(_OBJECTS)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    code = _code()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _code() -> int:
    try:
        application(next(iter(sys.argv[1:]), None))()
    except SystemExit as done:
        if isinstance(done.__context__, BrokenPipeError):  # as rich and typer end where the reader has
            return 0
        return done.code if isinstance(done.code, int) else 0
    except BrokenPipeError:
        return 0
    except PermissionError as error:
        typer.echo(f"monitor-core: {plain(not_permitted(error)).plain}", err=True)
        return 1
    except (UnreadableError, OSError) as error:
        typer.echo(f"monitor-core: {plain(error).plain}", err=True)
        return 1
    return 0
