"""What the command costs from the shell: ``list`` of a thousand runs, ``show`` of ten million values.

Each figure is next to the time of starting Python and importing what the command imports, measured in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from monitor_core import Block, Journal, Loop
from monitor_core.journal.facts import Begin
from monitor_core.journal.provenance import describe
from monitor_core.journal.summary import SUMMARY_NAME
from monitor_core.journal.writer import JournalWriter

IMPORTS = "import typer, rich.table, numpy, monitor_core"


def seconds(*command: str, cache: Path) -> float:
    """Return how long a command takes."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)})
    return time.perf_counter() - begin


def many_runs(folder: Path, count: int) -> None:
    """Record runs of ten epochs."""
    for number in range(count):
        with Loop(Journal(folder / f"{number:04d}", per_batch=False)) as loop:
            for epoch in loop.epochs(10):
                loop.log(loss=1 / (1 + epoch), val_loss=2 / (1 + epoch))


def long_run(folder: Path, scalars: int) -> None:
    """Record a run of ten metrics in every batch, in a hundred epochs."""
    writer = JournalWriter(folder)
    writer.fact(Begin(id="a", index=0, continues=None, epoch=-1, step=0, config={}, time=1.0, **describe()))
    steps = scalars // 10
    per_epoch = steps // 100
    names = [f"metric_{number}" for number in range(9)] + ["loss"]
    for epoch in range(100):
        for begin in range(0, per_epoch, 250):
            numbers = np.arange(begin, begin + 250) + 1 + epoch * per_epoch
            columns = {name: np.full(250, 1 / (1 + epoch)) for name in names}
            writer.block(Block(epoch, numbers, numbers / 100.0, columns, dict.fromkeys(names)))
        writer.epoch(epoch, (epoch + 1) * per_epoch, float(numbers[-1]), {"loss": 1 / (1 + epoch)})
    writer.close()


def measure(title: str, repeats: int, cache: Path, *command: str) -> None:
    """Print the median of a command and of the imports alone, run in turn."""
    own, floor = [], []
    for _ in range(repeats):
        floor.append(seconds(sys.executable, "-c", IMPORTS, cache=cache))
        own.append(seconds(sys.executable, "-m", "monitor_core", *command, cache=cache))
    print(f"{title:42} {statistics.median(own):5.2f} s   imports alone {statistics.median(floor):5.2f} s")


def peak_of_show(folder: Path) -> float:
    """Return the peak of memory of ``show``, in MB."""
    code = (
        "import sys, resource; sys.argv = ['monitor-core', 'show', sys.argv[1]]\n"
        "from monitor_core.cli import main; main()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True)
    return float(done.stderr)


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--scalars", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        many_runs(folder / "runs", options.runs)
        long_run(folder / "long", options.scalars)
        measure(f"list, {options.runs} runs, summaries", 1, cache, "list", str(folder / "runs"))
        measure(f"list, {options.runs} runs, warm", options.repeats, cache, "list", str(folder / "runs"))
        for summary in (folder / "runs").rglob(SUMMARY_NAME):
            summary.unlink()
        measure(f"list, {options.runs} runs, from journals", 1, folder / "other", "list", str(folder / "runs"))
        measure(f"show, {options.scalars:,} values", options.repeats, cache, "show", str(folder / "long"))
        size = sum(each.stat().st_size for each in (folder / "long").iterdir()) / 1e6
        print(f"{'show, peak of memory':42} {peak_of_show(folder / 'long'):5.0f} MB, of a file of {size:.0f} MB")


if __name__ == "__main__":
    main()
