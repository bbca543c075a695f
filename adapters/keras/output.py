"""The output of a fit's progress, as its ``verbose`` asks: one output, never two."""

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
    """Adds a `Progress` for a fit without another progress output.

    Args:
        bus: The bus of the adapter.

    Attributes:
        is_ours: Whether the adapter called the fit; then it may add a sink until the fit ends.
    """

    def __init__(self, bus: Bus) -> None:
        self.is_ours = False
        self._bus = bus
        self._progress: Progress | None = None

    def show(self, call: Call, *, whole: bool, in_loop: bool) -> None:
        """Set up the progress output of a fit that begins.

        Args:
            call: The fit.
            whole: Whether the adapter was passed whole, so that Keras adds no bar.
            in_loop: Whether the fit belongs to a loop, which has its own sinks.
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
        """Remove the sink that `show` added."""
        if self._progress is not None:
            progress, self._progress = self._progress, None
            self._bus.remove(progress)


def _shows(sink: Any) -> bool:
    return isinstance(sink, Progress) or (
        isinstance(sink, CallbackSink) and isinstance(sink.callback, keras.callbacks.ProgbarLogger)
    )


def _silence(callbacks: Any) -> None:
    """Silence the bar that Keras adds by default, for this fit."""
    for each in getattr(callbacks, "callbacks", ()):
        if isinstance(each, keras.callbacks.ProgbarLogger):
            each.verbose = 0


@functools.cache
def hint() -> None:
    """Warn, once per process, that no progress is shown."""
    logger.warning(
        "callbacks=KerasAdapter(...) shows no progress: add Progress() to the sinks, call adapter.fit(model, ...) "
        "instead, or pass verbose=0 to train without it"
    )
