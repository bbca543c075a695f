"""Queries in SQL over recorded runs, by DuckDB: their summaries, and what their journals hold if a query asks for it.

Contract. A query reads the tables in `TABLES` and nothing else: neither files nor the network, and it writes nothing.
A journal is read only if the query names a table that is made of journals. A run that cannot be read has a row in
``runs`` with its problem, and none elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from monitor_core.journal.evaluations import results
from monitor_core.journal.facts import Asked, Found, RateChange, Stop
from monitor_core.journal.files import Kind
from monitor_core.journal.recorded import read_any_runs
from monitor_core.journal.run_records import RunRecord
from monitor_core.journal.summary import LATEST
from monitor_core.runs.catalogue import RUN, FoundRun, find_runs
from monitor_core.store.addresses import located
from monitor_core.values.labels import UNNAMED
from monitor_core.values.text import valid_text

if TYPE_CHECKING:
    import pandas as pd

Row = tuple[Any, ...]
"""A row of a table; one whose members are in part arrays stands for as many rows, alike in the other members."""

_NUMBERS = {"BIGINT": np.int64, "DOUBLE": np.float64, "TIMESTAMP": np.float64}


@attrs.frozen(eq=False)
class Answer:
    """What a query returns.

    Attributes:
        names: The columns' names.
        rows: The rows, as Python values; NULL is None.
    """

    names: tuple[str, ...]
    rows: list[Row] = attrs.field(repr=False)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows."""
        return iter(self.rows)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas frame.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(self.names))


def query(
    sql: str,
    folder: str | PathLike[str] = ".",
    parameters: Sequence[Any] | Mapping[str, Any] = (),
    *,
    cache: Path | None = None,
) -> Answer:
    """Answer a query in SQL about the runs in a folder and below it.

    Args:
        sql: The query, in DuckDB's SQL, over the tables in `TABLES`.
        folder: The folder, as in `find_runs`.
        parameters: The values of ``?`` in the query, in order, or of ``$name``, by name.
        cache: The file of the cache, as in `find_runs`.

    Raises:
        FileNotFoundError: There is no such folder.
        ImportError: DuckDB is not installed.
        OSError: The folder cannot be read.
        ValueError: The query is wrong, or would read or write anything else; the message is DuckDB's.

    Example:
        >>> query("select path, best from metrics where metric = 'val_loss' order by best limit 5", "runs").rows
        [('b', 0.21), ('a', 0.25)]
    """
    try:
        import duckdb
    except ImportError as error:
        raise ImportError(f'query needs DuckDB: pip install "monitor_core[query]" ({error})') from error
    with duckdb.connect(":memory:") as connection:
        try:
            statements = duckdb.extract_statements(sql)
            if [each.type for each in statements] != [duckdb.StatementType.SELECT]:
                raise ValueError(f"sql must be one query that begins with select, from or with (got {sql!r})")
            _make_tables(connection, _named(sql), find_runs(folder, cache=cache), located(folder))
            connection.execute("set enable_external_access = false")
            connection.execute("set lock_configuration = true")
            done = connection.execute(sql, parameters)
            return Answer(tuple(each[0] for each in done.description), done.fetchall())
        except duckdb.Error as error:
            what = str(error).partition("\n")[0]
            raise ValueError(f"sql cannot be answered: {what} (the tables are {', '.join(TABLES)})") from None


def table(name: str, folder: str | PathLike[str] = ".", *, cache: Path | None = None) -> Answer:
    """Return a whole table of the runs in a folder and below it; see `TABLES`.

    Args:
        name: The table's name.
        folder: The folder, as in `find_runs`.
        cache: The file of the cache, as in `find_runs`.

    Raises:
        FileNotFoundError: There is no such folder.
        ImportError: DuckDB is not installed.
        ValueError: There is no such table.
    """
    if name not in TABLES:
        raise ValueError(f"name must be one of {', '.join(TABLES)} (got {name!r})")
    return query(f"from {name}", folder, cache=cache)


# --- tables --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Table:
    """A table that queries read.

    Attributes:
        about: What its rows are.
        columns: The columns' names, with their types in DuckDB.
        from_journals: Whether it is made of the journals, so that each run's is read.
        rows: Returns a run's rows; takes its path, and what was found or the record of its journal.
    """

    about: str
    columns: Mapping[str, str]
    from_journals: bool
    rows: Callable[[str, Any], Iterable[Row]] = attrs.field(repr=False)


