"""Recorded runs as files of other kinds: CSV, JSON, TensorBoard's event files, Parquet.

Contract. Nothing is lost but what the kind cannot hold: event files have 32-bit values, a JSON history has NaN where a
value is missing, and a CSV file numbers several runs as one. Apart from that, reading a CSV or JSON file back by
`open_run` gives the same values, bit by bit. Rows are passed on block by block, so memory does not grow with them,
except for JSON, which is one object. The file appears whole or not at all; an event folder grows in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from monitor_core import CSVLogger, History, TensorBoard
from monitor_core.files.replacing import replacing
from monitor_core.journal.evaluations import epochs_and_evaluations
from monitor_core.journal.files import Kind
from monitor_core.journal.recorded import RecordedRun
from monitor_core.replay import replay
from monitor_core.values.labels import UNNAMED

Format = Literal["csv", "json", "parquet", "tensorboard"]
_GROUP = 65_536
"""How many rows a group of a Parquet file has at most, and so how many are in memory."""
_LABELS: dict[str, Any] = {"run": np.int32, "epoch": np.int32, "step": np.int64, "time": np.float64}
Part = tuple[dict[str, NDArray[Any]], list[str | None], dict[str, NDArray[np.float64]], dict[str, Any]]
"""Labels, names of evaluations, values, and masks of those that are there, of some rows."""


def export(recorded: RecordedRun, path: str | PathLike[str], *, to: Format, batches: bool = False) -> None:
    """Write a recorded run, or several, to a file of another kind.

    Args:
        recorded: What `open_run` returned.
        path: The file, or for TensorBoard the folder; neither may be there yet.
        to: ``"csv"``, as `CSVLogger` writes it, the runs numbered as one; ``"json"``, as `History.to_json` does,
            where a missing value is NaN; ``"tensorboard"``, as `TensorBoard` does; or ``"parquet"``, with the columns
            ``run``, ``epoch``, ``step``, ``time``, ``evaluation`` (null for an epoch) and the metrics, null where there
            is no value.
        batches: Whether to write every batch; in CSV and Parquet instead of the epochs and evaluations, else as well.

    Raises:
        FileExistsError: There is something at the path.
        ImportError: pyarrow, or for TensorBoard its package, is not installed; the message says what to install.
        SetupError: There is no run, or the path cannot be written.
        ValueError: ``to`` is none of these, or batches are asked for and not recorded.

    Example:
        >>> export(open_run("runs/a"), "a.csv", to="csv")
    """
    if to not in get_args(Format):
        raise ValueError(f"to must be 'csv', 'json', 'parquet' or 'tensorboard' (got {to!r})")
    if batches and not any(run.rows(Kind.BATCHES) for run in recorded.runs):
        raise ValueError(f"batches must be on record to be written, and {recorded.path} has none")
    target = Path(path)
    if target.exists():
        raise FileExistsError(f"{target} is there already: move it away, or write elsewhere")
    _WRITERS[to](recorded, target, batches)


def _to_csv(recorded: RecordedRun, target: Path, batches: bool) -> None:
    with replacing(target) as temporary:
        replay(recorded, CSVLogger(temporary, per_batch=batches))


def _to_json(recorded: RecordedRun, target: Path, batches: bool) -> None:
    history = History(per_batch=batches)
    replay(recorded, history)
    history.to_json(target)


def _to_tensorboard(recorded: RecordedRun, target: Path, batches: bool) -> None:
    freq: Literal["batch", "epoch"] = "batch" if batches else "epoch"
    replay(recorded, TensorBoard(target, update_freq=freq, write_graph=False, write_steps_per_second=False))


def _to_parquet(recorded: RecordedRun, target: Path, batches: bool) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f'Parquet is written by pyarrow: pip install "monitor_core[parquet]" ({error})') from error
    parts = _batches if batches else _results
    names = dict.fromkeys(name for _, _, columns, _ in parts(recorded) for name in columns)
    titles = {name: f"logs/{name}" if name in _LABELS or name == "evaluation" else name for name in names}
    fields = [pa.field(name, pa.from_numpy_dtype(np.dtype(kind))) for name, kind in _LABELS.items()]
    fields += [] if batches else [pa.field("evaluation", pa.string())]
    schema = pa.schema([*fields, *(pa.field(title, pa.float64()) for title in titles.values())])

    def table(
        labels: Any, evaluations: list[str | None], columns: Mapping[str, Any], present: Mapping[str, Any]
    ) -> Any:
        rows = len(labels["run"])
        arrays = [pa.array(np.asarray(labels[name], kind)) for name, kind in _LABELS.items()]
        arrays += [] if batches else [pa.array(evaluations, pa.string())]
        for name in names:
            if name not in columns:
                arrays.append(pa.nulls(rows, pa.float64()))
            else:
                mask = present.get(name)
                arrays.append(pa.array(columns[name], pa.float64(), mask=None if mask is None else ~mask))
        return pa.Table.from_arrays(arrays, schema=schema)

    with replacing(target) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        waiting: list[Any] = []
        for part in parts(recorded):
            waiting.append(table(*part))
            if sum(each.num_rows for each in waiting) >= _GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting))


_WRITERS: dict[str, Callable[[RecordedRun, Path, bool], None]] = {
    "csv": _to_csv,
    "json": _to_json,
    "parquet": _to_parquet,
    "tensorboard": _to_tensorboard,
}


def _batches(recorded: RecordedRun) -> Iterator[Part]:
    """Yield the blocks as they were recorded."""
    for number, run in enumerate(recorded.runs):
        for rows in run.rows(Kind.BATCHES):
            block = rows.block()
            count = len(block)
            labels = {
                "run": np.full(count, number),
                "epoch": np.full(count, block.epoch),
                "step": block.steps,
                "time": block.times,
            }
            yield labels, [], dict(block.columns), dict(block.present)


def _results(recorded: RecordedRun) -> Iterator[Part]:
    """Yield the epochs and the evaluations within them, one by one."""
    for number, run in enumerate(recorded.runs):
        for kind, rows in epochs_and_evaluations(run):
            labels = {
                "run": np.array([number]),
                "epoch": np.array([rows.epoch]),
                "step": rows.steps()[-1:],
                "time": rows.matrix()[-1:, 1].astype(np.float64),
            }
            name = (rows.evaluation or UNNAMED).label if kind is Kind.EVALUATION else None
            yield labels, [name], {each: np.array([value]) for each, value in rows.epoch_logs().items()}, {}
