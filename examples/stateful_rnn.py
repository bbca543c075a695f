"""The stateful RNN: one epoch per `fit`, a reset of the states after each, and still one training.

A stateful network must see each sequence from its start, so it is trained by `fit(epochs=1)` again and again, and every
Keras callback starts from scratch each time. Two ways to keep one record of everything:

1. a `Loop` around the fits, which makes them one run: epochs keep counting, and sinks decide over all of them;
2. the same `History` over repeated fits, each of which is a separate run.

    python examples/stateful_rnn.py --epochs 1000
"""

import argparse

import keras
import numpy as np

from monitor_core import History, Loop, Run, on
from monitor_core.adapters.keras import KerasAdapter, reset_states


def build_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(1, 4, 1)),
            keras.layers.SimpleRNN(8, stateful=True),  # on the tensorflow and jax backends LSTM and GRU work too
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return model


def load_wave(samples: int = 24):
    """Return a sine wave cut into pieces of four, and the value that follows each."""
    wave = np.sin(np.arange(samples + 4) / 3).astype("float32")
    return np.stack([wave[start : start + 4] for start in range(samples)])[..., None], wave[4:]


@on("epoch_end")
def stop_when_good(run: Run, epoch: int, logs: dict[str, float]) -> None:
    if logs["loss"] < 0.01:
        run.stop(f"the loss is below 0.01 in epoch {epoch}")


def one_run_around_many_fits(epochs: int) -> History:
    model, (x, y) = build_model(), load_wave()
    history = History()
    with Loop(history, stop_when_good, model=model) as loop:
        for _ in loop.epochs(epochs):
            model.fit(x, y, epochs=1, batch_size=1, shuffle=False, verbose=0, callbacks=KerasAdapter(loop))
            reset_states(model)
    print(f"one run: {len(history)} epochs, {loop.run.status}, loss {history['loss'][-1]:.4f}")
    return history


def one_history_over_repeated_fits(epochs: int) -> History:
    model, (x, y) = build_model(), load_wave()
    history = History()
    adapter = KerasAdapter(history, model=model)
    for _ in range(epochs):
        model.fit(x, y, epochs=1, batch_size=1, shuffle=False, verbose=0, callbacks=adapter)
        reset_states(model)
    print(f"repeated fits: {len(history)} epochs in {history.run[-1] + 1} runs, loss {history['loss'][-1]:.4f}")
    return history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    keras.utils.set_random_seed(0)
    one_run_around_many_fits(epochs)
    one_history_over_repeated_fits(epochs)


if __name__ == "__main__":
    main()
