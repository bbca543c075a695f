"""Attach to `model.fit`: one object instead of a list of callbacks, and a history that outlives the fit.

python examples/keras_fit.py
"""

import keras
import numpy as np

from monitor_core import History, Progress
from monitor_core.adapters.keras import KerasAdapter


def main() -> None:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(512, 8)).astype("float32")
    y = (np.sin(x).sum(axis=1) > 0).astype("float32")

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])

    history = History(per_batch=True)
    adapter = KerasAdapter(history, Progress(), model=model, epochs=5)
    model.fit(x, y, epochs=5, validation_split=0.25, callbacks=adapter)  # a list with other callbacks works too
    model.fit(x, y, epochs=5, validation_split=0.25, callbacks=adapter)  # continues the history; Keras would reset it

    print(history)
    print("validation accuracy by epoch:", history["val_acc"].round(3))  # `acc` finds `accuracy`
    print("the loss at the last three batches:", history.batches["loss"][-3:].round(3))


if __name__ == "__main__":
    main()
