"""Counts the calls that make a thread wait for a device, on the training's thread and on all others.

Contract. While `Waits` counts, the calls by which PyTorch and JAX bring a value to the host, or wait for it, are
replaced by wrappers that count and then do the same; nested calls count once. Work that is requested
without waiting (``non_blocking``, ``copy_to_host_async``, ``is_ready``, ``query``) does not count. On a machine
without a GPU the same calls count, though they only read there and do not wait. On CUDA, PyTorch itself warns about
each operation that synchronizes; these are counted too, so that calls by other ways are not missed.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import attrs
import numpy as np

from support.steps import nothing

TORCH_READS = ("item", "tolist", "numpy", "__float__", "__int__", "__bool__", "__index__", "__array__")
JAX_READS = ("item", "tolist", "__float__", "__int__", "__bool__", "__index__", "__array__", "block_until_ready")


class Waits:
    """Counts waits while entered, of the thread that creates it and of all others."""

    def __init__(self) -> None:
        self._paused = False
        self._trains = threading.get_ident()
        self._counts = {"calls": [0, 0], "warnings": [0, 0]}
        self._nested = threading.local()
        self._patches = ExitStack()

    def read(self) -> np.ndarray:
        """Return the numbers of waits on the training's thread, and on all others."""
        return np.max(list(self._counts.values()), axis=0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause counting."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def _note(self, kind: str) -> None:
        if not self._paused:
            self._counts[kind][threading.get_ident() != self._trains] += 1

    @contextmanager
    def _call(self) -> Iterator[None]:
        outermost = not getattr(self._nested, "inside", False)
        if outermost:
            self._note("calls")
            self._nested.inside = True
        try:
            yield
        finally:
            if outermost:
                self._nested.inside = False

    def __enter__(self) -> Self:
        if "torch" in sys.modules:
            self._patches.enter_context(self._torch())
        if "jax" in sys.modules:
            self._patches.enter_context(self._jax())
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _replace(self, owner: Any, name: str, waits: Callable[..., bool]) -> None:
        """Make a function or method count as a wait, until this is exited."""
        original, is_own = getattr(owner, name), name in vars(owner)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if not waits(*args, **kwargs):
                return original(*args, **kwargs)
            with self._call():
                return original(*args, **kwargs)

        setattr(owner, name, counted)
        self._patches.callback(*((setattr, owner, name, original) if is_own else (delattr, owner, name)))

    # --- PyTorch ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _torch(self) -> Iterator[None]:
        import torch

        has_gpu = torch.cuda.is_available()

        def is_device(value: Any, *_: Any, **__: Any) -> bool:
            return value.is_cuda or not has_gpu

        def leaves(value: Any, *args: Any, **kwargs: Any) -> bool:
            targets = [each for each in (*args, kwargs.get("device")) if isinstance(each, (str, torch.device))]
            return value.is_cuda and "cpu" in map(str, targets) and not kwargs.get("non_blocking", False)

        for name in TORCH_READS:
            self._replace(torch.Tensor, name, is_device)
        if not has_gpu:
            yield
            return
        self._replace(torch.Tensor, "cpu", is_device)
        self._replace(torch.Tensor, "to", leaves)
        self._replace(torch.cuda, "synchronize", lambda *_, **__: True)
        for kind in (torch.cuda.Event, torch.cuda.Stream):
            self._replace(kind, "synchronize", lambda *_: True)
        with self._warnings():
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode("default")

    @contextmanager
    def _warnings(self) -> Iterator[None]:
        """Count PyTorch's warnings instead of showing them; they are raised on the thread that waits."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            shown = warnings.showwarning

            def show(message: Any, *args: Any) -> None:
                if "synchroniz" in str(message):
                    self._note("warnings")
                else:
                    shown(message, *args)

            warnings.showwarning = show
            yield

    # --- JAX -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _jax(self) -> Iterator[None]:
        import jax

        kind = type(jax.numpy.zeros(()))

        def is_array(value: Any, *_: Any, **__: Any) -> bool:
            return isinstance(value, kind)

        for name in JAX_READS:
            self._replace(kind, name, is_array)
        for name in ("asarray", "array"):  # on the CPU they read an array's memory without calling it
            self._replace(np, name, is_array)
        for name in ("device_get", "block_until_ready"):
            self._replace(jax, name, lambda *_, **__: True)
        yield


@attrs.frozen
class Counted:
    """How often a variant waits.

    Attributes:
        batch: Waits per batch on the training's thread, without the epoch's end.
        elsewhere: Waits per batch on all other threads.
        end: Waits at an epoch's end on the training's thread.
    """

    batch: float
    elsewhere: float
    end: float

    def columns(self, kind: str) -> dict[str, float]:
        """Return them as columns of a table, as ``waits`` or ``reads``."""
        return {kind: self.batch, f"{kind}_elsewhere": self.elsewhere, f"{kind}_at_end": self.end}


def of_loop(work: Callable[[int], object], step: Any, batches: int) -> Counted:
    """Count the waits of a loop in an epoch with a number of batches.

    Args:
        work: Trains a number of batches.
        step: The step in it, which calls ``on_step`` when it begins.
        batches: The number of batches, at least 2.
    """
    begun: list[list[int]] = []
    with Waits() as waits:
        step.on_step = lambda: begun.append(waits.read().tolist())
        work(batches)
        total, elsewhere = waits.read().tolist()
    step.on_step = nothing
    step.settle()
    (first, _), (last, _) = begun[0], begun[-1]
    batch = (last - first) / (len(begun) - 1)
    return Counted(batch, elsewhere / batches, max(total - first - batch * batches, 0.0))
