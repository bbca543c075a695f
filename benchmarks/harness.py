"""How every benchmark measures: variants interleaved with their floor in one process, reported as ratios.

In each round every variant runs once, in an order that rotates, and is compared with the floor of the same round, so
that whatever else the machine does hits both. A second copy of the floor, the A/A control, shows what is noise.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata

CONTROL = "A/A control"


def interleave(variants: dict[str, Callable[[int], object]], floor: str, calls: int, rounds: int) -> list[dict]:
    """Time each variant's ``calls`` calls in each round; return a row each: ns, ratio to the floor, spread.

    Args:
        variants: What to time: functions that take a number of calls and make them.
        floor: The name of the variant to compare with; a copy of it runs as the A/A control.
        calls: Calls in one round.
        rounds: Rounds; the first one warms up and does not count.
    """
    variants = {**variants, CONTROL: variants[floor]}
    names = list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds + 1):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                begin = time.perf_counter()
                variants[name](calls)
                seconds[name].append(time.perf_counter() - begin)
    finally:
        gc.enable()
    rows = []
    for name in names:
        ratios = [ours / base for ours, base in zip(seconds[name][1:], seconds[floor][1:], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "variant": name,
                "ns": statistics.median(seconds[name][1:]) / calls * 1e9,
                "ratio": statistics.median(ratios),
                "quartiles": [low, high],
            }
        )
    return rows


def print_table(title: str, rows: list[dict]) -> None:
    print(f"\n{title}")
    print(f"{'variant':<44}{'ns per call':>12}{'ratio':>8}   quartiles")
    for row in rows:
        low, high = row["quartiles"]
        print(f"{row['variant']:<44}{row['ns']:>12.0f}{row['ratio']:>8.2f}   {low:.2f} to {high:.2f}")


def machine(*packages: str) -> dict:
    """Return what a figure must be read with: processor, Python and versions of packages, where installed."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"machine": f"{platform.machine()}, CPU", "python": platform.python_version(), **versions}


def arguments(description: str | None) -> argparse.Namespace:
    """Parse the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run through once, to see that it works")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def report(
    tables: dict[str, list[dict]], about: dict, *, as_json: bool, figures: dict[str, float] | None = None
) -> None:
    """Print every table, and figures that are no times, for people or as JSON."""
    if as_json:
        json.dump({"about": about, "tables": tables, "figures": figures or {}}, sys.stdout, indent=2)
        print()
        return
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    for title, rows in tables.items():
        print_table(title, rows)
    for name, value in (figures or {}).items():
        print(f"{name:<64}{value:>12.2f}")
