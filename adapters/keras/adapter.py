"""The Keras adapter: feeds a bus from `fit`, `evaluate` and `predict`, on any of Keras's back ends.

Contract. `KerasAdapter` is a ``keras.callbacks.CallbackList``. Handed over whole, ``callbacks=adapter``, Keras uses it
as it is, and no value is converted per batch; in a list, ``callbacks=[adapter, other]``, Keras converts every value of
every batch first, for all callbacks alike. Hooks are called on the thread that calls `fit`. `fit` calls no end hook
after an exception: the run then stays open until ``adapter.fit`` (which sees the exception), a `Loop` around it, or the
next train begin closes it.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections import deque
from collections.abc import Mapping
from os import PathLike
from typing import Any

import keras

from monitor_core._log import logger
from monitor_core.adapters.keras.callbacks import CallbackSink, Event
from monitor_core.adapters.keras.hooks import count_batch, while_listening
from monitor_core.adapters.keras.model import KerasModel, reset_states
from monitor_core.bus.bus import Bus
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs
from monitor_core.errors import OrderError, SetupError
from monitor_core.loop.loop import Loop
from monitor_core.loop.resume import Resume
from monitor_core.values.scalars import flatten, scalar

__all__ = ["KerasAdapter", "KerasModel", "reset_states"]


def _validation_data(arguments: Mapping[str, Any]) -> Any:
    """Return what a fit with these arguments validates on: what is given, or the last part of the arrays."""
    given, split = arguments.get("validation_data"), arguments.get("validation_split") or 0.0
    if given is not None or not split:
        return given
    x, y = arguments.get("x"), arguments.get("y")
    first = math.floor(len(keras.tree.flatten(x)[0]) * (1.0 - split))
    return tuple(keras.tree.map_structure(lambda array: array[first:], part) for part in (x, y))


class KerasAdapter(keras.callbacks.CallbackList):
    """Attach sinks to Keras: ``callbacks=KerasAdapter(...)``, whole, or in a list beside other callbacks.

    Each `fit` is a run of its own; with a `Loop`, all fits inside it are one run. Inside of ``loop.epochs`` a fit's one
    epoch joins the loop's; else each Keras epoch is the run's next.

    Args:
        *parts: Sinks and Keras callbacks, called in this order; or one `Loop` alone, which has its own sinks.
        model: The model (or its `KerasModel`). Keras tells it to callbacks in a list, not to one handed over whole;
            ``adapter.fit`` and a loop's handle tell it too.
        epochs: How many epochs `fit` is asked for, for sinks that show it; ``adapter.fit`` knows by itself.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``. Samples that you draw from a
            shuffled data set may change the training that follows.
        resume: The run's folder, for a run of one `fit` that goes on where it was cut off, as `Loop` has it: `fit`
            then begins with the next epoch. Keras callbacks among the parts begin anew.
        strict: Whether to check the order of batches, and to let every exception of a sink propagate.

    Attributes:
        bus: The bus that carries the events.

    Raises:
        HookError: A part is neither a sink nor a Keras callback.
        ValueError: A loop is given together with sinks, or with what the loop itself was given.

    Example:
        >>> adapter = KerasAdapter(History(), EarlyStopping("val_loss", patience=5), model=model)
        >>> model.fit(x, y, epochs=50, validation_split=0.2, callbacks=adapter)
    """

    on_batch_begin = keras.callbacks.Callback.on_batch_begin
    on_batch_end = keras.callbacks.Callback.on_batch_end

    def __init__(
        self,
        *parts: Any,
        model: keras.Model | KerasModel | None = None,
        epochs: int | None = None,
        validation_data: Any = None,
        resume: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        loops = [part for part in parts if isinstance(part, Loop)]
        others = (epochs, validation_data, resume)
        if loops and (len(parts) > 1 or strict or any(each is not None for each in others)):
            raise ValueError(
                "a Loop comes alone: give the sinks, validation_data, resume and strict to the Loop itself"
            )
        super().__init__()
        self._model: Any = None
        self.event = Event()
        self._loop: Loop | None = loops[0] if loops else None
        self.callbacks = [part for part in parts if isinstance(part, keras.callbacks.Callback)]
        if self._loop is not None:
            self.bus = self._loop.bus
        else:
            self.bus = Bus(validation_data=validation_data, strict=strict)
            for part in parts:
                self.bus.add(CallbackSink(part, self.event) if isinstance(part, keras.callbacks.Callback) else part)
        self._resume = None if resume is None else Resume(self.bus, resume)
        self._epochs = epochs
        self._has_own_data = self.bus.run.validation_data is not None
        self._keras_history: keras.callbacks.History | None = None
        self._run: Run = self.bus.run
        self._one_per_call = True
        self._base = 0
        self._updates = 0
        self.numbers: deque[int] = deque(maxlen=1024)
        self._batches_per_epoch: int | None = None
        self._began_late: tuple[Any, Any] | None = None
        if model is not None:
            self._lend(model)

    # --- what Keras says before a fit ------------------------------------------------------------------------------

    def set_model(self, model: keras.Model) -> None:
        """Learn the model; Keras calls this where the adapter stands in a list."""
        if model is not None:
            self._lend(model)

    def set_params(self, params: dict[str, Any]) -> None:
        """Learn ``epochs`` and ``steps``; Keras calls this where the adapter stands in a list."""
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    def _lend(self, model: keras.Model | KerasModel) -> None:
        handle = model if isinstance(model, KerasModel) else KerasModel(model)
        self._model = handle.model
        lent = self.bus.run.model
        if lent is None or (self._loop is None and getattr(lent, "model", None) is not handle.model):
            self.bus.run.model = handle
        for callback in self.callbacks:
            callback.set_model(handle.model)

    def fit(self, model: keras.Model, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Call ``model.fit`` with this adapter as its callbacks.

        Unlike ``callbacks=adapter`` this tells the sinks the number of epochs and the validation data, and an exception
        ends the run at once: sinks are told, files are closed.

        Args:
            model: The model to fit.
            *args: As for ``model.fit``.
            **kwargs: As for ``model.fit``, without ``callbacks``.

        Returns:
            Keras's history of this fit alone.

        Raises:
            TypeError: ``callbacks`` is given.
        """
        if "callbacks" in kwargs:
            raise TypeError("callbacks must not be given to adapter.fit: hand them to the KerasAdapter")
        arguments = inspect.signature(model.fit).bind(*args, **kwargs).arguments
        self._lend(model)
        self._epochs = arguments.get("epochs", 1)
        if not self._has_own_data:
            self.bus.run.validation_data = _validation_data(arguments)
        try:
            return model.fit(*args, callbacks=self, **kwargs)
        except BaseException as error:
            if self._loop is None and self.bus.run.status == "running":
                self.event.set(None)
                self.bus.exception(error)
            raise
        finally:
            self._end_fit()
            if not self._has_own_data and self._loop is None:  # a loop's epoch is still to end
                self.bus.run.validation_data = None

    # --- train -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin a fit; ``logs`` are None where the adapter was handed over whole, and a dict from a Keras list."""
        self._undo_late_begin()
        self._keras_history = None
        whole = logs is None
        model = self._fitted_model()
        if whole:
            self._begin_whole(model)
        if self._resume is not None:
            self._go_on(self._resume)
        self._hold_batch_hooks(whole=whole)
        self._batches_per_epoch = None
        self.event.set(None)
        steps = self.params.get("steps")
        if self._loop is None:
            self.bus.interrupt()  # a fit before this one that raised
            self.event.set(0, logs)
            self.bus.train_begin(epochs=self.params.get("epochs") or self._epochs, steps_per_epoch=steps)
        elif self.bus.run.status != "running":
            raise OrderError("a fit with KerasAdapter(loop) outside of the loop: write `with loop:` around it")
        else:
            if not self._loop.in_epoch:
                self.bus.epoch_abandon()  # that of a fit that raised
            if steps is not None:
                self.bus.run.steps_per_epoch = steps
        self._run = self.bus.run
        if self._run.stopped:  # Keras would still train one batch and validate
            self._begin_late(model, sys.maxsize)
        elif self._loop is None and self._run.epoch >= 0:  # a state was loaded: go on behind its epoch
            self._begin_late(model, self._run.epoch + 1)

    def _go_on(self, resume: Resume) -> None:
        """Take the model, and all sinks, to where the run in the folder was cut off, if there is one."""
        if resume.begin() and self.callbacks:
            names = ", ".join(type(callback).__name__ for callback in self.callbacks)
            logger.warning("a run goes on, but Keras callbacks tell nothing of their state and begin anew: %s", names)

    def _begin_late(self, model: Any, epoch: int) -> None:
        """Let Keras begin with a later epoch; it remembers that over fits, so it is undone when this one has ended."""
        self._began_late = (model, model._initial_epoch)
        model._initial_epoch = epoch

    def _fitted_model(self) -> Any:
        model = self._model if self._model is not None else getattr(self.bus.run.model, "model", None)
        if model is None:
            raise SetupError(
                "KerasAdapter does not know the model: handed over whole, it must be told by KerasAdapter(..., "
                "model=model), Loop(..., model=model) or adapter.fit(model, ...)"
            )
        return model

    def _begin_whole(self, model: Any) -> None:
        """Do what Keras does for its own lists alone: lend model and parameters, provide the history of the fit."""
        self.set_params({"verbose": 0, "epochs": self._epochs, "steps": None})
        self._lend(model)
        history = next((each for each in self.callbacks if isinstance(each, keras.callbacks.History)), None)
        self._keras_history = None if history else keras.callbacks.History()
        model.history = history or self._keras_history
        if self._keras_history is not None:
            self._keras_history.set_model(model)
            self._keras_history.on_train_begin()

    def _hold_batch_hooks(self, *, whole: bool) -> None:
        """Fix for this fit whether batches are heard: Keras asks before, and may call from other threads."""
        for name in ("on_train_batch_begin", "on_train_batch_end"):
            self.__dict__.pop(name, None)
            setattr(self, name, vars(KerasAdapter)[name].bind(self) if whole else getattr(self, name))

    def _undo_late_begin(self) -> None:
        if self._began_late is not None:
            model, initial_epoch = self._began_late
            model._initial_epoch = initial_epoch
            self._began_late = None

    def on_train_end(self, logs: Logs | None = None) -> None:
        """End a fit, and the run if it is not a loop's."""
        self.event.set(0, logs)
        try:
            self._note_stop()
            if self._loop is None:
                self.bus.train_end(logs)
            else:
                self.bus.flush()
        finally:
            self._end_fit()

    def _end_fit(self) -> None:
        """Be as before the fit, and keep the model alive no longer, once no run needs it."""
        self._undo_late_begin()
        self.event.set(None)
        self._model = self._keras_history = None
        if self.bus.run.status != "running":
            self.bus.run.release_model()
        for name in ("on_train_batch_begin", "on_train_batch_end"):
            self.__dict__.pop(name, None)

    # --- epochs ----------------------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begin an epoch of the run, or join the one of the loop."""
        self.event.set(epoch, logs)
        if self._loop is None:
            self.bus.epoch_begin(epoch)
        elif self._loop.in_epoch:
            self._loop.join_fit_epoch()
        else:
            self.bus.epoch_begin(self._loop.next_epoch)
        self._base = self._run.step
        self._one_per_call = self._model.steps_per_execution == 1
        self.numbers.clear()
        if not self._one_per_call:
            self._updates = self._optimizer_updates()
        self._obey()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """End the epoch; inside an epoch of a loop its logs join the loop's."""
        self.event.set(epoch, logs)
        run = self._run
        if self.numbers:
            run.step = self._base + self._batches_done(max(self.numbers))
        run.steps_per_epoch = self._batches_per_epoch = run.step - self._base
        self._note_stop()
        if self._loop is not None and self._loop.in_epoch:
            self.bus.flush()
            self._loop.log(dict(flatten(logs or {})))
        else:
            self.bus.epoch_end(run.epoch, logs)
        if self._keras_history is not None:
            self._keras_history.on_epoch_end(epoch, self.event.logs)
        self._obey()

    def _batches_done(self, batch: int) -> int:
        """Count the epoch's batches up to Keras's number, which takes the last call as full where one runs several.

        Only where the epoch's length is not known, or passed, is the optimizer asked, which waits for the device.
        """
        done = batch + 1
        if self._one_per_call:
            return done
        steps = self.params.get("steps") or self._batches_per_epoch
        if steps is not None and (done <= steps or self.params.get("steps")):
            return min(done, int(steps))
        return min(done, self._optimizer_updates() - self._updates) or done

    def _optimizer_updates(self) -> int:
        optimizer = getattr(self._model, "optimizer", None)
        if optimizer is None:
            return 0
        if getattr(self._model, "_jax_state", None) and not self._model._jax_state_synced:
            updates = self._model._jax_state["optimizer_variables"][0]  # read beside the model, without a sync
        else:
            updates = optimizer.variables[0].value
        return int(scalar(updates))

    def _obey(self) -> None:
        if self._run.stopped:
            self._model.stop_training = True

    def _note_stop(self) -> None:
        """Tell the run that a Keras callback, or the user, has stopped the fit."""
        if self._loop is None and self._model.stop_training and not self._run.stopped:
            self._run.stop("model.stop_training was set")

    # --- batches ---------------------------------------------------------------------------------------------------

    @while_listening("on_batch_begin", "on_batch_end", "on_block")
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begin a batch; ``batch`` counts from 0 in the epoch, and jumps by ``steps_per_execution``."""
        if self.callbacks:
            self.event.set(batch, logs)
        self.bus.batch_begin(self._base + batch + 1)

    @while_listening("on_batch_begin", "on_batch_end", "on_block", otherwise=count_batch)
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End a batch; ``batch`` is the last one of the execution."""
        if self.callbacks:
            self.event.set(batch, logs)
        done = batch + 1 if self._one_per_call else self._batches_done(batch)
        self.bus.batch_end(self._base + done, logs)
        if self._run.stop_reason is not None:
            self._model.stop_training = True

    # --- evaluation and prediction -----------------------------------------------------------------------------------

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Begin an evaluation, of its own or within a fit."""
        self.event.set(0, logs)
        self.bus.evaluation_begin()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """End an evaluation."""
        self.event.set(0, logs)
        self.bus.evaluation_end(logs)

    @while_listening("on_evaluation_batch_begin", "on_evaluation_batch_end", "on_evaluation_block")
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begin an evaluation batch."""
        self.event.set(batch, logs)
        self.bus.evaluation_batch_begin(batch)

    @while_listening("on_evaluation_batch_begin", "on_evaluation_batch_end", "on_evaluation_block")
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End an evaluation batch."""
        self.event.set(batch, logs)
        self.bus.evaluation_batch_end(batch, logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Begin a prediction."""
        self.event.set(0, logs)
        self.bus.prediction_begin()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """End a prediction."""
        self.event.set(0, logs)
        self.bus.prediction_end(logs)

    @while_listening("on_prediction_batch_begin", "on_prediction_batch_end")
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begin a prediction batch."""
        self.event.set(batch, logs)
        self.bus.prediction_batch_begin(batch)

    @while_listening("on_prediction_batch_begin", "on_prediction_batch_end")
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End a prediction batch; ``logs["outputs"]`` are its outputs."""
        self.event.set(batch, logs)
        self.bus.prediction_batch_end(batch, logs)
