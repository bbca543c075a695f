"""Resuming an interrupted run: what ``resume=...`` of a `Loop` or an adapter does besides recording.

Contract. The run's folder gets a folder ``resume`` with the last checkpoint: the model's weights, and the states of
the run, of all sinks, of the optimizer and of the random generators. The first checkpoint is saved at train begin,
the others at the ends of epochs, but not of a run that has failed. On several ranks, rank 0 writes it once they have
agreed on what is decided there, with the generators and the data's position of each; all read the same folder. A run
that begins with such a folder continues after the epoch of its last checkpoint; what was recorded later is dropped,
and trained again. It trains even if it had been asked to stop, unless a sink asks again at once. If the journal has
epochs but there is no checkpoint, no file is changed.

This module combines sinks. Only it and `monitor_core.loop.recording` import sinks within the core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs

from monitor_core._log import logger
from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.bus.bus import Bus
from monitor_core.bus.hooks import sink_name
from monitor_core.bus.run import Run
from monitor_core.bus.shared_run import SharedRun
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import OrderError, RankError, SetupError
from monitor_core.files.checkpoint_index import STATES, Keep
from monitor_core.files.checkpoints import CheckpointStore
from monitor_core.files.rank_states import joined, own_part
from monitor_core.files.resume_state import check_state, resume, whole_state
from monitor_core.files.shards import Together, is_sharded, save_together
from monitor_core.files.templates import Template
from monitor_core.journal.facts import Raised, Stop
from monitor_core.journal.files import Damage, Kind
from monitor_core.journal.recorded import read_runs, record_of
from monitor_core.journal.run_records import RunRecord
from monitor_core.ranks.states import RankStates

Newest = tuple[dict[str, Any], Path] | None
"""What `CheckpointStore.newest_state` returns."""

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
    _parts: Sequence[bytes] = attrs.field(init=False, repr=False, default=())
    _due: float = attrs.field(init=False, repr=False, default=0.0)

    def own(self) -> None:
        """Take ownership of the files until train end; in `on_train_begin` it would be too late.

        Raises:
            SetupError: The folder cannot be written, or another process owns it.
        """
        self.store.folder.prepare()
        self.store.folder.own()

    def resume(self, bus: Bus, newest: Newest = None) -> bool:
        """Continue from the last checkpoint, which may have been read already; return whether there was one."""
        run = bus.run
        ranks = 1 if run.rank_requests is None else run.ranks
        newest = newest or self.store.newest_state()
        return resume(newest, lambda state: _load(bus, state), run.model, rank=run.rank, ranks=ranks)

    def join_ranks(self, run: Run, parts: Sequence[bytes]) -> None:
        """Save with the other ranks of a run, of which the first one writes.

        Args:
            run: The run.
            parts: What each rank has of its own now.
        """
        self._parts = parts
        run.rank_states = RankStates(
            is_due=lambda: run.rank == 0 and self._is_due(run),
            own=lambda: _own_part(run),
            save=lambda parts: self._save_all(run, parts),
        )

    def on_train_begin(self, run: Run) -> None:
        """Save the initial state, unless the run continues from a checkpoint.

        Raises:
            SetupError: The state cannot be saved.
        """
        if run.rank == 0:
            check_state(run.bus_state, "resume", "resume=")
            self.own()
            self.store.begin()
            self._due = 0.0
        if not run.resumed or not self.store.index_path.exists():
            try:
                self._save_on_all(run, self._parts)
            except RankError:
                raise
            except Exception as error:
                raise SetupError(f"resume: the model cannot be saved to {self.store.folder.path}: {error}") from error

    def wants_rank(self, run: Run) -> bool:
        """Help rank 0 to save a model whose parts are on several ranks."""
        return is_sharded(run.model)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Save, unless the last save was too recent, or the run has failed: it then continues from an earlier save."""
        if run.rank_states is None and not run.failed and self._is_due(run):
            self._save(run)

    def _is_due(self, run: Run) -> bool:
        return time.monotonic() >= self._due or run.stopped or run.epoch + 1 == run.epochs

    def _save_all(self, run: Run, parts: list[bytes]) -> None:
        """Save what all ranks have; if that fails, the last checkpoint stays, and the training continues."""
        try:
            with deferred_interrupts:
                self._save_on_all(run, parts)
        except RankError:
            raise
        except Exception as error:
            if run.rank == 0:
                logger.warning("resume: the state of epoch %d could not be saved", run.epoch + 1, exc_info=error)

    def _save_on_all(self, run: Run, parts: Sequence[bytes]) -> None:
        """Save on rank 0, with the help of the others if they have parts of the model."""
        what = f"resume {run.epoch}"
        save_together(run.model, run.rank, run.share, what, lambda together: self._save(run, parts, together))

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Let other processes continue the run."""
        if run.rank == 0:
            self.store.folder.disown()

    def _save(self, run: Run, parts: Sequence[bytes] = (), together: Together | None = None) -> None:
        began = time.monotonic()
        try:
            path = self.store.folder.file({"epoch": run.epoch + 1}, {})
            saved = self.store.write(run.model, path, epoch=run.epoch, step=run.step, value=None, together=together)
            if saved is not None:
                self.store.enter(saved, lambda: self._state(run, parts))
        finally:
            ended = time.monotonic()
            self._due = ended + (ended - began) / SHARE

    def _state(self, run: Run, parts: Sequence[bytes]) -> dict[str, Any]:
        state = whole_state(run.bus_state, run.model)
        return state if run.rank_states is None else {**state, "ranks": joined(run.ranks, parts)}

    def state_dict(self) -> dict[str, Any]:
        """Return the kept files."""
        return {"files": self.store.to_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the files that `state_dict` returned.

        Raises:
            ValueError: A file lies outside of the folder.
        """
        self.store.load_files(state["files"])


