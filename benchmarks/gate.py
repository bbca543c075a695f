"""What the gate does on reruns and on changes: false alarms and power, drawn and with real trainings.

Drawn: runs are numbers of a distribution, and a change shifts them by seed deviations. Trained: one small network, from
300 seeds, recorded in journals; each trial takes some of these runs as baselines and others as reruns. All shares are
in percent; by chance alone, one of 1% lies between 0.87 and 1.14 in 20,000 drawn trials, 95 times in 100. Trained
trials share runs, so their shares are less certain.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness import arguments, machine, report
from monitor_core import Journal, Loop, open_run
from monitor_core.runs.verdict import judge

TRIALS, SEEDS = 20_000, 300
DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "uniform": lambda rng, size: rng.uniform(size=size) * math.sqrt(12.0),
    "Student's t, 5 degrees": lambda rng, size: rng.standard_t(5, size=size) / math.sqrt(5 / 3),
    "log-normal, skewness 0.95": lambda rng, size: lognormal(rng, size, 0.3),
}
RERUNS = ((1, 3), (1, 5), (1, 10), (3, 5), (5, 5))
CHANGES = (((1, 5), 6.5), ((5, 5), 3.0))


def lognormal(rng: np.random.Generator, size: tuple[int, ...], sigma: float) -> np.ndarray:
    """Return values of a skewed distribution with the standard deviation 1."""
    deviation = math.sqrt((math.exp(sigma**2) - 1) * math.exp(sigma**2))
    return rng.lognormal(0.0, sigma, size) / deviation


def share(hits: int, trials: int) -> float:
    """Return a share in percent."""
    return 100.0 * hits / trials


def alarms(new: np.ndarray, old: np.ndarray) -> int:
    """Return how often the gate calls the new values worse, one trial a row."""

    def named(values: np.ndarray) -> dict[str, float]:
        return {str(place): value for place, value in enumerate(values.tolist())}

    return sum(
        judge(named(ours), named(theirs), metric="val_loss", mode="min").is_worse
        for ours, theirs in zip(new, old, strict=True)
    )


def drawn(trials: int) -> dict[str, float]:
    """Return the share of alarms for each distribution and size."""
    rng = np.random.default_rng(0)
    figures = {}
    for name, draw in DRAWS.items():
        for new, old in RERUNS:
            hits = alarms(draw(rng, (trials, new)), draw(rng, (trials, old)))
            figures[f"false alarms, %, {name}, {new} against {old}"] = share(hits, trials)
        for (new, old), shift in CHANGES:
            hits = alarms(draw(rng, (trials, new)) + shift, draw(rng, (trials, old)))
            figures[f"power, %, {name}, {new} against {old}, a change of {shift} deviations"] = share(hits, trials)
    return figures


def train(folder: Path, seed: int) -> None:
    """Train a network of one hidden layer on 200 noisy samples, with its initial weights and order from the seed."""
    data, rng = np.random.default_rng(0), np.random.default_rng(seed)
    x, held_out = data.normal(size=(200, 8)), data.normal(size=(400, 8))
    teacher = data.normal(size=8)
    y, target = ((np.tanh(part @ teacher) + 0.3 * data.normal(size=len(part))) for part in (x, held_out))
    w1, w2 = rng.normal(size=(8, 16)) / 3, rng.normal(size=16) / 4
    with Loop(Journal(folder, per_batch=False)) as loop:
        for _ in loop.epochs(12):
            for rows in loop.batches(np.array_split(rng.permutation(200), 10)):
                hidden = np.tanh(x[rows] @ w1)
                error = hidden @ w2 - y[rows]
                back = np.outer(error, w2) * (1 - hidden**2)
                w2 -= 0.1 * hidden.T @ error / len(rows)
                w1 -= 0.1 * x[rows].T @ back / len(rows)
                loop.log(loss=float((error**2).mean()))
            loop.log(val_loss=float(((np.tanh(held_out @ w1) @ w2 - target) ** 2).mean()))


def trained(seeds: int, trials: int) -> dict[str, float]:
    """Return the share of alarms on reruns of real trainings, and on changes of their results."""
    with tempfile.TemporaryDirectory() as name:
        for seed in range(seeds):
            train(Path(name) / f"{seed}", seed)
        runs = np.array([np.min(open_run(Path(name) / f"{seed}").history["val_loss"]) for seed in range(seeds)])
    rng = np.random.default_rng(1)
    spread = runs.std(ddof=1)
    skewness = float((((runs - runs.mean()) / runs.std()) ** 3).mean())
    figures = {"trained: deviation of the best val_loss over its mean": float(spread / runs.mean())}
    figures["trained: skewness over seeds"] = skewness

    def pick(new: int, old: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.array([rng.permutation(seeds)[: new + old] for _ in range(trials)])
        return runs[rows[:, :new]], runs[rows[:, new:]]

    for new, old in RERUNS:
        figures[f"false alarms, %, trained, {new} against {old}"] = share(alarms(*pick(new, old)), trials)
    for (new, old), shift in CHANGES:
        ours, theirs = pick(new, old)
        hits = alarms(ours + shift * spread, theirs)
        figures[f"power, %, trained, {new} against {old}, a change of {shift} deviations"] = share(hits, trials)
    return figures


def main() -> None:
    options = arguments(__doc__)
    trials, seeds = (200, 20) if options.quick else (TRIALS, SEEDS)
    figures = {**drawn(trials), **trained(seeds, trials)}
    report({}, machine("numpy"), as_json=options.json, figures=figures)


if __name__ == "__main__":
    main()
