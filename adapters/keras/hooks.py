"""Batch hooks that Keras sees as not overridden while no sink listens to them.

Keras dispatches batches asynchronously on some backends, unless a callback overrides a batch hook.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any

import keras

from monitor_core.bus.sink import Logs

if TYPE_CHECKING:
    from monitor_core.adapters.keras.adapter import KerasAdapter


class WhileListening:
    """A batch hook of the adapter that Keras sees as overridden only while a sink listens.

    Args:
        function: The hook itself.
        otherwise: What Keras finds instead while no sink listens.
        hooks: The hooks of sinks that count as listening.
    """

    def __init__(self, function: Callable[..., None], otherwise: Callable[..., None], hooks: tuple[str, ...]) -> None:
        self._function = function
        self._otherwise = otherwise
        self._hooks = hooks

    def __get__(self, adapter: KerasAdapter | None, owner: type) -> Any:
        if adapter is None:
            return self._function
        return MethodType(self._function if adapter.bus.has_listeners(*self._hooks) else self._otherwise, adapter)

    def bind(self, adapter: KerasAdapter) -> Any:
        """Return the hook itself, whether a sink listens or not."""
        return MethodType(self._function, adapter)


def while_listening(
    *hooks: str, otherwise: Callable[..., None] | None = None
) -> Callable[[Callable[..., None]], WhileListening]:
    """Decorate a batch hook so that Keras sees it as overridden only while a sink listens to one of these hooks."""

    def decorate(function: Callable[..., None]) -> WhileListening:
        inherited = getattr(keras.callbacks.Callback, function.__name__)
        return WhileListening(function, otherwise or inherited, hooks)

    return decorate


def count_batch(adapter: KerasAdapter, batch: int, logs: Logs | None = None) -> None:
    """Record a batch's number; Keras may call this on many threads, out of order, all before the epoch's end."""
    adapter.batches.count(batch)


count_batch._is_default = True  # type: ignore[attr-defined]  # Keras checks this: the hook may be called asynchronously
