"""Which handle lends which framework's models."""

import weakref

import pytest

from monitor_core import frameworks
from monitor_core.frameworks import handle_of, register_handle


class Model:
    """A framework's base class."""


class Network(Model):
    """A user's model."""


def test_a_model_is_lent_by_the_handle_of_its_base_class(monkeypatch):
    """The handle is found by the names of the model's classes, and made of the model."""
    monkeypatch.setattr(frameworks, "_handles", {})
    register_handle(f"{__name__}.Model", "weakref:ref")
    network = Network()
    assert handle_of(network) == weakref.ref(network)


def test_anything_else_is_refused():
    """The error tells what could have been given."""
    with pytest.raises(TypeError, match=r"model must be a handle or a model of Keras or PyTorch \(got 3\)"):
        handle_of(3)
