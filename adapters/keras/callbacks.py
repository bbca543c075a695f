"""Keras callbacks as sinks: each gets from the bus what Keras would give it, when Keras would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from monitor_core.values.scalars import flatten, scalar

# What a Keras callback's hooks are on the bus, with Keras's name for the hook that a batch hook falls back to.
_BATCH_HOOKS = {
    "on_batch_begin": ("on_train_batch_begin", "on_batch_begin"),
    "on_batch_end": ("on_train_batch_end", "on_batch_end"),
    "on_evaluation_batch_begin": ("on_test_batch_begin", None),
    "on_evaluation_batch_end": ("on_test_batch_end", None),
    "on_prediction_batch_begin": ("on_predict_batch_begin", None),
    "on_prediction_batch_end": ("on_predict_batch_end", None),
}


_OTHER_HOOKS = {
    "on_train_begin": "on_train_begin",
    "on_train_end": "on_train_end",
    "on_epoch_begin": "on_epoch_begin",
    "on_epoch_end": "on_epoch_end",
    "on_evaluation_begin": "on_test_begin",
    "on_evaluation_end": "on_test_end",
    "on_prediction_begin": "on_predict_begin",
    "on_prediction_end": "on_predict_end",
}


def _is_default(callback: Any, hook: str) -> bool:
    return bool(getattr(getattr(callback, hook), "_is_default", False))


class CallbackSink:
    """A Keras callback among the sinks: gets what Keras would give it, when Keras would.

    Callbacks share one dict of logs per event, as in Keras, where one may add to it what a later one reads.
    """

    critical = True  # a Keras callback that raises ends a training, as ever
    read_only = True  # it reads the adapter's copy instead

    def __init__(self, callback: keras.callbacks.Callback, event: Event) -> None:
        self.name = type(callback).__name__
        self.callback = callback
        self._event = event
        for hook, (keras_hook, fallback) in _BATCH_HOOKS.items():
            if not _is_default(callback, keras_hook) or (fallback and not _is_default(callback, fallback)):
                setattr(self, hook, self._batch_hook(getattr(callback, keras_hook)))
        for hook, keras_hook in _OTHER_HOOKS.items():
            setattr(self, hook, self._other_hook(getattr(callback, keras_hook), numbered="epoch" in hook))

    def _batch_hook(self, method: Callable[..., None]) -> Callable[..., None]:
        event = self._event
        return lambda *_: method(event.number, logs=event.logs)

    def _other_hook(self, method: Callable[..., None], *, numbered: bool) -> Callable[..., None]:
        event = self._event

        def call(*_: Any) -> None:
            if event.number is None:  # the bus closes a run that Keras left open: Keras tells its callbacks nothing
                return
            arguments = (event.number, event.logs) if numbered else (event.logs,)
            method(*arguments)

        return call


class Event:
    """What Keras said with the event under way, for the Keras callbacks among the sinks."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._raw: Mapping[str, Any] | None = None
        self._logs: dict[str, Any] | None = None

    def set(self, number: int | None, logs: Mapping[str, Any] | None = None) -> None:
        """Note the number and the logs of the event under way."""
        self.number, self._raw, self._logs = number, logs, None

    @property
    def logs(self) -> dict[str, Any]:
        """The logs as Keras's own list gives them: sorted, floats where possible, converted once an event."""
        if self._logs is None:
            self._logs = dict(sorted((name, _float_or_same(value)) for name, value in flatten(self._raw or {})))
        return self._logs


def _float_or_same(value: Any) -> Any:
    try:
        return scalar(value)
    except (TypeError, ValueError):
        return value
