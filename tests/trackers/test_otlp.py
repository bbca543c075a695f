"""OTLP: what a receiver on this machine parses, and that it is what OpenTelemetry's own exporter sends."""

import http.server
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import Block, Bus, Loop
from monitor_core.testing import SinkContract
from trackers_support import train_two_epochs, train_with_kill
from web_server import free_port

pytest.importorskip("opentelemetry.proto")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from monitor_core.trackers import OTLP
from monitor_core.trackers.otlp import accepted


class Handler(http.server.BaseHTTPRequestHandler):
    """Keep what is posted as the protocol's message, or answer with the server's next status."""

    def do_POST(self):
        """Take a request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.requests.append((self.path, self.headers, ExportMetricsServiceRequest.FromString(body)))
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Say nothing on the terminal."""


class Receiver(http.server.ThreadingHTTPServer):
    """A receiver of OTLP over HTTP."""

    def __init__(self):
        self.requests, self.answers = [], []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        """Where it takes metrics."""
        return f"http://127.0.0.1:{self.server_port}/v1/metrics"

    @property
    def resource(self):
        """The attributes of the first request's resource."""
        found = self.requests[0][2].resource_metrics[0].resource.attributes
        return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in found}

    @property
    def series(self):
        """What it got: the values of each metric in order."""
        found = {}
        for _, _, request in self.requests:
            for metric in request.resource_metrics[0].scope_metrics[0].metrics:
                points = metric.gauge.data_points
                found.setdefault(metric.name, []).extend(getattr(each, each.WhichOneof("value")) for each in points)
        return found


@pytest.fixture
def receiver(monkeypatch):
    """Return a receiver that stops at the end."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Receiver()
    yield made
    made.shutdown()
    made.server_close()


class TestContract(SinkContract):
    """The sink passes the contract of sinks."""

    @pytest.fixture
    def make_sink(self, receiver):
        """Return what makes one."""
        return lambda: OTLP(receiver.url, per_batch=True, config={"width": 4})


# --- what arrives ----------------------------------------------------------------------------------------------------


def test_a_run_arrives(receiver):
    """A gauge for each metric, one for the steps, and the status at the end."""
    train_two_epochs(OTLP(receiver.url, per_batch=True))
    assert receiver.series == {
        "training.batch/loss": [4.0, 2.0, 2.0, 1.0],
        "training.loss": [3.0, 1.5],
        "training.val_loss": [5.0, 4.0],
        "training.step": [1, 2, 2, 3, 4, 4],
        "training.status": [1],
    }
    assert {path for path, _, _ in receiver.requests} == {"/v1/metrics"}


def test_the_resource_is_the_run(receiver):
    """With its name and configuration."""
    config = {"width": 4, "optimizer": {"rate": 0.1, "nesterov": True}, "name": None}
    loop = train_two_epochs(OTLP(receiver.url, run_name="first", config=config))
    assert receiver.resource == {
        "service.name": "monitor_core",
        "service.instance.id": f"{loop.run.id}-0",
        "monitor_core.run": loop.run.id,
        "monitor_core.rank": 0,
        "monitor_core.run_name": "first",
        "config.width": 4,
        "config.optimizer.rate": 0.1,
        "config.optimizer.nesterov": True,
        "config.name": "None",
    }


def test_each_rank_posts_as_an_instance_if_asked_to(receiver, monkeypatch):
    """With its rank, and the job that it is part of; otherwise rank 0 does."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    train_two_epochs(OTLP(receiver.url))
    assert receiver.requests == []
    loop = train_two_epochs(OTLP(receiver.url, per_rank=True))
    assert receiver.resource == {
        "service.name": "monitor_core",
        "service.instance.id": f"{loop.run.id}-1",
        "monitor_core.run": loop.run.id,
        "monitor_core.rank": 1,
        "monitor_core.job": "slurm-12",
    }


def test_the_reason_of_the_end_arrives(receiver):
    """As an attribute of the status."""
    with pytest.raises(ValueError, match="no"), Loop(OTLP(receiver.url)):
        raise ValueError("no")
    point = receiver.requests[-1][2].resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    attributes = {each.key: each.value.string_value for each in point.attributes}
    assert attributes == {"status": "failed", "reason": "ValueError: no"}


def test_each_value_has_its_own_time(receiver):
    """In one post a block; missing values have no point."""
    bus = Bus(sink := OTLP(receiver.url, per_batch=True))
    bus.train_begin()
    column = np.array([3.0, math.nan, math.inf])
    present = {"loss": np.array([True, False, True])}
    sink.on_block(bus.run, Block(0, np.array([1, 2, 3]), np.array([1.0, 2.0, 3.5]), {"loss": column}, present))
    assert sink.flush(20)
    ((_, _, request),) = receiver.requests
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    points = [(point.time_unix_nano, point.as_double) for point in metric.gauge.data_points]
    assert points == [(1_000_000_000, 3.0), (3_500_000_000, math.inf)]
    bus.interrupt()


