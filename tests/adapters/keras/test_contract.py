"""The Keras adapter passes the contract of adapters, on each backend."""

from pathlib import Path

import keras
import numpy as np
import pytest

from monitor_core.adapters.keras import KerasAdapter
from monitor_core.testing import AdapterContract, HostReads, Trained

BACKEND = keras.backend.backend()
SAMPLES = 4
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(200, 3)).astype("float32"), RNG.normal(size=(200, 1)).astype("float32")
VALIDATION = X[:8], Y[:8]

NO_STEPS = "`fit` counts micro-batches, and has no hook for the optimizer's steps"
NO_COMPILING = "Keras compiles no step on PyTorch unless told to"
CANNOT = {
    "steps_are_optimizer_steps[4]": NO_STEPS,
    "every_metric_of_every_step_arrives_once[4]": NO_STEPS,
    "a_skipped_step_is_not_a_step": "`fit` does not say which steps a `LossScaleOptimizer` skips",
}


class Model(keras.Sequential):
    """A model that notes its batches; compiled, it counts how often it is."""

    def train_step(self, *args):
        """Visit the plan, and note the batch's loss."""
        if self.plan.compiled:
            self.compilations += 1
            return super().train_step(*args)
        self.plan.visit("batch")
        found = super().train_step(*args)
        logs = found[0] if isinstance(found, tuple) else found
        self.seen.append(float(logs["loss"]))
        return found

    def test_step(self, *args):
        """Visit the plan."""
        if not self.plan.compiled:
            self.plan.visit("evaluation")
        return super().test_step(*args)


def build(plan):
    """Return a model that is compiled for Keras."""
    keras.utils.set_random_seed(7)
    model = Model([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    model.plan, model.seen, model.compilations = plan, [], 0
    accumulation = plan.accumulation if plan.accumulation > 1 else None
    optimizer = keras.optimizers.SGD(plan.rate, momentum=0.5, gradient_accumulation_steps=accumulation)
    if plan.skipped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)
    model.compile(optimizer, "mse", run_eagerly=not plan.compiled, jit_compile=False)
    return model


def train(sinks, plan):
    """Train with `fit`."""
    if plan.compiled and BACKEND == "torch":
        raise NotImplementedError(NO_COMPILING)
    model = build(plan)
    count = plan.batches * SAMPLES
    weights = np.ones(count, "float32")
    if plan.skipped:
        weights[(plan.skipped - 1) * SAMPLES : plan.skipped * SAMPLES] = np.inf
    options = {"epochs": plan.epochs, "batch_size": SAMPLES, "shuffle": False, "verbose": 0}
    options |= {"validation_data": VALIDATION, "validation_batch_size": SAMPLES} if plan.evaluates else {}
    options |= {"sample_weight": weights} if plan.skipped else {}
    data = X[:count], Y[:count]
    if sinks is None:
        history = model.fit(*data, **options)
    else:
        history = KerasAdapter(*sinks, resume=plan.folder).fit(model, *data, **options)
    return Trained(
        weights=model.get_weights(),
        steps=int(model.optimizer.iterations),
        losses=model.seen,
        evaluations=history.history.get("val_loss", []),
        rate=float(model.optimizer.learning_rate),
        compilations=model.compilations,
    )


class TestKeras(AdapterContract):
    """`fit` with sinks."""

    documented_in = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"
    cannot = CANNOT | ({"a_compiled_step_is_not_compiled_again": NO_COMPILING} if BACKEND == "torch" else {})

    def values(self):
        """Return what counts the reads of the backend's values."""
        kind = type(keras.ops.convert_to_tensor(1.0))
        return HostReads(kind, attributes={"is_cpu": False} if BACKEND == "torch" else None)

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return train
