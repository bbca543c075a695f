"""Whether the others say which rank is lost, and what rank 0 wrote is whole: kills and stops at random moments.

Each attempt is a training of three ranks over gloo, whose rank 0 keeps the store that connects them. At a random moment
one of the ranks, any of them, gets SIGKILL or SIGSTOP. Plain processes are forked from one that has imported PyTorch;
those under torchrun are started by its command, which ends all ranks as soon as it notices that one has died.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs

from harness import arguments, machine
from support.processes import free_port

RANKS = 3
LOST_AFTER = 5.0
IN_TIME = 1.5 * LOST_AFTER
"""Within how many seconds the others must have said it: a rank gives a sign of life ten times in `LOST_AFTER`."""
SIDE_BY_SIDE = 6
LIMIT = 60.0
FAULTS = {"SIGKILL": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP}


def train(folder: Path) -> None:
    """Train as one rank until the end; gradients are shared in every step, or results alone."""
    import torch
    import torch.distributed as dist

    from monitor_core import CSVLogger, Journal, Loop, Ranks

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    logging.basicConfig(filename=folder / f"log-{rank}", format="%(created)f %(message)s", force=True)
    ranks = Ranks(every=10, lost_after=LOST_AFTER, on_lost_rank="exit")
    with Loop(CSVLogger(folder / "log.csv", per_batch=True), Journal(folder / "run"), ranks=ranks) as loop:
        for epoch in loop.epochs(1_000_000):
            for step in loop.batches(range(50)):
                loop.log(loss=1.0 / (step + 1))
                if (folder / "couple").exists():
                    dist.all_reduce(torch.ones(1))
                time.sleep(0.002)
            if epoch == 1:
                (folder / f"pid-{rank}").write_text(str(os.getpid()))


@attrs.define
class Attempt:
    """An attempt in a folder of its own.

    Attributes:
        folder: The folder.
        fault: The signal.
        victim: The rank that gets it.
        children: The processes that were forked, by rank; empty under torchrun.
        agent: The process of torchrun.
        at: When the signal was sent, by `time.time`.
    """

    folder: Path
    fault: signal.Signals
    victim: int
    children: list[int] = attrs.field(factory=list)
    agent: subprocess.Popen | None = None
    at: float = 0.0

    def start(self, *, torchrun: bool) -> None:
        """Start the ranks."""
        self.folder.mkdir()
        if random.random() < 0.5:  # noqa: S311 (no secret)
            (self.folder / "couple").touch()
        if torchrun:
            call = f"from lost_ranks import *; train(Path({str(self.folder)!r}))"
            (self.folder / "program.py").write_text(call)
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(RANKS)]
            with (self.folder / "agent").open("w") as output:
                self.agent = subprocess.Popen(
                    [*command, str(self.folder / "program.py")], stdout=output, stderr=output, env=_environment()
                )
            return
        port = free_port()
        self.children = [self._fork(rank, port) for rank in range(RANKS)]

    def _fork(self, rank: int, port: int) -> int:
        child = os.fork()
        if child:
            return child
        names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": RANKS}
        os.environ.update({name: str(value) for name, value in names.items()})
        try:
            with (self.folder / f"output-{rank}").open("w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            train(self.folder)
        except BaseException:
            logging.getLogger("monitor_core").exception("the training raised")
        finally:
            os._exit(1)

    @property
    def is_training(self) -> bool:
        """Whether all ranks train."""
        return all((self.folder / f"pid-{rank}").exists() for rank in range(RANKS))

    def strike(self) -> None:
        """Send the signal."""
        self.at = time.time()
        os.kill(int((self.folder / f"pid-{self.victim}").read_text()), self.fault)

    def is_over(self) -> bool:
        """Return whether all ranks but a stopped one have ended."""
        others = [self.folder / f"pid-{rank}" for rank in range(RANKS) if rank != self.victim]
        return all(not _is_alive(int(each.read_text())) for each in others)

    def end(self) -> None:
        """End what is left."""
        for path in self.folder.glob("pid-*"):
            with contextlib.suppress(OSError):
                os.kill(int(path.read_text()), signal.SIGKILL)
        for child in self.children:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()

    def said_after(self) -> list[float]:
        """Return after how many seconds each other rank said that the victim is gone; infinity if it did not."""
        found = []
        for rank in range(RANKS):
            if rank != self.victim:
                lines = (self.folder / f"log-{rank}").read_text().splitlines()
                said = [float(line.split()[0]) for line in lines if f"rank {self.victim} is gone" in line]
                found.append(said[0] - self.at if said else float("inf"))
        return found

    def is_whole(self) -> bool:
        """Return whether what rank 0 has written can be read, each line and each record whole."""
        from monitor_core.journal.recorded import read_runs

        header, *rows = (self.folder / "log.csv").read_text().splitlines(keepends=True)
        lines = all(row.count(",") == header.count(",") and row.endswith("\n") for row in rows)
        runs, damage = read_runs(self.folder / "run")
        return bool(rows) and lines and bool(runs) and not damage


def _environment() -> dict[str, str]:
    here = Path(__file__).parent
    return {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}


def _is_alive(process: int) -> bool:
    """Return whether a process runs; one that has ended and is still to be waited for does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def attempts(home: Path, fault: str, count: int, *, torchrun: bool) -> dict:
    """Make attempts, some at a time; return what became of them."""
    said, whole, together = [], 0, 1 if torchrun else SIDE_BY_SIDE
    for first in range(0, count, together):
        present = [
            Attempt(home / f"{fault} {torchrun} {number}", FAULTS[fault], random.randrange(RANKS))  # noqa: S311
            for number in range(first, min(count, first + together))
        ]
        try:
            for each in present:
                each.start(torchrun=torchrun)
            _wait(lambda present=present: all(each.is_training for each in present))
            for each in present:
                time.sleep(random.random() * 0.3)  # noqa: S311
                each.strike()
            _wait(lambda present=present: all(each.is_over() for each in present))
        finally:
            for each in present:
                each.end()
        said += [each.said_after() for each in present]
        whole += sum(each.is_whole() for each in present)
    times = [time for each in said for time in each if time < float("inf")]
    return {
        "started": "by torchrun" if torchrun else "as plain processes",
        "fault": fault,
        "attempts": count,
        "all others said it in time": sum(max(each) <= IN_TIME for each in said),
        "none of them did": sum(min(each) == float("inf") for each in said),
        "longest, s": round(max(times, default=0.0), 1),
        "files whole": whole,
    }


def _wait(is_over) -> None:
    until = time.monotonic() + LIMIT
    while not is_over() and time.monotonic() < until:
        time.sleep(0.02)


def main() -> None:
    options = arguments(__doc__, rounds=100, parts=FAULTS)
    about = {"about": machine("torch", "numpy"), "tables": {}, "lost_after": LOST_AFTER}
    if importlib.util.find_spec("torch") is None:
        print("torch is skipped: it is not installed", file=sys.stderr)
        json.dump(about, sys.stdout)
        return
    import torch  # noqa: F401 (before the forks)

    import monitor_core  # noqa: F401

    count = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            attempts(Path(folder), fault, max(1, count // 20) if torchrun else count, torchrun=torchrun)
            for torchrun in ((False,) if options.quick else (False, True))
            for fault in options.part or FAULTS
        ]
    json.dump({**about, "rows": rows}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