def test_a_resumed_run_posts_under_the_same_id(receiver):
    """Its values follow in time."""
    train_with_kill(lambda: OTLP(receiver.url, per_batch=True))
    ids = {
        each.value.string_value
        for _, _, request in receiver.requests
        for each in request.resource_metrics[0].resource.attributes
        if each.key == "monitor_core.run"
    }
    assert len(ids) == 1
    assert receiver.series["training.batch/loss"] == [6.0, 5.0, 4.0, 3.0, 2.0, 4.0, 3.0, 2.0, 1.0]


# --- as OpenTelemetry does -------------------------------------------------------------------------------------------


def test_a_gauge_is_what_opentelemetrys_exporter_sends(receiver):
    """The same message, path and type of content, but for the scope and the resource."""
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    from opentelemetry.sdk.metrics import export
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    with Loop(OTLP(receiver.url)) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=0.5)
    ours = receiver.requests[0]
    metric = ours[2].resource_metrics[0].scope_metrics[0].metrics[0]
    moment = metric.gauge.data_points[0].time_unix_nano
    point = export.NumberDataPoint({}, None, moment, 0.5)
    theirs = export.Metric("training.loss", None, None, export.Gauge([point]))
    scope = export.ScopeMetrics(InstrumentationScope("monitor_core"), [theirs], "")
    data = export.MetricsData([export.ResourceMetrics(Resource({}), [scope], "")])
    exporter.OTLPMetricExporter(endpoint=receiver.url).export(data)
    path, headers, request = receiver.requests[-1]
    assert (path, headers["Content-Type"]) == (ours[0], ours[1]["Content-Type"])
    assert request.resource_metrics[0].scope_metrics[0].metrics[0] == metric


@given(st.text(max_size=300))
def test_names_are_mapped_as_opentelemetry_wants_them(name):
    """Whatever the name becomes, the API accepts it; one that it accepts stays."""
    instrument = pytest.importorskip("opentelemetry.metrics._internal.instrument")
    check = instrument.Instrument._check_name_unit_description
    found = f"training.{accepted(name)}"
    assert check(found, "", "")["name"] is not None
    if check(f"training.{name}", "", "")["name"] is not None:
        assert found == f"training.{name}"


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({}, "http://localhost:4318/v1/metrics"),
        ({"ENDPOINT": "http://a:1/"}, "http://a:1/v1/metrics"),
        ({"ENDPOINT": "http://a:1", "METRICS_ENDPOINT": "http://b:2/x"}, "http://b:2/x"),
    ],
    ids=["nothing", "general", "metrics"],
)
def test_the_protocols_variables_are_obeyed(monkeypatch, variables, endpoint):
    """As OpenTelemetry's exporter obeys them."""
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    assert OTLP().endpoint == endpoint == exporter.OTLPMetricExporter()._endpoint


def test_headers_are_sent_and_not_shown(receiver, monkeypatch):
    """Those of the variable, or those given."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken, x-team = a")
    train_two_epochs(sink := OTLP(receiver.url))
    headers = receiver.requests[0][1]
    assert (headers["authorization"], headers["x-team"]) == ("Bearer t0ken", "a")
    assert "t0ken" not in repr(sink)
    assert OTLP(receiver.url, headers={"x-team": "b"}).headers == {"x-team": "b"}


# --- what can go wrong -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_a_receiver_that_is_overloaded_gets_everything_later(receiver):
    """In order, and once."""
    receiver.answers = [503, 429, 503]
    train_two_epochs(sink := OTLP(receiver.url, per_batch=True))
    assert receiver.series["training.batch/loss"] == [4.0, 2.0, 2.0, 1.0]
    assert (sink.failed, sink.dropped) == (0, 0)


@pytest.mark.usefixtures("quick")
def test_a_receiver_that_is_down_is_logged_once(warned):
    """Its messages are counted."""
    train_two_epochs(sink := OTLP(f"http://127.0.0.1:{free_port()}/v1/metrics", retry_seconds=0.3))
    assert sink.flush(20) is False
    assert (sink.failed, sink.lost_values) == (3, 4)
    assert len([text for text in warned() if "Connection refused" in text]) == 1


def test_a_message_that_is_refused_is_not_sent_again(receiver, warned):
    """As the protocol asks after a status of 400."""
    receiver.answers = [400]
    train_two_epochs(sink := OTLP(receiver.url))
    assert (sink.failed, sink.delivered) == (1, 3)
    assert len([text for text in warned() if "HTTP 400 Bad Request" in text]) == 1


def test_a_renamed_metric_is_logged_once(receiver, warned):
    """With what it becomes."""
    with Loop(OTLP(receiver.url)) as loop:
        for _ in loop.epochs(2):
            loop.log({"top%": 1.0})
    assert receiver.series["training.top_"] == [1.0, 1.0]
    assert len([text for text in warned() if "'top%' becomes 'top_'" in text]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint": "localhost:4318"}, r"endpoint must be an http or https URL \(got one without a scheme\)"),
        ({"timeout": 0}, "'timeout' must be > 0"),
        ({"headers": {"a b": "c"}}, r"headers must have names of letters, digits and hyphens \(got 'a b'\)"),
    ],
)
def test_wrong_arguments_are_errors(options, message):
    """Named, with their rule."""
    with pytest.raises(ValueError, match=message):
        OTLP(**options)
