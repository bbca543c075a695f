"""Model checkpoint: against Keras, driven by a stub, where we differ from Keras on purpose: one test a row."""

import operator
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_checkpoint_support import (
    LONG,
    NO_NUMBERS,
    NUMBERS,
    Model,
    drive,
    losses,
    names,
    run,
    unflushed,  # noqa: F401 (fixtures)
)
from monitor_core import Bus
from monitor_core.sinks.model_checkpoint import ModelCheckpoint


class Stub:
    """A model for Keras's callback that notes under which names it was saved."""

    def __init__(self):
        self.metrics = []
        self.saved = []

    def save(self, path, overwrite):
        self.saved.append(Path(path).name)

    save_weights = save


class InFloat64(keras.callbacks.ModelCheckpoint):
    """Keras's callback, comparing numbers as Python does.

    Its `ops.less` makes float32 tensors of what it compares, so that values which differ from the eighth digit on
    are equal, and on some backends subnormal ones too: that is a difference on purpose, with a test of its own below.
    """

    def _set_monitor_op(self):
        super()._set_monitor_op()
        self.monitor_op = {keras.ops.less: operator.lt, keras.ops.greater: operator.gt}[self.monitor_op]


class Noting(Model):
    """A handle that notes under which names it was saved."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.saved = []

    def save(self, path, *, weights_only=False):
        Path(path).touch()
        self.saved.append(path)


class Names(ModelCheckpoint):
    """Our checkpoint, noting the names of what it saved."""

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        write = self._store.write

        def write_and_note(model, path, **numbers):
            saved = write(model, path, **numbers)
            if saved is not None:
                model.saved[-1] = path.name
            return saved

        self._store.write = write_and_note


OPTIONS = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["min", "max"]),
        "save_best_only": st.booleans(),
        "initial_value_threshold": st.none() | st.sampled_from([0.0, 1.0, -1e300, float("inf")]),
        "save_weights_only": st.booleans(),
    }
)


def is_number(value):
    return isinstance(value, float) and value == value  # noqa: PLR0124 (NaN)


@settings(max_examples=100 * LONG)
@given(values=st.lists(st.one_of(NUMBERS, NO_NUMBERS), max_size=12), options=OPTIONS)
def test_epochs_are_saved_as_keras_saves_them(tmp_path_factory, unflushed, values, options):
    """The same epochs are saved, as if those without a number were not there where only the best are saved."""
    ending = ".weights.h5" if options["save_weights_only"] else ".keras"
    stub, theirs = Stub(), InFloat64(f"{{epoch}}{ending}", "m", **options)
    theirs.set_model(stub)
    folder = tmp_path_factory.getbasetemp() / "epochs"
    ours = Noting(folder)
    bus = Bus(Names(folder / f"{{epoch}}{ending}", "m", **options), model=ours, strict=True)
    bus.train_begin()
    for epoch, value in enumerate(values):
        logs = {} if value == "missing" else {"m": value}
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, logs)
        if is_number(value) or not options["save_best_only"]:
            theirs.on_epoch_begin(epoch)
            theirs.on_epoch_end(epoch, logs)
    assert ours.saved == stub.saved


@settings(max_examples=100 * LONG)
@given(
    epochs=st.lists(st.lists(st.one_of(NUMBERS, NO_NUMBERS), max_size=8), max_size=5),
    save_freq=st.integers(1, 9),
    execution=st.integers(1, 4),
    options=OPTIONS,
)
def test_steps_are_saved_as_keras_saves_them(tmp_path_factory, unflushed, epochs, save_freq, execution, options):
    """The same batches are saved, counted over epochs, with several batches for each call too."""
    ending = ".weights.h5" if options["save_weights_only"] else ".keras"
    stub = Stub()
    theirs = InFloat64(f"{{epoch}}-{{batch}}{ending}", "m", save_freq=save_freq, **options)
    theirs.set_model(stub)
    theirs._set_monitor_op()  # within the first epoch it has none, and raises a TypeError
    should_save = theirs._should_save_model
    theirs._should_save_model = lambda epoch, batch, logs, path: (
        should_save(epoch, batch, logs, path) if is_number(logs.get("m")) else not options["save_best_only"]
    )
    folder = tmp_path_factory.getbasetemp() / "steps"
    ours = Noting(folder)
    checkpoint = Names(folder / f"{{epoch}}-{{batch}}{ending}", "m", save_freq=save_freq, **options)
    bus = Bus(checkpoint, model=ours)
    bus.train_begin()
    for epoch, values in enumerate(epochs):
        bus.epoch_begin(epoch)
        theirs.on_epoch_begin(epoch)
        start = bus.run.step
        for call, value in enumerate(values, start=1):
            logs = {} if value == "missing" else {"m": value}
            bus.batch_end(start + call * execution, logs)
            theirs.on_train_batch_end(call * execution - 1, logs)
        bus.epoch_end(epoch, {})
        theirs.on_epoch_end(epoch, {})
    assert not bus.failures
    assert ours.saved == stub.saved


def keras_saves(*epochs, **options):
    """Return the names under which Keras's callback saves these epochs, given by their logs."""
    stub, callback = Stub(), keras.callbacks.ModelCheckpoint("{epoch}.keras", **options)
    callback.set_model(stub)
    for epoch, logs in enumerate(epochs):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, logs)
    return stub.saved


