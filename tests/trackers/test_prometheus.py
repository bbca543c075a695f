"""Prometheus: what a scrape, and the file for the node exporter, have after each event."""

import copy
import gc
import math
import os
import socket
import time
import urllib.request

import pytest

from monitor_core import Bus, Loop, SetupError
from monitor_core.testing import SinkContract
from trackers_support import train_epoch, train_two_epochs
from web_server import free_port, wait_until

pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from monitor_core.trackers import Prometheus


class TestContract(SinkContract):
    """The sink passes the contract of sinks."""

    @pytest.fixture(params=["port", "file"])
    def make_sink(self, request, tmp_path_factory):
        """Return what makes one; the file is replaced all the time, so it is in a folder of its own."""
        textfile = tmp_path_factory.mktemp("prometheus") / "training.prom"
        if request.param == "port":
            return lambda: Prometheus(0, per_batch=True)
        return lambda: Prometheus(None, textfile=textfile)


def _own(labels):
    """Return the labels' values, without those of a run that is alone."""
    assert (labels["rank"], labels["training_job"]) == ("0", "")
    return [value for name, value in labels.items() if name not in ("rank", "training_job")]


def parsed(text):
    """Return the samples of a page by their names and labels, without the time of the last value."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        (sample.name.removeprefix("training_"), *sorted(_own(sample.labels))): sample.value
        for sample in samples
        if sample.name != "training_updated_timestamp_seconds"
    }


def scraped(sink):
    """Return what a scrape gets."""
    with urllib.request.urlopen(sink.url, timeout=10) as page:  # noqa: S310 - our own
        return parsed(page.read().decode())


def statuses(run, status):
    """Return the samples of a run's status."""
    names = ("running", "completed", "stopped", "failed", "interrupted")
    return {("status", *sorted((run, name))): float(name == status) for name in names}


FINAL = {
    ("metric", "first", "loss"): 1.5,
    ("metric", "first", "val_loss"): 4.0,
    ("step", "first"): 4.0,
    ("epoch", "first"): 1.0,
    **statuses("first", "completed"),
}


def test_a_scrape_has_the_latest_values():
    """And the status, also after the run."""
    train_two_epochs(sink := Prometheus(0, run_name="first"))
    assert scraped(sink) == FINAL


def test_a_scrape_during_the_run_has_its_batches():
    """The last value of each metric, and how many epochs are planned."""
    bus = Bus(sink := Prometheus(0, run_name="first", per_batch=True))
    bus.train_begin(epochs=9)
    train_epoch(bus, 0, [3.0, math.nan])
    bus.flush()
    assert sink.flush(20)
    found = scraped(sink)
    assert math.isnan(found.pop(("metric", "batch/loss", "first")))
    assert found == {
        ("step", "first"): 2.0,
        ("epoch", "first"): 0.0,
        ("epochs", "first"): 9.0,
        **statuses("first", "running"),
    }
    bus.interrupt()


def test_the_file_has_the_same(tmp_path):
    """It is replaced as a whole, and nothing else is left in its folder."""
    train_two_epochs(Prometheus(None, textfile=tmp_path / "training.prom", run_name="first"))
    assert parsed((tmp_path / "training.prom").read_text()) == FINAL
    assert os.listdir(tmp_path) == ["training.prom"]  # noqa: PTH208 - names alone


def test_a_second_run_replaces_the_first():
    """Its metrics alone are there, under its own id."""
    sink = Prometheus(0)
    train_two_epochs(sink)
    with Loop(sink) as loop:
        for _ in loop.epochs(1):
            loop.log(accuracy=0.5)
    run = loop.run.id
    assert scraped(sink) == {
        ("metric", *sorted((run, "accuracy"))): 0.5,
        ("step", run): 0.0,
        ("epoch", run): 0.0,
        **statuses(run, "completed"),
    }


@pytest.fixture
def second_rank(monkeypatch):
    """This process is rank 1 of 2, as torchrun says."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")


def labels_of(text):
    """Return the labels that all samples of a page have in common."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return set.intersection(*(set(sample.labels.items()) for sample in samples))


