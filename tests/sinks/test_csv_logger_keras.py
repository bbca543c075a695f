"""Csv logger: against Keras, without a model, against Keras, in real fits."""

import csv

import keras
import numpy as np
import pytest
from hypothesis import given

from csv_logger_support import (
    EXAMPLES,
    SEPARATORS,
    folder,  # noqa: F401 (fixtures)
    keras_bytes,
    logs_of_epochs,
    record,
    rows,
)
from monitor_core import Loop, Sink
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.sinks.csv_logger import CSVLogger


def without_invented(path, columns, separator):
    """Return a Keras file's bytes without the columns after the first ones."""
    kept = [row[:columns] for row in rows(path, separator)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows(kept)
    return path.read_bytes()


@EXAMPLES
@given(logs_of_epochs(validation=True), SEPARATORS)
def test_epochs_of_the_same_keys_give_the_same_file_as_keras(folder, epochs, separator):
    """Byte for byte, whatever the names, the numbers and the separator."""
    record(CSVLogger(folder / "ours.csv", separator=separator), *epochs)
    assert (folder / "ours.csv").read_bytes() == keras_bytes(folder / "keras.csv", epochs, separator)


@EXAMPLES
@given(logs_of_epochs(validation=False), SEPARATORS)
def test_without_validation_it_is_the_file_of_keras_without_the_columns_that_keras_invents(folder, epochs, separator):
    """The columns named ``val_`` that never have a value are left out; all else is the same."""
    record(CSVLogger(folder / "ours.csv", separator=separator), *epochs)
    keras_bytes(folder / "keras.csv", epochs, separator)
    expected = without_invented(folder / "keras.csv", 1 + len(epochs[0]), separator)
    assert (folder / "ours.csv").read_bytes() == expected


def test_epochs_without_metrics_give_the_file_of_keras(tmp_path):
    """The epoch column alone."""
    record(CSVLogger(tmp_path / "ours.csv"), {}, {})
    assert (tmp_path / "ours.csv").read_bytes() == keras_bytes(tmp_path / "keras.csv", [{}, {}], ",")


RNG = np.random.default_rng(0)


X = RNG.normal(size=(40, 6)).astype("float32")


Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


@pytest.fixture(scope="module")
def compiled():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["accuracy", "mae"])
    return model, model.get_weights()


@pytest.fixture
def model(compiled):
    return fresh(compiled)


def fresh(compiled):
    """Return the compiled model as it was new."""
    model, start = compiled
    keras.utils.set_random_seed(7)
    model.set_weights(start)
    model.optimizer.learning_rate = 0.1
    return model


def fit(model, callbacks, epochs=3, *, validation=True, **options):
    """Fit without shuffling, which draws from other generators on each backend."""
    if validation:
        options["validation_data"] = (X[32:], Y[32:])
    model.fit(X[:32], Y[:32], epochs=epochs, batch_size=8, verbose=0, shuffle=False, callbacks=callbacks, **options)


class Halving(Sink):
    """Halve the learning rate after each epoch."""

    sets_learning_rate = True
    needs = ("learning_rates",)

    def on_epoch_end(self, run, epoch, logs):
        """Set the rate of the next epoch."""
        run.learning_rate /= 2


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_fit_gives_the_file_of_keras(tmp_path, model, validation, separator, whole):
    """Passed whole and in a list, with validation and, except for the invented columns, without."""
    ours = CSVLogger(tmp_path / "ours.csv", separator=separator)
    theirs = keras.callbacks.CSVLogger(str(tmp_path / "keras.csv"), separator=separator)
    callbacks = KerasAdapter(ours, theirs, model=model) if whole else [theirs, KerasAdapter(ours)]
    fit(model, callbacks, validation=validation)
    expected = (tmp_path / "keras.csv").read_bytes()
    if not validation:
        expected = without_invented(tmp_path / "keras.csv", 4, separator)
    assert (tmp_path / "ours.csv").read_bytes() == expected


def test_a_fit_with_a_learning_rate_gives_the_file_of_keras(tmp_path, compiled):
    """The column is where Keras's scheduler puts it, with the same float32 rates."""
    theirs = keras.callbacks.CSVLogger(str(tmp_path / "keras.csv"))
    fit(fresh(compiled), [keras.callbacks.LearningRateScheduler(lambda epoch, _: 0.1 / 2**epoch), theirs])
    model = fresh(compiled)
    fit(model, KerasAdapter(CSVLogger(tmp_path / "ours.csv"), Halving(), model=model))
    assert rows(tmp_path / "ours.csv")[0] == [
        "epoch", "accuracy", "learning_rate", "loss", "mae", "val_accuracy", "val_loss", "val_mae"
    ]  # fmt: skip
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "keras.csv").read_bytes()


def test_a_loop_of_fits_gives_the_file_of_one_long_fit(tmp_path, compiled):
    """One epoch a fit, in one run; Keras's file of the long fit is the measure."""
    fit(fresh(compiled), [keras.callbacks.CSVLogger(str(tmp_path / "keras.csv"))])
    model = fresh(compiled)
    with Loop(CSVLogger(tmp_path / "ours.csv"), model=KerasModel(model)) as loop:
        for _ in loop.epochs(3):
            fit(model, KerasAdapter(loop), epochs=1)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "keras.csv").read_bytes()


def test_repeated_fits_without_a_loop_give_the_file_of_one_long_fit(tmp_path, compiled):
    """Each is a separate run, and the numbers continue."""
    fit(fresh(compiled), [keras.callbacks.CSVLogger(str(tmp_path / "keras.csv"))])
    model = fresh(compiled)
    adapter = KerasAdapter(CSVLogger(tmp_path / "ours.csv"), model=model)
    for _ in range(3):
        fit(model, adapter, epochs=1)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "keras.csv").read_bytes()


def test_a_fit_writes_a_row_for_each_batch(tmp_path, model):
    """Numbered by epoch and by step over the run."""
    fit(model, KerasAdapter(CSVLogger(tmp_path / "a.csv", per_batch=True), model=model), epochs=2)
    header, *lines = rows(tmp_path / "a.csv")
    assert header == ["epoch", "step", "accuracy", "loss", "mae"]
    assert [line[:2] for line in lines] == [[str(step // 4), str(step + 1)] for step in range(8)]
