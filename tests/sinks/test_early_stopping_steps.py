"""Early stopping: by steps, real fits."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from early_stopping_support import DELTA, EXAMPLES, METRIC, SEQUENCE, logs_of, options, our_run
from monitor_core import Bus, Loop, Sink
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.sinks.early_stopping import EarlyStopping


@settings(max_examples=EXAMPLES)
@given(
    values=SEQUENCE,
    options=options(DELTA).map(lambda each: {**each, "restore_best_weights": False, "start_from_epoch": 0}),
    ends=st.sets(st.integers(1, 14)),
)
def test_steps_are_judged_as_epochs_are(values, options, ends):
    """Batches get the decisions that epochs with these values get, wherever blocks and epochs end among them."""
    sink = EarlyStopping(METRIC, unit="step", **options)
    bus = Bus(sink)
    bus.train_begin()
    bus.epoch_begin(0)
    for step, value in enumerate(values, 1):
        bus.batch_begin(step)
        bus.batch_end(step, logs_of(value))
        if step in ends:
            bus.epoch_end(bus.run.epoch, {})
            bus.epoch_begin(bus.run.epoch + 1)
        elif step % 3 == 0:
            bus.flush()
    bus.flush()
    theirs = our_run(values, options)
    assert (sink.best, sink.wait, bus.run.stopped) == (theirs["best"], theirs["wait"], theirs["stopped"] is not None)
    assert sink.best_step == (0 if sink.best is None else theirs["best_epoch"] + 1)
    assert sink.stopped_step == (0 if theirs["stopped"] is None else theirs["stopped"] + 1)


def test_a_loop_stops_by_steps():
    """The reason names the deciding step and epoch, and the run ends at the next block."""
    sink = EarlyStopping("loss", unit="step", patience=3)
    with Loop(sink) as loop:
        for _ in loop.epochs(4):
            for batch in loop.batches(range(400)):
                loop.log(loss=1.0 if loop.run.epoch < 1 or batch > 5 else 0.5 - batch / 100)
    assert loop.run.stop_reason == "loss did not improve for 3 steps; its best was 1 at step 1"
    assert (sink.stopped_epoch, sink.stopped_step, loop.run.epoch) == (0, 4, 0)
    assert 256 <= loop.run.step <= 400


def test_a_metric_that_no_batch_has_is_reported_at_the_epochs_end(warned):
    """Where the metric comes only now and then nothing is said; where no batch had it, the names are listed."""
    with Loop(EarlyStopping("val_loss", unit="step")) as loop:
        for epoch in loop.epochs(3):
            for batch in loop.batches(range(3)):
                loop.log(loss=1.0, **({"val_loss": 1.0} if epoch == 0 and batch == 1 else {}))
            loop.log(val_loss=1.0)
    assert warned() == [
        (
            "EarlyStopping decides nothing while its metric is missing: no metric 'val_loss' (did you mean 'loss'?); "
            "a batch of this epoch has loss"
        )
    ]


def test_steps_before_the_first_epoch_to_look_at_are_passed_over():
    """start_from_epoch holds for steps too."""
    sink = EarlyStopping("loss", unit="step", patience=2, start_from_epoch=1)
    with Loop(sink) as loop:
        for _ in loop.epochs(2):
            for _ in loop.batches(range(5)):
                loop.log(loss=1.0)
    assert (sink.best_step, sink.stopped_step) == (6, 8)


RNG = np.random.default_rng(1)


X = RNG.normal(size=(24, 4)).astype("float32")


Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


TRAIN, VALIDATION = (X[:16], Y[:16]), (X[16:], 1 - Y[16:])  # validation gets worse by and by


EPOCHS = 8


FITS = [
    {"monitor": "val_loss"},
    {"monitor": "loss", "patience": 2, "min_delta": 0.01},
    {"monitor": "loss", "patience": 1, "min_delta": 0.2, "restore_best_weights": True},
    {"monitor": "val_loss", "patience": 2, "restore_best_weights": True},
    {"monitor": "val_loss", "patience": 3, "mode": "max", "restore_best_weights": True},
    {"monitor": "val_accuracy", "patience": 2, "restore_best_weights": True},
    {"monitor": "accuracy", "patience": 3, "restore_best_weights": True},
    {"monitor": "val_loss", "patience": 2, "baseline": 0.1, "restore_best_weights": True},
    {"monitor": "val_loss", "patience": 1, "start_from_epoch": 3, "restore_best_weights": True},
    {"monitor": "loss", "mode": "max", "patience": 20, "restore_best_weights": True},
]


@pytest.fixture(scope="module")
def compiled():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(1.0), "binary_crossentropy", metrics=["accuracy"])
    return model, model.get_weights()


def fit(model, callbacks, **options):
    """Fit without shuffling, which draws from other generators on each backend."""
    model.fit(
        *TRAIN,
        batch_size=4,
        validation_data=VALIDATION,
        validation_batch_size=8,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
        **options,
    )


def decisions(callback, model, epochs):
    weights = [array.tolist() for array in model.get_weights()]
    return epochs, callback.stopped_epoch, callback.best_epoch, callback.best, callback.wait, weights


class Epochs(keras.callbacks.Callback):
    """Count the epochs of all fits."""

    count = 0

    def on_epoch_end(self, epoch, logs=None):
        self.count += 1


@pytest.mark.parametrize("options", FITS, ids=lambda options: "-".join(map(str, options.values())))
def test_real_fits_end_as_with_keras(compiled, options):
    """Passed whole, in a list, and in a loop of fits of one epoch: Keras's epochs, best value and weights."""
    model, start = compiled
    theirs, epochs = keras.callbacks.EarlyStopping(**options), Epochs()
    model.set_weights(start)
    fit(model, [theirs, epochs], epochs=EPOCHS)
    expected = decisions(theirs, model, epochs.count)

    for whole in (True, False):
        sink, epochs = EarlyStopping(**options), Epochs()
        model.set_weights(start)
        adapter = KerasAdapter(sink, epochs, model=model)
        fit(model, adapter if whole else [adapter], epochs=EPOCHS)
        assert decisions(sink, model, epochs.count) == expected

    sink = EarlyStopping(**options)
    model.set_weights(start)
    with Loop(sink, model=KerasModel(model)) as loop:
        for _ in loop.epochs(EPOCHS):
            fit(model, KerasAdapter(loop), epochs=1)
    assert decisions(sink, model, loop.run.epoch + 1) == expected
    assert loop.run.status == ("stopped" if expected[1] else "completed")


@pytest.mark.parametrize("attached", ["fit", "loop"])
def test_an_interrupted_fit_leaves_the_best_weights(compiled, attached):
    """Ctrl-C within an epoch of a fit restores the best weights, on every backend."""

    class Interrupter(Sink):
        def on_batch_end(self, run, step, logs):
            if step == 10:
                raise KeyboardInterrupt

    model, start = compiled
    model.set_weights(start)
    sink = EarlyStopping("loss", mode="max", patience=9, restore_best_weights=True)
    if attached == "fit":
        adapter = KerasAdapter(sink, Interrupter())
        with pytest.raises(KeyboardInterrupt):
            adapter.fit(model, *TRAIN, batch_size=4, epochs=4, shuffle=False, verbose=0)
    else:
        with pytest.raises(KeyboardInterrupt), Loop(sink, Interrupter(), model=KerasModel(model)) as loop:
            fit(model, KerasAdapter(loop), epochs=4)
    assert [array.tolist() for array in model.get_weights()] == [array.tolist() for array in sink.best_weights]
    model.set_weights(start)
    fit(model, [], epochs=1)
    assert [array.tolist() for array in model.get_weights()] == [array.tolist() for array in sink.best_weights]
