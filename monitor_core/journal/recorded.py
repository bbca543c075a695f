"""A recorded run, finished or not: its history, decisions, failures, configuration and status.

Logs that others wrote are opened as runs too, see `monitor_core.journal.imported`.

Contract. A journal may be read while it is written to, after a kill, and with damage: whole records are returned, and
``damage`` lists what could not be read. Nothing in the files is executed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from monitor_core.journal.evaluations import evaluations as settled
from monitor_core.journal.events import log_files
from monitor_core.journal.facts import Begin, Decision, Raised, SinkFailure
from monitor_core.journal.files import Damage, Kind, journal_files, read_journal
from monitor_core.journal.imported import import_runs
from monitor_core.journal.probes import WHAT
from monitor_core.journal.recorded_inside import (
    Histograms,
    InsideTable,
    Look,
    histograms_of,
    layers_of,
    looks_of,
    weights_of,
)
from monitor_core.journal.recorded_rows import RecordedBatches, RecordedEvaluations, RecordedHistory
from monitor_core.journal.rows import Rows
from monitor_core.journal.run_records import RecordedStatus, RunRecord, join_runs
from monitor_core.journal.snapshots import WHAT as SNAPSHOT
from monitor_core.journal.snapshots import last_snapshot
from monitor_core.metrics.outcome import Outcome
from monitor_core.model.snapshot import Snapshot
from monitor_core.records.html import results_html
from monitor_core.store.addresses import StorePath, located

if TYPE_CHECKING:
    import pandas as pd


@attrs.frozen(eq=False)
class RecordedRun:
    """What a folder's journals hold. If there are several runs, single values are those of the last run.

    Attributes:
        path: The folder or file that was opened.
        runs: The runs, in the order in which they were begun or last continued.
        damage: What could not be read, and where.
    """

    path: Path
    runs: tuple[RunRecord, ...]
    damage: tuple[Damage, ...]

    def __repr__(self) -> str:
        damaged = f", damaged in {len(self.damage)} places" if self.damage else ""
        return (
            f"RecordedRun({str(self.path)!r}, {self.status}, {self._count(Kind.EPOCH)} epochs, "
            f"{self._count(Kind.BATCHES)} batches{damaged})"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how the last run ended, a small curve, the last and the best values."""
        own, outcome = self.last.rows(Kind.EPOCH), self.outcome
        epochs = RecordedHistory([(0, rows) for rows in own])
        lines = [f"{self.status}, {len(own)} epochs, {self._count(Kind.BATCHES)} batches"]
        lines += [f"the last of {len(self.runs)} runs"] if len(self.runs) > 1 else []
        lines += [each.reason for each in self.last.decisions[-5:]]
        lines += [f"damaged in {len(self.damage)} places"] if self.damage else []
        lines += [f"{name}: {value}" for name, value in list(self.config.items())[:10]]
        ways = {each.metric: each.mode for each in outcome.watched}
        return results_html(str(self.path), lines, {name: epochs[name] for name in epochs}, epochs.epoch, ways)

    @property
    def last(self) -> RunRecord:
        """The last run; an empty one if there is none."""
        return self.runs[-1] if self.runs else RunRecord()

    @property
    def status(self) -> RecordedStatus:
        """How the run ended, as in `Run.status`.

        If it had not ended when this was read: ``"running"`` if its process was alive; ``"killed"`` if it was not, but
        ``"stopped"`` or ``"failed"`` if it had been asked to stop; ``"unknown"`` if that cannot be determined, as on
        another host, or after the journal was removed from its bus.
        """
        return self.last.status

    @property
    def begin(self) -> Begin | None:
        """The run's provenance: versions, git commit, command line, process; None if that record is lost."""
        return self.last.begin

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration."""
        return {} if self.begin is None else self.begin.config

    @property
    def decisions(self) -> list[Decision]:
        """Requests to stop, changes of the learning rate, and what was asked from outside, each with its reason."""
        return [decision for run in self.runs for decision in run.decisions]

    @property
    def outcome(self) -> Outcome:
        """The metrics that decided about the last run, and how it ended."""
        return self.last.outcome()

    @property
    def failures(self) -> list[SinkFailure]:
        """What sinks raised, in order."""
        return [fact for run in self.runs for fact in run.facts(SinkFailure)]

    @property
    def exception(self) -> Raised | None:
        """What the training raised, None if that is not recorded."""
        return next(reversed(self.last.facts(Raised)), None)

    @cached_property
    def history(self) -> RecordedHistory:
        """Every epoch's results, looked up as in a `History`: ``recorded.history["val_loss"]``.

        This table, `batches` and `evaluations` are made when they are first asked for.
        """
        return RecordedHistory(self._numbered(Kind.EPOCH))

    @cached_property
    def batches(self) -> RecordedBatches:
        """The same for every batch."""
        return RecordedBatches(self._numbered(Kind.BATCHES))

    @cached_property
    def evaluations(self) -> RecordedEvaluations:
        """The same for every evaluation, with its name and step; an epoch's last ones are in its results too."""
        return RecordedEvaluations([(number, rows) for number, run in enumerate(self.runs) for rows in settled(run)])

    def _numbered(self, kind: Kind) -> list[tuple[int, Rows]]:
        return [(number, rows) for number, run in enumerate(self.runs) for rows in run.rows(kind)]

    def _count(self, kind: Kind) -> int:
        return sum(len(rows) for _, rows in self._numbered(kind))

    @cached_property
    def _looks(self) -> list[Look]:
        return looks_of(self.last.arrays(WHAT))

    @cached_property
    def layers(self) -> InsideTable:
        """Statistics of the layers' outputs on some samples, as `Diagnosis` and `Inside` have seen them."""
        return layers_of(self._looks)

    @cached_property
    def weights(self) -> InsideTable:
        """Statistics of the trainable weights, of their gradients, and of how far they move."""
        return weights_of(self._looks)

    @cached_property
    def histograms(self) -> Mapping[str, Mapping[str, Histograms]]:
        """Histograms of ``"activations"``, ``"weights"`` and ``"gradients"``, by the names of layers or weights."""
        return histograms_of(self._looks)

    @property
    def state(self) -> dict[str, Any]:
        """The run's state after its last whole epoch, for `Bus.load_state_dict`.

        It has no states of sinks: those with arrays are in checkpoints, and `monitor_core.replay` rebuilds the others.
        """
        return {"format": 2, "run": self.last.state(), "sinks": []}

    @property
    def snapshot(self) -> Snapshot | None:
        """What the last run's model was made of, and what it made of examples, as `Snapshots` recorded it last."""
        return last_snapshot(self.last.arrays(SNAPSHOT))

    def report(
        self,
        path: str | PathLike[str] | None = None,
        *,
        baseline: RecordedRun | str | PathLike[str] | None = None,
        points: int | None = 100_000,
    ) -> Path:
        """Write a report of the last run: one HTML file that opens anywhere, offline. Return its path.

        Args:
            path: The file; by default ``report.html`` in the run's folder, and next to a log that is one file, its name
                with ``.html``. An older report is replaced atomically.
            baseline: A run to compare it with: what `open_run` returned, or a path that it opens.
            points: How many points of a curve the file holds at most, from 100 on; None for all. A longer curve is
                thinned, with its extremes kept, and the page says so.

        Raises:
            FileNotFoundError: The page is not built, as in a checkout before ``make page``.
            ImportError: Jinja2 is not installed.
            OSError: The file cannot be written.
            ValueError: There is no run, ``points`` is less than 100, or the file is there and is not a report.
        """
        from monitor_core.page import write_report

        return write_report(self, path, baseline=baseline, points=points)

    def to_pandas(self, *, batches: bool = False) -> pd.DataFrame:
        """Return a pandas frame with the columns ``run``, ``epoch``, ``step`` and ``time``, then the metrics.

        Args:
            batches: Whether to return the batches instead of the epochs.

        Raises:
            ImportError: pandas is not installed.
        """
        return (self.batches if batches else self.history).to_pandas()


