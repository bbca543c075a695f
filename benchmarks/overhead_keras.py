"""What monitoring adds to a batch of a Keras `fit` with two metrics, against hooks that do nothing in the same `fit`.

Variants take turns, an epoch each: our full stack and each of its sinks, passed directly (``callbacks=adapter``) and
in a list (``callbacks=[adapter]``), and Keras's own callbacks. For the list there is a second table, against a list
with a callback of the same hooks. "In hooks" is the time that the training's thread spends in the variant's hooks,
which scatters less than the whole, and includes waits for values that are read there. "Typical" is that of a
batch in the middle, without work that occurs only at some batches, or at the epoch's end.

It measures the backend of KERAS_BACKEND; if that is not set, all that are installed (``--quick``: the first).
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from pathlib import Path

from harness import arguments, machine, report
from support.processes import ON_THE_CPU, in_fresh_process

BACKENDS = ("jax", "torch", "tensorflow")
BATCHES = 500
SIZES = {"small": (128, 2, 64), "large": (320, 2, 128)}
"""Width, hidden layers and samples per batch; on jax they take about 0.3 ms and 1.2 ms a step."""
TINY = {"tiny": (8, 1, 8)}


def measure(rounds: int, *, quick: bool) -> None:
    """Print the tables of the current backend as a line of JSON."""
    from support.fits import tables, take_turns
    from support.steps import Size

    batches = 3 if quick else BATCHES
    found = {}
    for name, shape in (TINY if quick else SIZES).items():
        with tempfile.TemporaryDirectory() as folder:
            times = take_turns(Size(*shape), batches, rounds + 1, Path(folder)).times
        found |= tables(f"Keras on {os.environ['KERAS_BACKEND']}, {name} network", times, batches)
    print(json.dumps(found))


def backends(*, quick: bool) -> list[str]:
    """Return the backends to measure."""
    if "KERAS_BACKEND" in os.environ:
        return [os.environ["KERAS_BACKEND"]]
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    return installed[: 1 if quick else None]


def main() -> None:
    options = arguments(__doc__, rounds=15, plot=True)
    tables = {}
    for backend in backends(quick=options.quick):
        code = f"from overhead_keras import measure; measure({options.rounds}, quick={options.quick})"
        tables |= in_fresh_process(code, KERAS_BACKEND=backend, **ON_THE_CPU)
    about = machine("keras", *BACKENDS, "numpy", "attrs")
    report(tables, about, as_json=options.json, plot=options.plot)


if __name__ == "__main__":
    main()
