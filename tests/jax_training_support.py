"""A training in JAX that follows a plan of the contract of adapters: data, and the loop around any session."""

import jax
import jax.numpy as jnp
import numpy as np

from monitor_core import Loop
from monitor_core.testing.reads import HostReads
from monitor_core.testing.trainings import Trained

SAMPLES = 4
"""The samples of a micro-batch."""


def batches(count, seed=1):
    """Return so many micro-batches."""
    rng = np.random.default_rng(seed)
    rows = [(rng.normal(size=(SAMPLES, 3)), rng.normal(size=(SAMPLES, 1))) for _ in range(count)]
    return [(jnp.asarray(x, "float32"), jnp.asarray(y, "float32")) for x, y in rows]


VALIDATION = batches(2, seed=2)


def reads():
    """Return what counts the reads of arrays."""
    return HostReads(type(jnp.ones(())))


class Counted:
    """A function that counts how often it is traced, which is how often its compiled form is made.

    Args:
        function: The function.
    """

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, *args):
        self.count += 1
        return self.function(*args)


class Session:
    """What trains; a subclass has ``step_on(xs, ys)``, ``loss_on(x, y)``, ``weights()``, ``rate()`` and ``handle()``.

    Attributes:
        losses: The loss of each step.
        evaluations: The loss of each evaluation.
    """

    def __init__(self, plan):
        self.plan = plan
        self.losses, self.evaluations = [], []

    def groups(self):
        """Return the micro-batches of an epoch, by optimizer step."""
        found, size = batches(self.plan.batches), self.plan.accumulation
        return [found[first : first + size] for first in range(0, len(found), size)]

    def step(self, group):
        """Make an optimizer step from the micro-batches of a group; return the mean of their losses."""
        for _ in group:
            self.plan.visit("batch")
        loss = self.step_on(*(jnp.concatenate(each) for each in zip(*group, strict=True)))
        self.losses.append(loss)
        return loss

    def evaluate(self):
        """Return the loss of each batch of the validation data."""
        for x, y in VALIDATION:
            self.plan.visit("evaluation")
            yield self.loss_on(x, y)

    def evaluated(self, losses):
        """Note the result of an evaluation."""
        self.evaluations.append(float(np.mean([float(each) for each in losses])))

    def trained(self, before=0):
        """Return what the contract gets."""
        return Trained(
            weights=[np.asarray(each) for each in jax.tree.leaves(self.weights())],
            steps=before + len(self.losses),
            losses=[float(each) for each in self.losses],
            evaluations=self.evaluations,
            rate=self.rate(),
            compilations=self.compilations(),
        )

    def train(self, sinks):
        """Train in a loop with sinks, or in one without monitoring."""
        if sinks is None:
            for _ in range(self.plan.epochs):
                for group in self.groups():
                    self.step(group)
                if self.plan.evaluates:
                    self.evaluated([*self.evaluate()])
            return self.trained()
        with Loop(*sinks, **self.handle(), resume=self.plan.folder) as loop:
            before = loop.run.step
            for _ in loop.epochs(self.plan.epochs):
                for group in loop.batches(self.groups()):
                    loop.log(loss=self.step(group))
                if self.plan.evaluates and not loop.run.stopped:
                    losses = []
                    with loop.evaluation():
                        for loss in loop.batches(self.evaluate()):
                            loop.log(loss=loss)
                            losses.append(loss)
                    self.evaluated(losses)
        return self.trained(before)