def _name(newest: Newest) -> str:
    return "None" if newest is None else newest[1].name


def _own_part(run: Run) -> bytes:
    return own_part(run.model, run.state_dict().get("data"))


def _load(bus: Bus, state: Mapping[str, Any]) -> None:
    """Load the state of a bus; on a rank that has fewer sinks than the first one, that of its own."""
    if bus.run.rank:
        names = set(map(sink_name, bus.sinks))
        state = {**state, "sinks": [each for each in state["sinks"] if each["sink"] in names]}
    bus.load_state_dict(state)


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
            SetupError: The job has several ranks that are not connected, another process uses the folder, or its files
                are incomplete, or do not fit this run.
            RankError: Of several ranks, not all continue the run.
        """
        if self._is_used:
            raise OrderError(
                f"resume={str(self.folder)!r} is for one run, and this is the second: put several fits into one "
                "Loop(..., resume=...), or give each run its own folder"
            )
        with self._bus.among_ranks() as shared:
            run = self._bus.run
            if shared is None and run.ranks > 1:
                raise SetupError(
                    f"resume= needs ranks that train together, and rank {run.rank} of {run.ranks} is not connected to "
                    "the others: initialize torch.distributed or jax.distributed first, or use record="
                )
            return self._begin_here() if shared is None else self._begin_on_all(shared)

    def _begin_on_all(self, shared: SharedRun) -> bool:
        """Let rank 0 prepare the folder; then the others read the same checkpoint, before rank 0 changes anything."""
        run = self._bus.run
        if run.rank == 0:
            point = self._prepared_point()
            newest = self._newest(point)
            shared.share("the checkpoint", _name(newest).encode())
        else:
            point = self._point()
            theirs = shared.share("the checkpoint", b"")[0].decode()
            newest = self._newest(point, None if theirs == _name(None) else theirs)
            if (own := _name(newest)) != theirs:
                raise SetupError(
                    f"resume: all ranks must see one folder, but rank {run.rank} has the checkpoint {own} in "
                    f"{self.folder}, and rank 0 has {theirs}: pass a folder of a file system that they share"
                )
        continues = self._resume(point, *self._runs(), newest=newest)
        point.join_ranks(run, shared.share("the ranks' states", _own_part(run)))
        return continues

    def _newest(self, point: ResumePoint, found: str | None = None) -> Newest:
        """Return the last checkpoint's state and file, or those that rank 0 has found; None if there are none."""
        try:
            return point.store.newest_state(found)
        except (ValueError, LookupError, OSError) as error:
            raise self._impossible(error) from error

    def _begin_here(self) -> bool:
        return self._resume(self._prepared_point(), *self._runs())

    def _prepared_point(self) -> ResumePoint:
        """Take ownership of the run's folder for this process, before reading it."""
        self._prepare()
        point = self._point()
        try:
            point.own()
        except SetupError as error:
            raise SetupError(f"resume: the run in {self.folder} cannot be begun: {error.__cause__ or error}") from error
        return point

    def _resume(
        self, point: ResumePoint, runs: list[RunRecord], damage: list[Damage], *, newest: Newest = None
    ) -> bool:
        if not point.store.index_path.exists():
            self._begin_first(point, runs)
        self._bus.add(point)
        self._is_used = True
        try:
            continues = point.resume(self._bus, newest)
        except (ValueError, LookupError, OSError) as error:
            raise self._impossible(error) from error
        if continues:
            self._continue(runs, damage)
        return continues

    def _impossible(self, error: Exception) -> SetupError:
        return SetupError(f"resume: the run in {self.folder} cannot continue: {error}")

    def continue_record(self) -> None:
        """Pass the journal's record up to the checkpoint to the sinks, where an adapter has loaded the run's state."""
        self._continue(*self._runs())

    def _point(self) -> ResumePoint:
        suffix = getattr(self._bus.run.model, "weights_suffix", "")
        folder = str(self.folder / "resume").replace("{", "{{").replace("}", "}}")
        template = Template(f"{folder}/{{epoch:06d}}{suffix}", numbers=("epoch",))
        return ResumePoint(
            CheckpointStore(template, "resume", keep=Keep(last=STATES), weights_only=True, has_states=True)
        )

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
