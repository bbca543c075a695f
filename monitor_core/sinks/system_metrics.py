"""Memory, processor and GPUs while a run lasts, sampled in the background.

Contract. A thread that sleeps between samples reads the operating system and, where there are NVIDIA GPUs, their
driver; it calls no sink and touches no device. What cannot be read is left out.
"""

from __future__ import annotations

import importlib
import threading
import time
from contextlib import suppress
from typing import Any, ClassVar

import attrs
import numpy as np
from numpy.typing import NDArray

from monitor_core import checks
from monitor_core.background.worker import DeliveryThread
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.records.columns import Table

_LABELS = ("time", "epoch", "step")


@attrs.define(eq=False)
class SystemMetrics(Sink):
    """Record what this process and the GPUs do, every few seconds of a run.

    The columns are ``memory`` (bytes that this process has in memory), ``memory_share`` (of all memory, in use by
    any process), ``processor`` (cores that this process keeps busy) and, for each NVIDIA GPU if the package
    ``nvidia-ml-py`` is installed, ``gpu0_memory`` (bytes in use) and ``gpu0_busy`` (share of the time).

    Args:
        every: Seconds between two samples.

    Raises:
        SetupError: At train begin: psutil is not installed.
        ValueError: ``every`` is below 0.1.

    Example:
        >>> system = SystemMetrics(every=1.0)
        >>> with Loop(system) as loop:
        ...     for _ in loop.epochs(2):
        ...         loop.log(loss=0.5)
        >>> system["memory"].max() > 0
        True
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True

    every: float = attrs.field(default=5.0, kw_only=True, validator=checks.number(least=0.1, finite=True))
    _table: Table = attrs.field(init=False, factory=Table, repr=False)
    _sampler: _Sampler | None = attrs.field(init=False, default=None, repr=False)

    def on_train_begin(self, run: Run) -> None:
        """Take the first sample, and begin to take others."""
        try:
            psutil = importlib.import_module("psutil")
        except ImportError as error:
            raise SetupError("SystemMetrics needs psutil: pip install psutil") from error
        self._table = Table()
        self._sampler = _Sampler(run, self._table, psutil, self.every)
        self._sampler.start()

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Take a sample, so that each epoch has one."""
        if self._sampler is not None:
            self._sampler.sample()

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Take the last sample."""
        if self._sampler is not None:
            self._sampler.sample()
            self._sampler.stop()
            self._sampler = None

    # --- reading ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._table)

    def __bool__(self) -> bool:
        """Return True, even while it is empty."""
        return True

    def keys(self) -> list[str]:
        """Return the names of the columns, without time, epoch and step."""
        return [name for name in self._table if name not in _LABELS]

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return a column, ``(samples,) float64``; also ``"time"`` (seconds since 1970), ``"epoch"`` and ``"step"``.

        Raises:
            KeyError: There is no such column; the message lists those there are.
        """
        if name not in self._table:
            raise KeyError(f"no column {name!r}; there are {', '.join(self._table) or 'none yet'}")
        return self._table[name]


class _Sampler:
    """Takes samples of one run on a thread of its own."""

    def __init__(self, run: Run, table: Table, psutil: Any, every: float) -> None:
        self._run = run
        self._table = table
        self._psutil = psutil
        self._process = psutil.Process()
        self._every = every
        self._lock = threading.Lock()
        self._gpus = _gpus()
        self._thread = DeliveryThread(self._due, "monitor_core system metrics")
        self._process.cpu_percent()  # measures from here on

    def start(self) -> None:
        """Take the first sample, and begin."""
        self.sample()
        self._thread.wake()

    def stop(self) -> None:
        """Take no more samples."""
        self._thread.stop()

    def _due(self) -> float | None:
        if self._run.status != "running":
            return None
        if time.time() - self._table["time"][-1] >= 0.9 * self._every:
            self.sample()
        return self._every

    def sample(self) -> None:
        """Take a sample."""
        run = self._run
        values: dict[str, float] = {"time": time.time(), "epoch": float(run.epoch), "step": float(run.step)}
        with suppress(Exception):  # the process may not be allowed to read it
            values["memory"] = float(self._process.memory_info().rss)
            values["memory_share"] = self._psutil.virtual_memory().percent / 100
            values["processor"] = self._process.cpu_percent() / 100
        for number, gpu in enumerate(self._gpus):
            with suppress(Exception):
                values |= gpu(number)
        with self._lock:
            self._table.append(values)


def _gpus() -> list[Any]:
    """Return a function for each NVIDIA GPU that returns its columns; none without the driver or its package."""
    with suppress(Exception):
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return [lambda number, handle=handle: _of_gpu(nvml, handle, number) for handle in handles]
    return []


def _of_gpu(nvml: Any, handle: Any, number: int) -> dict[str, float]:
    return {
        f"gpu{number}_memory": float(nvml.nvmlDeviceGetMemoryInfo(handle).used),
        f"gpu{number}_busy": nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
    }
