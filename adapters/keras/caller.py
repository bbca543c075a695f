"""The call of ``fit`` that a callback is used in, with its arguments.

Contract. Keras passes a callback list that it uses directly neither the model nor the arguments. They are read from the
frame of ``fit``, ``evaluate`` or ``predict``, and only from one whose ``callbacks`` are, or contain, that list. Without
such a frame, as in a custom loop that calls the callbacks by hand, all of them are unknown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import attrs
import keras

_METHODS = frozenset({"fit", "evaluate", "predict"})


@attrs.frozen(eq=False)
class Call:
    """The arguments of a call of ``fit``, ``evaluate`` or ``predict``; None if unknown.

    Attributes:
        model: The Keras model.
        epochs: The number of epochs.
        steps: The number of batches of an epoch.
        verbose: As passed, including ``"auto"``; 0 if unknown.
        training_data: The inputs and targets that `fit` trains on, without those that it split off for validation.
        shuffle: Whether it shuffles them.
        validation_data: The data that the epochs are validated on: as passed, or as split off.
        callbacks: The list that Keras calls.
    """

    model: Any = None
    epochs: int | None = None
    steps: int | None = None
    verbose: Any = 0
    training_data: Any = None
    shuffle: Any = None
    validation_data: Any = None
    callbacks: keras.callbacks.CallbackList | None = None


def find_call(callback: keras.callbacks.Callback) -> Call:
    """Return the innermost call on this thread whose callbacks are, or contain, this one."""
    for frame in _frames(sys._getframe(1)):
        if frame.f_code.co_name not in _METHODS:
            continue
        names = frame.f_locals
        if isinstance(names.get("self"), keras.Model) and _holds(names.get("callbacks"), callback):
            return Call(
                model=names["self"],
                epochs=names.get("epochs"),
                steps=getattr(names.get("epoch_iterator"), "num_batches", None),
                verbose=names.get("verbose", 0),
                training_data=(names.get("x"), names.get("y")),
                shuffle=names.get("shuffle"),
                validation_data=_without_weights(names.get("validation_data")),
                callbacks=names["callbacks"],
            )
    return Call()


def is_within_hook(callback: keras.callbacks.Callback) -> bool:
    """Return whether a hook of this callback is running on this thread, further out than the calling method."""
    frame = sys._getframe(1).f_back
    return any(
        each.f_code.co_name.startswith("on_") and each.f_locals.get("self") is callback for each in _frames(frame)
    )


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and all further out."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _holds(callbacks: Any, callback: keras.callbacks.Callback) -> bool:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks is callback or any(_holds(each, callback) for each in callbacks.callbacks)
    return callbacks is callback


def _without_weights(data: Any) -> Any:
    """Return ``(x, y)`` for data that Keras has split off, if no sample has a weight."""
    return data[:2] if isinstance(data, tuple) and len(data) == 3 and data[2] is None else data
