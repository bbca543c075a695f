"""Make the images of the sinks' pages with the sinks themselves: ``docs/images/*.png``. For maintainers.

    KERAS_BACKEND=tensorflow python docs/make_images.py

It needs the development environment, and Chromium for TensorBoard's page; without it that image is left as it is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from monitor_core import (
    ActivationDump,
    EarlyStopping,
    History,
    LearningRateScheduler,
    ReduceLROnPlateau,
    TensorBoard,
)
from monitor_core.adapters.keras import KerasAdapter
from monitor_core.plotting import plot_activation_distributions, plot_history
from monitor_core.schedules import CosineDecay, LinearWarmup

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
SIZE = (8, 4)


def train(*sinks: Any, epochs: int, units: int = 64) -> History:
    """Train a network that overfits to noisy labels."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(1)
    x = random.normal(size=(300, 8)).astype("float32")
    y = (x[:, 0] * x[:, 1] + random.normal(scale=0.5, size=300) > 0).astype("float32")
    hidden = [keras.layers.Dense(units, "relu", name=name) for name in ("first", "second")]
    model = keras.Sequential([keras.Input((8,)), *hidden, keras.layers.Dense(1, "sigmoid", name="out")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    history = History()
    KerasAdapter(history, *sinks).fit(model, x, y, epochs=epochs, batch_size=20, validation_split=0.4, verbose=0)
    return history


def plots(folder: Path) -> None:
    """Make the images that are plots."""
    plot_history(train(epochs=40), to_file=IMAGES / "history.png", figsize=SIZE)
    stopped = train(EarlyStopping("val_loss", patience=8), epochs=60)
    plot_history(stopped, to_file=IMAGES / "early-stopping.png", figsize=SIZE)
    reduced = train(ReduceLROnPlateau("val_loss", factor=0.5, patience=3), epochs=40)
    plot_history(
        reduced, metrics=["val_loss", "learning_rate"], to_file=IMAGES / "reduce-lr-on-plateau.png", figsize=SIZE
    )
    schedule = LinearWarmup(0.0, 0.01, 5, then=CosineDecay(0.01, 25))
    scheduled = train(LearningRateScheduler(schedule), epochs=30, units=4)
    path = IMAGES / "learning-rate-scheduler.png"
    plot_history(scheduled, metrics=["learning_rate"], to_file=path, figsize=SIZE)
    train(ActivationDump(folder / "activations" / "{epoch:03d}.npz", every=4, samples=60), epochs=40)
    plot_activation_distributions(folder / "activations", to_file=IMAGES / "activation-dump.png")


def tensorboard_page(folder: Path) -> None:
    """Make the image of TensorBoard's page of scalars."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import browser, tensorboard, what_is_missing

    if missing := what_is_missing():
        print(f"tensorboard.png is left as it is: there is not {missing}")
        return
    train(TensorBoard(folder / "board", histogram_freq=5), epochs=40)
    with tensorboard(folder / "board", folder / "server.txt") as address, browser() as context:
        page = context.new_page()
        page.set_viewport_size({"width": 1200, "height": 760})
        page.goto(f"{address}#timeseries")
        page.wait_for_timeout(8000)
        page.screenshot(path=IMAGES / "tensorboard.png")


def main() -> None:
    """Make all of them."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        plots(Path(folder))
        tensorboard_page(Path(folder))


if __name__ == "__main__":
    main()
