"""The faults, and how their outcomes are judged.

Contract. A fault runs in a separate process, in the given folder, and returns JSON values. The judge of the outcome
reads the folder afterwards, in another process.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from support.subjects import Subject

CHILD_HANGS = 5.0
"""Seconds after its parent's end at which a forked process is considered to hang."""


# --- in the process of an attempt ------------------------------------------------------------------------------------


def killed(subject: Subject, folder: Path, count: int, rate: float) -> None:
    """Record at a rate, up to a number of scalars, and die at a random moment of the second half."""
    begin, end = time.monotonic(), random.randint(count // 2, count)  # noqa: S311 (not for security)

    def on_scalar(step: int) -> None:
        time.sleep(max(0.0, begin + step / rate - time.monotonic()))
        if step == end:
            folder.with_name("said").write_text(json.dumps({"handed_over": step}))
            os.kill(os.getpid(), signal.SIGKILL)

    subject.train(folder, count, on_scalar, float)


def hook_raises(subject: Subject, folder: Path, count: int) -> dict:
    """Train with a hook that raises once."""
    served: list[int] = []
    return {**ended(lambda: subject.raising(folder, count, served)), "served": len(served)}


def training_raises(subject: Subject, folder: Path) -> dict:
    """Train with a step that raises; return which end hooks were called, and how many files stay open."""
    called: list[str] = []
    said = ended(lambda: subject.ending(folder, called))
    return {**said, "called": called, "open": len(open_files(folder))}


def disk_full(subject: Subject, folder: Path, count: int) -> dict:
    """Fill the disk for the middle third of a training."""
    full, gaps, last = contextlib.ExitStack(), [0.0], [time.perf_counter()]

    def on_scalar(step: int) -> None:
        if count // 3 < step <= 2 * count // 3:
            gaps.append(time.perf_counter() - last[0])
        if step == count // 3:
            full.enter_context(full_disk())
        if step == 2 * count // 3:
            full.close()
        last[0] = time.perf_counter()

    with full:
        said = ended(lambda: subject.train(folder, count, on_scalar, float))
    return {**said, "longest": max(gaps)}


def forked(subject: Subject, folder: Path, count: int) -> dict:
    """Fork in the middle of a training, and let both processes continue it."""
    me, child = os.getpid(), [0]

    def on_scalar(step: int) -> None:
        if step == count // 2:
            child[0] = os.fork()

    said = ended(lambda: subject.train(folder, count, on_scalar, float))
    if os.getpid() != me:
        os._exit(0)
    deadline = time.monotonic() + CHILD_HANGS
    while time.monotonic() < deadline:
        if os.waitpid(child[0], os.WNOHANG)[0]:
            return {**said, "child": "ends"}
        time.sleep(0.02)
    os.kill(child[0], signal.SIGKILL)
    os.waitpid(child[0], 0)
    return {**said, "child": "hangs"}


def shared(subject: Subject, folder: Path, count: int) -> dict:
    """Train in one folder with two processes at the same time."""
    other = os.fork()
    said = ended(lambda: subject.train(folder, count, lambda _: time.sleep(0.005), float))
    if not other:
        (folder / "other.said").write_text(json.dumps(said))
        os._exit(0)
    os.waitpid(other, 0)
    return {"both": [said, json.loads((folder / "other.said").read_text())]}


def odd_value(subject: Subject, folder: Path, value: Any) -> dict:
    """Record six values, one of them unusable."""
    return ended(lambda: subject.train(folder, 6, bool, lambda step: value if step == 1 else float(step)))


def ended(train: Callable[[], object]) -> dict:
    """Return how a training ends."""
    try:
        train()
    except Exception as error:
        return {"raised": type(error).__name__, "message": str(error)}
    return {"raised": None}


def open_files(folder: Path) -> list[str]:
    """Return the files of a folder that this process has open, if the system reports them."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        return []
    targets = []
    for each in descriptors.iterdir():
        with contextlib.suppress(OSError):
            targets.append(str(each.readlink()))
    return [each for each in targets if each.startswith(str(folder.resolve()))]


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Prevent all files of this process from growing, as if the disk was full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# --- the outcome -----------------------------------------------------------------------------------------------------


@attrs.frozen
class Outcome:
    """The outcome of a fault: a description, how many scalars of how many were lost, and the longest step in ms."""

    text: str = ""
    lost: tuple[int, int] | None = None
    longest: float | None = None


def missing(subject: Subject, folder: Path, count: int) -> tuple[int, int]:
    return max(0, count - subject.recorded(folder)), count


def of_kill(subject: Subject, folder: Path, said: dict, count: int, rate: float) -> Outcome:
    return Outcome(lost=missing(subject, folder, said["handed_over"]))


def of_hook(subject: Subject, folder: Path, said: dict, count: int) -> Outcome:
    served = f", the other hook is called {said['served']} of {count} times"
    return Outcome(how(said) if said["raised"] else how(said) + served)


def of_training(subject: Subject, folder: Path, said: dict) -> Outcome:
    assert said["raised"] == "RuntimeError", said
    return Outcome(f"called: {', '.join(said['called']) or 'no hook'}; files left open: {said['open']}")


def of_disk(subject: Subject, folder: Path, said: dict, count: int) -> Outcome:
    longest = None if said["raised"] else 1000 * said["longest"]
    return Outcome(how(said), missing(subject, folder, count), longest)


def of_fork(subject: Subject, folder: Path, said: dict, count: int) -> Outcome:
    double = max(0, subject.recorded(folder) - count)
    twice = f", which writes {double} of {count} a second time" if double else ""
    return Outcome(f"{how(said)}; the child {said['child']}{twice}", missing(subject, folder, count))


def of_two(subject: Subject, folder: Path, said: dict, count: int) -> Outcome:
    refused = [each for each in said["both"] if each["raised"]]
    refusals = "; ".join(f"the second is refused by {each['raised']}, {owner(each['message'])}" for each in refused)
    return Outcome(refusals or "both record", missing(subject, folder, count * (2 - len(refused))))


def owner(message: str) -> str:
    return "which names the first" if "process " in message else "which does not name the first"


def of_value(subject: Subject, folder: Path, said: dict, value: Any) -> Outcome:
    return Outcome(how(said))


def how(said: dict) -> str:
    return f"training ends by {said['raised']}" if said["raised"] else "training continues"