def _named(sql: str) -> list[str]:
    """Return the tables that a query may name; a word that is none costs only time."""
    words = set(re.findall(r"\w+", sql.lower()))
    return [name for name in TABLES if name in words]


def _make_tables(connection: Any, names: list[str], found: list[FoundRun], folder: Path) -> None:
    """Fill the tables that a query names."""
    rows: dict[str, list[Row]] = {name: [] for name in names}
    from_journals = [name for name in names if TABLES[name].from_journals]
    for run in found:
        path = run.name_in(folder)
        for name in names:
            if name not in from_journals:
                rows[name] += TABLES[name].rows(path, run)
        record = _record(run) if from_journals else None
        if record is not None:
            for name in from_journals:
                rows[name] += TABLES[name].rows(path, record)
    for name in names:
        columns = TABLES[name].columns
        connection.register("given", _arrays(columns, rows[name]))
        typed = ", ".join(f'{_typed(column, kind)} as "{column}"' for column, kind in columns.items())
        connection.execute(f"create table {name} as select {typed} from given")  # noqa: S608 (of names in this module)
        connection.unregister("given")


def _arrays(columns: Mapping[str, str], rows: list[Row]) -> dict[str, Any]:
    """Return the rows as columns that DuckDB reads without a copy of each value."""
    counts = _counts(rows)
    by_column = zip(*rows, strict=True) if rows else ([] for _ in columns)
    arrays = {}
    for (name, kind), values in zip(columns.items(), by_column, strict=True):
        arrays[name] = column = _column(kind, list(values), counts)
        if kind == "DOUBLE":  # DuckDB takes NaN in an array for NULL
            arrays[f"{name} is nan"] = np.not_equal(column, column).astype(np.bool_)
    return arrays


def _counts(rows: list[Row]) -> list[int] | None:
    """Return for how many rows each stands; None if the table has no arrays, as all of its rows are alike in that."""
    places = [place for place, each in enumerate(rows[0]) if isinstance(each, np.ndarray)] if rows else []
    return [len(row[places[0]]) for row in rows] if places else None


def _typed(column: str, kind: str) -> str:
    """Return the expression that gives a column its type; moments are given as seconds since 1970, 0 if not known."""
    if kind == "TIMESTAMP":
        return (
            f'case when "{column}" > 0 and "{column}" <= {LATEST} then make_timestamp(("{column}" * 1e6)::BIGINT) end'
        )
    if kind == "DOUBLE":
        return f"""case when "{column} is nan" then 'NaN'::DOUBLE else "{column}"::DOUBLE end"""
    return f'"{column}"::{kind}'


def _column(kind: str, values: list[Any], counts: list[int] | None) -> Any:
    if values and isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    if kind in _NUMBERS and None not in values:
        array = np.array(values, _NUMBERS[kind])
    else:
        array = np.empty(len(values), object)
        array[:] = [valid_text(each) if isinstance(each, str) else each for each in values]
    return array if counts is None else np.repeat(array, counts)


def _record(run: FoundRun) -> RunRecord | None:
    try:
        runs, _ = read_any_runs(run.path)
    except (ImportError, OSError, ValueError):
        return None
    return runs[-1] if runs else None


def _runs(path: str, run: FoundRun) -> Iterator[Row]:
    summary = run.summary
    is_unread = run.problem is not None
    config = _escaped(json.dumps(summary.config, ensure_ascii=False))
    yield (
        path,
        run.kind,
        summary.id,
        run.status,
        summary.begun,
        summary.seconds if summary.begun else None,
        None if is_unread else summary.epochs,
        summary.planned_epochs,
        None if is_unread else _step(summary.step, is_log=run.kind != RUN),
        summary.git_commit,
        _text(summary.process.get("host")),
        summary.parent,
        summary.stop_reason,
        summary.error,
        run.problem,
        config,
    )


def _step(step: int, *, is_log: bool) -> int | None:
    """Return a step; logs that have none have 0 in its place."""
    return None if is_log and step == 0 else step


