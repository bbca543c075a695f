"""Other packages that diagnose trainings, if they are installed, on the same recordings.

They get what they read: a CSV file with a row for each epoch. What they find is translated generously: where a check
may mean several of our symptoms, the one that is right for the program counts.
"""

from __future__ import annotations

import csv
import importlib.util
import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from monitor_core.bus.finding import Finding, Severity
from programs.scoring import Recording, Score

Found = Iterable[tuple[str, str]]
"""The name of a check and its severity, as the package calls them."""

_SEVERITIES: dict[str, Severity] = {
    "critical": "problem",
    "error": "problem",
    "FAIL": "problem",
    "warning": "warning",
    "WARN": "warning",
}
_DIVERGING = ("exploding", "loss_rising", "lr_too_high", "oscillation")
_STUCK = ("not_learning", "plateau", "lr_too_low", "undertrained", "zero_gradient", "dead_units", "constant_output")
_MEANINGS: dict[str, tuple[str, ...]] = {
    # runmedic
    "non_finite": ("non_finite", "exploding"),
    "divergence": _DIVERGING,
    "no_learning": _STUCK,
    "overfitting": ("overfitting", "random_labels"),
    "val_below_train": ("validation_better", "label_leak", "train_validation_shift"),
    "constant_lr_plateau": ("plateau",),
    "loss_spikes": ("spike", "oscillation"),
    # gradsnitch
    "GS001": ("non_finite", "exploding"),
    "GS004": ("overfitting", "random_labels"),
    "GS005": _STUCK,
    "GS006": _DIVERGING,
    "GS009": ("oscillation", "lr_too_high"),
    "GS010": ("lr_too_low",),
    # trainproof
    "TP-NAN": ("non_finite", "exploding"),
    "TP-DIVERGE": _DIVERGING,
    "TP-FLAT": _STUCK,
    "TP-DEAD-RUN": _STUCK,
    "TP-ZERO-LR": ("untrained",),
    "TP-OVERFIT": ("overfitting", "random_labels"),
}


def installed() -> dict[str, Callable[[Recording], Score]]:
    """Return those that are installed, by name, each a function that scores a recording."""
    return {name: _scorer(read) for name, read in _READERS.items() if importlib.util.find_spec(name) is not None}


def _runmedic(path: Path) -> Found:
    from runmedic import loaders, roles
    from runmedic.checks import run_checks

    for run in loaders.load(str(path)):
        yield from ((each.check, each.severity) for each in run_checks(run, roles.detect(run)))


def _gradsnitch(path: Path) -> Found:
    import gradsnitch

    yield from ((each.code, each.severity) for each in gradsnitch.lint_csv(str(path)))


def _trainproof(path: Path) -> Found:
    from trainproof.epoch import check_epoch

    yield from ((each["id"], each["level"]) for each in check_epoch(path)["findings"])


_READERS: dict[str, Callable[[Path], Found]] = {
    "runmedic": _runmedic,
    "gradsnitch": _gradsnitch,
    "trainproof": _trainproof,
}
_COLUMNS = {"loss": "train_loss", "val_loss": "val_loss", "learning_rate": "learning_rate"}


def _scorer(read: Callable[[Path], Found]) -> Callable[[Recording], Score]:
    def scored(recording: Recording) -> Score:
        epochs = [event for event in recording.events if event[0] == "epoch"]
        steps = int(epochs[-1][2]) if epochs else 0
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "metrics.csv"
            _write(path, epochs)
            found = list(read(path)) if any("loss" in event[4] for event in epochs) else []
        right = {*recording.program.expect, *recording.program.allow}
        findings = [_finding(name, severity, right, steps) for name, severity in found if severity in _SEVERITIES]
        return Score(recording.program, recording.seed, findings, steps)

    return scored


def _finding(name: str, severity: str, right: set[str], step: int) -> Finding:
    meanings = _MEANINGS.get(name, (name,))
    symptom = next((each for each in meanings if each in right), meanings[0])
    return Finding(symptom=symptom, severity=_SEVERITIES[severity], message=name, step=step)


def _write(path: Path, epochs: list[Any]) -> None:
    names = [name for name in _COLUMNS if any(name in event[4] for event in epochs)]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["step", *(_COLUMNS[name] for name in names)])
        for _, _, step, _, logs, *_ in epochs:
            rows.writerow([step, *(logs.get(name, math.nan) for name in names)])
