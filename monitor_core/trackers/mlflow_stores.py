"""Where MLflow stores runs: a server, by its REST interface, or anything else, by its client.

MLflow's own client retries a call for four minutes where a server is down, and can be told otherwise only by variables
of the environment, for the whole process. So its documented REST interface is called here, with one attempt a call and
its own credentials; the sink's queue retries. Values of metrics are tuples ``(name, value, ms since 1970, step)``.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Protocol

import attrs

from monitor_core.files.state import finite_or_name
from monitor_core.network.http import origin
from monitor_core.network.retries import DeliveryError
from monitor_core.trackers.tracker import root_cause

Value = tuple[str, float, int, int]


@attrs.frozen
class Found:
    """A run in MLflow: its id, its parameters, and the last step of each of its metrics."""

    run_id: str
    params: Mapping[str, str] = attrs.field(factory=dict)
    last_steps: Mapping[str, int] = attrs.field(factory=dict)


class Store(Protocol):
    """A place where MLflow stores runs. Times are in seconds since 1970."""

    def experiment(self, name: str) -> str:
        """Return an experiment's id; create it if there is none."""
        ...

    def find(self, experiment: str, tag: str, value: str) -> Found | None:
        """Return the run with a tag, if there is one."""
        ...

    def create(self, experiment: str, name: str | None, tags: Mapping[str, str], began: float) -> str:
        """Create a run and return its id."""
        ...

    def reopen(self, run_id: str) -> None:
        """Let a run that has ended be running again."""
        ...

    def log(
        self,
        run_id: str,
        metrics: Sequence[Value] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log values, parameters and tags, within MLflow's limits for one call."""
        ...

    def end(self, run_id: str, status: str, ended: float) -> None:
        """Set how a run ended."""
        ...

    def context(self) -> dict[str, str]:
        """Return the tags that MLflow itself gives a run: the user, the script, the git commit."""
        ...


def store_of(uri: str | None, timeout: float) -> Store:
    """Return the store at an address of MLflow's.

    Raises:
        MlflowException: MLflow knows no store of this kind.
    """
    import mlflow

    uri = uri or mlflow.get_tracking_uri()
    return ServerStore(uri, timeout) if uri.startswith(("http://", "https://")) else ClientStore(uri)


class _Context:
    def context(self) -> dict[str, str]:
        from mlflow.tracking.context.registry import resolve_tags

        tags: dict[str, str] = resolve_tags()
        return tags


@attrs.define
class ServerStore(_Context):
    """A server, called by its REST interface."""

    uri: str
    timeout: float

    def experiment(self, name: str) -> str:
        """Return an experiment's id; create it if there is none."""
        try:
            return str(
                self._call("GET", "experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"]
            )
        except _RefusedError as error:
            if error.code != "RESOURCE_DOES_NOT_EXIST":
                raise
        try:
            return str(self._call("POST", "experiments/create", name=name)["experiment_id"])
        except _RefusedError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":  # else another process has just created it
                raise
            raise DeliveryError(str(error)) from None

    def find(self, experiment: str, tag: str, value: str) -> Found | None:
        """Return the run with a tag, if there is one."""
        where = f"tags.`{tag}` = '{value}'"
        runs = self._call("POST", "runs/search", experiment_ids=[experiment], filter=where, max_results=1).get("runs")
        if not runs:
            return None
        data = runs[0].get("data", {})
        params = {each["key"]: each.get("value", "") for each in data.get("params", [])}
        steps = {each["key"]: int(each.get("step", 0)) for each in data.get("metrics", [])}
        return Found(runs[0]["info"]["run_id"], params, steps)

    def create(self, experiment: str, name: str | None, tags: Mapping[str, str], began: float) -> str:
        """Create a run and return its id."""
        named = {} if name is None else {"run_name": name}
        listed = _listed(tags)
        made = self._call(
            "POST", "runs/create", experiment_id=experiment, start_time=int(began * 1000), tags=listed, **named
        )
        return str(made["run"]["info"]["run_id"])

    def reopen(self, run_id: str) -> None:
        """Let a run that has ended be running again."""
        self._call("POST", "runs/update", run_id=run_id, status="RUNNING")

    def log(
        self,
        run_id: str,
        metrics: Sequence[Value] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log values, parameters and tags."""
        values = [
            {"key": name, "value": finite_or_name(value), "timestamp": moment, "step": step}
            for name, value, moment, step in metrics
        ]
        self._call("POST", "runs/log-batch", run_id=run_id, metrics=values, params=_listed(params), tags=_listed(tags))

    def end(self, run_id: str, status: str, ended: float) -> None:
        """Set how a run ended."""
        self._call("POST", "runs/update", run_id=run_id, status=status, end_time=int(ended * 1000))

    def _call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        try:
            response = http_request(
                get_default_host_creds(self.uri),
                f"/api/2.0/mlflow/{path}",
                method,
                max_retries=0,
                timeout=self.timeout,
                raise_on_status=False,
                **{"params" if method == "GET" else "json": content},
            )
        except Exception as error:
            raise DeliveryError(f"{origin(self.uri)}: {root_cause(error)}") from None
        if response.status_code != HTTPStatus.OK:
            raise _RefusedError(self.uri, response.status_code, response.text)
        found: dict[str, Any] = response.json()
        return found


class _RefusedError(DeliveryError):
    """What a server responded instead of accepting a call."""

    def __init__(self, uri: str, status: int, text: str) -> None:
        self.code, message = _parsed(text)
        retry = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
        super().__init__(f"{origin(uri)}: HTTP {status} {self.code} {message}".rstrip(), retry=retry)


def _parsed(text: str) -> tuple[str, str]:
    """Return the code and the first words of a server's error."""
    try:
        error = json.loads(text)
        return str(error["error_code"]), str(error.get("message", "")).partition("\n")[0][:200]
    except (KeyError, TypeError, ValueError):
        return "", ""


def _listed(items: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in (items or {}).items()]


class ClientStore(_Context):
    """Any store but a server's: a database, or what MLflow's client knows besides, such as Databricks.

    Args:
        uri: Its address.
    """

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(uri)

    def experiment(self, name: str) -> str:
        """Return an experiment's id; create it if there is none."""
        with _errors():
            found = self._client.get_experiment_by_name(name)
            return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def find(self, experiment: str, tag: str, value: str) -> Found | None:
        """Return the run with a tag, if there is one."""
        with _errors():
            runs = self._client.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=1)
            if not runs:
                return None
            data = runs[0].to_proto().data
            return Found(runs[0].info.run_id, dict(runs[0].data.params), {each.key: each.step for each in data.metrics})

    def create(self, experiment: str, name: str | None, tags: Mapping[str, str], began: float) -> str:
        """Create a run and return its id."""
        with _errors():
            made = self._client.create_run(experiment, int(began * 1000), dict(tags), name)
            return str(made.info.run_id)

    def reopen(self, run_id: str) -> None:
        """Let a run that has ended be running again."""
        with _errors():
            self._client.update_run(run_id, status="RUNNING")

    def log(
        self,
        run_id: str,
        metrics: Sequence[Value] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log values, parameters and tags."""
        from mlflow.entities import Metric, Param, RunTag

        with _errors():
            self._client.log_batch(
                run_id,
                [Metric(*value) for value in metrics],
                [Param(*each) for each in (params or {}).items()],
                [RunTag(*each) for each in (tags or {}).items()],
            )

    def end(self, run_id: str, status: str, ended: float) -> None:
        """Set how a run ended."""
        with _errors():
            self._client.set_terminated(run_id, status, int(ended * 1000))


@contextmanager
def _errors() -> Iterator[None]:
    """Say of an error whether to retry, and log it once: MLflow logs each with its traceback."""
    from mlflow.exceptions import MlflowException

    thread = threading.get_ident()
    logger = logging.getLogger("mlflow.store.db.utils")

    def is_other(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(is_other)
    try:
        yield
    except MlflowException as error:
        cause = root_cause(error)
        is_database = cause.startswith(("OperationalError", "DatabaseError", "OSError", "PermissionError"))
        retry = is_database or error.get_http_status_code() >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise DeliveryError(cause, retry=retry) from None
    except Exception as error:
        raise DeliveryError(root_cause(error)) from None
    finally:
        logger.removeFilter(is_other)