def test_nan_is_never_the_best(tmp_path):
    """A NaN that comes first is not saved and not the best; in Keras it is both, and stays so."""
    values = (float("nan"), 2.0, 1.0)
    assert keras_saves(*losses(*values), save_best_only=True) == ["1.keras"]
    assert run(ModelCheckpoint(tmp_path / "{epoch}.npy", save_best_only=True), *values) == ["2.npy", "3.npy"]


@pytest.mark.filterwarnings("ignore:Can save best model only")
def test_a_missing_metric_is_never_better(tmp_path, warned):
    """An epoch without the metric is not saved, with one warning that lists the names; Keras saves it."""
    epochs = [{"val_loss": 1.0}, {"loss": 5.0}, {"loss": 5.0}]
    assert keras_saves(*epochs, save_best_only=True) == ["1.keras", "2.keras", "3.keras"]
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_best_only=True)
    drive(Bus(checkpoint, model=Model(), strict=True), epochs)
    assert names(tmp_path) == ["1.npy"]
    assert [each for each in warned() if "no metric 'val_loss'" in each and "this epoch has loss" in each] == warned()


def test_save_freq_compares_what_the_batch_has(tmp_path):
    """With save_freq=N and save_best_only the batch's value decides; Keras raises within the first epoch."""
    callback = keras.callbacks.ModelCheckpoint("{batch}.keras", "loss", save_freq=1, save_best_only=True)
    callback.set_model(Stub())
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0, {"loss": 2.0})
    with pytest.raises(TypeError):
        callback.on_train_batch_end(1, {"loss": 1.0})
    checkpoint = ModelCheckpoint(tmp_path / "{step}.npy", "loss", save_freq=1, save_best_only=True)
    bus = Bus(checkpoint, model=Model())
    bus.train_begin()
    bus.epoch_begin(0)
    for step, loss in enumerate((2.0, 1.0, 1.5, np.float32(0.5)), start=1):
        bus.batch_end(step, {"loss": loss})
    assert names(tmp_path) == ["1.npy", "2.npy", "4.npy"]


def test_save_freq_says_once_that_the_batch_lacks_the_metric(tmp_path, warned):
    """A batch without the metric is never better, with one warning; Keras saves each."""
    bus = Bus(ModelCheckpoint(tmp_path / "{step}.npy", save_freq=2, save_best_only=True), model=Model())
    bus.train_begin()
    bus.epoch_begin(0)
    for step in range(1, 9):
        bus.batch_end(step, {"loss": 1.0})
    assert names(tmp_path) == []
    assert len(warned()) == 1
    assert "ModelCheckpoint" in warned()[0]
    assert "no metric 'val_loss' (did you mean 'loss'?); this batch has loss" in warned()[0]


def test_values_are_compared_in_float64(tmp_path):
    """A value that is better from the eighth digit on is better; in Keras it is equal."""
    values = (1.0, 1.0 - 1e-12)
    assert keras_saves(*losses(*values), save_best_only=True) == ["1.keras"]
    assert run(ModelCheckpoint(tmp_path / "{epoch}.npy", save_best_only=True), *values) == ["1.npy", "2.npy"]


