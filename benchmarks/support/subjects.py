"""The subjects of faults: our sinks and those of peers, each driven through its own kind of training.

Contract. A subject records ``count`` scalars into a folder and calls ``on_scalar`` with the number of each once it was
delivered, in the middle of the training: what that raises, the training raises. `Subject.recorded` counts what can be
read afterwards, in any process. Only `Subject.load` imports frameworks.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

OnScalar = Callable[[int], object]
Value = Callable[[int], Any]


class Subject:
    """A recorder to test.

    Attributes:
        name: Its name in the table.
        family: The process that it runs in, with others that need the same imports.
        needs: The package that must be installed.
        slowness: The divisor of the numbers of scalars, for slow recorders.
        kept: The object that a user still has after a training has raised.
    """

    name = ""
    family = ""
    needs = ""
    slowness = 1
    kept: Any = None

    @classmethod
    def is_installed(cls) -> bool:
        return importlib.util.find_spec(cls.needs) is not None

    def load(self) -> None:
        """Import what is needed."""
        raise NotImplementedError

    def train(self, folder: Path, count: int, on_scalar: OnScalar, value: Value) -> None:
        """Record a number of values, one per step."""
        raise NotImplementedError

    def raising(self, folder: Path, count: int, served: list[int]) -> None:
        """Train with a hook that raises at the third step; another one appends each step to ``served``."""
        raise NotImplementedError

    def ending(self, folder: Path, called: list[str]) -> None:
        """Train with a step that raises a `RuntimeError`; a hook for the end appends its name to ``called``."""
        raise NotImplementedError

    def recorded(self, folder: Path) -> int:
        """Count the scalars that can be read."""
        raise NotImplementedError


def csv_rows(path: Path) -> int:
    """Count a file's rows that have a field for each column, without the header."""
    if not path.exists():
        return 0
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return sum(len(row) == len(rows[0]) and row != rows[0] for row in rows)


def scalars_in(folder: Path, tag: str) -> int:
    """Count a tag's values in the event files within a folder."""
    from monitor_core.tensorboard.formats.event_file import read_events

    files = [path for path in folder.rglob("*tfevents*") if path.is_file()]
    return sum(value.tag == tag for file in files for event in read_events(file) for value in event.summary.value)


def fail(step: int) -> None:
    """Raise at the fifth step."""
    if step == 5:
        raise RuntimeError("the training's own")


# --- ours ------------------------------------------------------------------------------------------------------------


class Ours(Subject):
    """Our loop with one sink."""

    family, needs = "monitor_core", "monitor_core"

    def load(self) -> None:
        import monitor_core
        import monitor_core.journal.recorded

        monitor_core.TensorBoard, monitor_core.Journal, monitor_core.CSVLogger  # noqa: B018 (imports them)

    def sink(self, folder: Path) -> Any:
        raise NotImplementedError

    def train(self, folder: Path, count: int, on_scalar: OnScalar, value: Value) -> None:
        self._run([self.sink(folder)], count, on_scalar, value)

    def _run(self, sinks: list[Any], count: int, on_scalar: OnScalar, value: Value) -> None:
        from monitor_core import Loop

        self.kept = sinks
        with Loop(*sinks) as loop:
            loop.bus.slow_share = float("inf")  # compared with steps that take no time, every sink is slow
            for _ in loop.epochs(1):
                for _ in loop.batches(range(count)):
                    if loop.run.step:
                        on_scalar(loop.run.step)
                    loop.log(loss=value(loop.run.step + 1))
                on_scalar(count)

    def raising(self, folder: Path, count: int, served: list[int]) -> None:
        from monitor_core import on

        @on("batch_end")
        def broken(run: Any, step: int, logs: Any) -> None:
            if step == 3:
                raise ValueError("broken")

        @on("batch_end")
        def other(run: Any, step: int, logs: Any) -> None:
            served.append(step)

        self._run([self.sink(folder), broken, other], count, bool, float)

    def ending(self, folder: Path, called: list[str]) -> None:
        from monitor_core import on

        @on("train_end")
        def end(run: Any, logs: Any) -> None:
            called.append("on_train_end")

        self._run([self.sink(folder), end], 9, fail, float)


class OurCSV(Ours):
    name = "monitor_core CSVLogger"

    def sink(self, folder: Path) -> Any:
        from monitor_core import CSVLogger

        return CSVLogger(folder / "log.csv", per_batch=True)

    def recorded(self, folder: Path) -> int:
        return csv_rows(folder / "log.csv")


class OurBoard(Ours):
    name = "monitor_core TensorBoard"

    def sink(self, folder: Path) -> Any:
        from monitor_core import TensorBoard

        return TensorBoard(folder / "board", update_freq="batch", write_graph=False)

    def recorded(self, folder: Path) -> int:
        return scalars_in(folder, "batch_loss")


class OurJournal(Ours):
    name = "monitor_core Journal"

    def sink(self, folder: Path) -> Any:
        from monitor_core import Journal

        return Journal(folder / "journal")

    def recorded(self, folder: Path) -> int:
        from monitor_core.journal.recorded import open_run

        return len(open_run(folder / "journal").batches)
