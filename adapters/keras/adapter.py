"""The Keras adapter: feeds a bus from `fit`, `evaluate` and `predict`, on any of Keras's backends.

Contract. `KerasAdapter` is a ``keras.callbacks.CallbackList``. Passed whole, ``callbacks=adapter``, Keras uses it
directly, and converts no value per batch; in a list, ``callbacks=[adapter, other]``, Keras first converts every value
of every batch, for all callbacks. Hooks are called on the thread that calls `fit`. `fit` calls no end hook after an
exception: the run then stays open until ``adapter.fit`` (which sees the exception), a `Loop` around it, or the next
train begin closes it.
"""

from __future__ import annotations

import sys
from os import PathLike
from typing import Any
from weakref import WeakSet

import keras

from monitor_core._log import logger
from monitor_core.adapters.attached import Attached
from monitor_core.adapters.keras.callbacks import CallbackSink
from monitor_core.adapters.keras.caller import Call, find_call, is_within_hook
from monitor_core.adapters.keras.counting import BatchCounter
from monitor_core.adapters.keras.evaluations import ModelHooks, has_global_results
from monitor_core.adapters.keras.hooks import count_batch, while_listening
from monitor_core.adapters.keras.late_begin import LateBegin
from monitor_core.adapters.keras.model import KerasModel, reset_states
from monitor_core.adapters.keras.output import Output
from monitor_core.bus.bus import Bus
from monitor_core.bus.hooks import sink_name
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs
from monitor_core.errors import OrderError, SetupError
from monitor_core.loop.loop import loop_among
from monitor_core.loop.recording import attach
from monitor_core.loop.resume import Resume
from monitor_core.values.scalars import flatten

__all__ = ["KerasAdapter", "KerasModel", "reset_states"]

_with_data_of_fit: WeakSet[Bus] = WeakSet()
"""Buses whose validation data comes from the last fit, and is replaced by the next one."""


