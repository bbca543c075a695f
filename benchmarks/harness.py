"""How every benchmark measures: variants interleaved with their floor in one process, reported as ratios.

In each round every variant runs once, in a rotating order, and is compared with the floor of the same round, so
that other load on the machine affects both. A second copy of the floor, the A/A control, shows the noise. The
first round is a warm-up and does not count.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata

from support.timing import Stopwatch, Times, collector, turns

CONTROL = "A/A control"

# --- measuring -----------------------------------------------------------------------------------------------------


def interleave(
    variants: Mapping[str, Callable[[int], object]],
    floor: str,
    calls: int,
    rounds: int,
    *,
    prepare: Callable[[int], object] | None = None,
    settle: Callable[[], object] | None = None,
    training: bool = False,
) -> list[dict]:
    """Time each variant's ``calls`` calls in each round; return a row each, as `rows` does.

    Args:
        variants: Functions to time, which take a number of calls and make them. A float that one returns is the
            seconds that they took, without setup.
        floor: The name of the variant to compare with; a copy of it runs as the A/A control.
        calls: Calls in one round.
        rounds: Rounds that count, at least 2.
        prepare: Called with the number of calls before each turn; its time does not count.
        settle: Waits for a variant's unfinished work elsewhere, such as on a device; its time counts.
        training: Whether this is a training: the garbage collector then runs as usual, and the processor's
            time is reported too.
    """
    variants = {**variants, CONTROL: variants[floor]}
    times = {name: Times() for name in variants}
    with collector(on=training):
        for name in turns(list(variants), rounds + 1):
            if prepare is not None:
                prepare(calls)
            watch = Stopwatch()
            own = variants[name](calls)
            if settle is not None:
                settle()
            wall, processor = watch.read()
            if isinstance(own, float):
                times[name].wall.append(own)
                continue
            times[name].wall.append(wall)
            if training:
                times[name].processor.append(processor)
    return rows(times, floor, calls)


def rows(times: Mapping[str, Times], floor: str, calls: int, *, warm_up: int = 1) -> list[dict]:
    """Return a row for each variant: ns per call, its difference to the floor in us, the ratio to it, its quartiles.

    Args:
        times: The time of each variant in each round.
        floor: The variant to compare each round with.
        calls: Calls in one round.
        warm_up: How many of the first rounds do not count.
    """
    counted = {name: own.after(warm_up) for name, own in times.items()}
    return [_row(name, own, counted[floor], calls) for name, own in counted.items()]


def _row(name: str, own: Times, base: Times, calls: int) -> dict:
    ratios = [ours / theirs for ours, theirs in zip(own.wall, base.wall, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    row = {
        "variant": name,
        "ns": statistics.median(own.wall) / calls * 1e9,
        "added_us": _added(own.wall, base.wall) / calls * 1e6,
    }
    if own.processor:
        row["processor_us"] = _added(own.processor, base.processor) / calls * 1e6
    if own.hooks:
        row["hooks_us"] = statistics.median(own.hooks) / calls * 1e6
    if own.typical:
        row["typical_us"] = statistics.median(own.typical) * 1e6
    return {**row, "ratio": statistics.median(ratios), "quartiles": [low, high]}


def _added(own: Sequence[float], base: Sequence[float]) -> float:
    return statistics.median(ours - theirs for ours, theirs in zip(own, base, strict=True))


# --- reporting -----------------------------------------------------------------------------------------------------

COLUMNS = {
    "ns": ("ns per call", "{:.0f}"),
    "added_us": ("added us", "{:.2f}"),
    "processor_us": ("processor us", "{:.2f}"),
    "hooks_us": ("in hooks us", "{:.2f}"),
    "typical_us": ("typical us", "{:.2f}"),
    "waits": ("waits", "{:.3g}"),
    "waits_elsewhere": ("elsewhere", "{:.3g}"),
    "waits_at_end": ("at epoch end", "{:.3g}"),
    "reads": ("reads", "{:.3g}"),
    "reads_elsewhere": ("elsewhere", "{:.3g}"),
    "reads_at_end": ("at epoch end", "{:.3g}"),
    "memory_mb": ("memory MB", "{:.1f}"),
    "disk_mb": ("disk MB", "{:.1f}"),
    "ratio": ("ratio", "{:.3f}"),
}
"""The possible columns of rows besides name and quartiles: the column's head, and how a figure is formatted."""


def print_table(title: str, rows: list[dict]) -> None:
    """Print rows with all columns that they have."""
    columns = {key: column for key, column in COLUMNS.items() if any(key in row for row in rows)}
    width = max(44, *(len(row["variant"]) + 2 for row in rows))
    print(f"\n{title}")
    print(f"{'variant':<{width}}" + "".join(f"{head:>13}" for head, _ in columns.values()) + "   quartiles")
    for row in rows:
        figures = (form.format(row[key]) if key in row else "" for key, (_, form) in columns.items())
        low, high = row["quartiles"]
        print(f"{row['variant']:<{width}}" + "".join(f"{each:>13}" for each in figures) + f"   {low:.3f} to {high:.3f}")


def machine(*packages: str, device: str = "CPU") -> dict:
    """Return the context of the figures: day, processor, device, Python and versions of installed packages."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {device}",
        "python": platform.python_version(),
        **versions,
    }


def arguments(
    description: str | None, *, rounds: int | None = None, plot: bool = False, parts: Iterable[str] = ()
) -> argparse.Namespace:
    """Parse the options that benchmarks have.

    Args:
        description: What the benchmark measures.
        rounds: The default number of rounds, if it can be chosen; ``options.rounds``.
        plot: Whether it can plot its tables; ``options.plot``.
        parts: Parts that can be measured separately; ``options.part`` lists the requested ones, and is empty for all.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run once, to check that it works")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    if rounds is not None:
        parser.add_argument(
            "--rounds", type=int, default=rounds, help=f"number of measured rounds, by default {rounds}"
        )
    if plot:
        parser.add_argument("--plot", metavar="PATH", help="plot the ratios to a .png or .svg file")
    if parts:
        parser.add_argument("--part", action="append", default=[], choices=list(parts), help="measure only this part")
    options = parser.parse_args()
    if rounds is not None and options.rounds < 2:
        parser.error(f"--rounds must be >= 2 (got {options.rounds})")
    if rounds is not None and options.quick:
        options.rounds = 2
    return options


def report(
    tables: dict[str, list[dict]],
    about: dict,
    *,
    as_json: bool,
    figures: dict[str, float] | None = None,
    plot: str | None = None,
) -> None:
    """Print every table and the other figures, human-readable or as JSON; plot the ratios if a path is given."""
    if plot is not None:
        from support.ratios import plot_ratios

        plot_ratios(tables, to_file=plot)
    if as_json:
        json.dump({"about": about, "tables": tables, "figures": figures or {}}, sys.stdout, indent=2)
        print()
        return
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    for title, rows in tables.items():
        print_table(title, rows)
    if figures:
        print()
    for name, value in (figures or {}).items():
        print(f"{name:<76}{value:>12.2f}")
