"""Resuming an interrupted run: what ``resume=...`` of a `Loop` or an adapter does besides recording.

Contract. The run's folder gets a folder ``resume`` with the last checkpoint: the model's weights, and the states of the
run, of all sinks, of the optimizer and of the random generators. The first checkpoint is saved at train begin, the
others at the ends of epochs, but not of a run that has failed. A run that begins with such a folder continues after the
epoch of its last checkpoint; what was recorded later is dropped, and trained again. It trains even if it had been asked
to stop, unless a sink asks again at once. If the journal has epochs but there is no checkpoint, no file is changed.

This module combines sinks. Only it and `monitor_core.loop.recording` import sinks within the core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs

from monitor_core import frameworks
from monitor_core._log import logger
from monitor_core.bus.bus import Bus
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import OrderError, SetupError
from monitor_core.files.checkpoint_index import STATES, Keep
from monitor_core.files.checkpoints import CheckpointStore
from monitor_core.files.resume_state import check_state, resume, whole_state
from monitor_core.files.templates import Template
from monitor_core.journal.facts import Raised, Stop
from monitor_core.journal.files import Damage, Kind
from monitor_core.journal.recorded import read_runs, record_of
from monitor_core.journal.run_records import RunRecord

SHARE = 0.02
"""The share of the run's time that saving may take."""


@attrs.define(eq=False)
class ResumePoint(Sink):
    """Save what a run needs to continue: at its begin, at its last epoch's end, and between as often as `SHARE` allows.

    Args:
        store: The checkpoints, of weights only.
    """

    name: ClassVar[str] = "resume"
    read_only: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    saves: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("save",)

    store: CheckpointStore
    _due: float = attrs.field(init=False, repr=False, default=0.0)

    def own(self) -> None:
        """Take ownership of the files until train end; in `on_train_begin` it would be too late.

        Raises:
            SetupError: The folder cannot be written, or another process owns it.
        """
        self.store.folder.prepare()
        self.store.folder.own()

    def resume(self, bus: Bus) -> bool:
        """Continue from the last checkpoint; return whether there was one."""
        return resume(self.store, bus.load_state_dict, bus.run.model)

    def on_train_begin(self, run: Run) -> None:
        """Save the initial state, unless the run continues from a checkpoint.

        Raises:
            SetupError: The state cannot be saved.
        """
        check_state(run.bus_state, "resume", "resume=")
        self.own()
        self.store.begin()
        self._due = 0.0
        if not run.resumed or not self.store.index_path.exists():
            try:
                self._save(run)
            except Exception as error:
                raise SetupError(f"resume: the model cannot be saved to {self.store.folder.path}: {error}") from error

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Save, unless the last save was too recent, or the run has failed: it then continues from an earlier save."""
        if not run.failed and (time.monotonic() >= self._due or run.stopped or epoch + 1 == run.epochs):
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
        """Return the kept files."""
        return {"files": self.store.to_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the files that `state_dict` returned.

        Raises:
            ValueError: A file lies outside of the folder.
        """
        self.store.load_files(state["files"])


class Resume:
    """Lets a bus's run continue from a folder.

    Args:
        bus: The bus, with its sinks.
        folder: The run's folder, absolute.
        prepare: Called before the folder is read.
    """

    def __init__(self, bus: Bus, folder: Path, prepare: Callable[[], None] = lambda: None) -> None:
        self.folder = folder
        self._prepare = prepare
        self._bus = bus
        self._is_used = False

    def begin(self) -> bool:
        """Continue the recorded run; call it once the bus has the model's handle, before train begin.

        Returns:
            Whether there was one.

        Raises:
            OrderError: A run of this bus has begun already.
            SetupError: The job has several ranks, another process uses the folder, or its files are incomplete or do
                not fit this run.
        """
        if self._is_used:
            raise OrderError(
                f"resume={str(self.folder)!r} is for one run, and this is the second: put several fits into one "
                "Loop(..., resume=...), or give each run its own folder"
            )
        rank, ranks = frameworks.ranks()
        if ranks > 1:
            raise SetupError(f"resume= is for one process, and this is rank {rank} of {ranks}: use record=")
        self._prepare()
        point = self._owned_point()
        runs, damage = self._runs()
        if not point.store.index_path.exists():
            self._begin_first(point, runs)
        self._bus.add(point)
        self._is_used = True
        try:
            continues = point.resume(self._bus)
        except (ValueError, LookupError, OSError) as error:
            raise SetupError(f"resume: the run in {self.folder} cannot continue: {error}") from error
        if continues:
            self._continue(runs, damage)
        return continues

    def continue_record(self) -> None:
        """Pass the journal's record up to the checkpoint to the sinks, where an adapter has loaded the run's state."""
        self._continue(*self._runs())

    def _owned_point(self) -> ResumePoint:
        """Take ownership of the run's folder for this process, before reading it."""
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

    def _begin_first(self, point: ResumePoint, runs: list[RunRecord]) -> None:
        """Begin without a checkpoint: a new run, or again one that was killed before its first checkpoint."""
        last = runs[-1] if runs else RunRecord()
        index = point.store.index_path
        if epochs := last.rows(Kind.EPOCH):
            raise SetupError(
                f"resume: the run in {self.folder} cannot continue: its journal has epochs up to {epochs[-1].epoch} "
                f"(0-based), but its checkpoint is missing: there is no {index}. Put the files "
                f"of {index.parent} back, or begin a new run: in another folder, or here after moving the journal's "
                "files (journal-*.mcj) away"
            )
        if last.begin is not None:
            self._bus.run.id = last.begin.id

    def _continue(self, runs: list[RunRecord], damage: list[Damage]) -> None:
        """Pass the journal's record up to the checkpoint to the sinks; log why the run had ended."""
        run = self._bus.run
        logger.info("the run in %s continues with epoch %d, after step %d", self.folder, run.epoch + 1, run.step)
        numbers = [number for number, each in enumerate(runs) if each.begin is not None and each.begin.id == run.id]
        if not numbers:
            logger.warning("the run in %s continues without its earlier record: its journal is missing", self.folder)
            return
        runs = runs[: numbers[-1] + 1]
        for record in runs[-1].records:
            fact = record.content
            if isinstance(fact, (Stop, Raised)) and fact.step > run.step:  # else the checkpoint has it
                why = fact.reason if isinstance(fact, Stop) else fact.error
                logger.info("it had ended in epoch %d, at step %d: %s", fact.epoch, fact.step, why)
        runs[-1].go_back(run.epoch + 1, run.step)
        self._bus.resumption.recorded = record_of(self.folder, runs, damage)
