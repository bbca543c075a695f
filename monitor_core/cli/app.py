"""The application: its subcommands, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from monitor_core._version import __version__
from monitor_core.cli.list import list_runs
from monitor_core.cli.opening import UnreadableError
from monitor_core.cli.report import report
from monitor_core.cli.serve import serve
from monitor_core.cli.show import show
from monitor_core.cli.text import plain
from monitor_core.cli.watch import watch

app = typer.Typer(
    name="monitor-core",
    help="Look at recorded runs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("list")(list_runs)
app.command("show")(show)
app.command("report")(report)
app.command("serve")(serve)
app.command("watch")(watch)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"monitor-core {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    return


def run() -> int:
    """Run the command; return its exit code. An error that a user can mend is one line, without a traceback."""
    try:
        app()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    except BrokenPipeError:  # a pager, or `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (UnreadableError, OSError) as error:
        typer.echo(f"monitor-core: {plain(error).plain}", err=True)
        return 1
    return 0
