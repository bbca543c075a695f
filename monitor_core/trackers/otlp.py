"""OTLP: a run's results as gauges of OpenTelemetry, posted over HTTP to a collector.

Contract. That of `monitor_core.trackers.tracker` and `monitor_core.network.http`: one post a message, retried as the
protocol asks, with the time of each value. Values have no attribute for their step, which would make each a series of
its own; ``training.step`` has the steps at the same times. The OpenTelemetry SDK is not needed, only its protocol.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import attrs
import numpy as np

from monitor_core import checks
from monitor_core._version import __version__
from monitor_core.network.http import TIMEOUT, Poster, check_url, origin
from monitor_core.trackers.names import Names
from monitor_core.trackers.points import About, End, Points
from monitor_core.trackers.tracker import Tracker, flattened

ENDPOINT = "http://localhost:4318"
"""Where a collector listens by default."""
_PATH = "/v1/metrics"
_PREFIX = "training."
_REFUSED = re.compile(r"[^A-Za-z0-9_.\-/]")


def accepted(name: str) -> str:
    """Return the nearest name that is accepted after ``training.`` as the name of an instrument.

    Source: OpenTelemetry 1.45, metrics API, "Instrument name syntax".
    """
    return _REFUSED.sub("_", name)[: 255 - len(_PREFIX)]


def _endpoint(value: Any) -> Any:
    """Return where to post: what was given, or as the protocol's variables say."""
    if value is not None:
        return value
    if own := os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        return own
    return os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT).rstrip("/") + _PATH


def _headers(value: Any) -> Any:
    if value is not None:
        return value
    given = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_HEADERS") or os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    pairs = (pair.partition("=") for pair in given.split(",") if "=" in pair)
    return {unquote(name.strip()): unquote(each.strip()) for name, _, each in pairs}


@attrs.define(eq=False)
class OTLP(Tracker):
    """Post a run's results to an OpenTelemetry receiver, as gauges ``training.<metric>``.

    The resource has the attributes ``service.name``, ``service.instance.id``, ``monitor_core.run``,
    ``monitor_core.run_name``, ``monitor_core.rank``, ``monitor_core.job`` and the configuration's. The job is what the
    run is part of, such as a study or a SLURM array, by its id or name; else the SLURM job. At the end
    ``training.status`` is posted, with the status as an attribute.

    Args:
        endpoint: Where to post, such as ``"http://localhost:4318/v1/metrics"``; None: the protocol's variables
            ``OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`` and ``OTEL_EXPORTER_OTLP_ENDPOINT`` decide, or it is that one. Logs
            and ``repr`` show only its scheme, host and port.
        headers: Headers to send, such as ``Authorization``; None: as ``OTEL_EXPORTER_OTLP_HEADERS`` says.
        timeout: How many seconds a post may take in all, above 0; a slower receiver counts as down.
        run_name: The run's name; None: none.
        per_rank: Whether every rank of a job posts its own values. Otherwise rank 0 does.
        per_batch: Whether to post the values of every batch too.
        config: The run's configuration.
        limit: How many messages wait at most; when there are more, the oldest are dropped.
        retry_seconds: For how many seconds to retry a message.
        flush_seconds: For how many seconds the run's end waits for pending messages.

    Raises:
        SetupError: The package ``opentelemetry-proto`` is missing.
        TypeError: An argument is of a wrong type.
        ValueError: An argument breaks its rule above.

    Example:
        >>> with Loop(OTLP("http://localhost:4318/v1/metrics", config={"width": 64})) as loop:
        ...     train(loop)
    """

    endpoint: str = attrs.field(default=None, converter=_endpoint, validator=check_url, repr=origin)
    headers: Mapping[str, str] = attrs.field(default=None, kw_only=True, converter=_headers, repr=False)
    timeout: float = attrs.field(default=TIMEOUT, kw_only=True, repr=False)
    per_rank: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)  # type: ignore[misc]
    _poster: Poster = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        checks.required("OTLP", "otlp", "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
        self._poster = Poster(self.endpoint, self.headers, self.timeout)

    def start_session(self, about: About) -> Posts:
        """Return what posts the run's values."""
        attributes = {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "monitor_core"),
            "service.instance.id": f"{about.id}-{about.rank}",  # else the series of two runs would be one
            "monitor_core.run": about.id,
            "monitor_core.rank": about.rank,
            **({"monitor_core.run_name": self.run_name} if self.run_name else {}),
            **({"monitor_core.job": about.job} if about.job else {}),
            **{f"config.{name.replace('/', '.')}": value for name, value in flattened(self.config).items()},
        }
        return Posts(self._poster, attributes, Names(accepted, self._warn_of_names, reserved=("step", "status")))

    def _warn_of_names(self, changed: str) -> None:
        self.warn("renames metrics whose names OpenTelemetry does not accept: %s; later ones are not logged", changed)


class Posts:
    """One run's posts."""

    def __init__(self, poster: Poster, attributes: Mapping[str, Any], names: Names) -> None:
        self._poster = poster
        self._attributes = attributes
        self._names = names

    def write(self, points: Points) -> None:
        """Post the values, in one request."""
        request, metrics = self._request()
        times = (points.times * 1e9).astype(np.int64).tolist()
        names = self._names.of(points.columns)
        for name, column in points.columns.items():
            mask = points.present[name]
            values = column.tolist()
            gauge = metrics.add(name=_PREFIX + names[name]).gauge
            for index, moment in enumerate(times):
                if mask is None or mask[index]:
                    gauge.data_points.add(time_unix_nano=moment, as_double=values[index])
        gauge = metrics.add(name="training.step").gauge
        for moment, step in zip(times, points.steps.tolist(), strict=True):
            gauge.data_points.add(time_unix_nano=moment, as_int=step)
        self._post(request)

    def rewind(self, step: int) -> None:
        """Do nothing: later values have later times."""

    def close(self, end: End) -> None:
        """Post the status."""
        request, metrics = self._request()
        point = metrics.add(name="training.status").gauge.data_points.add(time_unix_nano=int(end.time * 1e9), as_int=1)
        point.attributes.add(key="status").value.string_value = end.status
        if end.reason is not None:
            point.attributes.add(key="reason").value.string_value = end.reason
        self._post(request)

    def _request(self) -> tuple[Any, Any]:
        """Return an empty request, and the list of its metrics."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        for name, value in self._attributes.items():
            _set(resource.resource.attributes.add(key=name).value, value)
        scope = resource.scope_metrics.add()
        scope.scope.name, scope.scope.version = "monitor_core", __version__
        return request, scope.metrics

    def _post(self, request: Any) -> None:
        self._poster.post(request.SerializeToString(), "application/x-protobuf")


def _set(attribute: Any, value: Any) -> None:
    """Set an attribute's value, in the protocol's type for it."""
    if isinstance(value, bool):
        attribute.bool_value = value
    elif isinstance(value, int) and -(2**63) <= value < 2**63:
        attribute.int_value = value
    elif isinstance(value, float):
        attribute.double_value = value
    else:
        attribute.string_value = str(value)
