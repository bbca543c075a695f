"""A loop around a training with Flax NNX and Optax passes the contract of adapters."""

from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("flax")
optax = pytest.importorskip("optax")

import jax  # noqa: E402
import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402

from jax_training_support import Counted, Session, reads  # noqa: E402 (it imports jax)
from monitor_core.testing import AdapterContract  # noqa: E402


class Net(nnx.Module):
    """A small network with dropout, whose random stream is part of the training's state."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(3, 4, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.out = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x):
        """Return one number for each sample."""
        return self.out(self.dropout(jax.numpy.tanh(self.hidden(x))))


def loss_of(net, x, y):
    """Return the mean squared error."""
    return ((net(x) - y) ** 2).mean()


def update(net, optimizer, x, y):
    """Make one step, and return the loss."""
    loss, gradients = nnx.value_and_grad(loss_of)(net, x, y)
    optimizer.update(net, gradients)
    return loss


STEP, LOSS = nnx.jit(update), nnx.jit(loss_of)


class FlaxSession(Session):
    """Trains with ``nnx.jit``; a plan with a compiled step compiles one of its own."""

    def __init__(self, plan):
        super().__init__(plan)
        self.net = Net(nnx.Rngs(7))
        tx = optax.inject_hyperparams(optax.sgd)(learning_rate=plan.rate, momentum=0.5)
        self.optimizer = nnx.Optimizer(self.net, tx, wrt=nnx.Param)
        self.counted = Counted(update)
        self.made_step = nnx.jit(self.counted) if plan.compiled else STEP

    def step_on(self, x, y):
        self.net.train()
        return self.made_step(self.net, self.optimizer, x, y)

    def loss_on(self, x, y):
        self.net.eval()
        return LOSS(self.net, x, y)

    def weights(self):
        return nnx.state(self.net, nnx.Param)

    def rate(self):
        return float(self.optimizer.opt_state.hyperparams["learning_rate"][...])

    def compilations(self):
        return self.counted.count

    def handle(self):
        return {"model": self.net, "optimizer": self.optimizer}


class TestFlax(AdapterContract):
    """A `Loop` around a training with ``nnx.jit``."""

    documented_in = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"
    cannot: ClassVar = {"a_skipped_step_is_not_a_step": "a batch of a loop is a step, whatever its optimizer does"}

    def values(self):
        """Return what counts reads of arrays."""
        return reads()

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return lambda sinks, plan: FlaxSession(plan).train(sinks)


def test_setting_the_rate_and_the_weights_compiles_nothing():
    """What the handle sets has the dtype and the placement of what it replaces."""
    from monitor_core.adapters.flax import FlaxModel
    from monitor_core.testing import Plan

    session = FlaxSession(Plan(compiled=True))
    handle = FlaxModel(session.net, session.optimizer)
    (group, *_) = session.groups()
    session.step(group)
    compiled = session.made_step
    before = session.compilations()
    handle.learning_rates = [0.5]
    handle.set_weights([np.zeros_like(each) for each in handle.get_weights()])
    handle.load_training_state(handle.training_state())
    session.step(group)
    assert (session.made_step, session.compilations()) == (compiled, before)
