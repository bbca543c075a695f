"""What faults cost: kills, full disks, hooks that raise, forks, two processes on one folder, and unusable values.

Our sinks and those of the installed peers, each in its own kind of training; see `support.subjects`. Each attempt is a
process, forked from one that has imported what is needed, in its own folder, with a time limit; losses are counted in
the files afterwards. A limit on the size of files simulates the full disk. The last table is the cost of a call of our
sinks on a full disk, compared with one that has space.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from harness import arguments, interleave, machine, report
from support.faulty import (
    Outcome,
    disk_full,
    forked,
    full_disk,
    hook_raises,
    killed,
    odd_value,
    of_disk,
    of_fork,
    of_hook,
    of_kill,
    of_training,
    of_two,
    of_value,
    shared,
    training_raises,
)  # fmt: skip
from support.keras_subjects import KerasBoard, KerasCheckpoint, KerasCSV, KerasHistory
from support.processes import in_fresh_process
from support.subjects import OurBoard, OurCSV, OurJournal, Subject
from support.torch_subjects import Ignite, LightningCSV, TorchWriter, TorchWriterOnTensorFlow, XWriter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"  # its TensorBoard writes with TensorFlow on every backend
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

SIDE_BY_SIDE = 6
"""How many attempts run at the same time; most of the time they sleep."""
LIMIT = 60.0
"""Seconds after which an attempt is killed."""

SUBJECTS: dict[str, Subject] = {
    each.name: each()
    for each in (
        OurCSV, OurBoard, OurJournal, TorchWriter, TorchWriterOnTensorFlow, XWriter, LightningCSV, Ignite,
        KerasCSV, KerasBoard, KerasCheckpoint, KerasHistory,
    )
}  # fmt: skip

OURS = [OurCSV.name, OurBoard.name, OurJournal.name]
WRITERS = [TorchWriter.name, XWriter.name, LightningCSV.name]
LOOPS = [OurCSV.name, Ignite.name, LightningCSV.name, KerasCSV.name]
RECORDERS = [*OURS, *WRITERS, KerasCSV.name, KerasBoard.name]


@attrs.frozen
class Fault:
    """A fault: the function that causes it, its subjects and arguments, also for a quick run, and how to judge it."""

    do: Callable[..., dict | None]
    tell: Callable[..., Outcome]
    subjects: list[str]
    arguments: list[Any]
    quick: list[Any]


def _fault(do: Any, tell: Any, subjects: Iterable[str], full: list[Any], quick: list[Any] | None = None) -> Fault:
    return Fault(do, tell, list(subjects), full, full if quick is None else quick)


BY_THE_BATCH = [*OURS, *WRITERS, TorchWriterOnTensorFlow.name, KerasBoard.name]
FAULTS = {
    "SIGKILL at 5 scalars a second": _fault(
        killed, of_kill, [*BY_THE_BATCH, KerasCSV.name, KerasHistory.name], [30, 5], [10, 5]
    ),
    "SIGKILL at 100 scalars a second": _fault(killed, of_kill, BY_THE_BATCH, [550, 100], [200, 100]),
    "a hook raises": _fault(hook_raises, of_hook, LOOPS, [9]),
    "the training raises": _fault(training_raises, of_training, [*LOOPS, KerasBoard.name], []),
    "disk full, then freed": _fault(disk_full, of_disk, [*RECORDERS, KerasCheckpoint.name], [600], [60]),
    "fork while recording": _fault(forked, of_fork, RECORDERS, [200], [60]),
    "two processes, one folder": _fault(shared, of_two, RECORDERS, [300], [20]),
    "a value is None": _fault(odd_value, of_value, RECORDERS, [None]),
    "a value is a string": _fault(odd_value, of_value, RECORDERS, ["text"]),
    "a value is 2**70": _fault(odd_value, of_value, RECORDERS, [2**70]),
}
TRIALS = 3
"""How often to repeat a fault without randomness; one with randomness is repeated once per round."""


def is_quick(fault: str, subject: Subject) -> bool:
    """Return whether to make an attempt in a quick run: a fit takes seconds, so only some of them run."""
    if subject.family != "keras":
        return True
    return subject.name == KerasCSV.name and FAULTS[fault].do in {hook_raises, disk_full, shared}


# --- attempts --------------------------------------------------------------------------------------------------------


def stage(jobs: list[tuple[str, str]], *, quick: bool) -> None:
    """Make attempts, several at a time, in processes forked from this one; print each outcome as JSON."""
    for name in dict.fromkeys(name for _, name in jobs):
        SUBJECTS[name].load()
    waiting, running, found = list(enumerate(jobs)), {}, {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        while waiting or running:
            while waiting and len(running) < SIDE_BY_SIDE:
                number, job = waiting.pop(0)
                attempt = Attempt(*job, Path(home) / str(number), quick=quick)
                running[attempt.begin()] = number, attempt
            for pid, (number, attempt) in list(running.items()):
                if attempt.has_ended(pid):
                    del running[pid]
                    found[number] = attempt.outcome()
            time.sleep(0.01)
    print(json.dumps([attrs.astuple(found[number]) for number in range(len(jobs))]))


class Attempt:
    """One attempt: a fault applied to a subject."""

    def __init__(self, fault: str, subject: str, home: Path, *, quick: bool) -> None:
        self.fault, self.subject = FAULTS[fault], SUBJECTS[subject]
        self.arguments = [*(self.fault.quick if quick else self.fault.arguments)]
        if self.fault.do in {disk_full, forked, shared}:
            self.arguments[0] //= 1 if quick else self.subject.slowness
        self.folder, self.said = home / "run", home / "said"
        self.hung = False
        self.folder.mkdir(parents=True)

    def begin(self) -> int:
        """Fork, and return the process id."""
        self.deadline = time.monotonic() + LIMIT
        pid = os.fork()
        if not pid:
            self._do()
        return pid

    def _do(self) -> None:
        """Run the attempt in the forked process, and end the process in any case."""
        try:
            os.setsid()
            log = os.open(self.said.with_name("log"), os.O_WRONLY | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            said = self.fault.do(self.subject, self.folder, *self.arguments)
            self.said.write_text(json.dumps(said))
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(0)

    def has_ended(self, pid: int) -> bool:
        """Return whether it has ended; kill it if it hangs."""
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        if time.monotonic() > self.deadline:
            self.hung = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return self.hung

    def outcome(self) -> Outcome:
        """Return its outcome."""
        if self.hung:
            return Outcome(f"has not ended after {LIMIT:.0f} s")
        if not self.said.exists():
            return Outcome("the process dies: " + self.said.with_name("log").read_text()[-200:])
        said = json.loads(self.said.read_text())
        return self.fault.tell(self.subject, self.folder, said, *self.arguments)


def attempts(faults: Iterable[str], rounds: int, *, quick: bool) -> list[dict]:
    """Make all attempts, the families of subjects in parallel; return a row for each fault and subject."""
    jobs = [(fault, name) for fault in faults for name in FAULTS[fault].subjects]
    found: dict[tuple[str, str], list[Outcome]] = {job: [] for job in jobs}
    families: dict[str, list[tuple[str, str]]] = {}
    for fault, name in jobs:
        subject = SUBJECTS[name]
        if subject.is_installed() and (not quick or is_quick(fault, subject)):
            trials = 1 if quick else rounds if FAULTS[fault].do is killed else TRIALS
            families.setdefault(subject.family, []).extend([(fault, name)] * trials)
    code = "from reliability import stage; stage({!r}, quick={!r})".format
    with ThreadPoolExecutor(len(families)) as pool:
        outcomes = pool.map(lambda own: in_fresh_process(code(own, quick)), families.values())
        for own, results in zip(families.values(), outcomes, strict=True):
            for job, outcome in zip(own, results, strict=True):
                found[job].append(Outcome(*outcome))
    return [row(*job, results) for job, results in found.items()]


def row(fault: str, subject: str, outcomes: list[Outcome]) -> dict:
    """Return the outcomes of a fault for a subject: each kinds description with its count."""
    kinds = [together([each for each in outcomes if each.text == text]) for text in sorted({e.text for e in outcomes})]
    counts = [sum(each.text == text for each in outcomes) for text in sorted({e.text for e in outcomes})]
    parts = kinds if len(kinds) == 1 else [f"{count} x {each}" for count, each in zip(counts, kinds, strict=True)]
    why = "skipped in a quick run" if SUBJECTS[subject].is_installed() else "not installed"
    return {"fault": fault, "subject": subject, "trials": len(outcomes), "outcome": "; ".join(parts) or why}


def together(outcomes: list[Outcome]) -> str:
    """Return outcomes with the same description, with the ranges of their figures."""
    parts = [outcomes[0].text] if outcomes[0].text else []
    if lost := [each.lost for each in outcomes if each.lost is not None]:
        parts.append("{} of {} lost".format(*map(span, zip(*lost, strict=True))))
    if longest := [each.longest for each in outcomes if each.longest is not None]:
        parts.append(f"longest step {max(longest):.1f} ms")
    return ", ".join(parts)


def span(values: tuple[int, ...]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


# --- the time of a call ----------------------------------------------------------------------------------------------


def calls_on_a_full_disk(folder: Path, calls: int, rounds: int) -> tuple[list[dict], float]:
    """Time an epoch's end of all our recorders, with and without space; return rows, and the longest without in ms."""
    from monitor_core import CSVLogger, Journal, Loop, TensorBoard

    logging.getLogger("monitor_core").setLevel(logging.CRITICAL)
    longest = [0.0]

    def epochs(loop: Loop, count: int) -> None:
        last = time.perf_counter()
        longest[0] = 0.0
        for _ in loop.epochs(loop.next_epoch + count):
            loop.log(loss=0.5)
            longest[0] = max(longest[0], time.perf_counter() - last)
            last = time.perf_counter()

    def without_room(count: int) -> None:
        with full_disk():
            epochs(loops[1], count)
        slowest.append(longest[0])

    slowest: list[float] = []
    with contextlib.ExitStack() as stack:
        loops = []
        for number in range(2):
            home = folder / str(number)
            sinks = (
                CSVLogger(home / "log.csv"),
                TensorBoard(home / "board", write_graph=False),
                Journal(home / "journal"),
            )
            loops.append(stack.enter_context(Loop(*sinks)))
        variants = {"with room": lambda count: epochs(loops[0], count), "disk full": without_room}
        rows = interleave(variants, "with room", calls, rounds)
    return rows, 1000 * max(slowest)


def print_faults(rows: list[dict]) -> None:
    """Print the outcomes, a table for each fault."""
    for fault in dict.fromkeys(row["fault"] for row in rows):
        print(f"\n{fault}")
        for row in rows:
            if row["fault"] == fault:
                trials = f"{row['trials']} x" if row["trials"] else ""
                print(f"  {row['subject']:<30}{trials:>5}  {row['outcome']}")


def main() -> None:
    options = arguments(__doc__, rounds=10, parts=FAULTS)
    rows = attempts(options.part or FAULTS, options.rounds, quick=options.quick)
    with tempfile.TemporaryDirectory() as folder:
        times, longest = calls_on_a_full_disk(Path(folder), 20 if options.quick else 200, max(2, options.rounds))
    tables = {"an epoch of ours, to CSV, TensorBoard and journal": times}
    figures = {"longest such epoch while the disk is full, ms": longest}
    about = machine("tensorflow-cpu", *{each.needs for each in SUBJECTS.values()})
    if options.json:
        json.dump({"about": about, "tables": tables, "figures": figures, "faults": rows}, sys.stdout, indent=2)
        print()
        return
    report(tables, about, as_json=False, figures=figures)
    print_faults(rows)


if __name__ == "__main__":
    main()
