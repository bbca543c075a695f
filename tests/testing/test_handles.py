"""All handles pass the contract that authors of handles get, and the contract finds handles that break it."""

import numpy as np
import pytest

from monitor_core.adapters.pytree import PytreeModel
from monitor_core.testing import HandleContract, NumpyModel


class TestNumpyModel(HandleContract):
    """The model that sinks are tested with."""

    weights_file = "weights"

    @pytest.fixture
    def handle(self):
        """Return one."""
        return NumpyModel()


class TestPytreeModel(HandleContract):
    """The handle of a tree of arrays."""

    @pytest.fixture
    def handle(self):
        """Return one of two arrays."""
        tree = {"kernel": np.ones((2, 1)), "bias": np.zeros(1)}
        return PytreeModel(lambda: tree, tree.update)


class TestKerasModel(HandleContract):
    """The handle of a Keras model."""

    file = "model.keras"

    @pytest.fixture
    def handle(self):
        """Return one of a compiled model."""
        keras = pytest.importorskip("keras")
        from monitor_core.adapters.keras import KerasModel

        dense = [keras.layers.Dense(3, "relu", name="hidden"), keras.layers.Dense(1, name="out")]
        model = keras.Sequential([keras.Input((2,)), *dense])
        model.compile("adam", "mse")
        return KerasModel(model)


class TestTorchModel(HandleContract):
    """The handle of a PyTorch module."""

    file = "model.pt"

    @pytest.fixture
    def handle(self):
        """Return one with an optimizer and a loss."""
        torch = pytest.importorskip("torch")
        from monitor_core.adapters.torch import TorchModel

        module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout(), torch.nn.Linear(3, 1))
        optimizer = torch.optim.Adam(module.parameters())
        return TorchModel(module, optimizer, loss=torch.nn.functional.mse_loss)


class Views(NumpyModel):
    """Returns its weights themselves."""

    def get_weights(self):
        """Return no copies."""
        return [self.kernel, self.bias]


class Disturbs(NumpyModel):
    """Changes its state when it is looked at."""

    def predict(self, x):
        """Count as an update."""
        self.updates += 1
        return super().predict(x)


@pytest.mark.parametrize(
    ("handle", "test"),
    [(Views, "test_weights_are_copies"), (Disturbs, "test_looking_inside_changes_nothing")],
)
def test_a_handle_that_breaks_the_contract_is_found(handle, test):
    """The test of what it breaks fails."""
    with pytest.raises(AssertionError):
        getattr(HandleContract(), test)(handle())
