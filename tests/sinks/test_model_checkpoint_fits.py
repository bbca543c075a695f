"""Model checkpoint: against Keras, in real fits."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_checkpoint_support import (
    EXECUTIONS,
    compiled,  # noqa: F401 (fixtures)
    fit,
    names,
)
from monitor_core import Loop
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.sinks.early_stopping import EarlyStopping
from monitor_core.sinks.model_checkpoint import ModelCheckpoint


def fresh(compiled, execution=1):
    models, start = compiled
    keras.utils.set_random_seed(7)
    models[execution].set_weights(start)
    return models[execution]


@settings(max_examples=10)
@given(
    options=st.one_of(
        st.fixed_dictionaries(
            {
                "monitor": st.sampled_from(["val_loss", "val_accuracy", "loss"]),
                "save_best_only": st.booleans(),
                "save_weights_only": st.booleans(),
                "initial_value_threshold": st.none() | st.just(0.66),
            }
        ),
        st.fixed_dictionaries({"save_freq": st.integers(2, 7), "save_weights_only": st.just(value=True)}),
    ),
    execution=st.sampled_from(EXECUTIONS),
    batch_size=st.sampled_from([8, 16]),
)
def test_a_fit_leaves_the_files_that_keras_leaves(tmp_path_factory, compiled, options, execution, batch_size):
    """With Keras's callback in the same fit, ours leaves files of the same names, and the last has the same weights."""
    folder = tmp_path_factory.mktemp("fit")
    ending = ".weights.h5" if options["save_weights_only"] else ".keras"
    template = "{epoch}-{batch}" if "save_freq" in options else "{epoch}-{val_loss:.4f}"
    if execution > 1 and "save_freq" in options:
        batch_size = 32 // 6 + 1  # 6 batches, so that no execution is part of one: that is a difference on purpose
    model = fresh(compiled, execution)
    theirs = keras.callbacks.ModelCheckpoint(str(folder / "theirs" / (template + ending)), **options)
    ours = ModelCheckpoint(folder / "ours" / (template + ending), **options)
    fit(model, [KerasAdapter(ours), theirs], batch_size=batch_size)
    (folder / "theirs").mkdir(exist_ok=True)
    assert names(folder / "ours") == names(folder / "theirs")
    if ours.latest_path is not None:
        found = [load(model, path) for path in (ours.latest_path, folder / "theirs" / ours.latest_path.name)]
        assert all(map(np.array_equal, *found))


def load(model, path):
    KerasModel(model).load(path)
    return model.get_weights()


@pytest.mark.parametrize(("ending", "weights_only"), [(".keras", False), (".h5", False), (".weights.h5", True)])
def test_keras_files_are_loaded_back(tmp_path, compiled, ending, weights_only):
    """All three of Keras's formats bring the weights of the best epoch back."""
    model = fresh(compiled)
    checkpoint = ModelCheckpoint(tmp_path / f"m{ending}", save_best_only=True, save_weights_only=weights_only)
    fit(model, KerasAdapter(checkpoint, model=model), epochs=1)
    saved = model.get_weights()
    fit(model, None, epochs=1)
    checkpoint.load_best(KerasModel(model))
    assert all(map(np.array_equal, model.get_weights(), saved))


def test_the_tutorials_callbacks_list_runs(tmp_path, compiled):
    """Early stopping on the accuracy with a checkpoint of the best loss: the same in Keras's words and in ours."""
    results = []
    for module, path in ((keras.callbacks, tmp_path / "theirs.h5"), (None, tmp_path / "my_model.h5")):
        early, checkpoint = (
            (module.EarlyStopping, module.ModelCheckpoint) if module else (EarlyStopping, ModelCheckpoint)
        )
        callbacks_list = [
            early(monitor="val_accuracy" if module else "val_acc", patience=1),
            checkpoint(filepath=str(path), monitor="val_loss", save_best_only=True),
        ]
        model = fresh(compiled)
        history = fit(model, callbacks_list if module else KerasAdapter(*callbacks_list, model=model), epochs=12)
        results.append((history.epoch, load(model, path)))
    (their_epochs, their_weights), (our_epochs, our_weights) = results
    assert our_epochs == their_epochs
    assert all(map(np.allclose, our_weights, their_weights))


def test_many_fits_in_a_loop_leave_the_files_of_one(tmp_path, compiled):
    """One run over `fit(epochs=1)` calls saves as one long fit does, under the same names."""
    options = {"monitor": "val_loss", "save_best_only": True, "save_weights_only": True}
    template = "{epoch:02d}-{step}-{val_loss:.4f}.weights.h5"
    model = fresh(compiled)
    fit(model, KerasAdapter(ModelCheckpoint(tmp_path / "one" / template, **options), model=model), epochs=3)
    model = fresh(compiled)
    with Loop(ModelCheckpoint(tmp_path / "many" / template, **options), model=KerasModel(model)) as loop:
        for _ in loop.epochs(3):
            fit(model, KerasAdapter(loop), epochs=1)
    assert names(tmp_path / "many") == names(tmp_path / "one") != []
