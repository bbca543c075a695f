"""Monitor a training with Flax NNX and Optax: a compiled step, a rate that a sink reduces, and a look at the gradients.

python examples/flax_loop.py
"""

import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from monitor_core import History, Loop, ModelCheckpoint, Progress, ReduceLROnPlateau
from monitor_core.adapters.flax import FlaxModel


class Classifier(nnx.Module):
    """Tells two spirals apart."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(2, 32, rngs=rngs)
        self.norm = nnx.BatchNorm(32, rngs=rngs)
        self.dropout = nnx.Dropout(0.05, rngs=rngs)
        self.middle = nnx.Linear(32, 32, rngs=rngs)
        self.out = nnx.Linear(32, 2, rngs=rngs)

    def __call__(self, x):
        x = self.dropout(nnx.relu(self.norm(self.hidden(x))))
        return self.out(nnx.relu(self.middle(x)))


def spirals(samples: int, seed: int):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, samples)
    angles = rng.uniform(0, 6, samples)
    turned = angles + np.pi * labels
    points = np.stack([angles * np.cos(turned), angles * np.sin(turned)], axis=1) / 6
    return jnp.asarray(points + rng.normal(0, 0.02, points.shape), "float32"), jnp.asarray(labels)


def loss_of(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@nnx.jit
def train_step(model, optimizer, x, y):
    loss, gradients = nnx.value_and_grad(lambda each: loss_of(each(x), y))(model)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def test_step(model, x, y):
    logits = model(x)
    return {"loss": loss_of(logits, y), "accuracy": (logits.argmax(axis=1) == y).mean()}


def main() -> None:
    x, y = spirals(1024, seed=0)
    batches = list(zip(jnp.split(x, 16), jnp.split(y, 16), strict=True))
    model = Classifier(nnx.Rngs(0))
    tx = optax.inject_hyperparams(optax.adam)(learning_rate=0.01)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    handle = FlaxModel(model, optimizer, loss=loss_of)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = ModelCheckpoint(Path(folder) / "best.npz", "val_loss", save_best_only=True)
        sinks = [history := History(), Progress(), ReduceLROnPlateau("val_loss", patience=2), checkpoint]
        with Loop(*sinks, model=handle) as loop:
            for _ in loop.epochs(20):
                model.train()
                for inputs, labels in loop.batches(batches):
                    loop.log(loss=train_step(model, optimizer, inputs, labels), weight=len(inputs))
                model.eval()
                with loop.evaluation():
                    loop.log(test_step(model, *spirals(512, seed=1)))
        checkpoint.load_best(handle)
    print(f"the best accuracy is {max(history['val_accuracy']):.3f}, the last rate {handle.learning_rates[0]:g}")
    for name, gradient in handle.gradients(x[:64], y[:64]):
        print(f"{name:15} {gradient.shape!s:9} mean size of its gradient {np.abs(gradient).mean():.1e}")


if __name__ == "__main__":
    main()
