"""Going on with a run that was cut off: what ``resume=...`` of a `Loop` or an adapter does.

Contract. The run's folder gets a journal, unless there is one among the sinks, and a folder ``resume`` with the last
checkpoint: the model's weights, and beside them the states of the run, of all sinks, of the optimizer and of the
random generators. The first is made at train begin, the others at the ends of epochs. A run that begins with such a
folder goes on behind the epoch of its last checkpoint; what was recorded later is dropped, and trained anew.

This module puts sinks together, and so, alone in the core, it imports some.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import attrs

from monitor_core._log import logger
from monitor_core.bus.bus import Bus
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import OrderError, SetupError
from monitor_core.files.checkpoint_index import STATES, Keep
from monitor_core.files.checkpoints import CheckpointStore
from monitor_core.files.resume_state import check_state, resume, whole_state
from monitor_core.files.templates import Template
from monitor_core.journal.files import Damage, Kind
from monitor_core.journal.recorded import read_runs, record_of
from monitor_core.journal.run_records import RunRecord
from monitor_core.sinks.journal import Journal

SHARE = 0.02
"""The part of the run's time that saving may take."""


@attrs.define(eq=False)
class ResumePoint(Sink):
    """Save what a run needs to continue: at its begin, at its last epoch's end, and as often between as `SHARE` allows.

    Args:
        store: The checkpoints, of weights alone.
    """

    name: ClassVar[str] = "resume"
    read_only: ClassVar[bool] = True
    saves: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("save",)

    store: CheckpointStore
    _due: float = attrs.field(init=False, repr=False, default=0.0)

    def own(self) -> None:
        """Keep other processes from the files until the train's end; that of `on_train_begin` would come too late.

        Raises:
            SetupError: The folder cannot be written, or another process owns them.
        """
        self.store.folder.prepare()
        self.store.folder.own()

    def resume(self, bus: Bus) -> bool:
        """Continue from the last checkpoint; return whether there was one."""
        return resume(self.store, bus.load_state_dict, bus.run.model)

    def on_train_begin(self, run: Run) -> None:
        """Save the state to begin from, unless the run continues from one.

        Raises:
            SetupError: It cannot be saved.
        """
        check_state(run.bus_state, "resume", "resume=")
        self.own()
        self._due = 0.0
        if self.store.files is None:
            self.store.begin()
            try:
                self._save(run)
            except Exception as error:
                raise SetupError(f"resume: the model cannot be saved to {self.store.folder.path}: {error}") from error

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Save, unless the last time was too short ago."""
        if time.monotonic() >= self._due or run.stopped or epoch + 1 == run.epochs:
            self._save(run)

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Let other processes continue the run."""
        self.store.folder.disown()

    def _save(self, run: Run) -> None:
        began = time.monotonic()
        try:
            path = self.store.folder.file({"epoch": run.epoch + 1}, {})
            saved = self.store.write(run.model, path, epoch=run.epoch, step=run.step, value=None)
            if saved is not None:
                self.store.enter(saved, lambda: whole_state(run.bus_state, run.model))
        finally:
            ended = time.monotonic()
            self._due = ended + (ended - began) / SHARE

    def state_dict(self) -> dict[str, Any]:
        """Return the files that are kept."""
        return {"files": self.store.to_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the files that `state_dict` named.

        Raises:
            ValueError: A file lies outside of the folder.
        """
        self.store.load_files(state["files"])


class Resume:
    """Lets a bus's run go on from a folder.

    Args:
        bus: The bus, with its sinks.
        folder: The run's folder.

    Raises:
        TypeError: ``folder`` is no path.
    """

    def __init__(self, bus: Bus, folder: str | PathLike[str]) -> None:
        if not isinstance(folder, (str, PathLike)):
            raise TypeError(f"resume must be the path of the run's folder (got {folder!r})")
        self.folder = Path(folder).absolute()  # wherever the process goes
        self._bus = bus
        self._is_used = False
        journal = next(
            (each for each in bus.sinks if isinstance(each, Journal) and _same(each.folder, self.folder)), None
        )
        if journal is None:
            journal = Journal(self.folder, per_batch=bus.has_listeners("on_block"))
            bus.add(journal)
        self._journal = journal

    def begin(self) -> bool:
        """Go on with the run on record; call it once the bus has the model's handle, before train begin.

        Returns:
            Whether there was one.

        Raises:
            OrderError: A run of this bus has begun already.
            SetupError: Another process is at it, or what is on record does not fit this run.
        """
        if self._is_used:
            raise OrderError(
                f"resume={str(self.folder)!r} is for one run, and this is the second: put several fits into one "
                "Loop(..., resume=...), or give each run a folder of its own"
            )
        point = self._owned_point()
        runs, damage = self._runs()
        last = runs[-1] if runs else RunRecord()
        self._bus.add(point)
        self._is_used = True
        try:
            goes_on = point.resume(self._bus)
        except (ValueError, LookupError, OSError) as error:
            raise SetupError(f"resume: the run in {self.folder} cannot go on: {error}") from error
        if last.begin is not None and (goes_on or not last.rows(Kind.EPOCH)):
            self._journal.continue_run(last.begin.id)
        if goes_on:
            self._load(runs, damage)
        return goes_on

    def _owned_point(self) -> ResumePoint:
        """Become the one process that is at this run, before anything of it is read."""
        suffix = getattr(self._bus.run.model, "weights_suffix", "")
        folder = str(self.folder / "resume").replace("{", "{{").replace("}", "}}")
        template = Template(f"{folder}/{{epoch:06d}}{suffix}", numbers=("epoch",))
        point = ResumePoint(CheckpointStore(template, "resume", keep=Keep(last=STATES), weights_only=True))
        try:
            point.own()
        except SetupError as error:
            raise SetupError(f"resume: the run in {self.folder} cannot be begun: {error.__cause__ or error}") from error
        return point

    def _runs(self) -> tuple[list[RunRecord], list[Damage]]:
        try:
            return read_runs(self.folder)
        except FileNotFoundError:
            return [], []

    def _load(self, runs: list[RunRecord], damage: list[Damage]) -> None:
        """Let the sinks that keep what they heard in memory take it from the journal, up to where the run goes on."""
        run = self._bus.run
        logger.info("the run in %s goes on with epoch %d, behind step %d", self.folder, run.epoch + 1, run.step)
        if not runs:
            logger.warning("the run in %s goes on without what it had recorded: its journal is not there", self.folder)
            return
        keepers = [sink for sink in self._bus.sinks if hasattr(sink, "load_record")]
        if keepers:
            runs[-1].go_back(run.epoch + 1, run.step)
            recorded = record_of(self.folder, runs, damage)
            for sink in keepers:
                sink.load_record(recorded)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