def _escaped(text: str) -> str:
    """Return JSON whose halves of surrogate pairs are written with a backslash: SQL takes them for no JSON."""
    return re.sub("[\ud800-\udfff]", lambda half: rf"\\u{ord(half[0]):x}", text)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _metrics(path: str, run: FoundRun) -> Iterator[Row]:
    summary = run.summary
    for name in dict.fromkeys([*summary.last, *summary.best]):
        last, best = summary.last.get(name), summary.best.get(name)
        found: Row = (None,) * 4
        if best is not None:
            epoch = None if best.epoch < 0 else best.epoch
            found = (best.value, best.mode, epoch, _step(best.step, is_log=run.kind != RUN))
        yield (path, name, last, *found)


def _epochs(path: str, record: RunRecord) -> Iterator[Row]:
    for rows in record.rows(Kind.EPOCH):
        place, time = rows.place()
        step = _step(place, is_log=record.log is not None)
        for name, value in rows.logs().items():
            yield path, rows.epoch, step, time, name, value


def _evaluations(path: str, record: RunRecord) -> Iterator[Row]:
    for rows in (each.rows for each in results(record) if each.kind is Kind.EVALUATION):
        place, time = rows.place()
        step = _step(place, is_log=record.log is not None)
        label = (rows.evaluation or UNNAMED).label
        for name, value in rows.logs().items():
            yield path, rows.epoch, step, time, label, name, value


def _batches(path: str, record: RunRecord) -> Iterator[Row]:
    for rows in record.rows(Kind.BATCHES):
        block = rows.block()
        for name, values in block.columns.items():
            mask = block.present[name]
            steps, times, present = (
                each if mask is None else each[mask] for each in (block.steps, block.times, values)
            )
            yield path, block.epoch, steps, times, name, present


def _findings(path: str, record: RunRecord) -> Iterator[Row]:
    for each in record.facts(Found):
        yield path, each.symptom, each.severity, each.message, each.advice, each.epoch, each.step, each.layer


def _decisions(path: str, record: RunRecord) -> Iterator[Row]:
    for each in record.decisions:
        what = {Stop: "stop", RateChange: "rate", Asked: "asked"}[type(each)]
        yield path, what, each.reason, each.epoch, each.step


_PATH = {"path": "VARCHAR"}
_AT = {"epoch": "BIGINT", "step": "BIGINT"}
_TIMED = {**_PATH, **_AT, "time": "TIMESTAMP"}
_VALUE = {"metric": "VARCHAR", "value": "DOUBLE"}

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "runs": Table(
            "the runs and logs, of a folder or file with several its last one; moments are in UTC",
            _PATH
            | {"kind": "VARCHAR", "id": "VARCHAR", "status": "VARCHAR", "begun": "TIMESTAMP", "seconds": "DOUBLE"}
            | {"epochs": "BIGINT"}
            | {"planned_epochs": "BIGINT", "steps": "BIGINT", "git_commit": "VARCHAR", "host": "VARCHAR"}
            | {"parent": "VARCHAR", "stop_reason": "VARCHAR", "error": "VARCHAR", "problem": "VARCHAR"}
            | {"config": "JSON"},
            False,
            _runs,
        ),
        "metrics": Table(
            "the last value of each metric of a run, and the best one where its direction is known",
            _PATH
            | {"metric": "VARCHAR", "last": "DOUBLE", "best": "DOUBLE", "mode": "VARCHAR"}
            | {"best_epoch": "BIGINT", "best_step": "BIGINT"},
            False,
            _metrics,
        ),
        "epochs": Table("the metrics of each epoch, counted from 0", _TIMED | _VALUE, True, _epochs),
        "evaluations": Table(
            "the metrics of each evaluation, without the prefix",
            _TIMED | {"name": "VARCHAR"} | _VALUE,
            True,
            _evaluations,
        ),
        "batches": Table("the metrics of each batch", _TIMED | _VALUE, True, _batches),
        "findings": Table(
            "what a `Diagnosis` found",
            _PATH
            | {"symptom": "VARCHAR", "severity": "VARCHAR", "message": "VARCHAR", "advice": "VARCHAR"}
            | _AT
            | {"layer": "VARCHAR"},
            True,
            _findings,
        ),
        "decisions": Table(
            "what sinks decided, a stop or a rate, and what was asked from outside",
            _PATH | {"what": "VARCHAR", "reason": "VARCHAR"} | _AT,
            True,
            _decisions,
        ),
    }
)
"""The tables, by name."""
