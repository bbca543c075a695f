"""What one run over several ranks adds to a step, against the same training without monitoring.

The ranks train a PyTorch network whose gradients they share, at about 5 ms a step, over gloo on this machine. In each
round every variant trains once, on all ranks together, in a rotating order; rank 0's time is compared with the bare
loop's of the same round.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from harness import arguments, interleave, machine, report
from support.processes import ON_THE_CPU, in_fresh_process

RANKS = ("1", "2", "4")
STEPS = 1_000
STEP_SECONDS = 0.005
FLOOR = "bare loop"


def rank_program(rank: int, ranks: int, folder: str, steps: int, rounds: int) -> None:
    """Measure on one rank, and print its rows as JSON."""
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    variants = training(torch, Path(folder, str(rank)))
    rows = interleave(variants, FLOOR, steps, rounds, prepare=lambda _: torch.distributed.barrier(), training=True)
    print(json.dumps({"rows": rows}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def training(torch: Any, folder: Path) -> dict[str, Callable[[int], None]]:
    """Return the variants: functions that train so many steps."""
    from monitor_core import CSVLogger, EarlyStopping, History, Journal, Loop, Ranks, TensorBoard, TerminateOnNaN

    folder.mkdir()
    module = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(32, 32))
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    samples = torch.randn(64, 32)

    def step() -> object:
        until = perf_counter() + STEP_SECONDS
        loss = module(samples).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sleep(max(0.0, until - perf_counter()))  # a device computes meanwhile
        return loss

    def bare(steps: int) -> None:
        for _ in range(steps):
            step()

    def monitored(*sinks: object, ranks: Ranks) -> Callable[[int], None]:
        def train(steps: int) -> None:
            with Loop(*sinks, model=module.module, optimizer=optimizer, ranks=ranks) as loop:
                for _ in loop.epochs(1):
                    for _ in loop.batches(range(steps)):
                        loop.log(loss=step())

        return train

    def stack(name: str) -> tuple[object, ...]:
        own = folder / name
        return (
            History(per_batch=True),
            CSVLogger(own / "log.csv", per_batch=True),
            TensorBoard(own / "board", update_freq="batch"),
            Journal(own / "journal", per_batch=True),
            EarlyStopping("loss", patience=1000),
            TerminateOnNaN(),
        )

    return {
        FLOOR: bare,
        "full stack, each rank on its own": monitored(*stack("apart"), ranks=Ranks(together=False)),
        "full stack, one run": monitored(*stack("together"), ranks=Ranks()),
        "full stack, one run, agreeing every 10 steps": monitored(*stack("often"), ranks=Ranks(every=10)),
    }


def measure(ranks: int, steps: int, rounds: int) -> list[dict]:
    """Return the rows of so many ranks, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:

        def start(rank: int) -> dict:
            call = f"rank_program({rank}, {ranks}, {folder!r}, {steps}, {rounds})"
            return in_fresh_process(f"from overhead_ranks import rank_program; {call}", **ON_THE_CPU)

        with ThreadPoolExecutor(ranks) as pool:
            return next(pool.map(start, range(ranks)))["rows"]


def main() -> None:
    options = arguments(__doc__, rounds=5, parts=RANKS)
    counts = options.part or RANKS
    if importlib.util.find_spec("torch") is None:
        print("torch is skipped: it is not installed", file=sys.stderr)
        counts = ()
    steps, rounds = (20, 2) if options.quick else (STEPS, options.rounds)
    tables = {
        f"ranks: {ranks}, {STEP_SECONDS * 1e3:g} ms a step": measure(int(ranks), steps, rounds) for ranks in counts
    }
    report(tables, machine("torch", "numpy"), as_json=options.json)


if __name__ == "__main__":
    main()
