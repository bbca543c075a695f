"""What attaching sinks adds to a step of a framework that owns the loop: timed in the hooks, within real steps.

In one training, the per-step hooks of an empty callback of the framework, of a second one (the A/A control) and of our
adapter with the full stack of sinks are timed with `perf_counter`, so all have the same cold processor caches. Their
order rotates from training to training. In a second table the framework logs each step to TensorBoard by itself, and
that is timed too. A row has the median over all steps, and what it is beyond the empty callback. With Accelerate, whose
loop is the user's, plain loops and ours take turns.

Each framework runs in a process of its own, if it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import arguments, machine
from support.processes import ON_THE_CPU, in_fresh_process
from support.stack import FULL, alone
from support.trainers import CONTROL, EMPTY, OURS, THEIRS, TRAININGS

ORDERS = ((EMPTY, OURS, CONTROL, THEIRS), (THEIRS, CONTROL, EMPTY, OURS), (OURS, THEIRS, EMPTY, CONTROL))
WARM_UP = 20
"""The first steps of a training that do not count."""


def measure(framework: str, rounds: int, steps: int) -> None:
    """Print the tables of a framework as a line of JSON."""
    tables = {}
    for title, logs in (("", False), (", logging each step", True)):
        taken: dict[str, list[float]] = {}
        for number in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                sinks = alone(Path(folder) / "sinks")[FULL]
                order = ORDERS[number % len(ORDERS)]
                found = TRAININGS[framework](order, sinks, Path(folder), steps, logs=logs)
            for name, seconds in found.items():
                taken.setdefault(name, []).extend(seconds[min(WARM_UP, steps // 2) :])
        floor = statistics.median(taken[EMPTY])
        tables[framework + title] = [_row(name, seconds, floor) for name, seconds in taken.items()]
    print(json.dumps(tables))


def _row(name: str, seconds: list[float], floor: float) -> dict[str, Any]:
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4)
    return {
        "variant": name,
        "ns": 1e9 * median,
        "median_us": 1e6 * median,
        "quartiles_us": [1e6 * low, 1e6 * high],
        "beyond_us": 1e6 * (median - floor),
    }


def main() -> None:
    options = arguments(__doc__, rounds=6, parts=TRAININGS)
    tables: dict[str, list[dict[str, Any]]] = {}
    for framework in options.part or TRAININGS:
        if importlib.util.find_spec(framework) is None:
            print(f"{framework} is skipped: it is not installed", file=sys.stderr)
            continue
        work = (2, 10) if options.quick else (options.rounds, 1_000)
        tables |= in_fresh_process(f"from frameworks import measure; measure({framework!r}, *{work})", **ON_THE_CPU)
    about = machine(*TRAININGS, "pytorch-ignite", "torch", "numpy", "attrs")
    if options.json:
        print(json.dumps({"about": about, "tables": tables, "figures": {}}))
        return
    print(about)
    for title, rows in tables.items():
        print(f"\n{title}\n{'variant':<46}{'median us':>10}{'quartiles':>16}{'beyond us':>11}")
        for row in rows:
            low, high = row["quartiles_us"]
            print(f"{row['variant']:<46}{row['median_us']:>10.2f}{low:>8.2f}{high:>8.2f}{row['beyond_us']:>11.2f}")


if __name__ == "__main__":
    main()
