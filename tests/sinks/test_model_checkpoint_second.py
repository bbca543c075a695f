"""Checkpoints of another model than the run's, such as one of averaged weights."""

import re

import numpy as np
import pytest

from monitor_core import Loop, ModelCheckpoint
from monitor_core.testing import NumpyModel


def filled(value):
    """Return a model whose weights all have this value."""
    model = NumpyModel()
    model.set_weights([np.full_like(each, value) for each in model.get_weights()])
    return model


def weight_in(path):
    """Return the one value of a saved model's weights."""
    model = NumpyModel()
    model.load(path)
    return {float(each) for array in model.get_weights() for each in array.ravel()}


def test_two_checkpoints_save_two_models(tmp_path):
    """Each by its own rule, in one run."""
    own, average = filled(1.0), filled(0.5)
    sinks = ModelCheckpoint(tmp_path / "own.npz"), ModelCheckpoint(tmp_path / "average.npz", model=average)
    with Loop(*sinks, model=own) as loop:
        for _ in loop.epochs(1):
            loop.log(val_loss=1.0)
    assert (weight_in(tmp_path / "own.npz"), weight_in(tmp_path / "average.npz")) == ({1.0}, {0.5})


def test_the_run_needs_no_model_then(tmp_path):
    """What is saved is given."""
    with Loop(ModelCheckpoint(tmp_path / "average.npz", model=filled(0.5))) as loop:
        for _ in loop.epochs(1):
            loop.log(val_loss=1.0)
    assert weight_in(tmp_path / "average.npz") == {0.5}


def test_a_model_that_cannot_be_saved_is_refused():
    """At construction."""
    with pytest.raises(ValueError, match="model must be a model or a handle with 'save'"):
        ModelCheckpoint("a.npz", model=object())


def test_it_is_not_what_a_run_continues_from():
    """A state belongs to the run's own model."""
    message = "save_state must be False with model=... (got True): a run continues from its own model's checkpoint"
    with pytest.raises(ValueError, match=re.escape(message)):
        ModelCheckpoint("{epoch}.npz", model=filled(0.5), save_state=True)
