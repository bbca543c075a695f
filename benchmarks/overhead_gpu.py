"""What monitoring adds to a batch on a GPU, and how often it waits for the device: Keras on JAX and PyTorch, raw loops.

The same variants as in `overhead_keras.py` and `overhead_loop.py`, with networks for a GPU, which take about 0.2 ms and
1 ms a step in a raw loop. Devices run asynchronously: a program that never waits trains at full speed whatever its
hooks do, and one that waits at every batch leaves the device idle in between. So there are three more columns, counted
in a separate run: how often a batch waits for the device, on the training's thread and elsewhere, and how often an
epoch's end does, where the results are read. Ours must be 0 in the first.

Without a GPU it says so and runs on the CPU with small networks; the columns then count reads of values, which do not
wait there. Keras is skipped if it is not installed; nothing here imports TensorFlow.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import attrs

from harness import arguments, interleave, machine, report
from support.processes import ONE_THREAD, in_fresh_process
from support.steps import Size

COUNTS = {True: (3, 3), False: (300, 300)}
"""Batches of an epoch that is timed, and of one whose waits are counted, by whether to be quick."""
FOR_A_GPU = {"small": (256, 1, 256), "large": (2048, 2, 1024)}
FOR_THE_CPU = {"small": (32, 1, 32), "large": (192, 2, 128)}
"""Width, hidden layers and samples per batch."""
TINY = {"tiny": (8, 1, 8)}
PARTS = {
    "raw torch loop": ("torch",),
    "raw jax loop": ("jax",),
    "Keras on torch": ("keras", "torch"),
    "Keras on jax": ("keras", "jax"),
}
"""The parts, each measured in a separate process, and the packages that they need."""
QUICK = "raw torch loop", "raw jax loop", "Keras on jax"
ENVIRONMENT = {**ONE_THREAD, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_DEFAULT_MATMUL_PRECISION": "float32"}
"""JAX leaves memory to other processes, and multiplies as precisely as PyTorch does."""


@attrs.frozen
class Run:
    """A measurement.

    Attributes:
        part: Its name among the parts.
        title: Its table's title.
        size: The network.
        rounds: How many rounds are measured.
        batches: How many batches a timed epoch has.
        counted: How many batches an epoch with counted waits has.
        peers: Whether other packages are measured too.
    """

    part: str
    title: str
    size: Size
    rounds: int
    batches: int
    counted: int
    peers: bool


def gpu(framework: str) -> str | None:
    """Return the name of the GPU on which a framework computes; None without a GPU."""
    if framework == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    import jax

    device = jax.devices()[0]
    return device.device_kind if device.platform == "gpu" else None


def measure(part: str, rounds: int, *, quick: bool) -> None:
    """Print a part's tables, and its device, as a line of JSON."""
    device = gpu(PARTS[part][-1])
    tables = {}
    for name, shape in (TINY if quick else FOR_A_GPU if device else FOR_THE_CPU).items():
        run = Run(part, f"{part}, {device or 'CPU'}, {name} network", Size(*shape), rounds, *COUNTS[quick], not quick)
        tables |= (in_keras if "keras" in PARTS[part] else in_loop)(run, "waits" if device else "reads")
    print(json.dumps({"device": device, "tables": tables}))


def in_keras(run: Run, kind: str) -> dict[str, list[dict]]:
    """Return the tables of a fit, including those of variants in lists."""
    from support.fits import tables, take_turns
    from support.waits import Waits

    with tempfile.TemporaryDirectory() as folder:
        times = take_turns(run.size, run.batches, run.rounds + 1, Path(folder) / "timed", board=False).times
        with Waits() as waits:
            counted = take_turns(run.size, run.counted, 2, Path(folder) / "counted", waits, board=False).counted
    made = tables(run.title, times, run.batches)
    for row in next(iter(made.values())):
        row.update(counted[row["variant"]].columns(kind))
    return made


def in_loop(run: Run, kind: str) -> dict[str, list[dict]]:
    """Return the table of a raw loop."""
    from support.loops import FLOOR, peers, variants
    from support.steps import STEPS
    from support.waits import of_loop

    framework = PARTS[run.part][-1]
    step = STEPS[framework](run.size)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = variants(step, folder, stack)
        if framework == "torch" and run.peers:
            made |= peers(step, folder, stack)
        rows = interleave(made, FLOOR, run.batches, run.rounds, settle=step.settle, training=True)
        for row in rows:
            work = made.get(row["variant"], made[FLOOR])
            row.update(of_loop(work, step, run.counted).columns(kind))
    return {f"{run.title}, {rows[0]['ns'] / 1e6:.2f} ms a step": rows}


def main() -> None:
    options = arguments(__doc__, rounds=9, plot=True, parts=PARTS)
    tables, devices = {}, set()
    for part in options.part or (QUICK if options.quick else PARTS):
        packages = PARTS[part]
        if not all(map(importlib.util.find_spec, packages)):
            print(f"{part}: skipped, {' and '.join(packages)} must be installed", file=sys.stderr)
            continue
        code = f"from overhead_gpu import measure; measure({part!r}, {options.rounds}, quick={options.quick})"
        found = in_fresh_process(code, KERAS_BACKEND=packages[-1], **ENVIRONMENT)
        devices.add(found["device"])
        tables |= found["tables"]
    if None in devices:
        print("some or all of this found no GPU and ran on the CPU", file=sys.stderr)
    device = ", ".join(sorted(each or "CPU" for each in devices))
    about = machine("keras", "torch", "jax", "pytorch-ignite", "lightning", "tensorboard", "numpy", device=device)
    report(tables, about, as_json=options.json, plot=options.plot)


if __name__ == "__main__":
    main()
