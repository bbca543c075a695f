"""What the adapter of transformers records where a trainer's own logs say less, and what it leaves as it was."""

import math

import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from torch.utils.data import IterableDataset  # noqa: E402 (it imports torch)
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments  # noqa: E402

from monitor_core import EarlyStopping, History, Sink, open_run  # noqa: E402
from monitor_core.adapters.transformers import TransformersAdapter  # noqa: E402
from monitor_core.errors import SetupError  # noqa: E402
from monitor_core.testing import Plan, Recorder  # noqa: E402
from monitor_core.testing.trainings import Boom, Watcher  # noqa: E402
from transformers_support import Config, Data, Model, build  # noqa: E402


def fit(tmp_path, *sinks, plan=None, **options):
    """Train with sinks; return the trainer and the adapter."""
    trainer = build(plan or Plan(), tmp_path / "trainer", **options)
    adapter = TransformersAdapter(*sinks)
    adapter.train(trainer)
    return trainer, adapter


class Diverging(Model):
    """A model whose loss is NaN from its third batch on."""

    def forward(self, x, labels):
        """Return the loss and the output."""
        found = super().forward(x, labels)
        return found | {"loss": found["loss"] * (math.nan if len(self.losses) > 2 else 1.0)}


def planned(model, plan=None):
    """Return a model that visits a plan."""
    model.plan = plan or Plan()
    return model


def test_a_nan_is_seen_that_the_trainer_hides(tmp_path):
    """The trainer logs 0.0 in its place."""
    watcher = Watcher()
    trainer, _ = fit(tmp_path, watcher, model=planned(Diverging(Config())), logging_steps=1, eval_strategy="no")
    assert [math.isnan(row["loss"]) for _, row in watcher.rows][:4] == [False, False, True, True]
    assert not any(math.isnan(each["loss"]) for each in trainer.state.log_history if "loss" in each)


def test_what_is_logged_is_recorded_under_its_step(tmp_path):
    """Every third step has the norm of its gradients; none has the smoothed loss, nor the epoch as a float."""
    watcher = Watcher()
    trainer, _ = fit(tmp_path, watcher, plan=Plan(epochs=1), max_grad_norm=1.0)
    logged = {each["step"]: each for each in trainer.state.log_history if "grad_norm" in each}
    found = {step: {k: v for k, v in row.items() if k != "loss"} for step, row in watcher.rows if len(row) > 1}
    assert found == {
        step: {"grad_norm": pytest.approx(each["grad_norm"]), "learning_rate": 0.125} for step, each in logged.items()
    }
    assert list(found) == [3, 6]
    assert [set(row) for step, row in watcher.rows if step not in found] == [{"loss"}] * 6


class Silent(Model):
    """A model that returns no loss: the trainer computes it."""

    def forward(self, x, labels=None):
        """Return the output alone."""
        return {"logits": self.net(x)}


def mse(outputs, labels, num_items_in_batch=None):
    """Return a loss of the trainer's own."""
    return torch.nn.functional.mse_loss(outputs["logits"], labels)


def test_without_a_loss_of_the_model_the_logged_one_is_recorded(tmp_path, caplog):
    """Which one it is, is said once."""
    watcher = Watcher()
    fit(tmp_path, watcher, model=Silent(Config()), plan=Plan(epochs=1, evaluates=False), kind=own_loss)
    assert [step for step, row in watcher.rows if "loss" in row] == [3, 6]
    assert len([each for each in caplog.messages if "returns no loss" in each]) == 1


def own_loss(model, args, **options):
    """Return a trainer with a loss of its own."""
    return Trainer(model, args, compute_loss_func=mse, **options)


def test_shares_of_a_loss_are_added(tmp_path):
    """A language model gets the number of tokens of all micro-batches, and returns the share of each."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
    )
    tokens = torch.randint(1, 32, (8, 6)).tolist()
    data = [{"input_ids": each, "labels": each[:-2] + [-100] * (number % 3)} for number, each in enumerate(tokens)]
    data = [{name: each[name][:4] for name in each} for each in data]
    args = TrainingArguments(
        str(tmp_path),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer, watcher = Trainer(LlamaForCausalLM(config), args, train_dataset=data), Watcher()
    TransformersAdapter(watcher).train(trainer)
    logged = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    assert [row["loss"] for _, row in watcher.rows] == pytest.approx(logged, abs=1e-4)
    assert len(logged) == 2


def test_evaluations_of_several_datasets_have_their_names(tmp_path):
    """Each is an event, and the epoch has all results."""
    recorder = Recorder("on_evaluation_end", "on_epoch_end")
    data = {"near": Data(2, seed=2), "far": Data(2, seed=3)}
    fit(tmp_path, recorder, plan=Plan(epochs=1), data=data)
    assert [event[0] for event in recorder.events] == ["evaluation_end", "evaluation_end", "epoch_end"]
    near, far, logs = (event[-1] for event in recorder.events)
    assert set(logs) == {"loss", "grad_norm", "learning_rate", "near_loss", "far_loss"}
    assert (logs["near_loss"], logs["far_loss"]) == (near["loss"], far["loss"])


def test_evaluations_between_steps_come_at_their_step(tmp_path):
    """The run's step is that of the evaluation."""

    class Steps(Sink):
        def __init__(self):
            self.seen = []

        def on_evaluation_end(self, run, logs):
            self.seen.append((run.step, run.evaluation.prefix))

    sink = Steps()
    fit(tmp_path, sink, plan=Plan(epochs=1), eval_strategy="steps", eval_steps=3, eval_on_start=True)
    assert sink.seen == [(0, "val_"), (3, "val_"), (6, "val_"), (8, "val_")]


