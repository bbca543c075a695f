"""Variables of Flax NNX, and its metrics, as values that are logged."""

import pytest

pytest.importorskip("flax")

import jax.numpy as jnp
from flax import nnx

from jax_training_support import reads
from monitor_core import History, Loop
from monitor_core.frameworks.base import UNDER_TRACING
from monitor_core.values.scalars import keep, scalar


def test_a_variable_is_logged_as_it_is_then():
    """It may change in the next step; the array that it holds is kept, and not read in the step."""
    total, counter = nnx.Variable(jnp.float32(0.0)), reads()
    with Loop(history := History(per_batch=True)) as loop:
        for _ in loop.epochs(1):
            with counter.counted():
                for _ in loop.batches(range(3)):
                    total[...] += 1
                    loop.log(total=total)
                assert counter.places == []
    assert history.batches["total"].tolist() == [1.0, 2.0, 3.0]


def test_metrics_of_flax_are_logged():
    """What ``compute`` returns is a mapping of arrays."""
    metrics = nnx.MultiMetric(accuracy=nnx.metrics.Accuracy(), loss=nnx.metrics.Average("loss"))
    metrics.update(logits=jnp.array([[0.0, 1.0], [1.0, 0.0]]), labels=jnp.array([1, 1]), loss=jnp.array([1.0, 3.0]))
    with Loop(history := History()) as loop:
        for _ in loop.epochs(1):
            loop.log(metrics.compute())
    assert (history["accuracy"].tolist(), history["loss"].tolist()) == ([0.5], [2.0])


@pytest.mark.parametrize(
    ("value", "reason"),
    [(jnp.ones(3), r"it has the shape \(3,\)"), (None, "it is a variable that holds None")],
    ids=["vector", "nothing"],
)
def test_a_variable_without_a_number_is_refused(value, reason):
    """As an array would be."""
    with pytest.raises((TypeError, ValueError), match=reason):
        scalar(keep(nnx.Variable(value)))


def test_a_traced_variable_is_refused():
    """The reason says what to log."""
    reasons = []

    @nnx.jit
    def step(variable):
        reasons.append(keep(variable).reason)

    step(nnx.Variable(jnp.float32(1.0)))
    assert reasons == [UNDER_TRACING]
