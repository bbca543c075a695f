"""How time, memory and disk grow with the run: 10^3 to 10^7 scalars, two metrics of every batch, in epochs of 10,000.

Each size runs in a process of its own, through a `Loop`, after a short run that loads and warms what is needed. Time is
that of the whole run, with everything written; its table gives ns per scalar as a ratio to that of the middle size, so
that 1 all along is linear. Memory is the peak of the resident set during the run, above what it was before. The last
column is the power of the number with which each grows, by least squares of the logarithms over the three largest
sizes: 1 is linear, and 0 is flat, as memory must be if everything goes to disk. Last come ten batches of up to 100,000
metrics, with all sinks at once. Values are Python floats, so what is measured is the recording alone.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness import CONTROL, arguments, machine, report, rows
from support.processes import in_fresh_process
from support.timing import Times, turns

SIZES = [10**power for power in range(3, 8)]
QUICK_SIZES = SIZES[:2]
NAMES = [25_000, 50_000, 100_000]
QUICK_NAMES = [1_000, 2_000, 4_000]
BATCHES_OF_MANY = 10
METRICS = 2
EPOCH = 10_000
NOISE_MB = 4.0
"""The scatter of the resident set; smaller growth does not count."""
TO_DISK = "everything but History, to disk"


def stacks(folder: Path) -> dict[str, list[object]]:
    """Return the sinks to measure, by name."""
    from support.stack import sinks

    made = sinks(folder)
    wanted = ("History, every batch", "CSVLogger, every batch", "TensorBoard, every batch")
    alone = {name: [made[name]] for name in wanted if name in made}
    return {**alone, TO_DISK: [sink for name, sink in sinks(folder).items() if not name.startswith("History")]}


def names() -> list[str]:
    """Return the names of the sinks to measure."""
    with tempfile.TemporaryDirectory() as folder:
        return list(stacks(Path(folder)))


def one(name: str, scalars: int) -> None:
    """Record a number of scalars; print seconds, peak memory and bytes on disk as a line of JSON."""
    with tempfile.TemporaryDirectory() as folder:
        record(stacks(Path(folder) / "warm")[name], 1000)
        sinks = stacks(Path(folder) / "run")[name]
        before = resident()
        begin = time.perf_counter()
        record(sinks, scalars)
        seconds = time.perf_counter() - begin
        memory = max(peak() - before, 4096)  # at least a page, so that there is a logarithm
        files = [path for path in (Path(folder) / "run").rglob("*") if path.is_file()]
        disk = sum(path.stat().st_size for path in files)
    print(json.dumps({"seconds": seconds, "memory": memory, "disk": disk}))


def record(sinks: list[object], scalars: int) -> None:
    """Run a loop that records a number of scalars."""
    from monitor_core import Loop
    from support.stack import check
    from support.steps import Rates

    batches = scalars // METRICS
    with Loop(*sinks, model=Rates()) as loop:
        for epoch in loop.epochs(math.ceil(batches / EPOCH)):
            for batch in loop.batches(range(min(EPOCH, batches - epoch * EPOCH))):
                loop.log(loss=1.0 / (batch + 1), accuracy=batch / EPOCH)
    check(loop.bus)


def resident() -> int:
    """Return the current memory of this process, in bytes."""
    return _status("VmRSS")


def peak() -> int:
    """Return the peak memory of this process, in bytes."""
    return _status("VmHWM")


def _status(field: str) -> int:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024
    import resource  # on other Unix systems only the peak is known, and it includes the warm-up

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def grow(name: str, sizes: Sequence[int], rounds: int) -> dict[str, list[dict]]:
    """Run each size in each round; return the results by a label for each size and for the control."""
    middle = sizes[len(sizes) // 2]
    labels = {**{f"{size:,} scalars": size for size in sizes}, CONTROL: middle}
    found: dict[str, list[dict]] = {label: [] for label in labels}
    for label in turns(list(labels), rounds):
        found[label].append(in_fresh_process(f"from growth import one; one({name!r}, {labels[label]})"))
    return found


def table(found: dict[str, list[dict]], sizes: Sequence[int]) -> list[dict]:
    """Return a row for each size: time per scalar against the middle size, memory and disk."""
    labels = list(found)
    middle = labels[len(sizes) // 2]
    counts = dict(zip(labels, [*sizes, sizes[len(sizes) // 2]], strict=True))
    per_scalar = {label: Times([each["seconds"] / counts[label] for each in runs]) for label, runs in found.items()}
    made = rows(per_scalar, middle, 1, warm_up=0)
    for row in made:
        runs = found[row["variant"]]
        row["memory_mb"] = statistics.median(each["memory"] for each in runs) / 1e6
        row["disk_mb"] = statistics.median(each["disk"] for each in runs) / 1e6
    return made


def power(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the power of the size with which values grow: the slope of their logarithms over the three largest."""
    logarithms = [(math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True)][-3:]
    return statistics.linear_regression(*zip(*logarithms, strict=True)).slope


