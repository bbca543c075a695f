"""The CSV file: a row for every epoch and every evaluation within one, or for every batch, on disk when it has ended.

Contract. Once the run has begun, a failure to write the file does not end it: rows that cannot be written wait, see
`AppendFile`. Existing rows are copied unchanged, never formatted again. Names are encoded as UTF-8. Numbers are written
so that reading them gives the same float64. Lines end with a carriage return and a line feed, as the format requires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import attrs

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Evaluation, Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.files.csv_sheet import BATCHES, BEFORE_FIRST, EPOCHS, EVALUATIONS, MISSING, Sheet, _records, column_of
from monitor_core.files.folders import absolute
from monitor_core.files.writing import AppendFile
from monitor_core.journal.evaluations import epochs_and_evaluations
from monitor_core.journal.files import Kind
from monitor_core.records.numbering import Numbering
from monitor_core.values.blocks import Block, values_per_row
from monitor_core.values.labels import UNNAMED

if TYPE_CHECKING:
    from monitor_core.journal.recorded import RecordedRun


@attrs.define(eq=False)
class CSVLogger(Sink):
    r"""Write the results of every epoch, and of every evaluation within one, or every batch's, to a CSV file.

    The columns are ``epoch`` (0-based; per batch also ``step``, from 1) and the metrics in the order of their names. A
    metric that appears later gets a column at the end; a metric that is missing in a row is an empty field, while NaN
    is ``nan``. For one `fit` whose epochs all have the same metrics, validation among them, the file is byte for byte
    that of Keras's ``CSVLogger``. A metric named ``epoch``, ``step`` or ``evaluation`` gets an underscore, as in
    ``step_``, because the first columns have these names.

    An evaluation within an epoch, which more batches follow, has a row of its own. With the first of them, the file
    gets the columns ``step`` and ``evaluation``, after ``epoch``: how many steps came before, and the evaluation's name
    (``val`` for one without a name). Epochs then have their step too, and an empty field for ``evaluation``; in rows
    from before, both are empty.

    The first run of this object replaces the file, unless ``append`` is true; each later run appends to it, until
    `reset`. **Numbers continue too**: a run whose first epoch is 0 is numbered from after the last row, and so are
    its steps. A run that begins with a later epoch (``initial_epoch``, a resumed run) keeps its numbers, whether or not
    the file has them already; only its steps continue if it counts them from 1 again.

    Args:
        filename: The file; its folder is created if missing.
        separator: The character between two fields; an existing file that is appended to keeps its own.
        append: Whether to continue an existing file, its columns and its numbers. A last line that a kill left
            incomplete is dropped, with a warning.
        per_batch: Whether to write a row for each batch, with what the framework reports for it, instead of epochs and
            evaluations.

    Raises:
        ValueError: ``separator`` is not one character, or is a quote or a line end.
        SetupError: At train begin: the file cannot be written, another process is writing it, or ``append`` is true
            and it is not such a file.

    Source: the format of Keras 3.15's ``CSVLogger``. Keras's also adds ``val_`` columns where there is no validation,
    drops metrics that are not in the first epoch, writes ``NA`` for missing ones, empties the file at each `fit`, and,
    when appending, ignores the old header, numbers from 0 again and appends to an unfinished line.

    Example:
        >>> logger = CSVLogger("run.csv")
        >>> bus = Bus(logger)
        >>> bus.train_begin(); bus.epoch_begin(0); bus.epoch_end(0, {"loss": 0.5}); bus.train_end()
        >>> Path("run.csv").read_text()
        'epoch,loss\n0,0.5\n'
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    writes: ClassVar[bool] = True
    background: ClassVar[bool] = True

    filename: Path = attrs.field(converter=absolute)
    separator: str = attrs.field(default=",", kw_only=True)
    append: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    per_batch: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    _file: AppendFile | None = attrs.field(init=False, default=None, repr=False)
    _sheet: Sheet = attrs.field(init=False, repr=False)
    _numbers: Numbering = attrs.field(init=False, factory=Numbering, repr=False)
    _first_row: int = attrs.field(init=False, default=0, repr=False)
    _expected: int = attrs.field(init=False, default=0, repr=False)
    _kept: int = attrs.field(init=False, default=0, repr=False)

    @separator.validator
    def _check_separator(self, _: Any, value: Any) -> None:
        if not isinstance(value, str) or len(value) != 1 or value in '"\r\n\0':
            raise ValueError(f"separator must be one character, not a quote or a line end (got {value!r})")

    @_sheet.default
    def _empty_sheet(self) -> Sheet:
        return Sheet(BATCHES if self.per_batch else EPOCHS, self.separator)

    @property
    def dropped(self) -> int:
        """How many values were dropped because their rows could not be written for too long."""
        return 0 if self._file is None else self._file.dropped

    def wants_hook(self, hook: str) -> bool:
        """Listen to blocks, or to epochs and evaluations."""
        return hook not in (("on_epoch_end", "on_midepoch_evaluation") if self.per_batch else ("on_block",))

    def reset(self) -> None:
        """Let the next run treat the file as the first run did: replace it or, with ``append``, continue it."""
        if self._file is not None:
            self._file.close()
        self._file, self._sheet, self._numbers = None, self._empty_sheet(), Numbering()

    # --- hooks -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, run: Run) -> None:
        """Open the file; a resumed run keeps its rows, whatever ``append`` is.

        Raises:
            SetupError: The file cannot be written or appended to, or another process is writing it.
        """
        if self._file is None:
            self._open(append=self.append or run.resumed)
        self._numbers.begin()

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Determine, from the run's first epoch, how its numbers are shifted."""
        if not self._numbers.is_settled:
            epoch_before, step_before = self._sheet.last
            self._numbers.last_epoch, self._numbers.last_step = epoch_before, max(0, step_before)
            self._numbers.settle(epoch, run.step)
            self._first_row = self._sheet.rows

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Write the epoch's row."""
        self.on_epoch_begin(run, epoch)  # where this sink was added within the epoch
        self._add_epoch(epoch, run.step, logs)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Write the evaluation's row."""
        self.on_epoch_begin(run, run.epoch)
        if run.evaluation is not None:
            self._add_evaluation(run.epoch, run.evaluation, logs)

    def on_block(self, run: Run, block: Block) -> None:
        """Write the batches' rows."""
        self.on_epoch_begin(run, block.epoch)
        self._add_block(block)

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Drop this run's rows from ``epoch`` on, or after ``step``."""
        had_rows = self._numbers.is_settled
        next_epoch, last_step = self._numbers.rewind(epoch, step)
        if not had_rows:  # existing rows are those of the run that it continues, if any
            self._first_row = 0 if self._numbers.is_settled else self._sheet.rows
        if self.per_batch:
            self._drop(self._first_row, lambda _, step: step <= last_step)
        else:
            first, self._kept = max(self._first_row, self._kept), 0
            self._drop(first, lambda epoch, step: epoch < next_epoch and step <= last_step)

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Sync and close the file."""
        if self._file is not None:
            self._file.close()

    # --- state -----------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> Mapping[str, Any]:
        """The file, and whether its rows are batches."""
        return {"filename": self.filename, "per_batch": self.per_batch}

    def state_dict(self) -> dict[str, Any]:
        """Return how many rows there are, and where this run's begin and how they are numbered."""
        if self._file is None:
            return {}
        shift = self._numbers.shift
        return {
            "rows": self._sheet.rows - self._file.dropped_records,
            "first_row": self._first_row,
            "shift": None if shift is None else list(shift),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the file of this run; of one that had no rows yet, drop those that came later."""
        self._first_row, self._numbers.shift, self._expected = state["first_row"], state["shift"], state["rows"]
        self._kept = self._expected  # also those of evaluations in the epoch within which the state was saved
        if state["shift"] is None:
            self._drop(self._expected, _is_none)
        if self._sheet.rows < self._expected:
            logger.warning(
                "%s has %d of the %d rows that it had; the others are taken from the run's journal, if there is one",
                self.filename,
                self._sheet.rows,
                self._expected,
            )

    def load_record(self, recorded: RecordedRun) -> None:
        """Write the run's rows again, where the file has lost some: it was moved away, or not yet on disk.

        Args:
            recorded: A journal's record up to where the run continues.
        """
        if self._sheet.rows >= self._expected:
            return
        self._first_row = min(self._first_row, self._sheet.rows)
        self._drop(self._first_row, _is_none)
        if self.per_batch:
            for rows in recorded.last.rows(Kind.BATCHES):
                self._add_block(rows.block())
        else:
            self._add_recorded(recorded)
        logger.info("%s has %d rows again, with those from the journal", self.filename, self._sheet.rows)
        if self._sheet.rows < self._expected:
            logger.warning("%s lacks %d rows", self.filename, self._expected - self._sheet.rows)

    def _add_recorded(self, recorded: RecordedRun) -> None:
        for kind, rows in epochs_and_evaluations(recorded.last):
            step = int(rows.steps()[-1])
            if kind is Kind.EPOCH:
                self._add_epoch(rows.epoch, step, rows.logs())
            else:
                label = rows.evaluation or UNNAMED
                evaluation = Evaluation(label.name, label.prefix, step)
                logs = evaluation.renamed(rows.logs())
                self._add_evaluation(rows.epoch, evaluation, logs)

    # --- the file --------------------------------------------------------------------------------------------------

    def _open(self, *, append: bool) -> None:
        file = AppendFile(self.filename, append=append, exclusive=True)
        sheet = self._empty_sheet()
        if append:
            try:
                sheet = Sheet.read(file.path, sheet.labels, self.separator)
            except (OSError, ValueError) as error:
                file.close()
                raise SetupError(f"{file.path} cannot be appended to: {error}") from error
        if sheet.metrics is not None:
            file.head = sheet.head
        self._file, self._sheet = file, sheet

    def _add_epoch(self, epoch: int, step: int, logs: Logs) -> None:
        numbers = [self._numbers.epoch(epoch)], [self._numbers.step(step)]
        self._add(*numbers, {name: [value] for name, value in logs.items()}, [len(logs)])

    def _add_evaluation(self, epoch: int, evaluation: Evaluation, logs: Logs) -> None:
        if self._sheet.labels == EPOCHS:
            self._add_labels()
        numbers = [self._numbers.epoch(epoch)], [self._numbers.step(evaluation.step)]
        columns = {name: [value] for name, value in logs.items()}
        self._add(*numbers, columns, [len(logs)], evaluation=evaluation.label)

    def _add_block(self, block: Block) -> None:
        epoch_shift, step_shift = self._numbers.shift or (0, 0)
        numbers = [block.epoch + epoch_shift] * len(block), (block.steps + step_shift).tolist()
        values = values_per_row(len(block), block.present).tolist()
        self._add(*numbers, {name: _cells(block, name) for name in block.columns}, values)

    def _add(
        self,
        epochs: Sequence[int],
        steps: Sequence[int],
        columns: Mapping[str, Sequence[Any]],
        values: Sequence[int],
        *,
        evaluation: str | None = None,
    ) -> None:
        """Append rows, given as columns, after making room for new metrics; ``values`` is how many each row has."""
        sheet, file = self._sheet, self._file
        if file is None:
            return
        columns = {column_of(name): values for name, values in columns.items()}
        if sheet.metrics is None:
            sheet.metrics = sorted(columns)
            file.head = sheet.head
        elif new := sorted(columns.keys() - set(sheet.metrics)):
            sheet.metrics += new
            self._widen(file, sheet.head, sheet.separator.encode() * len(new))
        missing = [MISSING] * len(epochs)
        labels = [epochs, steps, missing][: len(sheet.labels)]
        fields = [columns.get(name, missing) for name in sheet.metrics]
        if evaluation is None:
            rows = sheet.encode_numbers([*labels, *fields])
        else:
            rows = sheet.encode(zip(epochs, steps, [evaluation], *fields, strict=True))
        file.append(*rows, values=values)
        sheet.rows += len(epochs)
        sheet.last = epochs[-1], steps[-1]

    def _add_labels(self) -> None:
        """Make room for the steps and names of evaluations; rows that are there have neither."""
        sheet, file = self._sheet, self._file
        sheet.labels = EVALUATIONS
        if file is None or sheet.metrics is None:
            return
        head = sheet.head

        def change(old: BinaryIO) -> Iterator[bytes]:
            file.head = head  # not before: see `_widen`
            yield head
            for index, record in enumerate(_records(old)):
                if index and record.strip():
                    yield sheet.insert_labels(record)

        file.change(change)

    @staticmethod
    def _widen(file: AppendFile, head: bytes, fields: bytes) -> None:
        """Rewrite the file with a wider header, and as many empty fields at the end of each row."""

        def change(old: BinaryIO) -> Iterator[bytes]:
            file.head = head  # not before: until now, a file created again would get the rows of the old shape
            yield head
            for index, record in enumerate(_records(old)):
                row = record.rstrip(b"\r\n")
                if index and row:
                    yield row + fields + record[len(row) :]

        file.change(change)

    def _drop(self, first: int, is_kept: Callable[[int, int], bool]) -> None:
        """Rewrite the file: keep the first rows, and of the others only those whose epoch and step are kept."""
        sheet, file = self._sheet, self._file
        if file is None or sheet.rows <= first or is_kept(*sheet.last):
            return

        last, shape = sheet.last, attrs.evolve(sheet)  # the file's shape when this change's turn comes

        def change(old: BinaryIO) -> Iterator[bytes]:
            kept, dropped = b"", 0
            for index, record in enumerate(record for record in _records(old) if record.strip()):
                if index <= first or is_kept(*shape.numbers(record)):
                    kept = record if index else b""
                    yield record
                else:
                    dropped += 1
            sheet.rows -= dropped
            if sheet.last is last:  # else rows have come since, while this change was waiting
                sheet.last = shape.numbers(kept) if kept else BEFORE_FIRST

        file.change(change)


def _is_none(_epoch: int, _step: int) -> bool:
    return False


def _cells(block: Block, name: str) -> list[Any]:
    values: list[Any] = block.columns[name].tolist()
    if (mask := block.present[name]) is None:
        return values
    return [value if is_there else MISSING for value, is_there in zip(values, mask.tolist(), strict=True)]
