"""The measured sinks: each alone, and all of them together, the full stack."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import monitor_core
from monitor_core import Bus, CSVLogger, EarlyStopping, History, Progress, ReduceLROnPlateau

NEVER = 10**9
"""A patience longer than any benchmark."""
FULL = "full stack"


class NullTerminal(io.TextIOBase):
    """A terminal that shows nothing, so that bars are drawn as for a user."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


def sinks(folder: Path) -> dict[str, object]:
    """Return new sinks by name, together the full stack; they write to a new folder inside the given one."""
    folder = next(path for number in itertools.count() if not (path := folder / str(number)).exists())
    folder.mkdir(parents=True)
    made: dict[str, object] = {
        "History, every batch": History(per_batch=True),
        "CSVLogger, every batch": CSVLogger(folder / "log.csv", per_batch=True),
        "EarlyStopping": EarlyStopping("loss", patience=NEVER),
        "ReduceLROnPlateau": ReduceLROnPlateau("loss", patience=NEVER),
        "Progress, bars": Progress(file=NullTerminal()),
    }
    if (board := tensorboard(folder / "board")) is not None:
        made["TensorBoard, every batch"] = board
    return made


def tensorboard(folder: Path) -> object | None:
    """Return a TensorBoard sink that records every batch; None if the package has none yet."""
    kind = getattr(monitor_core, "TensorBoard", None)
    return None if kind is None else kind(folder, update_freq="batch")


def alone(folder: Path) -> dict[str, list[object]]:
    """Return the full stack, and each of its sinks alone, by name."""
    names = list(sinks(folder))
    return {FULL: list(sinks(folder).values()), **{name: [sinks(folder)[name]] for name in names}}


def check(bus: Bus) -> None:
    """Check, after the run's end, that the measured sinks have worked.

    Raises:
        RuntimeError: A sink failed, or a history lacks batches.
    """
    if bus.failures:
        raise RuntimeError(f"a measured sink failed: {bus.failures[0]}")
    for sink in bus.sinks:
        if isinstance(sink, History) and (recorded := len(sink.batches)) != bus.run.step:
            raise RuntimeError(f"a history has {recorded} batches of {bus.run.step}")
