"""What the adapter of Lightning records of a module's own logs, of several optimizers, and of odd checkpoints."""

import warnings

import pytest

pytest.importorskip("lightning")
torch = pytest.importorskip("torch")

import pytorch_lightning  # noqa: E402
from lightning.pytorch.callbacks import EarlyStopping as LightningStopping  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402
from lightning.pytorch.strategies import SingleDeviceStrategy  # noqa: E402

from lightning_support import Module, fit, loaders, trainer  # noqa: E402 (it imports lightning)
from monitor_core import History, Sink, open_run  # noqa: E402
from monitor_core.adapters.lightning import LightningAdapter  # noqa: E402
from monitor_core.errors import SetupError  # noqa: E402
from monitor_core.testing import Plan, Recorder  # noqa: E402
from monitor_core.testing.trainings import Boom, Raiser, Watcher  # noqa: E402


def train(folder, module, *sinks, callbacks=(), **options):
    """Fit a module with sinks; return the trainer and the adapter."""
    adapter = LightningAdapter(*sinks)
    fitter = trainer(module.plan, folder, adapter, *callbacks, **options)
    fit(module, fitter, module.plan)
    return fitter, adapter


class Logging(Module):
    """A module that logs in each of its hooks."""

    def training_step(self, batch, batch_idx):
        """Log each step, every other step, and for the epoch."""
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=4)
        if batch_idx % 2:
            self.log("odd", float(batch_idx))
        self.log("mean", loss, on_step=False, on_epoch=True, batch_size=4)
        return {"loss": loss, "outputs": torch.zeros(3)}

    def validation_step(self, batch, batch_idx):
        """Log a metric that the training has too."""
        super().validation_step(batch, batch_idx)
        self.log("odd", 7.0)

    def on_validation_epoch_end(self):
        """Log for the evaluation."""
        self.log("late", 3.0)

    def on_train_epoch_end(self):
        """Log for the epoch."""
        self.log("last", 5.0)


def test_what_a_module_logs_is_recorded(tmp_path):
    """In each step what is logged in it, and for the epoch what is logged for it, also by the module's last hook."""
    module, watcher = Logging(Plan(epochs=1, batches=4)), Watcher()
    train(tmp_path, module, watcher)
    rows, losses = [row for _, row in watcher.rows], module.losses
    assert [set(row) for row in rows] == [{"loss", "train_loss"}, {"loss", "train_loss", "odd"}] * 2
    assert [row["train_loss"] for row in rows] == pytest.approx(losses)
    assert [row["odd"] for row in rows if "odd" in row] == [1.0, 3.0]
    logs = next(event[-1] for event in watcher.events if event[0] == "epoch_end")
    mean = pytest.approx(sum(losses) / 4)
    assert logs == {
        "loss": mean,
        "train_loss": mean,
        "odd": 2.0,
        "mean": mean,
        "last": 5.0,
        "val_loss": pytest.approx(module.evaluations[0]),
        "val_odd": 7.0,
        "late": 3.0,
    }


class Gan(Module):
    """A module with two optimizers that it steps itself; the second one makes every other step."""

    def __init__(self, plan):
        super().__init__(plan)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        """Step one or both."""
        first, second = self.optimizers()
        for optimizer in [first, second][: 1 + batch_idx % 2]:
            loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.log("first" if optimizer is first else "second", loss)

    def configure_optimizers(self):
        """Return two."""
        return [torch.optim.SGD(self.net.parameters(), lr=rate) for rate in (0.1, 0.2)]


def test_two_optimizers_make_one_step_in_a_batch(tmp_path):
    """The trainer counts two; the losses of both are recorded, and both have rates."""

    class Rates(Sink):
        def on_epoch_end(self, run, epoch, logs):
            self.rates = run.model.learning_rates

    watcher, rates = Watcher(), Rates()
    fitter, _ = train(tmp_path, Gan(Plan(epochs=1, batches=4, evaluates=False)), watcher, rates)
    assert [(step, set(row)) for step, row in watcher.rows] == [
        (1, {"first"}),
        (2, {"first", "second"}),
        (3, {"first"}),
        (4, {"first", "second"}),
    ]
    assert fitter.global_step == 6
    assert rates.rates == [0.1, 0.2]


