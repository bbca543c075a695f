"""The cost of recording: ns for each scalar in blocks of 256 steps of 2 metrics, and for each element of a histogram.

Floor of the scalars: the block's columns appended to a file as raw bytes. Floor of the histogram: one pass over the
array, for its largest value. The time includes passing everything to the operating system. Compared:
tensorboard's own writer, PyTorch's, tensorboardX and `tf.summary`, if installed, one call for each scalar.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np

from harness import arguments, interleave, machine, report
from monitor_core import Block, Bus, CSVLogger, History
from monitor_core.files.writing import AppendFile
from monitor_core.tensorboard.formats.event_file import EventFile
from monitor_core.tensorboard.formats.histograms import histogram, histogram_value

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

METRICS = ("loss", "accuracy")
STEPS = 256
SCALARS = STEPS * len(METRICS)
Work = Callable[[int], object]


def blocks(calls: int, first: list[int]):
    """Yield the blocks of a number of scalars, with consecutive steps."""
    values = np.random.default_rng(0).normal(size=STEPS)
    times = time.time() + np.arange(STEPS) / 1000
    block = Block(0, np.arange(STEPS), times, dict.fromkeys(METRICS, values), dict.fromkeys(METRICS))
    for _ in range(calls // SCALARS):
        yield attrs.evolve(block, steps=block.steps + first[0])
        first[0] += STEPS


def raw_columns(folder: Path) -> Work:
    file, first = AppendFile(folder / "columns"), [1]

    def work(calls: int) -> None:
        for block in blocks(calls, first):
            file.append(b"".join(each.tobytes() for each in (block.steps, block.times, *block.columns.values())))

    return work


def event_file(folder: Path) -> Work:
    file, first = EventFile(folder / "events"), [1]

    def work(calls: int) -> None:
        for block in blocks(calls, first):
            file.add_columns(block.steps, block.times, block.columns, block.present)

    return work


def through_sink(sink) -> Work:
    run, first = Bus().run, [1]
    sink.on_train_begin(run)

    def work(calls: int) -> None:
        for block in blocks(calls, first):
            sink.on_block(run, block)

    return work


def one_by_one(add: Callable[[str, float, int], object], flush: Callable[[], object]) -> Work:
    """Return work that writes each scalar separately, and then waits until all are written."""
    step = 0

    def work(calls: int) -> None:
        nonlocal step
        for _ in range(calls // len(METRICS)):
            step += 1
            for name in METRICS:
                add(name, 0.5, step)
        flush()

    return work


def tensorboard_writer(folder: Path) -> Work:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder / "tensorboard"))

    def add(name: str, value: float, step: int) -> None:
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    return one_by_one(add, writer.flush)


def torch_writer(folder: Path) -> Work:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder / "torch")
    return one_by_one(writer.add_scalar, writer.flush)


def tensorboardx_writer(folder: Path) -> Work:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboardX"))
    return one_by_one(writer.add_scalar, writer.flush)


def tensorflow_writer(folder: Path) -> Work:
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder / "tensorflow"))

    def add(name: str, value: float, step: int) -> None:
        with writer.as_default():
            tf.summary.scalar(name, value, step=step)

    return one_by_one(add, writer.flush)


def written(folder: Path, array) -> Work:
    file = EventFile(folder / "histograms")
    return lambda calls: file.add_value(histogram_value("a", array[:calls]), 1)


def torch_histogram(folder: Path, array) -> Work:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder / "torch-histograms")
    return lambda calls: (writer.add_histogram("a", array[:calls], 1), writer.flush())


def tensorflow_histogram(folder: Path, array) -> Work:
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder / "tensorflow-histograms"))

    def work(calls: int) -> None:
        with writer.as_default():
            tf.summary.histogram("a", array[:calls], step=1, buckets=30)
        writer.flush()

    return work


PEERS = {
    "tensorboard's EventFileWriter": tensorboard_writer,
    "torch.utils.tensorboard": torch_writer,
    "tensorboardX": tensorboardx_writer,
    "tf.summary": tensorflow_writer,
}
HISTOGRAM_PEERS = {"torch.utils.tensorboard, written": torch_histogram, "tf.summary, written": tensorflow_histogram}


def scalar_variants(folder: Path) -> dict[str, Work]:
    variants = {
        "raw columns": raw_columns(folder),
        "event file": event_file(folder),
        "CSVLogger": through_sink(CSVLogger(folder / "log.csv", per_batch=True)),
        "History": through_sink(History(per_batch=True)),
    }
    for name, peer in PEERS.items():
        with contextlib.suppress(ImportError):
            variants[name] = peer(folder)
    return variants


def histogram_variants(folder: Path, elements: int) -> dict[str, Work]:
    array = np.random.default_rng(0).normal(size=elements).astype(np.float32)
    variants: dict[str, Work] = {
        "one pass: max": lambda calls: array[:calls].max(),
        "np.histogram, 30 bins": lambda calls: np.histogram(array[:calls], 30),
        "histogram": lambda calls: histogram(array[:calls]),
        "histogram, written": written(folder, array),
    }
    for name, peer in HISTOGRAM_PEERS.items():
        with contextlib.suppress(ImportError):
            variants[name] = peer(folder, array)
    return variants


def main() -> None:
    options = arguments(__doc__)
    calls, rounds = (SCALARS, 2) if options.quick else (2 * SCALARS, 21)
    elements = 10_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        tables = {
            "a scalar, in blocks of 256 steps of 2 metrics": interleave(
                scalar_variants(folder), "raw columns", calls, rounds
            ),
            f"an element of a histogram of {elements:,} float32": interleave(
                histogram_variants(folder, elements), "one pass: max", elements, rounds
            ),
        }
    about = machine("numpy", "google-crc32c", "tensorboard", "torch", "tensorboardX", "tensorflow", "tensorflow-cpu")
    report(tables, about, as_json=options.json)


if __name__ == "__main__":
    main()