def open_run(path: str | PathLike[str], *, run: int | None = None) -> RecordedRun:
    """Read what a `Journal` has recorded, in this process or another, finished, running or killed.

    Args:
        path: The run's folder, its address in a store, or one of the journals in it. Or what else recorded a training,
            as far as it did: the CSV file of a `CSVLogger` or of Keras's, whatever its name; a history as JSON, of
            `History.to_json`, a mapping from names to lists of one length, or a list of mappings, one for each epoch;
            TensorBoard's event files, or the folder that they are in. A file has at most a million epochs.
        run: Which of several runs, as an index from the first (0) or the last (-1); None for all of them.

    Raises:
        FileNotFoundError: There is no journal, and no event file.
        ImportError: The tensorboard package, which reads event files, or that of the address, is not installed.
        IndexError: There is no such run.
        OSError: It cannot be read.
        ValueError: The file is not a training's log.

    Example:
        >>> recorded = open_run("runs/a")
        >>> recorded.status, recorded.history["loss"]
        ('killed', array([1. , 0.5]))
    """
    source = located(path)
    found, damage = read_any_runs(source)
    if run is not None:
        if not -len(found) <= run < len(found):
            raise IndexError(f"there is no run {run}: {source} holds {len(found)}")
        found = [found[run]]
    return record_of(source, found, damage)


def read_any_runs(source: Path) -> tuple[list[RunRecord], list[Damage]]:
    """Return the runs at a path, from a journal or another log; see `open_run`."""
    source = located(source)
    if isinstance(source, StorePath):
        return read_runs(source)
    if source.is_dir() and journal_files(source):
        return read_runs(source)
    return import_runs(source) or read_runs(source)


def record_files(source: Path) -> list[Path]:
    """Return the files that hold what is at a path: a folder's journals, or else its event files; or the one file."""
    source = located(source)
    if isinstance(source, StorePath):
        return journal_files(source)
    if source.is_dir():
        return journal_files(source) or log_files(source)
    return [source] if source.exists() else []


def record_state(source: Path) -> list[tuple[str, int, int]]:
    """Return the name, size and time of each file that holds what is at a path: what changes when the record does."""
    return [(str(each), (found := each.stat()).st_size, found.st_mtime_ns) for each in record_files(source)]


def read_runs(source: Path) -> tuple[list[RunRecord], list[Damage]]:
    """Return the runs that a folder's journals, or one journal, hold, and what could not be read."""
    source = located(source)
    files = journal_files(source) if isinstance(source, StorePath) or source.is_dir() else [source]
    if not files:
        raise FileNotFoundError(errno.ENOENT, "there is no journal", str(source))
    return join_runs(read_journal(file) for file in files)


def record_of(path: Path, runs: list[RunRecord], damage: Iterable[Damage]) -> RecordedRun:
    """Return runs in the form that `open_run` returns."""
    return RecordedRun(path, tuple(runs), tuple(damage))
