"""``monitor-core diagnose``: what was wrong with a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from monitor_core.bus.finding import Finding
from monitor_core.cli.opening import FINDINGS, readable
from monitor_core.cli.text import console, plain
from monitor_core.diagnosis.offline import diagnose
from monitor_core.diagnosis.report import Findings
from monitor_core.files.state import finite_or_names
from monitor_core.journal.facts import as_json as json_value
from monitor_core.journal.recorded import open_run
from monitor_core.values.text import counted


def diagnose_run(
    path: Annotated[Path, typer.Argument(help="A run's folder, a CSV file, a history as JSON, or event files.")],
    run: Annotated[int, typer.Option(help="Which of several runs in the folder, from 0, or from the last, -1.")] = -1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Say what was wrong with a training; exit with 3 if there was a problem."""
    with readable():
        recorded = open_run(path, run=run)
        findings = diagnose(recorded)
    if as_json:
        missing = [attrs.asdict(each) for each in findings.not_looked_at]
        typer.echo(json.dumps({"findings": [_as_json(each) for each in findings], "not_looked_at": missing}))
    else:
        out = console()
        log = recorded.last.log
        for line in str(findings if log is None else Findings(findings)).splitlines():
            out.print(plain(line), soft_wrap=True)
        if log is not None and findings.not_looked_at:
            rules = counted(len(findings.not_looked_at), "rule")
            out.print(f"Not looked at: {rules}, for which a log has too little; Diagnosis in the training asks them.")
    if findings.problems:
        raise typer.Exit(FINDINGS)


def _as_json(finding: Finding) -> Any:
    return finite_or_names(json_value(attrs.asdict(finding)))