class Accumulating(Gan):
    """A module that accumulates by hand."""

    def training_step(self, batch, batch_idx):
        """Step at every third batch."""
        loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        self.manual_backward(loss)
        if batch_idx % 3 == 2:
            self.optimizers()[0].step()
        return loss.detach()


def test_a_step_that_is_accumulated_by_hand_has_the_mean_of_its_batches(tmp_path):
    """Batches after the last step of an epoch belong to none."""
    module, watcher = Accumulating(Plan(epochs=2, batches=8, evaluates=False)), Watcher()
    train(tmp_path, module, watcher)
    means = [sum(module.losses[first : first + 3]) / 3 for first in (0, 3, 8, 11)]
    assert [row["loss"] for _, row in watcher.rows] == pytest.approx(means)


def test_the_last_group_of_an_epoch_may_be_smaller(tmp_path):
    """Its step has the mean of the batches that it has."""
    module, watcher = Module(Plan(epochs=1, batches=6, accumulation=4, evaluates=False)), Watcher()
    train(tmp_path, module, watcher)
    means = [sum(module.losses[:4]) / 4, sum(module.losses[4:]) / 2]
    assert [row["loss"] for _, row in watcher.rows] == pytest.approx(means)


class Engine(SingleDeviceStrategy):
    """A strategy that steps by an engine of its own, as DeepSpeed's does."""

    handles_gradient_accumulation = True

    def optimizer_step(self, optimizer, closure, model=None, **kwargs):
        """Compute, and step no optimizer."""
        return closure()


def test_steps_of_a_strategy_are_counted(tmp_path):
    """By the trainer's own number."""
    watcher, plan = Watcher(), Plan(epochs=2, accumulation=4, evaluates=False)
    fitter, _ = train(tmp_path, Module(plan), watcher, strategy=Engine(device="cpu"), accelerator="auto")
    assert watcher.steps == [*range(1, fitter.global_step + 1)] == [1, 2, 3, 4]


def test_sanity_checks_give_no_event(tmp_path):
    """The first evaluation is that of the first epoch."""
    recorder = Recorder("on_evaluation_begin", "on_evaluation_batch_end", "on_epoch_begin")
    train(tmp_path, Module(Plan(epochs=1)), recorder, num_sanity_val_steps=2)
    assert [event[0] for event in recorder.events] == ["epoch_begin", "evaluation_begin"] + ["evaluation_batch_end"] * 2


def test_evaluations_within_an_epoch_are_events(tmp_path):
    """Each that more batches follow is an event of its own."""
    recorder = Recorder("on_midepoch_evaluation", "on_epoch_end")
    module = Module(Plan(epochs=1))
    train(tmp_path, module, recorder, val_check_interval=4)
    first, last = module.evaluations
    assert [event[0] for event in recorder.events] == ["midepoch_evaluation", "epoch_end"]
    assert [event[-1]["val_loss"] for event in recorder.events] == pytest.approx([first, last])