class KerasAdapter(Attached, ModelHooks):
    """Attach sinks to Keras: ``callbacks=KerasAdapter(...)``, whole, or in a list with other callbacks.

    Each `fit` is a separate run; with a `Loop`, all fits inside it are one run. Inside ``loop.epochs``, the single
    epoch of a fit joins the loop's epoch; otherwise each Keras epoch is the run's next.

    Args:
        *parts: Sinks and Keras callbacks, called in this order; or a single `Loop`, which has its own sinks. Sinks
            after a callback see what it writes into an epoch's logs.
        model: The model (or its `KerasModel`). Needed only without `fit` and ``adapter.fit``, in a custom loop that
            calls the callbacks by hand.
        epochs: How many epochs such a loop trains, for sinks that show it.
        validation_data: Data for sinks that inspect the model, usually ``(x, y)``; by default those of `fit`.
        record: The run's folder, in which a `Journal` records each `fit` after the last, as with `Loop`.
        resume: The run's folder, for a run of one `fit` that continues where it was interrupted, as with `Loop`:
            `fit` then begins with the next epoch. Keras callbacks among the parts start from scratch.
        strict: Whether to check the order of batches, and to let every exception of a sink propagate.

    Attributes:
        bus: The bus that carries the events.
        batches: Counts the batches of an epoch.

    Raises:
        HookError: A part is neither a sink nor a Keras callback.
        ValueError: A loop is passed together with sinks, or with arguments that belong to the loop.

    Example:
        >>> adapter = KerasAdapter(History(), EarlyStopping("val_loss", patience=5))
        >>> adapter.fit(model, x, y, epochs=50, validation_split=0.2)
    """

    on_batch_begin = keras.callbacks.Callback.on_batch_begin
    on_batch_end = keras.callbacks.Callback.on_batch_end

    def __init__(
        self,
        *parts: Any,
        model: keras.Model | KerasModel | None = None,
        epochs: int | None = None,
        validation_data: Any = None,
        record: str | PathLike[str] | None = None,
        resume: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        self._loop = loop = loop_among(parts, epochs, validation_data, record, resume, strict or None)
        super().__init__(Bus(validation_data=validation_data, strict=strict) if loop is None else loop.bus)
        self.callbacks = [part for part in parts if isinstance(part, keras.callbacks.Callback)]
        if self._loop is None:
            for part in parts:
                self.bus.add(CallbackSink(part, self._events) if isinstance(part, keras.callbacks.Callback) else part)
        self._resume = attach(self.bus, record=record, resume=resume)
        self._epochs = epochs
        self._has_own_data = self.bus.run.validation_data is not None and self.bus not in _with_data_of_fit
        self._keras_history: keras.callbacks.History | None = None
        self._output = Output(self.bus)
        self._run: Run = self.bus.run
        self.batches = BatchCounter()
        self._has_batch_hooks = False
        self._late_begin = LateBegin()
        if model is not None:
            self._use(model)

    def __repr__(self) -> str:
        names = ", ".join(map(sink_name, self.bus.sinks))
        return f"KerasAdapter({names if self._loop is None else f'Loop({names})'}; {self.run!r})"

    @property
    def _owns_bus(self) -> bool:
        return self._loop is None

    def fit(self, model: keras.Model, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Call ``model.fit`` with this adapter as its callbacks.

        Unlike ``callbacks=adapter``, this shows the progress that ``verbose`` asks for, unless a sink does, and an
        exception ends the run immediately: sinks are notified, files are closed.

        Args:
            model: The model to fit.
            *args: As for ``model.fit``.
            **kwargs: As for ``model.fit``, without ``callbacks``.

        Returns:
            Keras's history of this fit.

        Raises:
            OrderError: It is called within a hook of this adapter.
            TypeError: ``model`` is not a Keras model, or ``callbacks`` is given.
        """
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"model must be a keras.Model (got a {type(model).__name__}): write adapter.fit(model, x, y, ...)"
            )
        if "callbacks" in kwargs:
            raise TypeError("callbacks must not be passed to adapter.fit: pass them to KerasAdapter(...)")
        _refuse_nesting(is_nested=is_within_hook(self))
        self._use(model)
        self._output.is_ours = True
        try:
            return model.fit(*args, callbacks=self, **kwargs)
        except BaseException as error:
            if self._loop is None and self.bus.run.status == "running":
                self.bus.exception(error)
            raise
        finally:
            self._end_fit()
            self._output.is_ours = False

    # --- train -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin a fit; ``logs`` is None if the adapter was passed whole, and a dict from a Keras list."""
        _refuse_nesting(is_nested=is_within_hook(self))
        self._late_begin.undo()
        self._keras_history = None
        if self._loop is None:
            self.bus.interrupt()  # an earlier fit that raised
        whole, call = logs is None, find_call(self)
        model = self._begin_fit(call)
        if whole or not self._has_set_model:
            self._begin_whole(call)
        if self._resume is not None:
            self._continue(self._resume)
        if self._loop is None and self.bus.run.model is not None:
            self.bus.run.model.has_all_metrics = whole and not self.callbacks
        self._output.show(call, whole=whole, in_loop=self._loop is not None)
        self._bind_batch_hooks(whole=whole)
        steps = self.params.get("steps")
        self.batches.begin_fit(model, steps)
        with self._events.during(0, logs):
            self._begin_run(steps)
        self._run = self.bus.run
        if self._run.stopped:  # Keras would still train one batch and validate
            self._late_begin.set(model, sys.maxsize)
        elif self._loop is None and self._run.epoch >= 0:  # a state was loaded: continue after its epoch
            self._late_begin.set(model, self._run.epoch + 1)
            if self._run.epochs is not None and self._run.epoch + 1 >= self._run.epochs:
                logger.warning("fit(epochs=%d): nothing is left to do, the run already has them", self._run.epochs)

    def _begin_fit(self, call: Call) -> Any:
        """Use the arguments of the call of `fit`; return the model."""
        model = next((each for each in (call.model, self._model) if each is not None), None)
        if model is None:
            model = getattr(self.bus.run.model, "model", None)
        if model is None:
            raise SetupError(
                "KerasAdapter has no model: call model.fit(..., callbacks=adapter) or adapter.fit(model, ...), or, "
                "in a custom loop, pass KerasAdapter(..., model=model)"
            )
        self._use(model)
        self._is_in_fit = True
        self.bus.run.training_data, self.bus.run.shuffles = call.training_data, call.shuffle
        if not self._has_own_data:
            self.bus.run.validation_data = call.validation_data
            _with_data_of_fit.add(self.bus)
        return model

    def _begin_whole(self, call: Call) -> None:
        """Do what Keras does only for its own lists: set model and parameters, provide the history of the fit."""
        self._set_callbacks_model()
        epochs = self._epochs if call.epochs is None else call.epochs
        self.set_params({"verbose": call.verbose, "epochs": epochs, "steps": call.steps})
        history = next((each for each in self.callbacks if isinstance(each, keras.callbacks.History)), None)
        self._keras_history = None if history else keras.callbacks.History()
        self._model.history = history or self._keras_history
        if self._keras_history is not None:
            self._keras_history.set_model(self._model)
            self._keras_history.on_train_begin()

    def _begin_run(self, steps: int | None) -> None:
        """Begin the run, or join the loop's run."""
        if self._loop is None:
            self.bus.train_begin(epochs=self.params.get("epochs") or self._epochs, steps_per_epoch=steps)
        elif self.bus.run.status != "running":
            raise OrderError("a fit with KerasAdapter(loop) outside of the loop: write `with loop:` around it")
        else:
            if not self._loop.in_epoch:
                self.bus.epoch_abandon()  # the epoch of a fit that raised
            if steps is not None:
                self.bus.run.steps_per_epoch = steps

    def _continue(self, resume: Resume) -> None:
        """Restore the model and all sinks to where the run in the folder was interrupted, if there is one."""
        if resume.begin() and self.callbacks:
            names = ", ".join(type(callback).__name__ for callback in self.callbacks)
            logger.warning("a run resumes, but Keras callbacks have no saved state and begin from scratch: %s", names)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """End a fit, and the run if it is not a loop's."""
        try:
            with self._events.during(0, logs):
                self._note_stop()
                if self._loop is None:
                    self.bus.train_end(logs)
                else:
                    self.bus.flush()
        finally:
            self._end_fit()

    def _end_fit(self) -> None:
        """Undo the changes made for the fit, and release the model once no run needs it."""
        self._late_begin.undo()
        if self._loop is None and self.bus.run.model is not None:
            self.bus.run.model.has_all_metrics = False
        self._model = self._keras_history = None
        self._is_in_fit = self._has_set_model = False
        self.batches.end_fit()
        for name in ("on_train_batch_begin", "on_train_batch_end"):
            self.__dict__.pop(name, None)
        if self.bus.run.status != "running":
            self._output.remove()
            self.bus.run.release_model()
        self.bus.run.training_data = None
        if not self._has_own_data and self._loop is None:  # a loop's epoch has not ended yet
            self.bus.run.validation_data = None

    # --- epochs ----------------------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begin an epoch of the run, or join the one of the loop."""
        with self._events.during(epoch, logs):
            if self._loop is None:
                self.bus.epoch_begin(epoch)
            elif self._loop.in_epoch:
                self._loop.join_fit_epoch()
            else:
                self.bus.epoch_begin(self._loop.next_epoch)
        self.batches.begin_epoch(self._run.step)
        self._bind_fast_hooks()
        self._obey()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """End the epoch; inside an epoch of a loop its logs join the loop's."""
        run, began = self._run, self.batches.base
        run.step = self.batches.end_epoch(run.step)
        run.steps_per_epoch = run.step - began
        self._note_stop()
        with self._events.during(epoch, logs) as event:
            if self.batches.is_exact:
                self.bus.settle_evaluations(before=run.step)
            if self._loop is not None and self._loop.in_epoch:
                self.bus.flush()
                self._loop.log(dict(flatten(logs or {})))
            else:
                self.bus.epoch_end(run.epoch, logs, of_all_ranks=has_global_results())
            if self._keras_history is not None:
                self._keras_history.on_epoch_end(epoch, event.logs)
        self._obey()

    def _catch_up(self) -> None:
        if self._is_in_fit and self.batches.numbers:
            self._run.step = max(self._run.step, self.batches.step(max(self.batches.numbers)))

    def _obey(self) -> None:
        if self._run.stopped:
            self._model.stop_training = True

    def _note_stop(self) -> None:
        """Stop the run if a Keras callback, or the user, has stopped the fit."""
        is_stopped = getattr(self._model, "stop_training", False)  # a model that was never compiled lacks it
        if self._loop is None and is_stopped and not self._run.stopped:
            self._run.stop("model.stop_training was set")

    # --- batches ---------------------------------------------------------------------------------------------------

    def _bind_batch_hooks(self, *, whole: bool) -> None:
        """Decide for this fit whether there are batch hooks: Keras checks once, and may call from other threads."""
        for name in ("on_train_batch_begin", "on_train_batch_end"):
            self.__dict__.pop(name, None)
            setattr(self, name, vars(KerasAdapter)[name].bind(self) if whole else getattr(self, name))
        self._has_batch_hooks = not getattr(self.on_train_batch_end, "_is_default", False)

    def _bind_fast_hooks(self) -> None:
        """Replace the batch hooks by functions with as few look-ups as possible, for one epoch.

        Both have a local ``self``, as methods do: `is_within_hook` looks for it.
        """
        if self.callbacks or not self._has_batch_hooks or not self.batches.one_per_call:
            return
        batch_begin, batch_end, run, first = self.bus.batch_begin, self.bus.batch_end, self._run, self._run.step + 1

        def on_train_batch_begin(batch: int, logs: Logs | None = None, self: Any = self) -> None:
            batch_begin(first + batch)

        def on_train_batch_end(batch: int, logs: Logs | None = None) -> None:
            batch_end(first + batch, logs)
            if run.stop_reason is not None:
                self._model.stop_training = True

        self.on_train_batch_begin, self.on_train_batch_end = on_train_batch_begin, on_train_batch_end

    @while_listening("on_batch_begin", "on_batch_end", "on_block")
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begin a batch; ``batch`` counts from 0 in the epoch, and jumps by ``steps_per_execution``."""
        with self._events.during(batch, logs):
            self.bus.batch_begin(self.batches.base + batch + 1)

    @while_listening("on_batch_begin", "on_batch_end", "on_block", otherwise=count_batch)
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End a batch; ``batch`` is the last one of the execution."""
        with self._events.during(batch, logs):
            self.bus.batch_end(self.batches.step(batch), logs)
        self._obey()


def _refuse_nesting(*, is_nested: bool) -> None:
    if is_nested:
        raise OrderError(
            "fit was called within a hook of the adapter passed to it, whose own fit is still running: pass another "
            "KerasAdapter to the inner fit"
        )
