"""``fit_loop`` of a net while it trains: callbacks are notified of no exception, and not why a training ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

from skorch.callbacks import Callback


class WatchedLoop:
    """Calls a net's ``fit_loop``; a copy of it, such as in a net that a callback pickles, watches nothing.

    Args:
        net: The net.
        epochs: Returns the number of epochs to train, given that of the net.
        ended: Called with what the training raised.
    """

    def __init__(self, net: Any, epochs: Callable[[int], int], ended: Callable[[BaseException], None]) -> None:
        self.net = net
        self._epochs = epochs
        self._ended = ended

    def train(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:  # noqa: N803
        """Train, and note an exception."""
        net = self.net
        epochs = self._epochs(net.max_epochs if epochs is None else epochs)
        try:
            return type(net).fit_loop(net, X, y, epochs=epochs, **kwargs)
        except BaseException as error:
            self._ended(error)
            raise

    __call__ = train

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (type(self.net).fit_loop, self.net)


def stopping_callback(error: BaseException) -> str | None:
    """Return the name of the callback that raised a `KeyboardInterrupt` to stop the training; None if none did."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    owner = None if trace is None else trace.tb_frame.f_locals.get("self")
    return type(owner).__name__ if isinstance(owner, Callback) else None
