"""Profiles: what the device and the host did in some steps, by the framework's own profiler.

Contract. The framework is that of the model's handle. Where it has none, or it does not start, there is a warning and
no profile. The first start in a process takes seconds, and the steps profiled take longer than others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from monitor_core._log import logger
from monitor_core.bus.run import Run
from monitor_core.model.handles import ModelHandle

Stop = Callable[[], object]
"""Ends a profile and writes it."""


@attrs.define
class Profile:
    """Profile the steps from one to another, both included, once.

    Args:
        first: The first step, as numbered in the run.
        last: The last step.
        folder: Where to write.
    """

    first: int
    last: int
    folder: Path
    _stop: Stop | None = None
    _is_over: bool = False

    def begin_batch(self, run: Run, step: int) -> None:
        """Begin the profile, if it is its turn."""
        if not self._is_over and self.first <= step <= self.last and self._stop is None:
            self._attempt(lambda: self._start(run.model))

    def end_batch(self, step: int) -> None:
        """End the profile behind its last step."""
        if self._stop is not None and step >= self.last:
            self.end()

    def end(self) -> None:
        """End the profile, if it is under way."""
        if self._stop is not None:
            stop, self._stop, self._is_over = self._stop, None, True
            self._attempt(stop)

    def _start(self, model: ModelHandle) -> None:
        framework = framework_of(model)
        if framework is None:
            raise ValueError(f"there is no profiler for {model!r}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stop = _PROFILERS[framework](self.folder)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            self._is_over = True
            logger.warning(
                "TensorBoard goes without the profile: %s: %s; training goes on", type(error).__name__, str(error)
            )


def framework_of(model: ModelHandle) -> str | None:
    """Return the framework that computes a handle's model: jax, tensorflow, torch, or None; none is imported."""
    models = [getattr(model, name, None) for name in ("model", "module")]
    packages = {base.__module__.partition(".")[0] for each in models for base in type(each).__mro__}
    if "keras" in packages:
        backend: str = sys.modules["keras"].backend.backend()
        return backend if backend in _PROFILERS else None
    if "torch" in packages:
        return "torch"
    return next((name for name in ("jax", "torch") if name in sys.modules), None)  # a pytree, or no handle at all


def _start_jax(folder: Path) -> Stop:
    jax: Any = sys.modules["jax"]
    jax.profiler.start_trace(str(folder))
    stop: Stop = jax.profiler.stop_trace
    return stop


def _start_tensorflow(folder: Path) -> Stop:
    profiler = sys.modules["tensorflow"].profiler.experimental
    profiler.start(str(folder))
    stop: Stop = profiler.stop
    return stop


def _start_torch(folder: Path) -> Stop:
    import torch.profiler

    profiler = torch.profiler.profile(on_trace_ready=torch.profiler.tensorboard_trace_handler(str(folder)))
    profiler.start()
    stop: Stop = profiler.stop
    return stop


_PROFILERS: dict[str, Callable[[Path], Stop]] = {
    "jax": _start_jax,
    "tensorflow": _start_tensorflow,
    "torch": _start_torch,
}