def growth(name: str, rows: list[dict], sizes: Sequence[int]) -> dict[str, float]:
    """Return the powers with which time, memory and disk grow, and the bytes for each further scalar.

    The bytes are those between the two largest runs.
    """
    sized = rows[: len(sizes)]
    seconds = [row["ns"] * size for row, size in zip(sized, sizes, strict=True)]
    memory, disk = ([row[key] for row in sized] for key in ("memory_mb", "disk_mb"))
    has_grown = memory[-1] - memory[0] > NOISE_MB
    last = sizes[-1] - sizes[-2]
    figures = {
        f"{name}: power with which time grows": power(sizes, seconds),
        f"{name}: power with which memory grows": power(sizes, memory) if has_grown else 0.0,
        f"{name}: bytes of memory for each further scalar": (memory[-1] - memory[-2]) * 1e6 / last,
    }
    if disk[-1]:
        figures[f"{name}: power with which disk grows"] = power(sizes, disk)
        figures[f"{name}: bytes of disk for each further scalar"] = (disk[-1] - disk[-2]) * 1e6 / last
    return figures


def many(names: int) -> None:
    """Record some batches of so many metrics with all sinks, bars too; print seconds and memory as a line of JSON."""
    from monitor_core import Journal, Loop
    from support.stack import check, sinks
    from support.steps import Rates

    with tempfile.TemporaryDirectory() as folder:
        recorders = [*sinks(Path(folder)).values(), Journal(Path(folder) / "journal")]
        logs = {"loss": 1.0} | {f"metric_{number}": float(number) for number in range(1, names)}
        before, begin = resident(), time.perf_counter()
        with Loop(*recorders, model=Rates()) as loop:
            for _ in loop.epochs(1):
                for _ in loop.batches(range(BATCHES_OF_MANY)):
                    loop.log(logs)
        seconds = time.perf_counter() - begin
        check(loop.bus)
    print(json.dumps({"seconds": seconds, "memory": peak() - before}))


def names_figures(sizes: Sequence[int], rounds: int) -> dict[str, float]:
    """Return what many metrics cost: seconds, bytes a name, and with which power of their number time grows."""
    found = {
        size: [in_fresh_process(f"from growth import many; many({size})") for _ in range(rounds)] for size in sizes
    }
    seconds = [statistics.median(each["seconds"] for each in runs) for runs in found.values()]
    memory = [statistics.median(each["memory"] for each in runs) for runs in found.values()]
    about = f"{BATCHES_OF_MANY} batches of {sizes[-1]:,} metrics, all sinks and bars"
    return {
        f"{about}: seconds": seconds[-1],
        f"{about}: bytes of memory a name": memory[-1] / sizes[-1],
        f"{about}: power with which time grows": power(sizes, seconds),
    }


def main() -> None:
    options = arguments(__doc__, rounds=3, plot=True)
    sizes = QUICK_SIZES if options.quick else SIZES
    tables, figures = {}, {}
    measured = names()
    for name in measured[:1] + measured[-1:] if options.quick else measured:  # quickly: in memory, and all to disk
        rows = table(grow(name, sizes, options.rounds), sizes)
        tables[f"growth of {name}, per scalar"] = rows
        figures |= growth(name, rows, sizes)
    figures |= names_figures(QUICK_NAMES, 1) if options.quick else names_figures(NAMES, options.rounds)
    about = machine("numpy", "attrs", "tensorboard", "tqdm")
    report(tables, about, as_json=options.json, figures=figures, plot=options.plot)


if __name__ == "__main__":
    main()
