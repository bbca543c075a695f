"""Drive sinks from a custom loop: logistic regression in plain NumPy, without a framework.

python examples/manual_loop.py
"""

import numpy as np

from monitor_core import History, Loop, Progress, Run, on


@on("epoch_end")
def stop_when_good(run: Run, epoch: int, logs: dict[str, float]) -> None:
    if logs["val_loss"] < 0.3:
        run.stop(f"val_loss is below 0.3 in epoch {epoch}")


def batches_of(x, y, size: int):
    return [(x[first : first + size], y[first : first + size]) for first in range(0, len(x), size)]


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5))
    y = (x @ rng.normal(size=5) > 0).astype(float)
    train, validation = batches_of(x[:450], y[:450], 32), batches_of(x[450:], y[450:], 32)
    weights = np.zeros(5)

    def predict(inputs):
        return 1 / (1 + np.exp(-inputs @ weights))

    def loss_of(inputs, targets):
        chances = predict(inputs)
        return -np.mean(targets * np.log(chances) + (1 - targets) * np.log(1 - chances))

    history = History()
    with Loop(history, stop_when_good, Progress()) as loop:
        for _ in loop.epochs(100):
            for inputs, targets in loop.batches(train):
                loop.log(loss=loss_of(inputs, targets), weight=len(inputs))
                weights -= 0.1 * (inputs.T @ (predict(inputs) - targets)) / len(inputs)
            with loop.evaluation():
                for inputs, targets in loop.batches(validation):
                    loop.log(loss=loss_of(inputs, targets), weight=len(inputs))  # logged as val_loss

    print(f"{loop.run.status}: {loop.run.stop_reason}")
    print(f"{len(history)} epochs; the last val_loss is {history['val_loss'][-1]:.3f}")


if __name__ == "__main__":
    main()