@pytest.mark.usefixtures("second_rank")
def test_a_rank_offers_its_own_gauges_if_asked_to(tmp_path):
    """At a port and in a file of its own; otherwise rank 0 does."""
    assert train_two_epochs(Prometheus(0, run_name="first")).bus.sinks[0].url is None
    port = free_port()
    sink = Prometheus(port - 1, textfile=tmp_path / "training.prom", run_name="first", per_rank=True)
    train_two_epochs(sink)
    assert sink.url == f"http://127.0.0.1:{port}/metrics"
    text = (tmp_path / "training-rank1.prom").read_text()
    assert os.listdir(tmp_path) == ["training-rank1.prom"]  # noqa: PTH208 - names alone
    assert labels_of(text) == {("run", "first"), ("rank", "1"), ("training_job", "")}


@pytest.mark.usefixtures("second_rank")
def test_a_port_that_no_rank_can_have_is_an_error_at_train_begin():
    """The last port has none after it."""
    with pytest.raises(SetupError, match=r"port must be free at 127\.0\.0\.1:65536 "):
        Bus(Prometheus(65535, per_rank=True)).train_begin()


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({"MONITOR_CORE_PARENT_RUN": "sweep"}, "sweep"),
        ({"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "10", "SLURM_ARRAY_TASK_ID": "2"}, "slurm-10"),
        ({"SLURM_JOB_ID": "12"}, "slurm-12"),
    ],
)
def test_the_job_is_what_the_run_is_part_of(variables, job, tmp_path, monkeypatch):
    """Else that of SLURM."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    train_two_epochs(Prometheus(None, textfile=tmp_path / "training.prom", run_name="first"))
    assert labels_of((tmp_path / "training.prom").read_text()) == {
        ("run", "first"),
        ("rank", "0"),
        ("training_job", job),
    }


def test_a_run_that_has_logged_nothing_has_a_time(tmp_path):
    """Of its begin, so that one which hangs from the start is found."""
    bus = Bus(sink := Prometheus(None, textfile=tmp_path / "training.prom"))
    before = time.time()
    bus.train_begin()
    assert sink.flush(20)
    page = text_string_to_metric_families((tmp_path / "training.prom").read_text())
    families = {family.name: family for family in page}
    (sample,) = families["training_updated_timestamp_seconds"].samples
    assert before <= sample.value <= time.time()
    bus.interrupt()


def test_only_this_machine_can_connect():
    """By default the port is that of the loopback interface."""
    train_two_epochs(sink := Prometheus(0))
    assert sink._gauges.server.server_address[0] == "127.0.0.1"
    assert sink.url.startswith("http://127.0.0.1:")


def test_the_port_closes_with_the_sink():
    """When it is freed."""
    train_two_epochs(sink := Prometheus(0))
    port = sink._gauges.server.server_port
    del sink

    def is_closed():
        gc.collect()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    wait_until(is_closed)


def test_a_port_in_use_is_an_error_at_train_begin():
    """Which says what to pass."""
    train_two_epochs(sink := Prometheus(0))
    taken = sink._gauges.server.server_port
    with pytest.raises(SetupError, match=rf"port must be free at 127.0.0.1:{taken} .*: pass another, or 0 for any"):
        Bus(Prometheus(taken)).train_begin()


def test_a_copy_has_gauges_of_its_own():
    """And a port, once its run begins."""
    train_two_epochs(sink := Prometheus(0))
    other = copy.copy(sink)
    assert other.url is None
    train_two_epochs(other)
    assert other.url != sink.url


@pytest.mark.usefixtures("quick")
def test_a_file_that_cannot_be_written_is_logged_once(tmp_path, warned):
    """And written when it can be."""
    folder = tmp_path / "gone"
    sink = Prometheus(None, textfile=folder / "training.prom", run_name="first", flush_seconds=0.0)
    train_two_epochs(sink)
    wait_until(lambda: any("FileNotFoundError" in text for text in warned()))
    folder.mkdir()
    assert sink.flush(20)
    assert parsed((folder / "training.prom").read_text()) == FINAL
    assert len([text for text in warned() if "FileNotFoundError" in text]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": "9464"}, r"port must be an integer or None \(got '9464'\)"),
        ({"port": 65536}, r"port must be from 0 to 65535 \(got 65536\)"),
        ({"port": None}, "port must not be None without textfile"),
        ({"textfile": "training.txt"}, r"textfile must end in .prom, .* \(got 'training.txt'\)"),
        ({"config": {"width": 4}}, "config must be empty: gauges have numbers alone"),
    ],
)
def test_wrong_arguments_are_errors(options, message):
    """Named, with their rule."""
    with pytest.raises((TypeError, ValueError), match=message):
        Prometheus(**options)
