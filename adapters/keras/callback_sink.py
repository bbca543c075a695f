"""A Keras callback as a sink of any bus, in any loop: with Keras's arguments, at Keras's times.

Contract. The callback gets a batch's number within its epoch, from 0, and floats, which waits for the device at every
batch, as in Keras's own lists. Its ``model`` is the loop's Keras model if it has one. If not, it is a stand-in that
provides ``stop_training``, which many callbacks set, and nothing else.
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.values.scalars import flatten, scalar


class StandIn:
    """What a callback gets as its model in a loop without a Keras model.

    Attributes:
        stop_training: Whether the callback asks to stop.
    """

    def __init__(self) -> None:
        self.stop_training = False

    def __getattr__(self, name: str) -> Any:
        """Say what is missing, and how to provide it."""
        raise AttributeError(
            f"this loop has no Keras model, so its callbacks have no model.{name}: pass Loop(model=keras_model), or "
            "use a sink instead of the callback",
            name=name,
            obj=self,
        )


class KerasCallback(Sink):
    """Use a Keras callback in any loop. A `Loop` makes one by itself of a callback among its sinks.

    A callback that raises ends the training, as in Keras. Several callbacks do not see what others write into their
    logs. Callbacks have no state: they begin from scratch when a run is resumed.

    Args:
        callback: The callback.

    Attributes:
        name: The callback's class.
        callback: The callback.

    Raises:
        TypeError: It is not a Keras callback.

    Example:
        >>> with Loop(keras.callbacks.CSVLogger("run.csv")) as loop:
        ...     for epoch in loop.epochs(2):
        ...         loop.log(loss=1 / (epoch + 1))
    """

    critical: ClassVar[bool] = True

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(f"callback must be a Keras callback (got {callback!r})")
        self.name = type(callback).__name__
        self.callback = callback
        self._model: Any = None

    def __repr__(self) -> str:
        return f"KerasCallback({self.name})"

    def wants_hook(self, hook: str) -> bool:
        """Listen to batches only if the callback overrides their hooks."""
        names = _BATCH_HOOKS.get(hook)
        return names is None or any(not getattr(getattr(self.callback, name), "_is_default", False) for name in names)

    def on_train_begin(self, run: Run) -> None:
        """Provide model and parameters, and begin.

        Raises:
            SetupError: The callback needs more of a Keras model than there is.
        """
        model = getattr(run.model, "model", None)
        self._model = model if isinstance(model, keras.Model) else StandIn()
        self._model.stop_training = False
        try:
            self.callback.set_params({"verbose": 0, "epochs": run.epochs, "steps": run.steps_per_epoch})
            self.callback.set_model(self._model)
            self.callback.on_train_begin()
        except AttributeError as error:
            if error.obj is not self._model or not isinstance(self._model, StandIn):
                raise
            raise SetupError(f"{self.name} cannot be used here: {error}") from error

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """End, and release the model."""
        try:
            self.callback.on_train_end(dict(logs))
        finally:
            self._model = None

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Begin an epoch."""
        self.callback.on_epoch_begin(epoch, {})

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """End an epoch."""
        self.callback.on_epoch_end(epoch, dict(logs))
        self._note_stop(run)

    def on_batch_begin(self, run: Run, step: int) -> None:
        """Begin a batch."""
        self.callback.on_train_batch_begin(step - run.epoch_began_at - 1, {})

    def on_batch_end(self, run: Run, step: int, logs: Logs) -> None:
        """End a batch."""
        self.callback.on_train_batch_end(step - run.epoch_began_at - 1, _floats(logs))
        self._note_stop(run)

    def on_evaluation_begin(self, run: Run) -> None:
        """Begin an evaluation."""
        self.callback.on_test_begin({})

    def on_evaluation_end(self, run: Run, logs: Logs) -> None:
        """End an evaluation."""
        self.callback.on_test_end(dict(logs))

    def on_evaluation_batch_begin(self, run: Run, batch: int) -> None:
        """Begin a batch of an evaluation."""
        self.callback.on_test_batch_begin(batch, {})

    def on_evaluation_batch_end(self, run: Run, batch: int, logs: Logs) -> None:
        """End a batch of an evaluation."""
        self.callback.on_test_batch_end(batch, _floats(logs))

    def on_prediction_begin(self, run: Run) -> None:
        """Begin a prediction."""
        self.callback.on_predict_begin({})

    def on_prediction_end(self, run: Run, logs: Logs) -> None:
        """End a prediction."""
        self.callback.on_predict_end(dict(logs))

    def on_prediction_batch_begin(self, run: Run, batch: int) -> None:
        """Begin a batch of a prediction."""
        self.callback.on_predict_batch_begin(batch, {})

    def on_prediction_batch_end(self, run: Run, batch: int, logs: Logs) -> None:
        """End a batch of a prediction."""
        self.callback.on_predict_batch_end(batch, dict(logs))

    def _note_stop(self, run: Run) -> None:
        if getattr(self._model, "stop_training", False) and not run.stopped:
            run.stop(f"{self.name} set model.stop_training")


# A batch hook falls back to Keras's older name of it.
_BATCH_HOOKS = {
    "on_batch_begin": ("on_train_batch_begin", "on_batch_begin"),
    "on_batch_end": ("on_train_batch_end", "on_batch_end"),
    "on_evaluation_batch_begin": ("on_test_batch_begin",),
    "on_evaluation_batch_end": ("on_test_batch_end",),
    "on_prediction_batch_begin": ("on_predict_batch_begin",),
    "on_prediction_batch_end": ("on_predict_batch_end",),
}


def _floats(logs: Logs) -> dict[str, Any]:
    """Return a batch's values as Keras's own lists pass them: floats where possible."""
    found = {}
    for name, value in flatten(logs):
        try:
            found[name] = scalar(value)
        except (TypeError, ValueError):
            found[name] = value
    return found
