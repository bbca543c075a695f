"""Model checkpoint: order and state."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_checkpoint_support import (  # noqa: F401 (fixtures)
    LONG,
    NO_NUMBERS,
    NUMBERS,
    Model,
    compiled,
    drive,
    fit,
    losses,
    names,
    run,
    unflushed,
)
from monitor_core import Bus, History, Loop, SetupError, Sink
from monitor_core.adapters.keras import KerasAdapter
from monitor_core.files.checkpoint_index import Keep
from monitor_core.files.state import load_state
from monitor_core.sinks.early_stopping import EarlyStopping
from monitor_core.sinks.model_checkpoint import ModelCheckpoint


def saved_state(checkpoint):
    """Return the state that a run would be resumed from."""
    return load_state(checkpoint.index_path.with_name(load_state(checkpoint.index_path)["latest"]["state"]))


def test_a_checkpoint_includes_this_epochs_decisions(tmp_path):
    """Given first, it is still called last, and saves what the others have decided in this epoch."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True)
    drive(Bus(checkpoint, EarlyStopping(patience=9), model=Model(), strict=True), losses(1.0, 2.0, 3.0))
    state = saved_state(checkpoint)["state"]
    states = {each["sink"]: each["state"] for each in state["sinks"]}
    assert states["EarlyStopping"]["patience"] == {"waited": 2}
    assert [each["file"] for each in states["ModelCheckpoint"]["files"]] == ["1.npy", "2.npy", "3.npy"]
    assert (state["run"]["epoch"], state["run"]["step"]) == (2, 3)


class Accelerating(Model):
    """A handle with an optimizer's state."""

    def __init__(self):
        super().__init__()
        self.momentum = np.zeros(2)

    def training_state(self):
        return {"momentum": self.momentum.copy()}

    def load_training_state(self, state):
        self.momentum = state["momentum"]


@settings(max_examples=20 * LONG)
@given(
    values=st.lists(st.one_of(NUMBERS, NO_NUMBERS), min_size=1, max_size=10),
    cuts=st.sets(st.integers(0, 9), max_size=3),
    best_only=st.booleans(),
    keep=st.none() | st.builds(Keep, best=st.integers(0, 3), last=st.integers(1, 3)),
)
def test_a_run_cut_at_any_epoch_continues_as_if_it_was_not(tmp_path_factory, unflushed, values, cuts, best_only, keep):
    """The same files are there, the same value is the best, and the sinks have decided alike."""
    epochs = [{} if value == "missing" else {"val_loss": value} for value in values]
    whole = run_in_parts(tmp_path_factory.mktemp("whole"), epochs, [], save_best_only=best_only, keep=keep)
    cut = run_in_parts(tmp_path_factory.mktemp("cut"), epochs, sorted(cuts), save_best_only=best_only, keep=keep)
    assert cut == whole


def run_in_parts(folder, epochs, cuts, **options):
    """Run epochs up to each cut in turn, each part in new objects, as in a new process; return what came of it."""
    for stop in [*cuts, len(epochs)]:
        checkpoint = ModelCheckpoint(folder / "{epoch}.npy", save_state=True, **options)
        early = EarlyStopping(patience=3, start_from_epoch=1)
        bus = Bus(checkpoint, early, model=Model(), strict=True)
        checkpoint.resume(bus)
        done = bus.run.epoch + 1
        drive(bus, epochs[done:stop], first=done, end=stop == len(epochs))
        if bus.run.stopped:
            break
    files = {name: np.load(folder / name).tolist() for name in names(folder)}
    best = checkpoint.best_path and checkpoint.best_path.name
    state = checkpoint.state_dict()
    for each in state["files"]:
        each["state"] = each["state"] is not None  # its name is another one each time
    return files, best, state, early.state_dict(), bus.run.step, bus.run.stop_reason


def test_resuming_brings_the_model_and_its_training_state_back(tmp_path):
    """The latest model, the optimizer's state and the run's numbers are as they were at that checkpoint."""
    model = Accelerating()
    bus = Bus(ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True), model=model, strict=True)
    model.momentum += 3
    drive(bus, losses(1.0, 2.0), end=False)
    again = Accelerating()
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True)
    loop = Loop(checkpoint, model=again)
    assert checkpoint.resume(loop.bus)
    assert (again.values.tolist(), again.momentum.tolist()) == ([2, 2, 2], [3, 3])
    with loop:
        assert list(loop.epochs(4)) == [2, 3]
    assert names(tmp_path) == ["1.npy", "2.npy", "3.npy", "4.npy"]


def test_resuming_brings_learning_rates_back_where_there_is_no_training_state(tmp_path):
    """A rate that a sink has lowered stays lowered."""
    model, again = Model(), Model()
    model.learning_rates, again.learning_rates = [0.25, 0.5], [1.0, 1.0]
    drive(Bus(ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True), model=model), losses(1.0))
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True)
    checkpoint.resume(Bus(checkpoint, model=again))
    assert again.learning_rates == [0.25, 0.5]


