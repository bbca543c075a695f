"""Read event files back by TensorBoard's own readers, for the tests of what is written for it."""

from pathlib import Path

import numpy as np


def accumulated(folder):
    """Return TensorBoard's accumulator of a run's folder, with all that is in its files."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import (
        STORE_EVERYTHING_SIZE_GUIDANCE,
        EventAccumulator,
    )

    accumulator = EventAccumulator(str(folder), STORE_EVERYTHING_SIZE_GUIDANCE)
    accumulator.Reload()
    return accumulator


def tensors(folder):
    """Return each tag's steps and values, as arrays."""
    from tensorboard.util.tensor_util import make_ndarray

    accumulator = accumulated(folder)
    return {
        tag: [(event.step, make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }


def plugins(folder):
    """Return which plugin of TensorBoard each tag belongs to."""
    accumulator = accumulated(folder)
    return {tag: accumulator.SummaryMetadata(tag).plugin_data.plugin_name for tag in accumulator.Tags()["tensors"]}


def scalars(folder, prefix=""):
    """Return each scalar's steps and values, as floats, of those tags that begin so."""
    kinds = plugins(folder)
    return {
        tag: [(step, float(value)) for step, value in events]
        for tag, events in tensors(folder).items()
        if kinds[tag] == "scalars" and tag.startswith(prefix)
    }


def steps(folder, tag):
    """Return the steps of a tag, none if it is not there."""
    return [step for step, _ in tensors(folder).get(tag, [])]


def tree(folder):
    """Return the runs of a log folder: the folders with event files, by name."""
    return sorted({path.parent.relative_to(folder).as_posix() for path in Path(folder).rglob("*tfevents*")})


def float32(value):
    """Return a float as TensorBoard has it."""
    return float(np.float32(value))


def written(folder):
    """Return how often each scalar was written in all files of a folder: its tag, step and value."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    counts = {}
    for path in sorted(Path(folder).glob("*tfevents*")):
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            for value in event.summary.value:
                key = (value.tag, event.step, value.simple_value)
                counts[key] = counts.get(key, 0) + 1
    return counts
