"""What the adapter of skorch does beyond the contract of adapters."""

import pickle

import numpy as np
import pytest

pytest.importorskip("skorch")
pytest.importorskip("torch")

import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetRegressor
from skorch.callbacks import Checkpoint, EpochScoring
from skorch.callbacks import EarlyStopping as SkorchStopping

from monitor_core import CSVLogger, EarlyStopping, History, open_run
from monitor_core.adapters.skorch import SkorchAdapter
from monitor_core.errors import SetupError
from monitor_core.testing import Plan, Recorder
from monitor_core.testing.trainings import Stopper, Watcher
from skorch_support import Rows, fit, net_of
from torch_training_support import batches

X = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
Y = 2 * X


def regressor(*callbacks, **options):
    """Return a small net."""
    torch.manual_seed(0)
    options = {"max_epochs": 2, "batch_size": 16, "verbose": 0, "lr": 0.1} | options
    return NeuralNetRegressor(
        torch.nn.Linear, module__in_features=1, module__out_features=1, callbacks=list(callbacks), **options
    )


def test_losses_are_those_of_the_nets_own_history():
    """Weighted by the number of samples, of which the last batch has fewer."""
    history = History()
    net = regressor(SkorchAdapter(history)).fit(X, Y)
    assert list(history["loss"]) == pytest.approx(net.history[:, "train_loss"])
    assert list(history["val_loss"]) == pytest.approx(net.history[:, "valid_loss"])


def test_scores_of_callbacks_before_the_adapter_are_recorded():
    """Of the validation and of the training."""
    history = History()
    valid = EpochScoring("r2", name="valid_r2")
    train = EpochScoring("r2", name="train_r2", on_train=True)
    net = regressor(valid, train, SkorchAdapter(history)).fit(X, Y)
    assert set(history) == {"loss", "val_loss", "val_r2", "r2"}
    assert list(history["val_r2"]) == pytest.approx(net.history[:, "valid_r2"])


def test_each_fit_is_a_run_of_its_own():
    """Its steps begin again."""
    history = History()
    adapter = SkorchAdapter(history)
    net = regressor(adapter)
    for _ in range(2):
        net.fit(X, Y)
    assert list(history.run) == [0, 0, 1, 1]
    assert (adapter.run.step, adapter.run.epoch) == (4, 1)
    assert "fit_loop" not in vars(net)


@pytest.mark.parametrize("recorded", [False, True])
def test_partial_fit_continues_the_run(tmp_path, recorded):
    """Epochs and steps continue, and sinks keep what they have."""
    history, watcher = History(), Watcher()
    adapter = SkorchAdapter(history, watcher, CSVLogger(tmp_path / "log.csv"), record=tmp_path if recorded else None)
    net = regressor(adapter)
    for _ in range(3):
        net.partial_fit(X, Y)
    assert list(history.epoch) == [0, 1, 2, 3, 4, 5]
    assert list(history["loss"]) == pytest.approx(net.history[:, "train_loss"])
    assert watcher.steps == [*range(1, 13)]
    assert len((tmp_path / "log.csv").read_text(encoding="utf-8").splitlines()) == 7
    if recorded:
        assert [*open_run(tmp_path).history.epoch] == [0, 1, 2, 3, 4, 5]


def test_partial_fit_after_a_stop_trains():
    """Until a sink asks again."""
    watcher = Watcher()
    net = net_of(Plan(epochs=1, evaluates=False), SkorchAdapter(Stopper("on_batch_end", 3), watcher))
    net.partial_fit(Rows(batches(8)), None)
    net.partial_fit(Rows(batches(8)), None)
    assert watcher.steps == [*range(1, 12)]
    assert watcher.run.status == "completed"


def test_clones_have_sinks_of_their_own():
    """Also of a net that has been trained."""
    history = History()
    net = regressor(SkorchAdapter(history, EarlyStopping("val_loss")))
    first = clone(net)
    net.fit(X, Y)
    for copied in (first, clone(net)):
        (adapter,) = copied.callbacks
        copied.fit(X, Y)
        assert adapter.bus.sinks[0] is not history
        assert adapter.run.epoch == 1
    assert len(history["loss"]) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_grid_search_trains(jobs):
    """With copies, in other processes too; the refitted net has its own."""
    net = regressor(SkorchAdapter(History()), train_split=None)
    search = GridSearchCV(net, {"lr": [0.01, 0.1]}, cv=2, n_jobs=jobs, refit=True, scoring="r2").fit(X, Y)
    (adapter,) = search.best_estimator_.callbacks
    assert adapter.run.status == "completed"
    assert list(adapter.bus.sinks[0].epoch) == [0, 1]


def test_a_net_can_be_pickled_while_it_trains(tmp_path):
    """By a callback; what it saved trains."""
    saving = Checkpoint(f_pickle="net.pkl", dirname=tmp_path, monitor=None)
    regressor(SkorchAdapter(History()), saving).fit(X, Y)
    copied = pickle.loads((tmp_path / "net.pkl").read_bytes())  # noqa: S301 (written above)
    copied.fit(X, Y)
    assert copied.callbacks[0].run.status == "completed"


def test_a_stop_by_another_callback_is_the_runs():
    """The run has a reason."""
    stopping = SkorchStopping(patience=1, threshold=10.0, sink=lambda *_, **__: None)
    for callbacks in ([stopping, SkorchAdapter(History())], [SkorchAdapter(History()), stopping]):
        regressor(*callbacks, max_epochs=9).fit(X, Y)
        (adapter,) = (each for each in callbacks if isinstance(each, SkorchAdapter))
        assert (adapter.run.status, adapter.run.stop_reason) == ("stopped", "EarlyStopping stopped the training")


def test_the_evaluation_of_a_training_that_is_stopped_in_an_epoch_is_none():
    """The epoch ends without it."""
    recorder = Recorder("on_evaluation_begin", "on_epoch_end")
    fit(net_of(Plan(epochs=1), SkorchAdapter(Stopper("on_batch_end", 3), recorder)))
    assert [event[0] for event in recorder.events] == ["epoch_end"]


def test_fit_resumes_to_its_number_of_epochs(tmp_path):
    """A run that is complete has nothing left."""
    net = regressor(SkorchAdapter(resume=tmp_path)).fit(X, Y)
    weight = net.module_.weight.item()
    history = History()
    again = regressor(SkorchAdapter(history, resume=tmp_path), max_epochs=2)
    again.fit(X, Y)
    assert again.module_.weight.item() == weight
    assert len(again.history) == 0


def test_an_older_release_is_refused(monkeypatch):
    """With what to install."""
    monkeypatch.setattr("monitor_core.adapters.versions.version", lambda _: "0.15.0")
    with pytest.raises(SetupError, match=r"skorch must be of version 1.0 or newer \(got 0.15.0\)"):
        SkorchAdapter()
