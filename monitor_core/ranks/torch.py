"""torch.distributed: a gloo process group of our own, next to those of the training, and the job's store."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor_core._log import logger
from monitor_core.frameworks.torch import TORCH
from monitor_core.ranks.collective import Board

_INTERRUPTIBLE = timedelta(seconds=1)
"""How long to wait at a time: a signal takes effect in between."""


def connected() -> TorchCollective | None:
    """Return a collective if torch.distributed is initialized with several ranks, and has gloo; else None."""
    if TORCH.module is None or (found := TORCH.ranks()) is None or found[1] < 2:
        return None
    distributed = TORCH.module.distributed
    if not distributed.is_gloo_available():
        logger.warning("the ranks are not connected, so each decides by its own values: this PyTorch has no gloo")
        return None
    return TorchCollective(distributed, *found)


class TorchBoard:
    """Notes in a store of PyTorch.

    Args:
        store: The store.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    @classmethod
    def of_job(cls, distributed: Any) -> TorchBoard:
        """Return the notes in the store that connected the processes, over a connection of their own."""
        store = distributed.distributed_c10d._get_default_store()
        return cls(store.clone() if hasattr(store, "clone") else store).part("monitor_core")

    def part(self, name: str) -> TorchBoard:
        """Return the notes whose keys begin with a name."""
        return TorchBoard(TORCH.module.distributed.PrefixStore(name, self._store))

    def set(self, key: str, text: str) -> None:
        """Write a note."""
        self._store.set(key, text)

    def get(self, key: str) -> str | None:
        """Return a note, None if there is none."""
        return self._store.get(key).decode() if self._store.check([key]) else None

    def add(self, key: str, amount: int) -> int:
        """Add to a counter."""
        return int(self._store.add(key, amount))

    def set_once(self, key: str, text: str) -> str:
        """Write a note unless there is one; return the one that is there."""
        return str(self._store.compare_set(key, "", text).decode())

    def delete(self, key: str) -> None:
        """Remove a note or a counter, if it is there."""
        self._store.delete_key(key)


class TorchCollective:
    """Gathers on a gloo process group of its own.

    Args:
        distributed: The module ``torch.distributed``.
        rank: The number of this process, from 0.
        ranks: How many there are.
    """

    def __init__(self, distributed: Any, rank: int, ranks: int) -> None:
        self.rank = rank
        self.ranks = ranks
        self.board: Board | None = TorchBoard.of_job(distributed)
        self.patience = distributed.distributed_c10d.default_pg_timeout.total_seconds()
        self._distributed = distributed
        self._group: Any = None

    def open(self) -> None:
        """Make the process group."""
        self._group = self._distributed.new_group(backend="gloo")

    @property
    def is_open(self) -> bool:
        """Whether the process groups still exist."""
        return bool(self._distributed.is_initialized())

    def gather(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gather in memory of the CPU; Ctrl-C takes effect if it must wait."""
        torch = TORCH.module
        found = torch.empty((self.ranks, len(numbers)), dtype=torch.float64, device="cpu")
        work = self._distributed.all_gather(
            list(found.unbind(0)), torch.from_numpy(numbers), group=self._group, async_op=True
        )
        while not work.is_completed():
            with suppress(RuntimeError):  # the time is up, or it failed, which the next call raises again
                work.wait(_INTERRUPTIBLE)
        work.wait(_INTERRUPTIBLE)
        gathered: NDArray[np.float64] = found.numpy()
        return gathered

    def is_broken(self, error: BaseException) -> bool:
        """Return whether an exception is one of gloo's or NCCL's, whose own types or texts say so."""
        if not isinstance(error, RuntimeError):
            return False
        return type(error).__module__.startswith("torch.distributed") or any(
            name in str(error) for name in ("gloo", "NCCL")
        )

    def close(self) -> None:
        """Destroy the process group, unless that was done."""
        group, self._group = self._group, None
        if group is not None and self.is_open:
            with suppress(ValueError, AssertionError):  # the group was destroyed, and others have been made since
                self._distributed.destroy_process_group(group)
