"""What one exchange of the ranks takes, by the number of ranks and of metrics: the gather alone, and all of it.

The ranks are processes on this machine, connected by PyTorch over gloo, or by JAX. An exchange waits until all have
come, by way of the store, and then gathers; with a metric more the vector has two numbers more. The fastest of several
series is printed: the ranks share this machine's cores, so the others measure its scheduler. What a rank computes
itself is measured for many ranks too.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter

import numpy as np

from harness import arguments, machine
from support.processes import ON_THE_CPU, free_port, in_fresh_process

RANKS = (2, 4)
METRICS = (5, 50, 500)
HEAD = 8
"""How many numbers come before those of the metrics."""


def connect(framework: str, rank: int, ranks: int, port: int) -> None:
    """Connect this process."""
    if framework == "jax":
        import jax

        jax.distributed.initialize(f"127.0.0.1:{port}", ranks, rank)
    else:
        import torch

        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)


def rank_program(framework: str, rank: int, ranks: int, port: int, *, calls: int, rounds: int) -> None:
    """Measure on one rank; print what each takes, in ms, by the number of metrics."""
    from monitor_core import Loop
    from monitor_core.bus import shared_run

    connect(framework, rank, ranks, port)
    with Loop() as loop:
        collective = next(filter(None, (connected() for connected in shared_run._CONNECTED)))
        collective.open()
        shared = loop.bus._shared
        found = {}
        for _ in loop.epochs(1):
            for metrics in METRICS:
                numbers = np.zeros(HEAD + 2 * metrics)
                results = {f"metric_{number}": 1.0 for number in range(metrics)}
                exchange = partial(shared._exchange, shared_run.Kind.STEP, results)
                exchange()  # the names are made known
                found[metrics] = {
                    "gather, ms": fastest(partial(collective.gather, numbers), calls, rounds),
                    "exchange, ms": fastest(exchange, calls, rounds),
                }
        collective.close()
    print(json.dumps(found))


def fastest(call: Callable[[], object], calls: int, rounds: int) -> float:
    """Return what a call takes in the fastest of several series, in ms."""
    times = []
    for _ in range(rounds):
        began = perf_counter()
        for _ in range(calls):
            call()
        times.append((perf_counter() - began) / calls)
    return 1e3 * min(times)


def own_work(ranks: int, metrics: int, calls: int, rounds: int) -> dict:
    """Return what a rank computes in an exchange, apart from all communication: packing, comparing, reducing."""
    from monitor_core.ranks.layout import Layout
    from monitor_core.ranks.positions import Kind, Position, completed

    layout, results = Layout(), {f"metric_{number}": 1.0 + number for number in range(metrics)}
    layout.add(results)
    waiting, there = Position(Kind.EPOCH, 0).to_list(), Position(Kind.STEP, 0, 100).to_list()
    positions = np.array([*[waiting] * (ranks // 2), *[there] * (ranks - ranks // 2)])
    rows = np.tile(layout.pack(results, {}), (ranks, 1)) * np.linspace(1.0, 2.0, ranks)[:, None]

    def compute() -> None:
        layout.pack(results, {})
        completed([Position.of(each) for each in positions])
        layout.reduce(rows, {})

    ms = fastest(compute, max(1, calls // 20), rounds)
    return {"connected by": "nothing", "ranks": ranks, "metrics": metrics, "own work, ms": round(ms, 3)}


def measure(framework: str, ranks: int, calls: int, rounds: int) -> list[dict]:
    """Return the rows of so many ranks, each in a process of its own."""
    port = free_port()

    def start(rank: int) -> dict:
        call = f"rank_program({framework!r}, {rank}, {ranks}, {port}, calls={calls}, rounds={rounds})"
        return in_fresh_process(f"from exchange import rank_program; {call}", **ON_THE_CPU)

    with ThreadPoolExecutor(ranks) as pool:
        of_rank_zero = next(pool.map(start, range(ranks)))
    return [
        {"connected by": framework, "ranks": ranks, "metrics": int(metrics)}
        | {name: round(value, 3) for name, value in row.items()}
        for metrics, row in of_rank_zero.items()
    ]


def main() -> None:
    options = arguments(__doc__, rounds=7, parts=("torch", "jax"))
    calls, rounds, counts = (5, 2, RANKS[:1]) if options.quick else (100, options.rounds, RANKS)
    rows = [own_work(ranks, metrics, calls, rounds) for ranks in (2, 4, 100, 1_000) for metrics in METRICS]
    rows += [
        row
        for framework in options.part or ("torch", "jax")
        if importlib.util.find_spec(framework) is not None
        for ranks in counts
        for row in measure(framework, ranks, calls, rounds)
    ]
    json.dump({"about": machine("torch", "jax", "numpy"), "tables": {}, "rows": rows}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