def test_an_aborted_epoch_begins_again(tmp_path):
    """Saved within an epoch, a run resumes with that epoch, and steps continue."""

    def begin():
        checkpoint = ModelCheckpoint(tmp_path / "{step}.npy", save_freq=3, save_state=True)
        return checkpoint, Bus(checkpoint, History(per_batch=True), model=Model(), strict=True)

    _, bus = begin()
    bus.train_begin()
    bus.epoch_begin(0)
    for step in range(1, 9):
        bus.batch_begin(step)
        bus.batch_end(step, {"loss": 1.0})
    checkpoint, bus = begin()
    assert checkpoint.resume(bus)
    assert (bus.run.epoch, bus.run.step) == (-1, 6)
    assert saved_state(checkpoint)["state"]["sinks"][0]["state"]["batches"] == 6
    bus.train_begin()
    bus.epoch_begin(0)
    for step in range(7, 10):
        bus.batch_begin(step)
        bus.batch_end(step, {"loss": 1.0})
    assert names(tmp_path) == ["3.npy", "6.npy", "9.npy"]


def test_a_keras_fit_continues_where_it_was_interrupted(tmp_path, compiled):
    """Cut after two epochs and continued, a fit ends with the weights and files of one that was not."""
    template = "{epoch}-{val_loss:.5f}.weights.h5"

    def parts(folder, model):
        checkpoint = ModelCheckpoint(folder / template, save_weights_only=True, save_state=True)
        return checkpoint, KerasAdapter(checkpoint, EarlyStopping(patience=5), model=model)

    model = rebuilt(compiled)
    fit(model, parts(tmp_path / "whole", model)[1], epochs=4)
    expected = model.get_weights()
    model = rebuilt(compiled)
    fit(model, parts(tmp_path / "cut", model)[1], epochs=2)
    model = rebuilt(compiled)
    checkpoint, adapter = parts(tmp_path / "cut", model)
    assert checkpoint.resume(adapter.bus)
    fit(model, adapter, epochs=4, initial_epoch=adapter.bus.run.epoch + 1)
    assert names(tmp_path / "cut") == names(tmp_path / "whole")
    assert all(map(np.array_equal, model.get_weights(), expected))


def rebuilt(compiled):
    """Return a new model like the compiled one, as in a new process."""
    model = keras.models.clone_model(compiled[0][1])
    model.set_weights(compiled[1])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def test_resuming_from_nothing_begins_from_scratch(tmp_path):
    """If nothing was saved, there is nothing to resume."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True)
    assert not checkpoint.resume(Bus(model=Model()))


def test_resuming_without_a_state_is_an_error(tmp_path):
    """A checkpoint of the model alone says how to load it."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy")
    run(checkpoint, 1.0)
    with pytest.raises(ValueError, match=r"holds no state to resume from.*load_latest\(model\)"):
        checkpoint.resume(Bus(ModelCheckpoint(tmp_path / "{epoch}.npy"), model=Model()))
    with pytest.raises(ValueError, match="bus must have a model's handle with 'load'"):
        drive(Bus(with_state := ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True), model=Model()), losses(1.0))
        with_state.resume(Bus())


class Stateless(Sink):
    """A sink whose state cannot be read in some of the epochs."""

    def __init__(self, *epochs):
        self.epochs, self.epoch = epochs, 0

    def on_epoch_end(self, run, epoch, logs):
        self.epoch = epoch + 1

    def state_dict(self):
        if self.epoch in self.epochs:
            raise RuntimeError("no state today")
        return {"epoch": self.epoch}


@pytest.mark.parametrize("keep", [None, Keep(last=1)])
def test_a_state_that_cannot_be_read_costs_no_checkpoint(tmp_path, warned, keep):
    """Where a state raises, the model is saved, with one warning, and the last checkpoint with a state stays."""
    template, sink = tmp_path / "{epoch}.npy", Stateless(3, 4)
    checkpoint = ModelCheckpoint(template, save_state=True, keep=keep)
    drive(Bus(checkpoint, sink, model=Model(), strict=True), losses(1.0, 2.0, 3.0, 4.0))
    assert names(tmp_path) == ([f"{epoch}.npy" for epoch in (1, 2, 3, 4)] if keep is None else ["2.npy", "4.npy"])
    assert [each for each in warned() if each.startswith("ModelCheckpoint saves the model without")] == [
        "ModelCheckpoint saves the model without a state; the last checkpoint with a state is kept"
    ]
    again = ModelCheckpoint(template, save_state=True, keep=keep)
    bus = Bus(again, Stateless(), model=(model := Model()))
    assert again.resume(bus)
    assert (bus.run.epoch, model.values.tolist()) == (1, [2, 2, 2])


@pytest.mark.parametrize(("state", "error"), [(None, "no state today"), ({"a": print}, "must hold JSON values")])
def test_a_state_that_can_never_be_saved_is_refused(tmp_path, state, error):
    """What can be known at train begin is an error then, which names the sink that asks and what to do."""
    sink = Stateless(0)
    if state is not None:
        sink.state_dict = lambda: state
    bus = Bus(ModelCheckpoint(tmp_path / "{epoch}.npy", save_state=True), sink, model=Model())
    with pytest.raises(SetupError, match=f"ModelCheckpoint cannot save the state.*{error}.*leave save_state=True out"):
        bus.train_begin()


def test_a_state_never_belongs_to_another_runs_file(tmp_path):
    """Where a new run replaces the file that an old index names, a kill in between leaves no wrong state."""
    template = tmp_path / "{epoch}.npy"
    run(ModelCheckpoint(template, save_state=True), 1.0)
    checkpoint = ModelCheckpoint(template, save_state=True)
    bus = Bus(checkpoint, model=Model())
    bus.train_begin()
    checkpoint._store.write(bus.run.model, tmp_path / "1.npy", epoch=0, step=1, value=None)  # and then a kill
    del bus, checkpoint
    assert not ModelCheckpoint(template, save_state=True).resume(Bus(model=Model()))
