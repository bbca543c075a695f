"""How often the diagnosis names what is wrong, and how often it cries wolf.

Labelled programs are rebuilt and run, each on one stack, and what the diagnosis observes in them is recorded
(``--run``; what is recorded already is skipped). The rules are then scored on the recordings, which takes seconds
(``--replay``). Thresholds are chosen on the part ``tune``; the figures to report are those of the part ``report``, see
``programs/split.py``. ``--details`` lists the cases that fail, by name; of the part ``report`` only if it is asked for.
Without these options, the cost of the rules for each batch is measured, and that of `diagnose`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from programs.installed import installed
from programs.leaving_out import COLLECTIONS, chosen_without
from programs.peers import PEERS
from programs.running import FOLDER, everywhere, path_of, programs, run_all
from programs.scoring import Recording, Score, by_program, hurt, score, shown
from programs.spec import STACKS, Program
from programs.split import MOVED, part_of

from harness import interleave, machine, report
from monitor_core import Block, Bus, Diagnosis, Journal, Loop, diagnose

SCALARS = 1_000_000
QUICK_SCALARS = 20_000
METRICS = 10
EPOCHS = (100, 1_000)
BLOCK = 256
ROUNDS = 5
BATCHES = 20_000
QUICK_BATCHES = 1_000


def options() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure the cost once, to check that it works")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--run", action="store_true", help="run and record programs that are not recorded yet")
    parser.add_argument("--replay", action="store_true", help="score the rules on the recordings")
    parser.add_argument("--part", choices=("tune", "report"), default="tune", help="which programs to score")
    parser.add_argument("--only", default="", help="only programs whose id contains this")
    parser.add_argument("--stack", choices=STACKS, action="append", help="run only programs of this stack")
    parser.add_argument("--run-part", choices=("tune", "report"), help="run only programs of this part")
    parser.add_argument("--seeds", type=int, help="at most so many seeds")
    parser.add_argument("--details", action="store_true", help="list the cases that fail")
    parser.add_argument("--peers", action="store_true", help="score published rules on the same recordings too")
    parser.add_argument("--leave-out", action="store_true", help="choose thresholds again without each collection")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the recordings are")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[Program]:
    """Return the programs that were asked for."""
    return [program for program in programs() if given.only in program.id and program.kind != "unverified"]


# --- quality -------------------------------------------------------------------------------------------------------


def recordings(given: argparse.Namespace, part: str) -> list[Recording]:
    """Return the recordings of a part of the programs that were asked for."""
    return [
        Recording.read(program, seed, path)
        for program in chosen(given)
        if part_of(program.id) == part
        for seed in range(min(program.seeds, given.seeds or program.seeds))
        if (path := path_of(program, seed, given.folder)).exists()
    ]


def table(found: list[Score], is_hurt: Mapping[str, bool]) -> dict[str, str]:
    """Return the figures by name."""
    every = [each for each in found if each.program.kind == "fault"]
    faulty = [each for each in every if _must_show(each.program)]
    healthy = [each for each in found if each.program.kind == "healthy"]
    groups: dict[str, list[Score]] = {
        "faults with the right symptom": faulty,
        "  of those whose result is really hurt": [each for each in faulty if is_hurt.get(each.program.id)],
        "  static": [each for each in faulty if each.program.is_static],
        "  dynamic": [each for each in faulty if not each.program.is_static],
        **{f"  {name}": [each for each in faulty if each.program.collection == name] for name in COLLECTIONS},
    }
    rows = {name: _share(group, lambda each: each.right) for name, group in groups.items()}
    rows["faults with a wrong problem"] = _share(every, lambda each: each.false_problems)
    rows["healthy with a false problem"] = _share(healthy, lambda each: each.false_problems)
    rows["healthy with a false warning"] = _share(healthy, lambda each: each.false_warnings)
    return rows | _when(faulty)


def _must_show(program: Program) -> bool:
    """Return whether a program has a mistake that must show: of some published ones that is not known."""
    return program.kind == "fault" and "none" not in program.allow


def _share(found: list[Score], holds: Callable[[Score], Any]) -> str:
    """Return for how many programs something holds, with an interval."""
    return shown(list(by_program(found, holds).values()))


def _when(faulty: list[Score]) -> dict[str, str]:
    """Return when the first right finding came; what was never found counts as later than all else."""
    rows = {}
    for name, is_static in (("static", True), ("dynamic, without overfitting", False)):
        group = [
            each for each in faulty if each.program.is_static is is_static and "overfitting" not in each.program.expect
        ]
        if group:
            shares = [math.inf if each.when is None else each.when for each in group]
            rows[f"first right finding, {name}: median share of the steps"] = f"{statistics.median(shares):.3f}"
            rows[f"  before the first step, {name}"] = _share(group, lambda each: each.when == 0)
            rows[f"  within the first 10%, {name}"] = _share(
                group, lambda each: each.when is not None and each.when <= 0.1
            )
    return rows


def by_symptom(found: list[Score]) -> dict[str, str]:
    """Return, for each expected symptom that comes first, how many programs have it and how many are found."""
    total: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for each in found:
        if each.program.kind == "fault":
            total[each.program.expect[0]] += 1
            right[each.program.expect[0]] += each.right is not None
    return {name: f"{right[name]} of {count}" for name, count in sorted(total.items())}


def probe_costs(every: list[Recording]) -> dict[str, str]:
    """Return what looking into the models took."""
    first = [each.content["probe_seconds"][0] for each in every]
    later = sum(each.content["probe_seconds"][1] for each in every)
    return {
        "first look into a model, with what it builds: median": f"{statistics.median(first):.3f} s",
        "later looks, of the runs' time": f"{100 * later / max(1e-9, sum(each.seconds for each in every)):.1f}%",
    }


def leaving_out(tuned: list[Recording], reported: list[Recording]) -> dict[str, str]:
    """Return how many mistakes of a collection are named by thresholds that were chosen without it."""
    rows = {}
    for collection in COLLECTIONS:
        rules = chosen_without(collection, tuned)
        faulty = [each for each in [*tuned, *reported] if each.program.collection == collection]
        found = [score(each, rules) for each in faulty if _must_show(each.program)]
        rows[f"right symptom in {collection}, chosen without it"] = _share(found, lambda each: each.right)
        healthy = [score(each, rules) for each in reported if each.program.kind == "healthy"]
        rows[f"  healthy with a false problem, by these ({collection})"] = _share(
            healthy, lambda each: each.false_problems
        )
    return rows


def across_stacks(given: argparse.Namespace) -> dict[str, str]:
    """Return on how many stacks the programs that run on all of them are judged rightly."""
    found: dict[str, list[bool]] = {}
    for program in everywhere():
        paths = {stack: path_of(program, 0, given.folder, stack) for stack in STACKS}
        if all(path.exists() for path in paths.values()):
            for stack, path in paths.items():
                each = score(Recording.read(program, 0, path))
                is_right = not each.false_warnings if program.kind == "healthy" else each.right is not None
                found.setdefault(stack, []).append(is_right)
    return {f"judged rightly on {stack}": f"{sum(right)} of {len(right)}" for stack, right in found.items()}


def print_details(found: list[Score]) -> None:
    """Print the cases that fail, with what was found."""
    for each in found:
        name = f"{each.program.id}.{each.seed} ({each.program.stack})"
        if each.program.kind == "fault" and each.right is None and "none" not in each.program.allow:
            print(
                f"MISSED {name}: expected {', '.join(each.program.expect)}; found {_symptoms(each.severe) or 'nothing'}"
            )
        if each.program.kind == "fault" and each.false_problems:
            print(f"WRONG  {name}: {_symptoms(each.false_problems)}; expected {', '.join(each.program.expect)}")
        if each.program.kind == "healthy" and each.false_warnings:
            for finding in each.false_warnings:
                print(f"FALSE  {name}: {finding.severity} {finding.symptom}: {finding}")


def _symptoms(findings: Any) -> str:
    return ", ".join(f"{finding.symptom} ({finding.severity})" for finding in findings)


def print_quality(given: argparse.Namespace) -> None:
    """Score and print."""
    begin = time.perf_counter()
    parts = {part: recordings(given, part) for part in ("tune", "report")}
    every = parts[given.part]
    found = [score(each) for each in every]
    is_hurt = hurt([each for part in parts.values() for each in part])
    figures = {"": {**table(found, is_hurt), **probe_costs(every)}}
    seconds = time.perf_counter() - begin
    if given.peers:
        published = {name: partial(score, rules=rules) for name, rules in PEERS.items()}
        for name, find in {**published, **installed()}.items():
            rows = table([find(each) for each in every], is_hurt)
            figures[name] = {figure: value for figure, value in rows.items() if figure.startswith(_COMPARED)}
    if given.leave_out:
        figures["thresholds chosen without a collection"] = leaving_out(parts["tune"], parts["report"])
    if others := across_stacks(given):
        figures["programs on all stacks"] = others
    about = {"part": given.part, "programs": len({each.program.id for each in every}), "runs": len(every)}
    if given.json:
        json.dump(
            {**about, "moved": len(MOVED), "figures": figures, "symptoms": by_symptom(found)}, sys.stdout, indent=2
        )
        print()
        return
    print(f"part {given.part}: {len(every)} runs of {about['programs']} programs scored in {seconds:.1f} s;", end=" ")
    print(f"{len(MOVED)} programs were moved to the part tune")
    for name, rows in {**figures, "by symptom": by_symptom(found)}.items():
        print(f"\n{name}" if name else "", end="\n" if name else "")
        for figure, value in rows.items():
            print(f"{figure:<66}{value}")
    if given.details:
        print_details(found)


_COMPARED = ("faults", "healthy", "  of those", "  static", "  dynamic")


# --- cost ----------------------------------------------------------------------------------------------------------


def _loop(sinks: list[Any], batches: int) -> None:
    with Loop(*sinks) as loop:
        for _ in loop.epochs(2):
            for step in loop.batches(range(batches // 2)):
                loop.log(loss=1.0 / (1 + step), accuracy=0.5)


def cost(*, quick: bool) -> list[dict]:
    """Measure what the rules add to each batch of two metrics."""
    variants = {
        "a loop that logs two metrics": lambda calls: _loop([], calls),
        "with Diagnosis": lambda calls: _loop([Diagnosis()], calls),
    }
    batches = QUICK_BATCHES if quick else BATCHES
    return interleave(variants, "a loop that logs two metrics", batches, 2 if quick else 10)


def seconds_of_diagnose(scalars: int, epochs: int) -> float:
    """Measure the processor time of `diagnose` of a journal with so many scalars of ten metrics, opening included."""
    steps = scalars // METRICS // epochs
    names = ["loss", *(f"metric_{number}" for number in range(METRICS - 1))]
    noise = np.random.default_rng(0).normal(size=steps)
    with tempfile.TemporaryDirectory() as folder:
        bus = Bus(sink := Journal(folder))
        bus.train_begin()
        for epoch in range(epochs):
            values = math.exp(-epoch / epochs) * (1 + 0.1 * noise)
            for first in range(0, steps, BLOCK):
                part = slice(first, first + BLOCK)
                numbers = epoch * steps + 1 + np.arange(steps)[part]
                columns = dict.fromkeys(names, values[part])
                sink.on_block(bus.run, Block(epoch, numbers, 0.01 * numbers, columns, dict.fromkeys(names)))
            bus.run.step = (epoch + 1) * steps
            bus.epoch_begin(epoch)
            bus.epoch_end(epoch, dict.fromkeys(names, float(values.mean())))
        bus.train_end()
        times = []
        for _ in range(ROUNDS):
            begin = time.process_time()
            diagnose(folder)
            times.append(time.process_time() - begin)
    return statistics.median(times)


def main() -> None:
    """Do what is asked."""
    given = options()
    if given.run:
        wanted = [each for each in chosen(given) if given.run_part in {None, part_of(each.id)}]
        run_all(wanted, given.seeds, given.folder, tuple(given.stack or STACKS))
    if given.replay:
        print_quality(given)
    if not given.run and not given.replay:
        scalars = QUICK_SCALARS if given.quick else SCALARS
        figures = {
            f"diagnose, {scalars:,} scalars in {epochs:,} epochs: processor s": seconds_of_diagnose(scalars, epochs)
            for epochs in EPOCHS
        }
        tables = {"cost of the rules for each batch": cost(quick=given.quick)}
        report(tables, machine("keras", "torch"), as_json=given.json, figures=figures)


if __name__ == "__main__":
    main()
