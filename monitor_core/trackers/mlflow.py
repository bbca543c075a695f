"""MLflow: a run's results as metrics, its configuration as parameters, its end as the run's status.

Contract. That of `monitor_core.trackers.tracker`. Each of our runs is one run of MLflow, found again by a tag when it
is resumed. Writing the same values twice adds nothing, since MLflow knows a value by its metric, step and time.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import attrs

from monitor_core import checks
from monitor_core.errors import SetupError
from monitor_core.trackers.mlflow_stores import Found, Store, store_of
from monitor_core.trackers.names import Names
from monitor_core.trackers.points import About, End, Points
from monitor_core.trackers.tracker import Floors, Tracker, flattened, root_cause

RUN_TAG = "monitor_core.run"
"""The tag by which a resumed run is found."""
TIMEOUT = 30.0
"""How many seconds a call of a server may take by default: its database may be slow, or locked for a while."""
METRICS_PER_CALL, OTHERS_PER_CALL = 1000, 100
"""How many metrics, and how many parameters or tags, MLflow accepts in one call."""
_LONGEST_NAME, _LONGEST_VALUE = 250, 6000
_STATUSES = {"completed": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_REFUSED = re.compile(r"[^/\w.\- ]")


def accepted(name: str) -> str:
    """Return the nearest name that MLflow accepts for a metric or a parameter.

    Source: mlflow 3.17, ``mlflow.utils.validation``; colons, which it does not accept on Windows, are replaced too.
    """
    name = _REFUSED.sub("_", name)[:_LONGEST_NAME]
    is_path = posixpath.normpath(name) == name and name != "." and not name.startswith(("..", "/"))
    return name if is_path else _as_path(name)


def _as_path(name: str) -> str:
    """Return a name that means no other file: without empty parts, and parts of dots."""
    return "/".join(part for part in name.split("/") if part.strip(".")).lstrip(".") or "_"


def _copied_tags(value: Any) -> Any:
    return {str(name): str(each) for name, each in value.items()} if isinstance(value, Mapping) else value or {}


@attrs.define(eq=False)
class MLflow(Tracker):
    """Send a run's results to MLflow: a server, or a local database without one.

    A resumed run continues its run in MLflow; steps that MLflow already has are not sent again. The status at the end
    is FINISHED, FAILED or KILLED, and the tag ``monitor_core.reason`` says why a run was stopped or failed.

    Args:
        tracking_uri: Where MLflow stores runs, such as ``"http://localhost:5000"`` or ``"sqlite:///mlflow.db"``; None:
            what MLflow is configured for, see ``mlflow.set_tracking_uri``.
        experiment: The experiment's name, by default that of the variable ``MLFLOW_EXPERIMENT_NAME``, else
            ``"Default"``; it is created if there is none.
        run_name: What MLflow calls the run; None: MLflow chooses.
        per_batch: Whether to send the values of every batch too.
        config: The run's configuration, which becomes parameters; names of inner values have a slash.
        tags: Tags of the run, by name.
        timeout: How many seconds a call of a server may take, above 0; a slower server counts as down.
        limit: How many messages wait at most; when there are more, the oldest are dropped.
        retry_seconds: For how many seconds to retry a message.
        flush_seconds: For how many seconds the run's end waits for pending messages.

    Raises:
        SetupError: The package ``mlflow`` is missing, or does not know a store at ``tracking_uri``.
        TypeError: An argument is of a wrong type.
        ValueError: An argument breaks its rule above.

    Example:
        >>> tracker = MLflow("sqlite:///mlflow.db", experiment="digits", config={"width": 64})
        >>> with Loop(tracker) as loop:
        ...     train(loop)
        >>> tracker.run_id  # for mlflow.log_artifact(..., run_id=...)
    """

    tracking_uri: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(str)), repr=False
    )
    experiment: str = attrs.field(
        factory=lambda: os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default"),
        kw_only=True,
        validator=attrs.validators.instance_of(str),
    )
    tags: dict[str, str] = attrs.field(
        default=None, kw_only=True, converter=_copied_tags, validator=attrs.validators.instance_of(dict), repr=False
    )
    timeout: float = attrs.field(
        default=TIMEOUT, kw_only=True, validator=[checks.number(finite=True), attrs.validators.gt(0)], repr=False
    )
    _run_id: str | None = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        checks.required("MLflow", "mlflow", "mlflow")
        try:
            store_of(self.tracking_uri, self.timeout)
        except Exception as error:
            if "locked" not in (cause := root_cause(error)):  # that will pass
                raise SetupError(f"tracking_uri must name a store that MLflow can open: {cause}") from error

    @property
    def run_id(self) -> str | None:
        """The id of the current or last run in MLflow, None before it is created."""
        return self._run_id

    def start_session(self, about: About) -> MLflowRun:
        """Create the run in MLflow, or find the one that is resumed."""
        store = store_of(self.tracking_uri, self.timeout)
        experiment = store.experiment(self.experiment)
        # A creation whose response was lost is found here too, so that a retry does not create another run.
        found = store.find(experiment, RUN_TAG, about.id)
        if found is None:
            tags = {**store.context(), **self.tags, RUN_TAG: about.id}
            found = Found(store.create(experiment, self.run_name, dict(islice(tags.items(), 90)), about.began))
        else:
            store.reopen(found.run_id)
        self._run_id = found.run_id
        run = MLflowRun(store, found, Names(accepted, self._warn_of_names))
        run.describe(self.config, self._warn_of_config)
        return run

    def _warn_of_names(self, changed: str) -> None:
        self.warn("renames metrics whose names MLflow does not accept: %s; later ones are not logged", changed)

    def _warn_of_config(self, names: str) -> None:
        self.warn("cannot change parameters of a run that continues: MLflow keeps the first value of %s", names)


class MLflowRun:
    """One run in MLflow."""

    def __init__(self, store: Store, found: Found, names: Names) -> None:
        self._store = store
        self._found = found
        self._names = names
        self._floors = Floors(found.last_steps)

    def describe(self, config: Mapping[str, Any], warn: Any) -> None:
        """Log the parameters that the run does not have yet."""
        params = {accepted(name): str(value)[:_LONGEST_VALUE] for name, value in flattened(config).items()}
        known = self._found.params
        if changed := [name for name in params if known.get(name, params[name]) != params[name]]:
            warn(", ".join(changed))
        new = [(name, value) for name, value in params.items() if name not in known]
        for first in range(0, len(new), OTHERS_PER_CALL):
            self._store.log(self._found.run_id, params=dict(new[first : first + OTHERS_PER_CALL]))

    def write(self, points: Points) -> None:
        """Log the values, up to `METRICS_PER_CALL` in a call."""
        names = self._names.of(points.columns)
        renamed = attrs.evolve(
            points,
            columns={names[name]: column for name, column in points.columns.items()},
            present={names[name]: mask for name, mask in points.present.items()},
        )
        values = [
            (name, value, int(moment * 1000), step) for name, value, moment, step in self._floors.new(renamed).flat()
        ]
        for first in range(0, len(values), METRICS_PER_CALL):
            self._store.log(self._found.run_id, metrics=values[first : first + METRICS_PER_CALL])
        self._floors.note(renamed)

    def rewind(self, step: int) -> None:
        """Leave out the steps that MLflow has."""
        self._floors.rewind()

    def close(self, end: End) -> None:
        """Set the run's status."""
        tags: dict[str, str] = {"monitor_core.status": end.status}
        if end.reason is not None:
            tags["monitor_core.reason"] = end.reason[:_LONGEST_VALUE]
        self._store.log(self._found.run_id, tags=tags)
        self._store.end(self._found.run_id, _STATUSES.get(end.status, "FINISHED"), end.time)
