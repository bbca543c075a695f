"""All sinks pass the contract that authors of sinks get, and the contract finds sinks that break it."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from monitor_core import (
    ActivationDump,
    CSVLogger,
    EarlyStopping,
    History,
    Journal,
    LearningRateScheduler,
    ModelCheckpoint,
    Progress,
    ReduceLROnPlateau,
    Sink,
    TensorBoard,
    TerminateOnNaN,
    Webhook,
)
from monitor_core.testing import Recorder, SinkContract

SINKS = {
    "EarlyStopping": lambda folder: EarlyStopping("val_loss", patience=1, restore_best_weights=True),
    "EarlyStopping by steps": lambda folder: EarlyStopping("loss", patience=3, unit="step"),
    "ReduceLROnPlateau": lambda folder: ReduceLROnPlateau("val_loss", patience=1),
    "LearningRateScheduler": lambda folder: LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
    "ModelCheckpoint": lambda folder: ModelCheckpoint(folder / "{epoch:03d}-{step}.npz", save_best_only=True),
    "CSVLogger": lambda folder: CSVLogger(folder / "log.csv"),
    "CSVLogger by batches": lambda folder: CSVLogger(folder / "log.csv", per_batch=True, append=True),
    "TensorBoard": lambda folder: TensorBoard(folder / "logs", update_freq="batch"),
    "ActivationDump": lambda folder: ActivationDump(folder / "{epoch:03d}.npz"),
    "Journal": lambda folder: Journal(folder / "contract"),
    "TerminateOnNaN": lambda folder: TerminateOnNaN(every="block"),
    "Progress": lambda folder: Progress(),
    "Recorder": lambda folder: Recorder(),
}


class TestSinks(SinkContract):
    """Each of our sinks."""

    @pytest.fixture(params=SINKS)
    def make_sink(self, request, tmp_path):
        """Return what makes one."""
        if request.param == "Progress":
            pytest.importorskip("tqdm")
        if request.param == "TensorBoard":
            pytest.importorskip("tensorboard")
        return lambda: SINKS[request.param](tmp_path)


class TestHistory(SinkContract):
    """The sink whose state counts what it has in memory; the record itself comes from a journal, with ``resume=``."""

    test_its_state_survives_a_restart = None

    @pytest.fixture
    def make_sink(self):
        """Return what makes one."""
        return lambda: History(per_batch=True)


class TestWebhook(SinkContract):
    """The sink that needs a server."""

    @pytest.fixture
    def make_sink(self):
        """Return what makes one that posts to a server of the test's own."""

        class Server(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Server)
        Thread(target=server.serve_forever, daemon=True).start()
        sinks = []

        def make():
            sinks.append(Webhook(f"http://127.0.0.1:{server.server_port}/", per_batch=True))
            return sinks[-1]

        yield make
        for sink in sinks:
            sink.close()
        server.shutdown()
        server.server_close()


class Writes(Sink):
    """Breaks its promise."""

    read_only = True

    def on_epoch_end(self, run, epoch, logs):
        """Write."""
        logs["loss"] = 0.0


class Keeps(Sink):
    """Keeps the run's model."""

    def on_epoch_end(self, run, epoch, logs):
        """Keep it."""
        self.model = run.model


class NeedsLoss(Sink):
    """Takes a metric for granted."""

    def on_epoch_end(self, run, epoch, logs):
        """Read it."""
        self.loss = logs["loss"]


class Forgets(Sink):
    """Has a state that it does not load."""

    epochs = 0

    def on_epoch_end(self, run, epoch, logs):
        """Count."""
        self.epochs += 1

    def state_dict(self):
        """Return the count."""
        return {"epochs": self.epochs}


@pytest.mark.parametrize(
    ("sink", "test"),
    [
        (Writes, "test_it_keeps_its_promise_not_to_write"),
        (Keeps, "test_it_keeps_no_model_alive"),
        (NeedsLoss, "test_metrics_may_be_missing"),
    ],
)
def test_a_sink_that_breaks_the_contract_is_found(sink, test):
    """The test of what it breaks fails, the short training does not."""
    contract = SinkContract()
    contract.test_a_training_raises_nothing(sink)
    with pytest.raises((AssertionError, KeyError)):
        getattr(contract, test)(sink)


def test_a_state_that_is_not_loaded_is_found(tmp_path):
    """The second sink's state differs from the first's."""
    with pytest.raises(AssertionError, match="epochs"):
        SinkContract().test_its_state_survives_a_restart(Forgets, tmp_path)
