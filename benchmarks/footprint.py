"""The package's footprint: the time to import it, and the memory of a history of a million scalars.

Floor of the import: ``import numpy, attrs`` in a fresh process. Floor of the column: a copy of an array of that length.
Memory is counted by tracemalloc; compared with a Keras history, a list of Python floats for each metric.
"""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np

from harness import arguments, interleave, machine, report
from monitor_core import Bus, History

SCALARS = 1_000_000


def importing(code: str) -> Callable[[int], None]:
    def work(calls: int) -> None:
        for _ in range(calls):
            subprocess.run([sys.executable, "-c", code], check=True)

    return work


def recorded(metrics: int, batches: int) -> tuple[History, float]:
    """Record batches through the bus; return the history and its bytes per scalar."""
    history = History(per_batch=True)
    names = [f"metric_{number}" for number in range(metrics)]
    bus = Bus(history)
    bus.train_begin()
    bus.epoch_begin(0)
    tracemalloc.start()
    for step in range(1, batches + 1):
        bus.batch_end(step, dict.fromkeys(names, step * 0.5))
    bus.epoch_end(0)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return history, size / (batches * metrics)


def list_bytes(scalars: int) -> float:
    """Return the bytes per scalar of a dict with a list of floats."""
    tracemalloc.start()
    columns: dict[str, list[float]] = {}
    for step in range(scalars):
        columns.setdefault("loss", []).append(step * 0.5)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / scalars


def main() -> None:
    options = arguments(__doc__)
    scalars = 10_000 if options.quick else SCALARS
    history, one = recorded(1, scalars)
    _, two = recorded(2, scalars // 2)
    copied = np.empty(scalars)
    rounds = 2 if options.quick else 21
    imports = {
        "import numpy, attrs": importing("import numpy, attrs"),
        "import numpy, attrs, monitor_core": importing("import numpy, attrs, monitor_core"),
    }
    columns = {
        "copy of an array": lambda calls: [copied.copy() for _ in range(calls)],
        "history.batches[name]": lambda calls: [history.batches["metric_0"] for _ in range(calls)],
    }
    tables = {
        "import, in a fresh process": interleave(imports, "import numpy, attrs", 1, rounds),
        f"a column of {scalars:,} batches": interleave(columns, "copy of an array", 5, rounds),
    }
    figures = {
        "history, bytes per scalar, one metric": one,
        "history, bytes per scalar, two metrics": two,
        "dict of lists, bytes per scalar": list_bytes(scalars),
    }
    report(tables, machine("numpy", "attrs"), as_json=options.json, figures=figures)


if __name__ == "__main__":
    main()
