"""Profiles: the work of device and host in chosen steps, by the framework's own profiler.

Contract. The framework is that of the model's handle. If it has no profiler, or the profiler does not start, a warning
is logged and there is no profile. The first start in a process takes seconds, and profiled steps are slower.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from monitor_core import frameworks
from monitor_core._log import logger
from monitor_core.bus.run import Run
from monitor_core.frameworks.base import Framework, Stop
from monitor_core.model.handles import ModelHandle


@attrs.define
class Profile:
    """Profile a range of steps, once.

    Args:
        first: The first step to profile, as numbered in the run.
        last: The last step to profile.
        folder: Where to write.
    """

    first: int
    last: int
    folder: Path
    _stop: Stop | None = None
    _is_over: bool = False

    def begin_batch(self, run: Run, step: int) -> None:
        """Start the profile, if it is due."""
        if not self._is_over and self.first <= step <= self.last and self._stop is None:
            self._attempt(lambda: self._start(run.model))

    def end_batch(self, step: int) -> None:
        """Stop the profile after its last step."""
        if self._stop is not None and step >= self.last:
            self.end()

    def end(self) -> None:
        """Stop the profile, if it is running."""
        if self._stop is not None:
            stop, self._stop, self._is_over = self._stop, None, True
            self._attempt(stop)

    def _start(self, model: ModelHandle) -> None:
        framework = framework_of(model)
        if framework is None:
            raise ValueError(f"there is no profiler for {model!r}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stop = framework.start_profile(self.folder)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            self._is_over = True
            logger.warning(
                "TensorBoard cannot write the profile: %s: %s; training continues", type(error).__name__, str(error)
            )


def framework_of(model: ModelHandle) -> Framework | None:
    """Return the framework that computes a handle's model; None if unknown."""
    framework = frameworks.of_handle(model) or frameworks.computing()
    return None if framework is None else framework.backend
