"""What the command costs from the shell: ``list`` and ``query`` of many runs, ``show`` of ten million values.

Floor: starting Python and importing what the command imports, compiled before as that of an installed package is.
Memory is the peak of the process of ``show``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from harness import arguments, interleave, machine, report
from monitor_core import Block, Journal, Loop
from monitor_core.journal.facts import Begin
from monitor_core.journal.provenance import describe
from monitor_core.journal.summary import SUMMARY_NAME
from monitor_core.journal.writer import JournalWriter

RUNS, MANY_RUNS, SCALARS = 1_000, 10_000, 10_000_000
QUERY = "select path, best from metrics where metric = 'val_loss' order by best limit 10"
FLOOR = "imports"
NOWHERE = Path("/dev/null")
"""Where no cache can be written."""
SHOW = """
import resource, sys
sys.argv = ["monitor-core", "show", sys.argv[1]]
from monitor_core.cli import main
main()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
"""


def process(*command: str, cache: Path, compiled: Path) -> Callable[[int], None]:
    """Return work that runs a command of Python so many times, with its bytecode in a folder."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPYCACHEPREFIX": str(compiled)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def work(calls: int) -> None:
        for _ in range(calls):
            subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)

    return work


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
    per_epoch = scalars // 1000
    size = min(250, per_epoch)
    names = [f"metric_{number}" for number in range(9)] + ["loss"]
    for epoch in range(100):
        for begin in range(0, per_epoch, size):
            numbers = np.arange(begin, begin + size) + 1 + epoch * per_epoch
            columns = {name: np.full(size, 1 / (1 + epoch)) for name in names}
            writer.block(Block(epoch, numbers, numbers / 100.0, columns, dict.fromkeys(names)))
        writer.epoch(epoch, (epoch + 1) * per_epoch, float(numbers[-1]), {"loss": 1 / (1 + epoch)})
    writer.close()


def peak_mb(folder: Path) -> float:
    """Return the peak of memory of ``show``, in MB."""
    done = subprocess.run([sys.executable, "-c", SHOW, str(folder)], check=True, capture_output=True, text=True)
    return float(done.stderr)


def main() -> None:
    options = arguments(__doc__)
    runs, many, scalars, rounds = (20, 30, 100_000, 2) if options.quick else (RUNS, MANY_RUNS, SCALARS, 9)
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        many_runs(folder / "runs", runs)
        many_runs(folder / "killed", runs)
        many_runs(folder / "many", many)
        for summary in (folder / "killed").rglob(SUMMARY_NAME):
            summary.unlink()
        long_run(folder / "long", scalars)
        call = partial(process, compiled=folder / "compiled")
        monitor = partial(call, "-m", "monitor_core")
        variants = {
            FLOOR: call("-c", "import typer, rich.text, numpy, monitor_core", cache=cache),
            f"list, {runs:,} runs, cached": monitor("list", str(folder / "runs"), cache=cache),
            f"list, {runs:,} runs, from summaries": monitor("list", str(folder / "runs"), cache=NOWHERE),
            f"list, {runs:,} runs, from journals": monitor("list", str(folder / "killed"), cache=NOWHERE),
            f"list, {many:,} runs, cached": monitor("list", str(folder / "many"), cache=cache),
            f"query, {many:,} runs, cached": monitor("query", QUERY, str(folder / "many"), cache=cache),
            f"show, {scalars:,} values": monitor("show", str(folder / "long"), cache=cache),
        }
        tables = {"from the shell": interleave(variants, FLOOR, 1, rounds)}
        size = sum(each.stat().st_size for each in (folder / "long").iterdir()) / 1e6
        figures = {"show, peak of memory, MB": peak_mb(folder / "long"), "its file, MB": size}
        report(tables, machine("numpy", "typer", "rich"), as_json=options.json, figures=figures)


if __name__ == "__main__":
    main()
