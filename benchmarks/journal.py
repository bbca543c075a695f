"""The cost of a journal: the time to record a block of scalars, and to open a run of ten million.

Floors. Of writing: the bytes of the same values, with steps and times, passed to the operating system unchanged. Of
opening: reading the file's bytes into memory. Goals: 2 us for each scalar in blocks of 256 steps and 2 metrics, and 3
seconds for 10,000,000 scalars. The file is in the folder for temporary files, and remains in the system's cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import numpy as np

from harness import arguments, interleave, machine, report
from monitor_core import Block, Bus
from monitor_core.journal.files import read_journal
from monitor_core.journal.recorded import open_run
from monitor_core.sinks.journal import Journal

SCALARS = 10_000_000
SHAPES = [(256, 2), (256, 20), (5, 1)]
"""Steps and metrics of a block: fast trainings with few and with many metrics, and one with five steps per second."""


def make_block(steps: int, metrics: int) -> Block:
    columns = {f"metric_{number}": np.random.default_rng(number).normal(size=steps) for number in range(metrics)}
    times = 1.7e9 + np.arange(steps) / 100
    return Block(0, np.arange(1, steps + 1), times, columns, dict.fromkeys(columns))


def raw_bytes(path: Path, block: Block) -> Callable[[int], None]:
    file = FileIO(path, "ab")

    def work(calls: int) -> None:
        for _ in range(calls):
            file.write(
                b"".join(
                    [block.steps.tobytes(), block.times.tobytes(), *map(np.ndarray.tobytes, block.columns.values())]
                )
            )

    return work


def journal(folder: Path, block: Block) -> Callable[[int], None]:
    sink = Journal(folder)
    bus = Bus(sink)
    bus.train_begin()

    def work(calls: int) -> None:
        for _ in range(calls):
            sink.on_block(bus.run, block)

    return work


def written(folder: Path, scalars: int) -> None:
    """Write a finished run with a number of scalars, in epochs of 100 blocks."""
    block = make_block(*SHAPES[0])
    bus = Bus(Journal(folder))
    bus.train_begin()
    sink = bus.sinks[0]
    for number in range(scalars // (len(block) * len(block.columns))):
        sink.on_block(bus.run, block)
        if number % 100 == 99:
            bus.epoch_begin(number // 100)
            bus.epoch_end(number // 100, {"loss": 0.5})
    bus.train_end()


def open_tables(folder: Path, scalars: int, rounds: int) -> dict[str, list[dict]]:
    written(folder, scalars)
    path = next(folder.iterdir())
    variants = {
        "the file's bytes": lambda calls: [len(path.read_bytes()) for _ in range(calls)],
        "read_journal: the records": lambda calls: [len(read_journal(path).records) for _ in range(calls)],
        "open_run: columns, decisions, status": lambda calls: [len(open_run(path).batches) for _ in range(calls)],
    }
    return {f"opening {scalars:,} scalars": interleave(variants, "the file's bytes", 1, rounds)}


def main() -> None:
    options = arguments(__doc__)
    tables, figures = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for steps, metrics in SHAPES:
            block = make_block(steps, metrics)
            title = f"recording a block of {steps} steps, {metrics} metrics"
            variants = {
                "the same values as raw bytes": raw_bytes(folder / f"raw-{steps}-{metrics}", block),
                "journal": journal(folder / f"journal-{steps}-{metrics}", block),
            }
            calls, rounds = (3, 2) if options.quick else (40, 101)
            tables[title] = interleave(variants, "the same values as raw bytes", calls, rounds)
            ours = next(row for row in tables[title] if row["variant"] == "journal")
            figures[f"us per scalar, {steps} steps, {metrics} metrics"] = ours["ns"] / 1e3 / (steps * metrics)
        scalars, rounds = (100_000, 2) if options.quick else (SCALARS, 5)
        opening = open_tables(folder / "run", scalars, rounds)
        tables |= opening
        size = next((folder / "run").iterdir()).stat().st_size
    for row in next(iter(opening.values())):
        figures[f"seconds, {row['variant']}"] = row["ns"] / 1e9
    figures["bytes per scalar"] = size / scalars
    report(tables, machine("numpy", "attrs"), as_json=options.json, figures=figures)


if __name__ == "__main__":
    main()
