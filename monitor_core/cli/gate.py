"""``monitor-core gate``: fail if a run is worse than its baselines."""

from __future__ import annotations

import glob
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from monitor_core.cli.opening import FINDINGS, Direction, readable, used_well
from monitor_core.cli.text import console, plain
from monitor_core.runs.verdict import check_options, gate


class At(StrEnum):
    """Which of a run's values counts."""

    BEST = "best"
    LAST = "last"
    MEAN = "mean"


class ManyBaselines(TyperCommand):
    """A command whose option ``--baseline`` takes all paths up to the next option, as a shell expands ``runs/*``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its paths."""
        spread: list[str] = []
        is_open = False
        for each in args:
            if each.startswith("-"):
                is_open = each in ("--baseline", "-b")
                spread += [] if is_open else [each]
            else:
                spread += ["--baseline", each] if is_open else [each]
        return list(super().parse_args(ctx, spread))


COMMAND_CLASS = ManyBaselines


def gate_run(
    runs: Annotated[list[Path], typer.Argument(help="The run, or several of the same code; before --baseline.")],
    baseline: Annotated[list[str], typer.Option("--baseline", "-b", help="Runs of the code before: two at least.")],
    metric: Annotated[str | None, typer.Option(help="The metric; by default val_loss.")] = None,
    mode: Annotated[Direction, typer.Option(help="Which way the metric improves.")] = Direction.AUTO,
    at: Annotated[At, typer.Option(help="Which of a run's values counts.")] = At.BEST,
    alpha: Annotated[float, typer.Option(help="The share of reruns that may be called worse.")] = 0.01,
    min_delta: Annotated[float, typer.Option(help="Changes up to this size do not matter.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Exit with 3 if a run is worse than its baselines, by more than they differ among themselves."""
    with used_well():
        check_options(at.value, alpha, min_delta)
    with readable():
        options: dict[str, Any] = {"mode": mode.value, "at": at.value, "alpha": alpha, "min_delta": min_delta}
        verdict = gate(runs, _expanded(baseline), metric=metric, **options)
    if as_json:
        typer.echo(json.dumps(verdict.to_json()))
    else:
        console().print(plain(verdict), soft_wrap=True)
    if verdict.is_worse:
        raise typer.Exit(FINDINGS)


def _expanded(patterns: list[str]) -> list[Path]:
    """Return the paths that patterns match, where a shell has not expanded them."""
    found: list[Path] = []
    for each in patterns:
        matches = [] if Path(each).exists() else sorted(glob.glob(each))  # noqa: PTH207 - the pattern may be absolute
        found += map(Path, matches or [each])
    return found
