"""A loop around a training with Equinox and Optax passes the contract of adapters."""

from pathlib import Path
from typing import ClassVar

import pytest

eqx = pytest.importorskip("equinox")
optax = pytest.importorskip("optax")

import jax  # noqa: E402

from jax_training_support import Counted, Session, reads  # noqa: E402 (it imports jax)
from monitor_core.adapters.equinox import EquinoxModel  # noqa: E402
from monitor_core.testing import AdapterContract  # noqa: E402


class Net(eqx.Module):
    """A small network with dropout."""

    hidden: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.hidden, self.out = eqx.nn.Linear(3, 4, key=one), eqx.nn.Linear(4, 1, key=two)
        self.dropout = eqx.nn.Dropout(0.25)

    def __call__(self, x, key=None):
        """Return one number for a sample."""
        return self.out(self.dropout(jax.numpy.tanh(self.hidden(x)), key=key, inference=key is None))


def loss_of(net, x, y, key=None):
    """Return the mean squared error."""
    keys = None if key is None else jax.random.split(key, len(x))
    return ((jax.vmap(net, in_axes=(0, None if key is None else 0))(x, keys) - y) ** 2).mean()


OPTIMIZER = optax.inject_hyperparams(optax.sgd)(learning_rate=0.125, momentum=0.5)


def update(training, x, y):
    """Make one step; return the new parts of the training, and the loss."""
    key, own = jax.random.split(training["key"])
    loss, gradients = eqx.filter_value_and_grad(loss_of)(training["model"], x, y, own)
    updates, state = OPTIMIZER.update(gradients, training["optimizer"])
    return {"model": eqx.apply_updates(training["model"], updates), "optimizer": state, "key": key}, loss


STEP, LOSS = eqx.filter_jit(update), eqx.filter_jit(loss_of)


class EquinoxSession(Session):
    """Trains with ``eqx.filter_jit``; a plan with a compiled step compiles one of its own."""

    def __init__(self, plan):
        super().__init__(plan)
        assert plan.rate == 0.125
        net = Net(jax.random.key(7))
        self.training = {"model": net, "optimizer": OPTIMIZER.init(eqx.filter(net, eqx.is_array))}
        self.training["key"] = jax.random.key(8)
        self.counted = Counted(update)
        self.made_step = eqx.filter_jit(self.counted.__call__) if plan.compiled else STEP

    def step_on(self, x, y):
        self.training, loss = self.made_step(self.training, x, y)
        return loss

    def loss_on(self, x, y):
        return LOSS(self.training["model"], x, y)

    def weights(self):
        return eqx.filter(self.training["model"], eqx.is_array)

    def rate(self):
        return float(self.training["optimizer"].hyperparams["learning_rate"])

    def compilations(self):
        return self.counted.count

    def handle(self):
        return {"model": EquinoxModel(lambda: self.training, self.assign)}

    def assign(self, parts):
        self.training = {**self.training, **parts}


class TestEquinox(AdapterContract):
    """A `Loop` around a training with ``eqx.filter_jit``."""

    documented_in = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"
    cannot: ClassVar = {"a_skipped_step_is_not_a_step": "a batch of a loop is a step, whatever its optimizer does"}

    def values(self):
        """Return what counts reads of arrays."""
        return reads()

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return lambda sinks, plan: EquinoxSession(plan).train(sinks)
