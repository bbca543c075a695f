"""What the tests of tensorboard share."""

import numpy as np

from monitor_core.sinks.tensorboard import TensorBoard


class Model:
    """A handle that provides everything, from small arrays, and records what it is asked for."""

    def __init__(self, *fails):
        self.learning_rates = [0.5]
        self.asked = []
        self.fails = fails

    def _ask(self, what):
        self.asked.append(what)
        if what in self.fails:
            raise RuntimeError(f"no {what}")

    def weights(self):
        self._ask("weights")
        yield "dense/kernel", np.arange(6.0).reshape(2, 3)

    def activations(self, x, layers=None):
        self._ask("activations")
        yield "dense", x

    def gradients(self, x, y):
        self._ask("gradients")
        yield "dense/kernel", x

    def embeddings(self):
        self._ask("embeddings")
        yield "words", np.arange(6.0).reshape(3, 2)

    def predict(self, x):
        self._ask("predict")
        return x[:, :1]


DATA = np.array([[0.25, 1.0], [0.75, 2.0]]), np.array([0, 1])


LOOKS = {
    "write_images": True,
    "histogram_freq": 1,
    "write_activations": True,
    "write_gradients": True,
    "embeddings_freq": 1,
    "embeddings_history": True,
    "predictions_freq": 1,
}


def board(folder, **options):
    """Return a sink that writes no speed, which no two runs share."""
    return TensorBoard(folder, write_steps_per_second=False, **options)


def epochs(bus, last, batches=3):
    """Drive a bus through its next epochs up to a number; their losses are their numbers; each has an evaluation."""
    for epoch in range(bus.run.epoch + 1, last):
        bus.epoch_begin(epoch)
        batch(bus, batches)
        bus.evaluation_begin()
        bus.evaluation_end({"loss": epoch + 0.5})
        bus.epoch_end(epoch, {"loss": float(epoch), "val_loss": epoch + 0.5})


def batch(bus, count):
    """Drive a bus through batches, whose losses are their steps."""
    for _ in range(count):
        step = bus.run.step + 1
        bus.batch_begin(step)
        bus.batch_end(step, {"loss": float(step)})


def run(bus, count):
    """Drive a bus through a run."""
    bus.train_begin()
    epochs(bus, count)
    bus.train_end()
