"""What a `Loop` adds within real steps, with cold processor caches: timed in the loop, not around it.

At each step of a raw PyTorch or JAX loop two things are timed with `perf_counter`: `next()` on the batches,
and logging two values. Floor: a plain generator, and a function that reads both values with ``.item()`` into
two lists. Variants take turns, epoch by epoch; a row has the median over all steps, and its difference to the
floor's. The last table has no steps, only values that are ready.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness import arguments, machine
from support.processes import ON_THE_CPU, in_fresh_process

SIZES = {"torch": (192, 2, 128), "jax": (128, 2, 64)}
"""Width, hidden layers and samples per batch; they take about 1 ms and 0.2 ms a step."""
FLOOR = ".item() of both values, to lists"
CONTROL = "A/A control"


def timed(
    batches: Iterator[Any], step: Callable[[], tuple[Any, Any]], log: Callable[[Any, Any], object]
) -> list[float]:
    """Return the time of monitoring at each step, in seconds."""
    taken = []
    clock = time.perf_counter
    while True:
        begin = clock()
        if next(batches, None) is None:
            return taken
        seconds = clock() - begin
        loss, accuracy = step()
        begin = clock()
        log(loss, accuracy)
        taken.append(seconds + clock() - begin)


def plain(step: Callable[[], tuple[Any, Any]]) -> Callable[[int], list[float]]:
    """Return the floor: an epoch with a number of steps."""
    losses: list[float] = []
    accuracies: list[float] = []

    def log(loss: Any, accuracy: Any) -> None:
        losses.append(loss.item())
        accuracies.append(accuracy.item())

    def generate(batches: Iterable[int]) -> Iterator[int]:
        yield from batches

    return lambda batches: timed(generate(range(1, batches + 1)), step, log)


def ours(step: Any, sinks: list[object], stack: ExitStack) -> Callable[[int], list[float]]:
    """Return an epoch of our loop."""
    from monitor_core import Loop
    from support.stack import check

    loop = Loop(*sinks, model=step.handle)
    stack.callback(check, loop.bus)
    stack.enter_context(loop)

    def work(batches: int) -> list[float]:
        taken: list[float] = []
        for _ in loop.epochs(loop.next_epoch + 1):
            taken = timed(
                loop.batches(range(1, batches + 1)), step, lambda loss, accuracy: loop.log(loss=loss, accuracy=accuracy)
            )
        return taken

    return work


def measure(framework: str, size: tuple[int, int, int], epochs: int, batches: int) -> None:
    """Print the tables of a framework as a line of JSON."""
    from support.stack import FULL, alone
    from support.steps import STEPS, Ready, Size

    step = STEPS[framework](Size(*size))
    tables = {}
    for name, each in (("in a step", step), ("no step", Ready(step))):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            made = {FLOOR: plain(each), CONTROL: plain(each)}
            made |= {
                f"Loop, {kind}": ours(each, sinks, stack)
                for kind, sinks in alone(folder).items()
                if kind in (FULL, "EarlyStopping")
            }
            seconds: dict[str, list[float]] = {kind: [] for kind in made}
            walls: dict[str, list[float]] = {kind: [] for kind in made}
            for epoch in range(epochs):
                for kind, work in made.items():
                    if prepare := getattr(each, "prepare", None):
                        prepare(batches)
                    begin = time.perf_counter()
                    taken = work(batches)
                    if epoch:  # the first warms up
                        walls[kind].append((time.perf_counter() - begin) / batches)
                        seconds[kind] += taken
        tables[f"{framework}, {name}"] = [
            {
                "variant": kind,
                "ns": 1e9 * statistics.median(values),
                "median_us": 1e6 * statistics.median(values),
                "quartiles_us": [1e6 * each for each in statistics.quantiles(values, n=4)[::2]],
                "beyond_us": 1e6 * (statistics.median(values) - statistics.median(seconds[FLOOR])),
                "step_ms": 1e3 * statistics.median(walls[kind]),
                "ratio": statistics.median(a / b for a, b in zip(walls[kind], walls[FLOOR], strict=True)),
            }
            for kind, values in seconds.items()
        ]
    print(json.dumps(tables))


def main() -> None:
    options = arguments(__doc__, rounds=11)
    tables: dict[str, list[dict[str, Any]]] = {}
    for framework, size in SIZES.items():
        if importlib.util.find_spec(framework) is None:
            print(f"{framework} is skipped: it is not installed", file=sys.stderr)
            continue
        work = ((8, 1, 8), 2, 5) if options.quick else (size, options.rounds, 500)
        tables |= in_fresh_process(
            f"from overhead_in_step import measure; measure({framework!r}, *{work})", **ON_THE_CPU
        )
    if options.json:
        about = machine("torch", "jax", "numpy", "attrs")
        print(json.dumps({"about": about, "tables": tables, "figures": {}}))
        return
    print(machine("torch", "jax", "numpy", "attrs"))
    for title, rows in tables.items():
        print(
            f"\n{title}\n{'variant':<40}{'median us':>10}{'quartiles':>16}{'beyond us':>11}{'step ms':>9}{'ratio':>8}"
        )
        for row in rows:
            low, high = row["quartiles_us"]
            print(
                f"{row['variant']:<40}{row['median_us']:>10.2f}{low:>8.2f}{high:>8.2f}{row['beyond_us']:>11.2f}"
                f"{row['step_ms']:>9.3f}{row['ratio']:>8.3f}"
            )


if __name__ == "__main__":
    main()