def test_predictions_are_no_evaluations(tmp_path):
    """A prediction gives no event of an evaluation, and an evaluation outside of a training does."""
    recorder = Recorder("on_evaluation_begin", "on_evaluation_end")
    trainer, _ = fit(tmp_path, recorder, plan=Plan(epochs=1, evaluates=False))
    trainer.predict(Data(2))
    assert recorder.events == []
    trainer.evaluate()
    assert [event[0] for event in recorder.events] == ["evaluation_begin", "evaluation_end"]


def test_early_stopping_stops_the_trainer(tmp_path):
    """By the evaluation's loss, at the end of its epoch."""
    stopping = EarlyStopping("val_loss", patience=1, min_delta=10.0)
    trainer, adapter = fit(tmp_path, stopping, plan=Plan(epochs=9))
    assert (adapter.run.status, trainer.state.global_step) == ("stopped", 16)


class StopAt(TrainerCallback):
    """A callback of the user's that stops."""

    def on_step_end(self, args, state, control, **kwargs):
        """Stop at the third step."""
        control.should_training_stop = state.global_step == 3


def test_a_stop_by_another_callback_is_the_runs(tmp_path):
    """The run has a reason."""
    trainer = build(Plan(), tmp_path / "trainer")
    trainer.add_callback(StopAt())
    adapter = TransformersAdapter(History())
    adapter.train(trainer)
    assert (adapter.run.status, adapter.run.stop_reason) == ("stopped", "control.should_training_stop was set")


def test_without_train_an_exception_is_noticed_by_the_next_training(tmp_path):
    """A trainer notifies its callbacks of none."""
    recorder = Watcher()
    adapter = TransformersAdapter(recorder)
    trainer = build(Plan(error=Boom(), at=3), tmp_path / "trainer")
    trainer.add_callback(adapter)
    with pytest.raises(Boom):
        trainer.train()
    first = adapter.run
    assert first.status == "running"
    trainer = build(Plan(epochs=1), tmp_path / "trainer")
    trainer.add_callback(adapter)
    trainer.train()
    assert (first.status, adapter.run.status, adapter.run.index) == ("interrupted", "completed", 1)


def test_a_run_continues_in_the_middle_of_an_epoch(tmp_path):
    """From a checkpoint that was saved between steps, with the record of all earlier steps in its folder."""
    options = {"save_strategy": "steps", "save_steps": 5, "eval_strategy": "epoch"}
    whole, history = History(per_batch=True), History(per_batch=True)
    fit(tmp_path / "whole", whole, plan=Plan(epochs=2), **options)
    record = tmp_path / "run"
    broken = build(Plan(epochs=2, error=Boom(), at=14), tmp_path / "trainer", **options)
    with pytest.raises(Boom):
        TransformersAdapter(History(per_batch=True), record=record).train(broken)
    adapter = TransformersAdapter(history, record=record)
    adapter.train(build(Plan(epochs=2), tmp_path / "trainer", **options), resume_from_checkpoint=True)
    assert list(history.epoch) == [0, 1]
    assert list(history.batches["loss"]) == pytest.approx(list(whole.batches["loss"]))
    assert list(history["loss"]) == pytest.approx(list(whole["loss"]))
    assert list(history["val_loss"]) == pytest.approx(list(whole["val_loss"]))
    assert open_run(record).status == "completed"


def test_the_same_trainer_and_adapter_continue(tmp_path):
    """In a notebook, both are still there."""
    watcher = Watcher()
    trainer = build(Plan(epochs=2), tmp_path / "trainer", save_strategy="epoch")
    adapter = TransformersAdapter(watcher)
    adapter.train(trainer)
    trainer.args.num_train_epochs = 3
    adapter.train(trainer, resume_from_checkpoint=True)
    assert watcher.steps == [*range(1, 25)]


def test_a_checkpoint_without_states_is_continued(tmp_path, caplog):
    """The sinks begin with its step, and the log says so."""
    build(Plan(epochs=1), tmp_path / "trainer", save_strategy="epoch").train()
    watcher = Watcher()
    trainer = build(Plan(epochs=2), tmp_path / "trainer")
    TransformersAdapter(watcher).train(trainer, resume_from_checkpoint=True)
    assert watcher.steps == [*range(9, 17)]
    assert "the sinks begin with step 9" in caplog.text


class Stream(IterableDataset):
    """Samples without a number."""

    def __iter__(self):
        data = Data(8)
        return (data[index] for index in range(len(data)))


def test_a_stream_has_no_number_of_epochs(tmp_path):
    """Its epochs begin whenever it does."""
    recorder = Watcher()
    trainer = build(Plan(), tmp_path / "trainer", max_steps=12, eval_strategy="no")
    trainer.train_dataset = Stream()
    TransformersAdapter(recorder).train(trainer)
    assert recorder.steps == [*range(1, 13)]
    assert (recorder.run.epoch, recorder.run.epochs) == (1, None)


def test_an_older_release_is_refused(monkeypatch):
    """With what to install."""
    monkeypatch.setattr("monitor_core.adapters.versions.version", lambda _: "4.57.1")
    with pytest.raises(SetupError, match=r"transformers must be of version 5.0 or newer \(got 4.57.1\)"):
        TransformersAdapter(History())


def test_nothing_is_left_on_the_model(tmp_path):
    """No hook, also after a training that a sink stopped before its first step."""

    class Refuse(Sink):
        def on_train_begin(self, run):
            run.stop("not today")

    trainer, _ = fit(tmp_path, Refuse())
    assert not trainer.model._forward_hooks
    assert "get_batch_samples" not in vars(trainer)
