"""How often the diagnosis names what is wrong, and how often it cries wolf.

Labelled programs are rebuilt and run, each on one stack, and what the diagnosis observes in them is recorded
(``--run``; what is recorded already is skipped). The rules are then scored on the recordings, which takes seconds
(``--replay``). Thresholds are chosen on the part ``tune``; the figures to report are those of the part ``report``, see
``programs/split.py``. ``--details`` lists the cases that fail, by name; of the part ``report`` only if it is asked for.
Without these options, the cost of the rules for each batch is measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from programs.peers import PEERS
from programs.running import FOLDER, path_of, programs, run_all
from programs.scoring import Score, by_program, score, shown
from programs.spec import STACKS, Program
from programs.split import part_of

from harness import interleave, machine, report
from monitor_core import Diagnosis, Loop

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
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the recordings are")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[Program]:
    """Return the programs that were asked for."""
    return [program for program in programs() if given.only in program.id and program.kind != "unverified"]


# --- quality -------------------------------------------------------------------------------------------------------


def scores(given: argparse.Namespace, rules: Any = None) -> list[Score]:
    """Score the recordings of a part, by our rules or others."""
    found = []
    for program in chosen(given):
        if part_of(program.id) != given.part:
            continue
        for seed in range(min(program.seeds, given.seeds or program.seeds)):
            path = path_of(program, seed, given.folder)
            if path.exists():
                found.append(score(program, seed, path, rules))
    return found


def table(found: list[Score]) -> dict[str, str]:
    """Return the figures by name."""
    every = [each for each in found if each.program.kind == "fault"]
    faulty = [each for each in every if "none" not in each.program.allow]  # others need not show anything
    healthy = [each for each in found if each.program.kind == "healthy"]
    rows: dict[str, str] = {}
    groups: dict[str, list[Score]] = {
        "faults with the right symptom": faulty,
        "  static": [each for each in faulty if each.program.is_static],
        "  dynamic": [each for each in faulty if not each.program.is_static],
        **{f"  {name}": [each for each in faulty if each.program.collection == name] for name in ("at", "tdc", "own")},
    }
    for name, group in groups.items():
        rows[name] = shown(list(by_program(group, lambda each: each.right).values()))
    rows["faults with a wrong problem"] = shown(list(by_program(every, lambda each: each.false_problems).values()))
    rows["healthy with a false problem"] = shown(list(by_program(healthy, lambda each: each.false_problems).values()))
    rows["healthy with a false warning"] = shown(list(by_program(healthy, lambda each: each.false_warnings).values()))
    for name, is_static in (("static", True), ("dynamic, without overfitting", False)):
        shares = [
            each.when
            for each in faulty
            if each.program.is_static is is_static
            and each.when is not None
            and "overfitting" not in each.program.expect
        ]
        if shares:
            rows[f"first right finding, {name}: median share of the steps"] = f"{statistics.median(shares):.3f}"
            rows[f"  within the first 10%, {name}"] = f"{100 * sum(each <= 0.1 for each in shares) / len(shares):.0f}%"
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
    found = scores(given)
    rows, symptoms = table(found), by_symptom(found)
    if given.json:
        json.dump({"part": given.part, "figures": rows, "symptoms": symptoms}, sys.stdout, indent=2)
        print()
        return
    print(f"part {given.part}: {len(found)} runs scored in {time.perf_counter() - begin:.1f} s")
    for name, value in {**rows, **symptoms}.items():
        print(f"{name:<66}{value}")
    if given.peers:
        for name, rules in PEERS.items():
            print(f"\n{name}")
            for figure, value in table(scores(given, rules)).items():
                if figure.startswith(("faults", "healthy")):
                    print(f"{figure:<66}{value}")
    if given.details:
        print_details(found)


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


def main() -> None:
    """Do what is asked."""
    given = options()
    if given.run:
        wanted = [each for each in chosen(given) if given.run_part in {None, part_of(each.id)}]
        run_all(wanted, given.seeds, given.folder, tuple(given.stack or STACKS))
    if given.replay:
        print_quality(given)
    if not given.run and not given.replay:
        report(
            {"cost of the rules for each batch": cost(quick=given.quick)}, machine("keras", "torch"), as_json=given.json
        )


if __name__ == "__main__":
    main()
