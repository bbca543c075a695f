"""trackio: a run's results in trackio's local database, which its dashboard shows and ``trackio sync`` uploads.

Contract. That of `monitor_core.trackers.tracker`. A block is written in one transaction. trackio's own writer drops a
batch where its database is locked, which is its best-known issue; here it is retried for two minutes, then
counted. Each row has an id, by which trackio ignores one that it has: neither a retry nor a resumed run adds it twice.
"""

from __future__ import annotations

import datetime as dt
import inspect
import zlib
from typing import Any

import attrs

from monitor_core import checks
from monitor_core.errors import SetupError
from monitor_core.network.retries import DeliveryError
from monitor_core.trackers.points import About, End, Points
from monitor_core.trackers.tracker import Tracker, optional_string, root_cause


@attrs.define(eq=False)
class Trackio(Tracker):
    """Write a run's results to trackio's local database.

    ``trackio show`` opens its dashboard, and ``trackio sync`` uploads a project to a Space. The folder is trackio's,
    see its variable ``TRACKIO_DIR``.

    Args:
        project: The project's name.
        run_name: What trackio calls the run; None: a name from the run's id.
        group: The run's group, or None.
        per_batch: Whether to write the values of every batch too.
        config: The run's configuration; names must not begin with an underscore, which trackio reserves.
        limit: How many messages wait at most; when there are more, the oldest are dropped.
        retry_seconds: For how many seconds to retry a message.
        flush_seconds: For how many seconds the run's end waits for pending messages.

    Raises:
        SetupError: The package ``trackio`` is missing, or of a version that cannot write many rows at once.
        TypeError: An argument is of a wrong type.
        ValueError: An argument breaks its rule above.

    Example:
        >>> with Loop(Trackio("digits", config={"width": 64})) as loop:
        ...     train(loop)
    """

    project: str = attrs.field(validator=attrs.validators.instance_of(str))
    group: str | None = optional_string()

    def __attrs_post_init__(self) -> None:
        if reserved := [name for name in self.config if name.startswith("_")]:
            raise ValueError(f"config must have names that do not begin with an underscore (got {reserved[0]!r})")
        checks.required("Trackio", "trackio", "trackio", "trackio.sqlite_storage")
        from trackio.sqlite_storage import SQLiteStorage

        write = getattr(SQLiteStorage, "bulk_log", None)
        if write is None or not {"steps", "log_ids", "run_id"} <= inspect.signature(write).parameters.keys():
            raise SetupError('Trackio needs a newer trackio: pip install --upgrade "monitor_core[trackio]"')
        try:
            SQLiteStorage.validate_project_name(self.project)
        except ValueError as error:
            raise ValueError(f"project must be a name that trackio accepts: {error}") from None

    def start_session(self, about: About) -> TrackioRun:
        """Begin or continue the run in trackio."""
        about_it = {"_Created": _iso(about.began), "_Group": self.group, "_Username": None}
        return TrackioRun(self.project, self.run_name or f"run-{about.id[:8]}", about.id, {**self.config, **about_it})


class TrackioRun:
    """One run in trackio."""

    def __init__(self, project: str, name: str, run_id: str, config: dict[str, Any]) -> None:
        self._project = project
        self._name = name
        self._run_id = run_id
        self._config: dict[str, Any] | None = config

    def write(self, points: Points) -> None:
        """Write a row for each step, all in one transaction."""
        from trackio.utils import RESERVED_KEYS

        rows = [
            (step, moment, {f"__{name}" if name in RESERVED_KEYS else name: row[name] for name in row})
            for step, moment, row in points.rows()
        ]
        self._log(
            [row for _, _, row in rows],
            [step for step, _, _ in rows],
            [_iso(moment) for _, moment, _ in rows],
            [self._row_id(points.epoch, step, row) for step, _, row in rows],
        )

    def rewind(self, step: int) -> None:
        """Leave out the steps that trackio has, by the ids of their rows."""

    def close(self, end: End) -> None:
        """Do nothing: trackio does not record how a run ends."""

    def _row_id(self, epoch: int, step: int, row: dict[str, float]) -> str:
        return f"{self._run_id}:{epoch}:{step}:{zlib.crc32('/'.join(sorted(row)).encode()):08x}"

    def _log(self, rows: list[dict[str, float]], steps: list[int], times: list[str], ids: list[str]) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        if not rows:
            return
        try:
            SQLiteStorage.bulk_log(
                project=self._project,
                run=self._name,
                run_id=self._run_id,
                metrics_list=rows,
                steps=steps,
                timestamps=times,
                config=self._config,
                log_ids=ids,
            )
        except Exception as error:
            raise DeliveryError(root_cause(error)) from None
        self._config = None  # written once


def _iso(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat()
