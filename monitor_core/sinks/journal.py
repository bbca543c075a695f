"""The journal: an append-only record of a run on disk that survives a killed process.

Contract. When a hook returns, the operating system has what it recorded: it survives a killed process; a power failure
loses what was not yet synced. Once the run has begun, a failure to write the file does not end it: records that cannot
be written wait, see `AppendFile`. Each process writes its own file in the folder. `monitor_core.open_run` reads them.
Where the folder is in a store, all this holds for a local one, from which a mirror uploads: see `monitor_core.store`.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from monitor_core import checks
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.finding import Finding
from monitor_core.bus.origin import announce, withdraw
from monitor_core.bus.run import Failure, Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.journal import provenance
from monitor_core.journal.facts import (
    Asked,
    Begin,
    Checkpoint,
    End,
    Fact,
    Found,
    Interval,
    MidepochEvaluation,
    Partial,
    Plan,
    Raised,
    RateChange,
    Rewind,
    SinkFailure,
    Stop,
    as_json,
)
from monitor_core.journal.probes import arrays_of
from monitor_core.journal.recorded import read_runs
from monitor_core.journal.snapshots import arrays_of as snapshot_arrays
from monitor_core.journal.summary import Tally, tally_of
from monitor_core.journal.writer import JournalWriter
from monitor_core.model.probe import Probe
from monitor_core.model.snapshot import Snapshot
from monitor_core.store.addresses import StorePath, located
from monitor_core.values.blocks import Block
from monitor_core.values.labels import EvaluationLabel

if TYPE_CHECKING:
    from monitor_core.store.mirror import Mirror


def _copied_config(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"config must be a mapping (got {value!r})")
    try:
        copy: dict[str, Any] = as_json(value or {})
        json.dumps(copy)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"config must be storable as JSON: {error}") from None
    return copy


def _placed(folder: str | PathLike[str]) -> Path:
    return located(folder).absolute()


def _check_parent(_: Any, __: Any, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"parent must be the id of a run or a name (got {value!r})")
    if value is not None and not value:
        raise ValueError("parent must not be empty: leave it out if the run is part of nothing")


SUMMARY_SECONDS = 60.0
"""After how long the summary is written again."""


@attrs.define
class _OnRecord:
    """What is already recorded of the current run."""

    run: Run
    tally: Tally
    planned: bool = False
    due: float = 0.0
    stopped: bool = False
    failures: int = 0
    saves: int = 0
    findings: int = 0
    requests: int = 0

    def new(self, what: str) -> Iterator[Any]:
        """Yield what the run has of a kind that is not recorded yet; each counts as recorded from then on."""
        for each in getattr(self.run, what)[getattr(self, what) :]:
            setattr(self, what, getattr(self, what) + 1)
            yield each


@attrs.define(eq=False)
class Journal(Sink):
    """Record a run in a folder: every batch and epoch, decisions with their reasons, failures, and its provenance.

    What sinks see inside the model is recorded too, see `Diagnosis` and `Inside`.

    The provenance is the given configuration, the versions of Python, this package and the imported frameworks, the git
    commit of the working directory, the command line, the host and the process. In the command line, values of options
    that look secret are masked (``--api-key=***``), and so are passwords in URLs; the configuration is recorded as it
    is given. Only the files' owner may read them.

    Records are never changed: where a run goes back to a checkpoint, that is recorded too, and `open_run` leaves out
    what was recorded after the checkpoint. Later runs are appended. Processes that write to one folder have a file
    each, and their runs stay separate.

    It also records what the run is part of: ``parent``; or the study whose trial it is, if a sink knows that; or the
    run of another process during which this process was started; or the SLURM array that this process is a task of.

    Args:
        folder: The run's folder; created if missing. Or its address in a store, such as ``s3://bucket/runs/a``: the run
            is then recorded in a local folder, and uploaded from there in the background.
        per_batch: Whether to record every batch: 24 bytes, and 8 for each further metric.
        per_rank: Whether every rank of a job records, each in a file of its own; otherwise rank 0 does.
        config: The run's configuration, such as hyperparameters by name; it is copied. Values that JSON cannot hold
            are recorded as strings. The hyperparameters that a study chose for the run are added.
        parent: What the run is part of: the id of a run, or any name that is not empty; None: see above.

    Attributes:
        path: The file on this machine, None before the first run.
        dropped: How many values were dropped because they could not be written for too long; a decision, a failure or
            another fact counts as one.

    Raises:
        ImportError: fsspec, or its package for the address, is not installed.
        TypeError: ``config`` is not a mapping, or ``parent`` is not a string.
        ValueError: ``config`` contains itself, or an integer with too many digits to write; or ``parent`` is empty.
        SetupError: The store refuses to be written, or has no such bucket. At train begin: the folder cannot be
            written, or what another machine has recorded at the address cannot be fetched.

    Example:
        >>> with Loop(Journal("runs/a", config={"width": 8})) as loop:
        ...     for epoch in loop.epochs(2):
        ...         loop.log(loss=1 / (epoch + 1))
        >>> open_run("runs/a").history["loss"]
        array([1. , 0.5])
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    background: ClassVar[bool] = True

    folder: Path = attrs.field(converter=_placed)
    per_batch: bool = attrs.field(default=True, kw_only=True, validator=checks.boolean)
    per_rank: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)  # type: ignore[misc]
    config: dict[str, Any] = attrs.field(default=None, kw_only=True, converter=_copied_config, repr=False)
    parent: str | None = attrs.field(default=None, kw_only=True, validator=_check_parent)
    _writer: JournalWriter | None = attrs.field(init=False, default=None, repr=False)
    _open: _OnRecord | None = attrs.field(init=False, default=None, repr=False)
    _last: _OnRecord | None = attrs.field(init=False, default=None, repr=False)
    _rates: list[float] | None = attrs.field(init=False, default=None, repr=False)
    _stop: list[Any] | None = attrs.field(init=False, default=None, repr=False)
    _last_time: float = attrs.field(init=False, default=0.0, repr=False)
    _mirror: Mirror | None = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.folder, StorePath):
            from monitor_core.store.mirror import check  # here and below, not before: a folder needs none of it

            check(self.folder)

    @property
    def home(self) -> Path:
        """The folder on this machine: where a store is recorded in, or the folder itself."""
        if not isinstance(self.folder, StorePath):
            return self.folder
        from monitor_core.store.spool import Spool

        return Spool(self.folder).folder

    def prepare(self) -> None:
        """Fetch what a store has of the run, before it is continued; nothing for a folder on this machine.

        Raises:
            SetupError: It does not answer, or both it and this machine have gone on.
        """
        if isinstance(self.folder, StorePath):
            from monitor_core.store.mirror import mirror_of

            mirror_of(self.folder).prepare(must_reach=True)

    @property
    def path(self) -> Path | None:
        """The file, None before the first run."""
        return None if self._writer is None else self._writer.path

    @property
    def dropped(self) -> int:
        """How many values were dropped because they could not be written for too long; a fact counts as one."""
        return 0 if self._writer is None else self._writer.dropped

    def wants_hook(self, hook: str) -> bool:
        """Listen to blocks only if every batch is to be recorded."""
        return hook != "on_block" or self.per_batch

    # --- hooks -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, run: Run) -> None:
        """Create this process's file if there is none, and record the run's provenance."""
        if isinstance(self.folder, StorePath):
            from monitor_core.store.mirror import mirror_of

            self._mirror = mirror_of(self.folder)
            self._mirror.begin()
        if self._writer is None or not self._writer.is_ours:
            self._writer = JournalWriter(self.home)
        elif self._open is not None:  # an exception may have ended the run without its bus being notified
            self._write(End(status="interrupted", **self._place(self._open.run)))
            withdraw(self._open.run.id)
        self._rates = self._stop = None
        config = {**as_json({} if run.origin is None else run.origin.config), **self.config}
        parent = self.parent or (None if run.origin is None else run.origin.parent)
        about = {**provenance.describe(), "config": config, "parent": parent, "rank": run.rank, "ranks": run.ranks}
        about.update(self._place(run))
        begin = Begin(id=run.id, index=run.index, continues=run.id if run.resumed else None, **about)
        self._write(begin)
        self._open = self._last = _OnRecord(run, Tally(begin))
        run.folder = self.home
        announce(run.id, self.folder, self)
        self._note_findings(self._open)
        if run.probe is not None:  # of a sink whose train begin comes before
            self.on_probe(run, run.probe)
        self._summarize(self._open)

    def on_block(self, run: Run, block: Block) -> None:
        """Record the batches."""
        if self._writer is not None and self._open is not None:
            self._writer.block(block)
            self._open.tally.summary.advance(int(block.steps[-1]), float(block.times[-1]))
            self._note_requests(self._open)
            self._summarize_in_time(self._open)

    def on_evaluation_end(self, run: Run, logs: Logs) -> None:
        """Record an evaluation's results, if a run is open."""
        if self._writer is not None and self._open is not None and run.evaluation is not None:
            label = EvaluationLabel(run.evaluation.name, run.evaluation.prefix)
            self._writer.evaluation(label, run.epoch, run.evaluation.step, self._now(), logs)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Record that more batches follow an evaluation, and the decisions and failures since the last record."""
        if self._open is None or run.evaluation is None:
            return
        self._note_interval(run)
        place = {**self._place(run), "step": run.evaluation.step}
        self._write(MidepochEvaluation(name=run.evaluation.name, **place))
        self._plan(self._open, logs)
        self._open.tally.add(logs, epoch=int(run.epoch), step=place["step"], time=place["time"])
        self._note(self._open)
        self._summarize_in_time(self._open)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Record the epoch's results, and the decisions and failures since the last one."""
        if self._writer is None or self._open is None:
            return
        self._note_interval(run)
        place = self._place(run)
        self._writer.epoch(epoch, place["step"], place["time"], logs)
        if run.partial:
            self._write(Partial(**self._place(run)))
        rates = _learning_rates(run)
        self._plan(self._open, logs, rates)
        self._open.tally.add(logs, **{**place, "epoch": int(epoch)}, ends_epoch=True)
        self._note(self._open)
        self._note_rates(run, rates)
        self._summarize_in_time(self._open)

    def on_finding(self, run: Run, finding: Finding) -> None:
        """Record a finding; also one that is reported after this sink's ``on_train_end``."""
        if self._last is not None and self._last.run is run:  # else it comes before this sink's train begin
            self._note_findings(self._last)

    def on_probe(self, run: Run, probe: Probe) -> None:
        """Record what was seen inside the model."""
        if self._writer is not None and self._open is not None and self._open.run is run:
            self._writer.arrays(arrays_of(probe, self._now()))

    def on_snapshot(self, run: Run, snapshot: Snapshot) -> None:
        """Record a snapshot of the model; also one that is made after this sink's ``on_train_end``."""
        if self._writer is not None and self._last is not None and self._last.run is run:
            self._writer.arrays(snapshot_arrays(snapshot, self._now()))

    def on_exception(self, run: Run, error: BaseException) -> None:
        """Record what the training raised."""
        text = "".join(traceback.format_exception(error))
        self._write(Raised(error=_described(error), traceback=text, **self._place(run)))
        if self._open is not None:
            self._open.tally.summary.error = _described(error)

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Record that what came after is to be left out."""
        self._write(Rewind(epoch=int(epoch), step=int(step), time=self._now()))
        if self._open is not None:
            self._tally_again(self._open)

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Record how the run ended, and sync the file."""
        if self._writer is not None and self._open is not None:
            self._note(self._open)
            best = {each.sink: each.best_epoch for each in run.watched if each.best_epoch is not None}
            steps = {each.sink: each.best_step for each in run.watched if each.best_step is not None}
            place = self._place(run)
            self._write(End(status=run.status, best_epochs=best, best_steps=steps, cost=_cost(run), **place))
            self._open.tally.summary.advance(place["step"], place["time"])
            self._open.tally.summary.status = run.status
            self._summarize(self._open)
            self._open = None
            withdraw(run.id)
            self._writer.close()
            if self._mirror is not None:
                self._mirror.finish()

    def _note_findings(self, on_record: _OnRecord) -> None:
        """Record the findings that are not recorded yet."""
        for finding in on_record.new("findings"):
            found = attrs.asdict(finding, recurse=False)
            self._write(Found(**{**found, "evidence": as_json(finding.evidence)}, time=self._now()))

    # --- the summary -----------------------------------------------------------------------------------------------

    def _plan(self, on_record: _OnRecord, logs: Logs, rates: list[float] | None = None) -> None:
        """Record, once, what is known of the run now that there are results."""
        if not on_record.planned:
            on_record.planned = True
            plan = _plan(on_record.run, rates, logs)
            self._write(plan)
            on_record.tally.plan(plan)

    def _tally_again(self, on_record: _OnRecord) -> None:
        """Add up the run's results from the record, of earlier processes too: the run went back, or is resumed."""
        with suppress(OSError):
            runs, _ = read_runs(self.home)
            for record in runs:
                if record.begin is not None and record.begin.id == on_record.run.id:
                    on_record.tally = tally_of(record)

    def _summarize_in_time(self, on_record: _OnRecord) -> None:
        """Write the summary if the last one is a minute old."""
        if time.monotonic() >= on_record.due:
            self._summarize(on_record)

    def _summarize(self, on_record: _OnRecord) -> None:
        """Write the summary; what it has is in the journal, so a failure loses nothing."""
        if self._writer is None or not self._writer.is_ours or on_record.run.rank:  # a forked process, another rank
            return
        on_record.due = time.monotonic() + SUMMARY_SECONDS
        on_record.tally.summary.stop_reason = on_record.run.stop_reason
        with suppress(OSError):
            on_record.tally.summary.write(self.home)

    # --- decisions and failures ---------------------------------------------------------------------------------------

    def _note(self, on_record: _OnRecord) -> None:
        """Record a request to stop, checkpoints and failures that are not recorded yet."""
        run = on_record.run
        if run.stop_reason is not None and not on_record.stopped:
            on_record.stopped = True
            stop = [run.stop_reason, int(run.epoch), int(run.step)]
            if stop != self._stop:  # else a sink asks again after the run was resumed
                self._stop = stop
                self._write(Stop(reason=run.stop_reason, failed=run.failed, **self._place(run)))
        for save in on_record.new("saves"):
            self._write(Checkpoint(**attrs.asdict(save), time=self._now()))
        self._note_requests(on_record)
        for failure in on_record.new("failures"):
            self._write(_failure(failure, self._now()))

    def _note_requests(self, on_record: _OnRecord) -> None:
        """Record what was asked of the run from outside, and what became of it."""
        run = on_record.run
        for request, outcome in on_record.new("requests"):
            reason = f"{request.who} asked for {request}: {outcome}"
            asked = float(request.time)
            self._write(Asked(reason=reason, verb=request.verb, who=request.who, asked=asked, **self._place(run)))

    def _note_interval(self, run: Run) -> None:
        """Record the means since the last evaluation, if there are any."""
        if run.interval_means:
            self._write(Interval(means=dict(run.interval_means), **self._place(run)))

    def _note_rates(self, run: Run, rates: list[float] | None) -> None:
        """Record a change of the learning rate, if there is one."""
        before, self._rates = self._rates, rates
        if before is not None and rates is not None and rates != before:
            reason = f"the learning rate changed from {_listed(before)} to {_listed(rates)}"
            self._write(RateChange(reason=reason, before=before, after=rates, **self._place(run)))

    def _place(self, run: Run) -> dict[str, Any]:
        return {"epoch": int(run.epoch), "step": int(run.step), "time": self._now()}

    def _now(self) -> float:
        """Return the seconds since 1970, on a clock that never goes back."""
        self._last_time = max(self._last_time, time.time())
        return self._last_time

    def _write(self, fact: Fact) -> None:
        if self._writer is not None:
            self._writer.fact(fact)

    # --- state -------------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> Mapping[str, Any]:
        """The folder."""
        return {"folder": self.home}

    def state_dict(self) -> dict[str, Any]:
        """Return the learning rates and the request to stop, which is recorded before a checkpoint that has it."""
        if self._open is not None:
            self._note(self._open)
        return {} if self._writer is None else {"rates": self._rates, "stop": self._stop}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the recorded run; a sink that asks again at once to stop is not recorded twice."""
        self._rates, self._stop = state["rates"], state["stop"]


def _cost(run: Run) -> dict[str, Any]:
    """Return what the run cost so far, as JSON."""
    if run.cost is None:
        return {}
    cost = run.cost()
    sinks: dict[str, dict[str, dict[str, Any]]] = {}
    for each in cost.hooks:
        hook = {"calls": each.calls, "seconds": each.seconds, "longest": each.longest}
        sinks.setdefault(each.sink, {})[each.hook] = hook
    waited = {} if run.waiting is None or not run.waiting.total else {"waited": run.waiting.waited}
    return {"seconds": cost.seconds, "steps": cost.steps, "sinks": sinks, **waited}


def _learning_rates(run: Run) -> list[float] | None:
    """Return each parameter group's rate, None if the model's handle provides none; call it only as an epoch ends.

    Within an epoch, some handles wait for the device.
    """
    with suppress(Exception):
        model: Any = run.model
        return [float(rate) for rate in model.learning_rates] or None
    return None


def _plan(run: Run, rates: list[float] | None, logs: Logs) -> Plan:
    directions = {}
    with suppress(Exception):  # a handle need not know any direction
        model: Any = run.model
        directions = {name: known for name in logs if (known := model.direction(name)) is not None}
    return Plan(
        epochs=None if run.epochs is None else int(run.epochs),
        steps_per_epoch=None if run.steps_per_epoch is None else int(run.steps_per_epoch),
        learning_rates=rates,
        directions=directions,
        watched={
            each.sink: {"metric": each.metric, "mode": each.mode, "restores": each.restores} for each in run.watched
        },
        diagnosed=run.is_diagnosed,
    )


def _failure(failure: Failure, time: float) -> SinkFailure:
    return SinkFailure(
        sink=failure.sink,
        hook=failure.hook,
        error=_described(failure.error),
        traceback=failure.traceback,
        step=int(failure.step),
        time=time,
        disables=failure.disables,
    )


def _described(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _listed(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)
