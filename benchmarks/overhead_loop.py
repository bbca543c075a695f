"""What monitoring adds to a batch of a raw PyTorch or JAX loop with two values, against the bare loop.

Variants take turns in one process: our full stack and each of its sinks in a `Loop`, reading each value by hand, and
for PyTorch the installed peers: Ignite with its metrics, Lightning, ``SummaryWriter`` and tensorboardX. The last
table has no steps, only values that are ready: it measures the monitoring alone, and all of its work.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from harness import arguments, interleave, machine, report
from support.processes import ON_THE_CPU, in_fresh_process

BATCHES = 500
SIZES = {
    "torch": {"small": (32, 1, 32), "large": (192, 2, 128)},
    "jax": {"small": (128, 2, 64), "large": (320, 2, 128)},
}
"""Width, hidden layers and samples per batch; they take about 0.3 ms and 1.3 ms a step."""
TINY = {"tiny": (8, 1, 8)}


def measure(framework: str, rounds: int, batches: int, sizes: dict[str, tuple[int, int, int]]) -> None:
    """Print the tables of a framework as a line of JSON."""
    from support.steps import STEPS, Ready, Size

    found = {}
    for name, shape in sizes.items():
        step = STEPS[framework](Size(*shape))
        rows = table(step, framework, rounds, batches)
        found[f"raw {framework} loop, {name} network, {rows[0]['ns'] / 1e6:.2f} ms a step"] = rows
    found[f"raw {framework} loop, no step, values that are ready"] = table(Ready(step), framework, rounds, batches)
    print(json.dumps(found))


def table(step: object, framework: str, rounds: int, batches: int) -> list[dict]:
    """Let all variants around a step take turns."""
    from support.loops import FLOOR, peers, variants

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = variants(step, folder, stack)
        if framework == "torch":
            made |= peers(step, folder, stack)
        prepare = getattr(step, "prepare", None)
        return interleave(made, FLOOR, batches, rounds, prepare=prepare, settle=step.settle, training=True)


def main() -> None:
    options = arguments(__doc__, rounds=15, plot=True)
    tables = {}
    for framework, sizes in SIZES.items():
        if importlib.util.find_spec(framework) is None:
            print(f"{framework} is skipped: it is not installed", file=sys.stderr)
            continue
        size = (options.rounds, 3, TINY) if options.quick else (options.rounds, BATCHES, sizes)
        tables |= in_fresh_process(f"from overhead_loop import measure; measure({framework!r}, *{size})", **ON_THE_CPU)
    about = machine("torch", "jax", "pytorch-ignite", "lightning", "tensorboard", "tensorboardX", "numpy", "attrs")
    report(tables, about, as_json=options.json, plot=options.plot)


if __name__ == "__main__":
    main()
