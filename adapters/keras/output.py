"""What shows a fit's progress, as its ``verbose`` asks for: one output, never two."""

from __future__ import annotations

import functools
from typing import Any

import keras

from monitor_core import Progress
from monitor_core._log import logger
from monitor_core.adapters.keras.callbacks import CallbackSink
from monitor_core.adapters.keras.caller import Call
from monitor_core.bus.bus import Bus


class Output:
    """Brings a `Progress` for a fit that nothing else shows.

    Args:
        bus: The bus of the adapter.

    Attributes:
        is_ours: Whether the fit was called by the adapter, which may then add a sink until it ends.
    """

    def __init__(self, bus: Bus) -> None:
        self.is_ours = False
        self._bus = bus
        self._progress: Progress | None = None

    def show(self, call: Call, *, whole: bool, in_loop: bool) -> None:
        """See to the progress of a fit that begins.

        Args:
            call: The fit.
            whole: Whether Keras draws no bar of its own.
            in_loop: Whether the fit is one of several of a loop, which has its own sinks.
        """
        if any(map(_shows, self._bus.sinks)):
            if not whole:
                _silence(call.callbacks)
        elif whole and call.verbose:
            if self.is_ours and not in_loop:
                self._progress = Progress(bars=None if call.verbose in ("auto", 1) else False)
                self._bus.add(self._progress)
            else:
                hint()

    def remove(self) -> None:
        """Remove what was added."""
        if self._progress is not None:
            progress, self._progress = self._progress, None
            self._bus.remove(progress)


def _shows(sink: Any) -> bool:
    return isinstance(sink, Progress) or (
        isinstance(sink, CallbackSink) and isinstance(sink.callback, keras.callbacks.ProgbarLogger)
    )


def _silence(callbacks: Any) -> None:
    """Let the bar that Keras brings along by default draw nothing in this fit."""
    for each in getattr(callbacks, "callbacks", ()):
        if isinstance(each, keras.callbacks.ProgbarLogger):
            each.verbose = 0


@functools.cache
def hint() -> None:
    """Warn, once in a process, that nothing shows the fits."""
    logger.warning(
        "callbacks=KerasAdapter(...) shows no progress: add Progress() to the sinks, call adapter.fit(model, ...) "
        "instead, or pass verbose=0 to do without"
    )