def test_a_test_is_an_evaluation(tmp_path):
    """Outside of a run."""

    class Tested(Module):
        def test_step(self, batch, batch_idx):
            self.log("test_loss", 2.0)

    recorder = Recorder("on_evaluation_begin", "on_evaluation_end")
    module = Tested(Plan(epochs=1, evaluates=False))
    fitter, _ = train(tmp_path, module, recorder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitter.test(module, loaders(module.plan)[1], verbose=False)
    assert recorder.events == [("evaluation_begin",), ("evaluation_end", {"test_loss": 2.0})]


def test_a_stop_by_another_callback_is_the_runs(tmp_path):
    """The run has a reason."""
    stopping = LightningStopping("val_loss", patience=0, min_delta=10.0)
    _, adapter = train(tmp_path, Module(Plan(epochs=9)), History(), callbacks=[stopping])
    assert (adapter.run.status, adapter.run.stop_reason) == ("stopped", "trainer.should_stop was set")
    assert adapter.run.epoch == 1


def test_a_second_fit_is_a_run_of_its_own(tmp_path):
    """And nothing of the first is left on the module."""
    history = History()
    adapter = LightningAdapter(history)
    module = Module(Plan(epochs=1))
    for _ in range(2):
        fit(module, trainer(module.plan, tmp_path, adapter), module.plan)
    assert list(history.run) == [0, 1]
    assert "on_train_epoch_end" not in vars(module)


def interrupted(folder, options):
    """Return the history of a run that failed in its second epoch, and continued from its last checkpoint."""
    plan, record = Plan(epochs=3), folder / "run"
    broken = Module(Plan(epochs=3, error=Boom(), at=14))
    saving = ModelCheckpoint(folder, filename="saved", enable_version_counter=False, **options)
    callbacks = [LightningAdapter(History(per_batch=True), record=record), saving]
    with pytest.raises(Boom):
        fit(broken, trainer(plan, folder, *callbacks, enable_checkpointing=True), plan)
    history = History(per_batch=True)
    adapter = LightningAdapter(history, record=record)
    fit(Module(plan), trainer(plan, folder, adapter), plan, ckpt_path=folder / "saved.ckpt")
    assert open_run(record).status == "completed"
    return history


@pytest.mark.parametrize("options", [{}, {"save_on_train_epoch_end": True}], ids=["validation", "epoch"])
def test_a_run_continues_after_its_first_epoch(tmp_path, options):
    """From a checkpoint that was saved after the validation, or after the epoch, as if it had not failed."""
    whole = History(per_batch=True)
    train(tmp_path / "whole", Module(Plan(epochs=3)), whole)
    history = interrupted(tmp_path, options)
    assert list(history.epoch) == [0, 1, 2]
    assert list(history.batches["loss"]) == pytest.approx(list(whole.batches["loss"]))
    for name in ("loss", "val_loss"):
        assert list(history[name]) == pytest.approx(list(whole[name]))


def test_a_run_continues_within_an_epoch(tmp_path):
    """From the twelfth step; the loader, which cannot say where it was, begins again."""
    history = interrupted(tmp_path, {"every_n_train_steps": 3})
    assert list(history.epoch) == [0, 1, 2]
    assert list(history.batches.steps) == [*range(1, 25)]
    means = [sum(history.batches["loss"][first : first + 8]) / 8 for first in (0, 8, 16)]
    assert list(history["loss"]) == pytest.approx(means)


def test_the_state_of_arrays_survives_a_checkpoint(tmp_path):
    """A sink's arrays come back as they were, from a file that is read without executing anything in it."""

    class Keeper(Sink):
        kept = None

        def on_epoch_end(self, run, epoch, logs):
            self.kept = torch.arange(3.0).numpy() + epoch

        def state_dict(self):
            return {"kept": self.kept, "text": ["a", None, 1.5]}

        def load_state_dict(self, state):
            self.kept, self.text = state["kept"], state["text"]

    plan = Plan(epochs=1)
    fitter, _ = train(tmp_path, Module(plan), Keeper(), enable_checkpointing=True)
    fitter.save_checkpoint(tmp_path / "end.ckpt")
    assert torch.load(tmp_path / "end.ckpt", weights_only=True)["callbacks"]
    keeper, more = Keeper(), Plan(epochs=2)
    fit(Module(more), trainer(more, tmp_path, LightningAdapter(keeper)), more, ckpt_path=tmp_path / "end.ckpt")
    assert keeper.text == ["a", None, 1.5]
    assert keeper.kept.tolist() == [1.0, 2.0, 3.0]


def test_the_package_of_the_old_name_works_too(tmp_path):
    """A trainer of pytorch_lightning takes the same adapter."""
    plan = Plan(epochs=1)

    class Old(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(3, 1)

        def training_step(self, batch, batch_idx):
            return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.net.parameters(), lr=0.1)

    watcher = Watcher()
    fit(Old(), trainer(plan, tmp_path, LightningAdapter(watcher), kind=pytorch_lightning.Trainer), plan)
    assert watcher.steps == [*range(1, 9)]


def test_an_older_release_is_refused(monkeypatch):
    """With what to install."""
    monkeypatch.setattr("monitor_core.adapters.versions.version", lambda _: "2.5.9")
    with pytest.raises(SetupError, match=r"lightning must be of version 2.6 or newer \(got 2.5.9\)"):
        LightningAdapter(History())


def test_an_exception_leaves_nothing_on_the_module(tmp_path):
    """The next fit begins as if it were the first."""
    module = Module(Plan(epochs=1))
    with pytest.raises(Boom):
        train(tmp_path, module, Raiser("on_batch_end", Boom()))
    assert "on_train_epoch_end" not in vars(module)
    watcher = Watcher()
    train(tmp_path, module, watcher)
    assert watcher.run.status == "completed"