def test_the_best_value_begins_again_with_each_run(tmp_path):
    """A second run's first value is its best; Keras's callback compares it with the run before."""
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{val_loss}.npy", save_best_only=True)
    run(checkpoint, 1.0)
    assert run(checkpoint, 5.0) == ["1-1.0.npy", "1-5.0.npy"]
    assert checkpoint.best == 5.0


def test_the_best_is_known_without_save_best_only(tmp_path):
    """`best` is the best value that was saved; in Keras it stays what it was at first."""
    stub, callback = Stub(), keras.callbacks.ModelCheckpoint("{epoch}.keras", mode="min")
    callback.set_model(stub)
    for epoch, logs in enumerate(losses(2.0, 1.0, 3.0)):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, logs)
    assert (stub.saved, callback.best) == (["1.keras", "2.keras", "3.keras"], None)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy")
    assert run(checkpoint, 2.0, 1.0, 3.0) == ["1.npy", "2.npy", "3.npy"]
    assert (checkpoint.best, checkpoint.best_path) == (1.0, tmp_path / "2.npy")


def test_steps_are_counted_from_each_runs_begin(tmp_path):
    """Two runs of 3 batches, saved every 4: Keras continues counting and saves in the second, we save in neither."""
    stub, callback = Stub(), keras.callbacks.ModelCheckpoint("{epoch}-{batch}.keras", save_freq=4)
    callback.set_model(stub)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{batch}.npy", save_freq=4)
    for _ in range(2):
        bus = Bus(checkpoint, model=Model())
        bus.train_begin()
        callback.on_train_begin()
        bus.epoch_begin(0)
        callback.on_epoch_begin(0)
        for batch in range(3):
            bus.batch_end(batch + 1, {})
            callback.on_train_batch_end(batch, {})
        bus.epoch_end(0)
        callback.on_epoch_end(0, {})
        bus.train_end()
    assert stub.saved == ["1-1.keras"]
    assert names(tmp_path) == []


def test_only_batches_that_were_trained_are_counted(tmp_path):
    """Two epochs of 4 batches, 3 in each call: Keras counts 12 and saves after "6", we count 8."""
    stub = Stub()
    callback = keras.callbacks.ModelCheckpoint("{epoch}-{batch}.keras", save_freq=5)
    callback.set_model(stub)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{batch}.npy", save_freq=5)
    bus = Bus(checkpoint, model=Model())
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        callback.on_epoch_begin(epoch)
        for begun, done in ((0, 3), (3, 4)):
            callback.on_train_batch_end(begun + 2, {})
            bus.batch_end(4 * epoch + done, {})
        bus.epoch_end(epoch)
        callback.on_epoch_end(epoch, {})
    assert stub.saved == ["1-6.keras", "2-6.keras"]
    assert names(tmp_path) == ["2-3.npy"]


def test_a_value_that_is_not_a_number_does_not_end_the_training(tmp_path, warned):
    """A string or a list is skipped with a warning; Keras's comparison raises at a string and saves a list."""
    epochs = [{"val_loss": "low"}, {"val_loss": [1.0, 2.0]}, {"val_loss": 1.0}]
    with pytest.raises(Exception, match=r".*"):
        keras_saves({"val_loss": 1.0}, {"val_loss": "low"}, save_best_only=True)
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}.npy", save_best_only=True)
    drive(Bus(checkpoint, model=Model(), strict=True), epochs)
    assert names(tmp_path) == ["3.npy"]
    assert len(warned()) == 2  # the bus logs the value, the checkpoint the metric that is then missing


def test_a_failed_save_is_not_the_best(tmp_path):
    """Where the best could not be written, the next value is compared with the file that is there."""
    model = Model()
    checkpoint = ModelCheckpoint(tmp_path / "best-{epoch}.npy", save_best_only=True)
    bus = Bus(checkpoint, model=model)
    bus.train_begin()
    for epoch, (loss, error) in enumerate(zip((3.0, 1.0, 2.0), (None, OSError("full"), None), strict=True)):
        model.error = error
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"val_loss": loss})
    assert names(tmp_path) == ["best-1.npy", "best-3.npy"]
    assert checkpoint.best == 2.0
