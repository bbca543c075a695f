"""Keras callbacks as sinks: the bus calls each with the same arguments and at the same time as Keras would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

from monitor_core.bus.sink import Logs
from monitor_core.values.scalars import OnSkip, flatten, scalar, to_floats

# The bus's names of a Keras callback's hooks, with Keras's name for the hook that a batch hook falls back to.
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

_SHARED_LOGS = frozenset({"on_train_end", "on_epoch_end", "on_evaluation_end"})
"""Hooks whose logs are floats; sinks after a callback read what it writes there, as in Keras's list."""


def _is_default(callback: Any, hook: str) -> bool:
    return bool(getattr(getattr(callback, hook), "_is_default", False))


class CallbackSink:
    """A Keras callback among the sinks, called with the same arguments and at the same time as by Keras.

    Callbacks share one dict of logs per event, as in Keras, where a later callback reads what an earlier one adds.
    """

    critical = True  # a Keras callback that raises ends the training, as in Keras
    read_only = True  # it reads the adapter's copy instead, and `_share` copies its changes for the sinks after it

    def __init__(self, callback: keras.callbacks.Callback, events: Events) -> None:
        self.name = type(callback).__name__
        self.callback = callback
        self._events = events
        for hook, (keras_hook, fallback) in _BATCH_HOOKS.items():
            if not _is_default(callback, keras_hook) or (fallback and not _is_default(callback, fallback)):
                setattr(self, hook, self._batch_hook(getattr(callback, keras_hook)))
        for hook, keras_hook in _OTHER_HOOKS.items():
            setattr(self, hook, self._other_hook(hook, getattr(callback, keras_hook)))

    def _batch_hook(self, method: Callable[..., None]) -> Callable[..., None]:
        events = self._events

        def call(*_: Any) -> None:
            event = events.current
            if event is not None:
                method(event.number, logs=event.logs)

        return call

    def _other_hook(self, hook: str, method: Callable[..., None]) -> Callable[..., None]:
        events, is_numbered, is_shared = self._events, "epoch" in hook, hook in _SHARED_LOGS

        def call(*args: Any) -> None:
            event = events.current
            if event is None:  # the bus closes a run that Keras left open, of which Keras notifies no callback
                return
            before = dict(event.logs)
            method(*((event.number, event.logs) if is_numbered else (event.logs,)))
            if is_shared:
                _share(before, event.logs, args[-1], events.on_skip)

        return call


def _share(before: Logs, after: Logs, logs: dict[str, float], on_skip: OnSkip) -> None:
    """Copy a callback's changes of its logs into the logs of the sinks."""
    for name in before.keys() - after.keys():
        logs.pop(name, None)
    logs.update(to_floats({name: value for name, value in after.items() if value is not before.get(name)}, on_skip))


class Event:
    """Keras's arguments of an event: its number, and the logs as the framework passed them."""

    def __init__(self, number: int, logs: Mapping[str, Any] | None) -> None:
        self.number = number
        self._raw = logs
        self._logs: dict[str, Any] | None = None

    @property
    def logs(self) -> dict[str, Any]:
        """The logs as Keras's own list passes them: sorted, floats where possible, converted once per event."""
        if self._logs is None:
            self._logs = dict(sorted((name, _float_or_same(value)) for name, value in flatten(self._raw or {})))
        return self._logs


class Events:
    """The current event, for the Keras callbacks among the sinks.

    Attributes:
        current: The innermost current event, None between events.
        on_skip: Called with each value that a callback wrote into its logs and that is not a number.
    """

    def __init__(self, on_skip: OnSkip) -> None:
        self.current: Event | None = None
        self.on_skip = on_skip

    @contextmanager
    def during(self, number: int, logs: Mapping[str, Any] | None = None) -> Iterator[Event]:
        """Make an event current; one within it, such as an evaluation that a callback starts, ends before it."""
        outer, self.current = self.current, Event(number, logs)
        try:
            yield self.current
        finally:
            self.current = outer


def _float_or_same(value: Any) -> Any:
    try:
        return scalar(value)
    except (TypeError, ValueError):
        return value
