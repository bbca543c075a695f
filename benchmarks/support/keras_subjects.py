"""A Keras fit with one of its callbacks; see `support.subjects`."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

from support.subjects import OnScalar, Subject, Value, csv_rows, fail, scalars_in


class Keras(Subject):
    """A fit with one callback: a scalar is a batch's or, if the callback has no batch hooks, an epoch's loss."""

    family, needs = "keras", "keras"
    per_batch, slowness = False, 5

    @classmethod
    def is_installed(cls) -> bool:
        return super().is_installed() and importlib.util.find_spec("tensorflow") is not None

    def load(self) -> None:
        import keras
        import tensorflow as tf  # noqa: F401 (the callback imports it)

        keras.callbacks.TensorBoard  # noqa: B018 (imports it)

    def callback(self, folder: Path) -> Any:
        raise NotImplementedError

    def train(self, folder: Path, count: int, on_scalar: OnScalar, value: Value) -> None:
        import keras

        per_batch = self.per_batch

        class Odd(keras.callbacks.Callback):
            """Puts a value into the logs, like a callback that adds a metric; a plain number is already there."""

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                if not isinstance(odd := value(epoch + 1), float):
                    logs["odd"] = odd

        class After(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if per_batch:
                    on_scalar(batch + 1)

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                if not per_batch:
                    on_scalar(epoch + 1)

        self._fit(count, [Odd(), self.callback(folder), After()])

    def _fit(self, count: int, callbacks: list[Any]) -> None:
        import keras
        import numpy as np

        self.kept = callbacks
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        batches, epochs = (count, 1) if self.per_batch else (1, count)
        x = np.ones((batches, 1))
        model.fit(x, x, batch_size=1, epochs=epochs, verbose=0, callbacks=callbacks)

    def raising(self, folder: Path, count: int, served: list[int]) -> None:
        import keras

        class Broken(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                if epoch == 2:
                    raise ValueError("broken")

        class Other(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                served.append(epoch)

        self._fit(count, [self.callback(folder), Broken(), Other()])

    def ending(self, folder: Path, called: list[str]) -> None:
        import keras

        class End(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                fail(5)  # like any exception in the training

            def on_train_end(self, logs: Any = None) -> None:
                called.append("on_train_end")

        self._fit(9, [self.callback(folder), End()])


class KerasCSV(Keras):
    name = "Keras CSVLogger"

    def callback(self, folder: Path) -> Any:
        import keras

        return keras.callbacks.CSVLogger(str(folder / "log.csv"))

    def recorded(self, folder: Path) -> int:
        return csv_rows(folder / "log.csv")


class KerasBoard(Keras):
    name, per_batch, slowness = "Keras TensorBoard", True, 1

    def callback(self, folder: Path) -> Any:
        import keras

        return keras.callbacks.TensorBoard(str(folder / "board"), update_freq=1, write_graph=False)

    def recorded(self, folder: Path) -> int:
        return scalars_in(folder, "batch_loss")


class KerasCheckpoint(Keras):
    """Counts the model files that can be opened."""

    name = "Keras ModelCheckpoint"

    def callback(self, folder: Path) -> Any:
        import keras

        return keras.callbacks.ModelCheckpoint(str(folder / "{epoch}.keras"), monitor="loss")

    def recorded(self, folder: Path) -> int:
        return sum(map(zipfile.is_zipfile, folder.glob("*.keras")))


class KerasHistory(Keras):
    """Counts values in a file that is written after the fit, since nothing is written before."""

    name = "Keras History"

    def callback(self, folder: Path) -> Any:
        import keras

        class Saved(keras.callbacks.History):
            def on_train_end(self, logs: Any = None) -> None:
                (folder / "history.json").write_text(json.dumps(self.history.get("loss", [])))

        return Saved()

    def recorded(self, folder: Path) -> int:
        path = folder / "history.json"
        return len(json.loads(path.read_text())) if path.exists() else 0
