"""The hooks of evaluation and prediction, inside and outside a fit."""

from __future__ import annotations

from typing import Any

import keras

from monitor_core.adapters.keras.callbacks import Events
from monitor_core.adapters.keras.caller import find_call
from monitor_core.adapters.keras.hooks import while_listening
from monitor_core.adapters.keras.model import KerasModel
from monitor_core.bus.bus import Bus
from monitor_core.bus.sink import Logs


def has_global_results() -> bool:
    """Return whether the logs of Keras are those of all ranks: with a distribution, it computes them of global arrays.

    Distributions are for JAX. PyTorch's ranks, which share gradients, have logs of their own each.
    """
    return keras.backend.backend() == "jax" and keras.distribution.distribution() is not None


class ModelHooks(keras.callbacks.CallbackList):
    """A callback list that knows its model, and feeds a bus from `evaluate` and `predict`.

    Attributes:
        bus: The bus that carries the events.
    """

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self.bus = bus
        self._model: Any = None
        self._events = Events(bus.warn_skipped)
        self._is_in_fit = self._has_set_model = False

    def set_model(self, model: keras.Model) -> None:
        """Set the model. Called by Keras once the model is built, if the adapter is in a list."""
        if model is not None:
            self._use(model)
            self._set_callbacks_model()

    def set_params(self, params: dict[str, Any]) -> None:
        """Set ``verbose``, ``epochs`` and ``steps``. Called by Keras if the adapter is in a list."""
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    def _use(self, model: keras.Model | KerasModel) -> None:
        """Use a model, and set its handle on the run, unless the run is a loop's, which has its own."""
        handle = model if isinstance(model, KerasModel) else KerasModel(model)
        self._model = handle.model
        current = self.bus.run.model
        if current is None or (self._owns_bus and getattr(current, "model", None) is not handle.model):
            self.bus.run.model = handle

    @property
    def _owns_bus(self) -> bool:
        return True

    def _catch_up(self) -> None:
        """Advance the run's step to the batches that have ended, where no sink listens to them."""

    def _set_callbacks_model(self) -> None:
        self._has_set_model = True
        for callback in self.callbacks:
            callback.set_model(self._model)

    def _begin_outside(self, logs: Logs | None) -> None:
        """Do what Keras does only for its own lists, before an evaluation or prediction outside a fit."""
        if self._is_in_fit or logs is not None:
            return
        call = find_call(self)
        if call.model is not None:
            self._use(call.model)
        if self._model is not None:
            self._set_callbacks_model()
            self.set_params({"verbose": call.verbose, "epochs": 1, "steps": call.steps})

    def _end_outside(self) -> None:
        if not self._is_in_fit:
            self._model = None
            if self.run.status != "running":
                self.run.release_model()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Begin an evaluation, inside or outside a fit."""
        self._begin_outside(logs)
        self._catch_up()
        with self._events.during(0, logs):
            self.bus.evaluation_begin()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """End an evaluation."""
        with self._events.during(0, logs):
            # Keras validates after an epoch's last batch; only a callback may evaluate before it.
            followed = False if self._is_in_fit else None
            self.bus.evaluation_end(logs, followed=followed, of_all_ranks=has_global_results())
        self._end_outside()

    @while_listening("on_evaluation_batch_begin", "on_evaluation_batch_end", "on_evaluation_block")
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begin an evaluation batch."""
        with self._events.during(batch, logs):
            self.bus.evaluation_batch_begin(batch)

    @while_listening("on_evaluation_batch_begin", "on_evaluation_batch_end", "on_evaluation_block")
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End an evaluation batch."""
        with self._events.during(batch, logs):
            self.bus.evaluation_batch_end(batch, logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Begin a prediction."""
        self._begin_outside(logs)
        with self._events.during(0, logs):
            self.bus.prediction_begin()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """End a prediction."""
        with self._events.during(0, logs):
            self.bus.prediction_end(logs)
        self._end_outside()

    @while_listening("on_prediction_batch_begin", "on_prediction_batch_end")
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begin a prediction batch."""
        with self._events.during(batch, logs):
            self.bus.prediction_batch_begin(batch)

    @while_listening("on_prediction_batch_begin", "on_prediction_batch_end")
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End a prediction batch; ``logs["outputs"]`` holds its outputs."""
        with self._events.during(batch, logs):
            self.bus.prediction_batch_end(batch, logs)
