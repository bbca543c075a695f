"""JAX's distributed service: the numbers and the notes of the ranks, in its key-value store.

No device takes part: an exchange does not wait for the steps that JAX has queued, compiles nothing, and keeps every bit
of a float64, where `jax.experimental.multihost_utils.process_allgather` makes float32 of it unless x64 is enabled. JAX
has no public interface to that store; this is the one that Orbax and Flax use too.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor_core._log import logger
from monitor_core.frameworks.jax import JAX
from monitor_core.ranks.collective import Board

_PATIENCE = 1800.0
"""For how many seconds a collective waits, as those of gloo and NCCL do."""

_INTERRUPTIBLE = 1_000
"""How long to wait at a time, in ms: a signal takes effect in between."""

_LONGEST_PAUSE = 0.01

_numbers = itertools.count()
"""Numbers the collectives of this process, so that each has keys of its own."""

T = TypeVar("T")


def connected() -> JaxCollective | None:
    """Return a collective if ``jax.distributed`` is initialized with several processes; else None."""
    if JAX.module is None or (found := JAX.ranks()) is None or found[1] < 2:
        return None
    client = JAX.distributed_client()
    needed = ("key_value_set_bytes", "key_value_dir_get_bytes", "key_value_try_get", "key_value_increment")
    if any(not hasattr(client, name) for name in needed):
        logger.warning("the ranks are not connected, so each decides by its own values: JAX 0.7 or newer is needed")
        return None
    return JaxCollective(client, *found)


class JaxBoard:
    """Notes in the store of JAX's distributed service.

    Args:
        client: JAX's client of the service.
        prefix: What the keys begin with.
    """

    def __init__(self, client: Any, prefix: str = "monitor_core") -> None:
        self._client = client
        self._prefix = prefix

    def part(self, name: str) -> JaxBoard:
        """Return the notes whose keys begin with a name."""
        return JaxBoard(self._client, self._key(name))

    def set(self, key: str, text: str) -> None:
        """Write a note."""
        self._client.key_value_set(self._key(key), text, allow_overwrite=True)

    def get(self, key: str) -> str | None:
        """Return a note, None if there is none."""
        found: str | None = _unless("NOT_FOUND", lambda: self._client.key_value_try_get(self._key(key)))
        return found

    def add(self, key: str, amount: int) -> int:
        """Add to a counter."""
        return int(self._client.key_value_increment(self._key(key), amount))

    def set_once(self, key: str, text: str) -> str:
        """Write a note unless there is one; return the one that is there."""
        _unless("ALREADY_EXISTS", lambda: self._client.key_value_set(self._key(key), text))
        return str(self._client.key_value_try_get(self._key(key)))

    def delete(self, key: str) -> None:
        """Remove a note or a counter, if it is there."""
        self._client.key_value_delete(self._key(key))

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}"


def _unless(code: str, call: Callable[[], T]) -> T | None:
    """Return what a call returns, None where JAX raises an error of this code."""
    try:
        return call()
    except RuntimeError as error:  # jax.errors.JaxRuntimeError, whose text begins with the code
        if not str(error).startswith(code):
            raise
        return None


class JaxCollective:
    """Gathers by way of rank 0, which reads the numbers of all ranks and writes them as one.

    Args:
        client: JAX's client of the service.
        rank: The number of this process, from 0.
        ranks: How many there are.
    """

    patience = _PATIENCE

    def __init__(self, client: Any, rank: int, ranks: int) -> None:
        self.rank = rank
        self.ranks = ranks
        self.board: Board | None = JaxBoard(client)
        self._client = client
        self._folder = ""
        self._gathered = 0

    def open(self) -> None:
        """Begin with keys of its own: the ranks open as many of these, in the same order."""
        self._folder = f"monitor_core/gather {next(_numbers)}"

    @property
    def is_open(self) -> bool:
        """Whether this process is still connected."""
        return JAX.distributed_client() is self._client

    def gather(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gather as bytes; Ctrl-C takes effect if it must wait."""
        self._gathered += 1
        rows, all_rows = f"{self._folder}/{self._gathered}/rows/", f"{self._folder}/{self._gathered}/all"
        if self.rank:
            self._client.key_value_set_bytes(f"{rows}{self.rank}", numbers.tobytes())
            found = self._read(all_rows)
        else:
            found = self._read_all(rows, numbers)
            self._client.key_value_set_bytes(all_rows, found)
            self._client.key_value_delete(rows)
            self._client.key_value_delete(f"{self._folder}/{self._gathered - 1}/")  # which all have read
        return np.frombuffer(found).reshape(self.ranks, len(numbers))

    def _read_all(self, rows: str, own: NDArray[np.float64]) -> bytes:
        """Return the numbers of all ranks, by rank, once they are there."""
        pause, began = 0.0001, time.monotonic()
        while len(found := self._client.key_value_dir_get_bytes(rows)) < self.ranks - 1:
            self._require_time(began)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        by_rank = {int(key.rpartition("/")[2]): row for key, row in found}
        return b"".join([own.tobytes(), *(by_rank[rank] for rank in range(1, self.ranks))])

    def _read(self, key: str) -> bytes:
        began = time.monotonic()
        while True:
            found: bytes | None = _unless(
                "DEADLINE_EXCEEDED", lambda: self._client.blocking_key_value_get_bytes(key, _INTERRUPTIBLE)
            )
            if found is not None:
                return found
            self._require_time(began)

    def _require_time(self, began: float) -> None:
        if time.monotonic() - began > self.patience:
            raise TimeoutError(f"the numbers of a rank did not come within {self.patience:g} s")

    def is_broken(self, error: BaseException) -> bool:
        """Return whether an exception is one of JAX's service or of gloo, whose texts say so."""
        return type(error).__name__ in {"JaxRuntimeError", "XlaRuntimeError"} and any(
            word in str(error) for word in ("oordination", "gloo", "Gloo", "NCCL", "Connection closed by peer")
        )

    def close(self) -> None:
        """Do nothing: the service is JAX's."""
