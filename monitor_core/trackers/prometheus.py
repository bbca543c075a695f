"""Prometheus: the latest results of a run as gauges, on a port of this machine or in a file for the node exporter.

Contract. That of `monitor_core.trackers.tracker`. A gauge holds the latest value alone; its history is what Prometheus
scraped. The port opens with the first run and stays open until the sink is freed, so that the last values can still be
scraped. The file is replaced as a whole after each message. Every gauge has the labels in `LABELS`; Prometheus adds its
own ``job`` and ``instance``, so none of them is called that.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any

import attrs

from monitor_core import checks
from monitor_core.bus.run import Run
from monitor_core.errors import SetupError
from monitor_core.files.folders import absolute
from monitor_core.network.retries import DeliveryError
from monitor_core.trackers.points import About, End, Points
from monitor_core.trackers.tracker import Tracker, root_cause

PORT = 9464
"""The default port: OpenTelemetry's for exporters of this kind. Prometheus's own server has 9090."""
LABELS = ("run", "rank", "training_job")
STATUSES = ("running", "completed", "stopped", "failed", "interrupted")


def _check_port(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{field.name} must be an integer or None (got {value!r})")
    if value is not None and not 0 <= value <= 65535:
        raise ValueError(f"{field.name} must be from 0 to 65535 (got {value})")


def _check_textfile(_: Any, field: attrs.Attribute[Any], value: Path | None) -> None:
    if value is not None and value.suffix != ".prom":
        raise ValueError(f"{field.name} must end in .prom, or the node exporter does not read it (got {value.name!r})")


class Gauges:
    """The gauges, in a registry of their own, and the server. A copy of the sink begins without them."""

    def __init__(self) -> None:
        self.server: Any = None
        self._made = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Gauges:
        return Gauges()

    def __reduce__(self) -> tuple[type[Gauges], tuple[()]]:
        return Gauges, ()

    def make(self) -> None:
        """Create the gauges, once."""
        if self._made:
            return
        from prometheus_client import CollectorRegistry, Gauge

        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Any:
            return Gauge(f"training_{name}", text, [*LABELS, *labels], registry=self.registry)

        self.metric = gauge("metric", "The latest value of a metric.", "metric")
        self.step = gauge("step", "The step of the latest value.")
        self.epoch = gauge("epoch", "The epoch of the latest value, from 0.")
        self.epochs = gauge("epochs", "How many epochs are planned.")
        self.status = gauge("status", "1 for the run's status, 0 for the others.", "status")
        self.updated = gauge("updated_timestamp_seconds", "When the latest value was logged, or the run began.")
        self.all = (self.metric, self.step, self.epoch, self.epochs, self.status, self.updated)
        self._made = True


@attrs.define(eq=False)
class Prometheus(Tracker):
    """Offer the latest results of a run to Prometheus, as gauges.

    ``training_metric{metric}`` has the value of each metric, ``training_step``, ``training_epoch`` and
    ``training_epochs`` say how far the run is, ``training_status{status}`` how it is, and
    ``training_updated_timestamp_seconds`` when the latest value came: an alert on it finds a training that hangs.

    Each has the labels ``run``, ``rank``, and ``training_job``: what the run is part of, such as a study or a SLURM
    array, by its id or name; else the SLURM job; else empty.

    Args:
        port: The port to offer them at, 0 for any free one; None: at no port.
        host: The address to listen at; by default only this machine can connect.
        textfile: A file for the node exporter's textfile collector, which must end in ``.prom``; None: no file.
        run_name: The label ``run``; None: the run's own id.
        per_rank: Whether every rank of a job offers its own: at the port plus its rank, and in a file with ``-rank1``,
            ``-rank2``, ... before the ending. Otherwise rank 0 does.
        per_batch: Whether to offer the values of batches too, about once a second.
        limit: How many messages wait at most; when there are more, the oldest are dropped.
        retry_seconds: For how many seconds to try to write the file again.
        flush_seconds: For how many seconds the run's end waits for pending messages.

    Raises:
        SetupError: The package ``prometheus-client`` is missing. At train begin: the port is in use.
        TypeError: An argument is of a wrong type.
        ValueError: An argument breaks its rule above.

    Example:
        >>> with Loop(Prometheus(9464)) as loop:  # http://127.0.0.1:9464/metrics
        ...     train(loop)
    """

    port: int | None = attrs.field(default=PORT, validator=_check_port)
    host: str = attrs.field(default="127.0.0.1", kw_only=True, validator=attrs.validators.instance_of(str))
    textfile: Path | None = attrs.field(
        default=None, kw_only=True, converter=attrs.converters.optional(absolute), validator=_check_textfile
    )
    per_rank: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)  # type: ignore[misc]
    _gauges: Gauges = attrs.field(init=False, factory=Gauges, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.config:
            raise ValueError("config must be empty: gauges have numbers alone (pass it to another tracker)")
        if self.port is None and self.textfile is None:
            raise ValueError("port must not be None without textfile: there is nothing to read the gauges from")
        checks.required("Prometheus", "prometheus", "prometheus_client")

    @property
    def url(self) -> str | None:
        """Where the gauges are, None before the first run or without a port."""
        server = self._gauges.server
        return None if server is None else f"http://{self.host}:{server.server_port}/metrics"

    def on_train_begin(self, run: Run) -> None:
        """Open the port, if it is not open yet.

        Raises:
            SetupError: It cannot be opened.
        """
        self._gauges.make()
        if self.port is not None and self._gauges.server is None:
            self._serve(self.port + run.rank if self.port else 0)
        super().on_train_begin(run)

    def _serve(self, port: int) -> None:
        from prometheus_client import start_http_server

        try:
            server, _ = start_http_server(port, self.host, self._gauges.registry)
        except (OSError, OverflowError) as error:
            where, why = f"{self.host}:{port}", getattr(error, "strerror", None) or error
            raise SetupError(f"port must be free at {where} ({why}): pass another, or 0 for any") from error
        self._gauges.server = server
        weakref.finalize(self, _stop, server, os.getpid()).atexit = False  # its thread ends with the process

    def start_session(self, about: About) -> GaugesOfRun:
        """Clear the gauges of the run before."""
        labels = (self.run_name or about.id, str(about.rank), about.job)
        textfile = self.textfile
        if textfile is not None and about.rank:
            textfile = textfile.with_name(f"{textfile.stem}-rank{about.rank}{textfile.suffix}")
        return GaugesOfRun(self._gauges, labels, about, textfile)


def _stop(server: Any, process: int) -> None:
    if os.getpid() != process:  # a forked process, where the server's thread does not run
        server.server_close()
        return
    # Shutting down waits up to half a second, and whatever thread frees the sink must not.
    threading.Thread(target=lambda: (server.shutdown(), server.server_close()), daemon=True).start()


class GaugesOfRun:
    """The gauges of one run."""

    def __init__(self, gauges: Gauges, labels: tuple[str, ...], about: About, textfile: Path | None) -> None:
        self._gauges = gauges
        self._labels = labels
        self._textfile = textfile
        for gauge in gauges.all:
            gauge.clear()
        if about.epochs is not None:
            gauges.epochs.labels(*labels).set(about.epochs)
        gauges.updated.labels(*labels).set(about.began)  # so that one that hangs before its first value is found too
        self._set_status("running")

    def write(self, points: Points) -> None:
        """Set the gauges to the latest values."""
        gauges, labels = self._gauges, self._labels
        for metric, value in points.last():
            gauges.metric.labels(*labels, metric).set(value)
        gauges.step.labels(*labels).set(int(points.steps[-1]))
        gauges.epoch.labels(*labels).set(points.epoch)
        gauges.updated.labels(*labels).set(float(points.times[-1]))
        self._write_file()

    def rewind(self, step: int) -> None:
        """Do nothing: the next values replace these."""

    def close(self, end: End) -> None:
        """Set the status."""
        self._set_status(end.status)

    def _set_status(self, status: str) -> None:
        for each in STATUSES:
            self._gauges.status.labels(*self._labels, each).set(each == status)
        self._write_file()

    def _write_file(self) -> None:
        if self._textfile is None:
            return
        from prometheus_client import write_to_textfile

        try:
            write_to_textfile(str(self._textfile), self._gauges.registry)
        except OSError as error:
            raise DeliveryError(f"{self._textfile}: {root_cause(error)}") from None
