"""A fit is controlled from its folder: within an epoch where Keras has batches that can be stopped at."""

import time

import pytest

from adapter_support import BACKEND, TRAIN, build
from monitor_core import Control, History, Sink, open_run
from monitor_core.adapters.keras import KerasAdapter
from monitor_core.files.requests import Request, listens, send

WAIT = 30.0


class AskAt(Sink):
    """Asks, as another process would, at the third batch, and waits until the request is taken."""

    def __init__(self, folder, verb, value=None):
        self.folder, self.verb, self.value = folder, verb, value
        self.asked = False

    def on_batch_end(self, run, step, logs):
        if self.asked or step < 3:
            return
        self.asked = True
        assert listens(self.folder, run.id)
        send(self.folder, Request(verb=self.verb, value=self.value, who="ada@host", run=run.id))
        deadline = time.monotonic() + WAIT
        while list((self.folder / "control").glob("request-*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)  # the thread has taken it, and asks for the call next


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr("monitor_core.sinks.control.SECONDS", 0.02)


def fit(folder, *request, epochs=3):
    model = build()
    adapter = KerasAdapter(Control(), AskAt(folder, *request), history := History(), record=folder)
    model.fit(*TRAIN, batch_size=4, epochs=epochs, verbose=0, callbacks=adapter)
    return model, adapter.bus.run, history


def test_a_stop_takes_effect_within_the_epoch(tmp_path):
    """Not all of its eight batches are trained; the first epoch is the last."""
    _, run, _ = fit(tmp_path, "stop", "enough")
    assert (run.status, run.stop_reason) == ("stopped", "ada@host asked to stop: enough")
    assert (run.epoch, run.step < 8) == (0, True)


def test_a_rate_is_set_within_the_epoch_or_on_jax_at_its_end(tmp_path):
    """No epoch is trained twice, and the thread is the training's."""
    model, run, history = fit(tmp_path, "rate", 0.5)
    assert float(model.optimizer.learning_rate) == 0.5
    [(_, outcome)] = run.requests
    assert outcome == "the learning rate is 0.5, after 0.01"
    assert history["learning_rate"][-1] == 0.5
    [decision] = [each for each in open_run(tmp_path).decisions if "asked for" in each.reason]
    assert decision.step >= (8 if BACKEND == "jax" else 3)


def test_a_checkpoint_can_be_loaded(tmp_path):
    """It is a model of Keras."""
    import keras

    fit(tmp_path, "checkpoint", epochs=1)
    [path] = tmp_path.glob("control-*.keras")
    assert len(keras.saving.load_model(path).layers) == 2
