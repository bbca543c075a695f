"""``monitor-core query``: SQL over recorded runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from monitor_core.cli.opening import readable
from monitor_core.cli.text import console, print_table
from monitor_core.files.state import finite_or_name
from monitor_core.runs.queries import TABLES, query
from monitor_core.values.text import format_value


def query_runs(
    sql: Annotated[str | None, typer.Argument(help="The query, in DuckDB's SQL; left out, the tables.")] = None,
    folder: Annotated[Path, typer.Argument(help="A folder with runs in it or below it.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Ask recorded runs in SQL: which was best, all of a commit, curves, findings."""
    if sql is None:
        rows = [(name, ", ".join(each.columns), each.about) for name, each in TABLES.items()]
        print_table(console(), ("table", "columns", "a row for"), rows, longest=None)
        return
    with readable():
        answer = query(sql, folder)
    if as_json:
        names = _apart(answer.names)
        for row in answer:
            typer.echo(json.dumps(dict(zip(names, map(_as_json, row), strict=True))))
        return
    numbers = [
        place for place in range(len(answer.names)) if any(isinstance(row[place], (int, float)) for row in answer)
    ]
    shown = [[_shown(value) for value in row] for row in answer]
    print_table(console(), answer.names, shown, right=numbers, longest=None)  # values of the user's own choice


def _apart(names: Sequence[str]) -> list[str]:
    """Return the columns' names, a repeated one with a number: ``value``, ``value_2``."""
    found: list[str] = []
    for given in names:
        name, number = given, 2
        while name in found or (name != given and name in names):
            name, number = f"{given}_{number}", number + 1
        found.append(name)
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, float):
        return finite_or_name(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else format_value(value) if isinstance(value, float) else str(value)
