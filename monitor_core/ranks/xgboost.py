"""XGBoost's collective: it sums numbers over its workers, and has no notes.

Every worker takes part in all collectives of XGBoost's training, so none is elsewhere for long. One that is lost ends
the training of the others by an error: at once if it was killed, and after ``dmlc_timeout`` if it hangs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.frameworks.xgboost import XGBOOST
from monitor_core.ranks.collective import Board


def connected() -> XGBoostCollective | None:
    """Return a collective if this thread is one of several workers of XGBoost; else None."""
    if XGBOOST.module is None or (found := XGBOOST.ranks()) is None or found[1] < 2:
        return None
    return XGBoostCollective(XGBOOST.module.collective, *found)


class XGBoostCollective:
    """Gathers on the training's own connection.

    Args:
        collective: The module ``xgboost.collective``.
        rank: The number of this worker, from 0.
        ranks: How many there are.
    """

    patience = math.inf

    def __init__(self, collective: Any, rank: int, ranks: int) -> None:
        self.rank = rank
        self.ranks = ranks
        self.board: Board | None = None
        self._collective = collective

    def open(self) -> None:
        """Do nothing: XGBoost is connected."""

    @property
    def is_open(self) -> bool:
        """Whether XGBoost is still connected."""
        return bool(self._collective.is_distributed())

    def gather(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gather as bits: each rank has its own row, and the rows of the others are 0.

        Raises:
            ConnectionError: A worker is lost.
        """
        bits = np.zeros((self.ranks, len(numbers)), np.uint64)
        bits[self.rank] = numbers.view(np.uint64)
        try:
            found = self._collective.allreduce(bits, self._collective.Op.BITWISE_OR)
        except XGBOOST.module.core.XGBoostError as error:
            raise ConnectionError(str(error).partition("Stack trace:")[0].strip()) from error
        gathered: NDArray[np.float64] = found.view(np.float64).reshape(self.ranks, len(numbers))
        return gathered

    def is_broken(self, error: BaseException) -> bool:
        """Return False: nothing but XGBoost's own error says which worker is gone."""
        return False

    def close(self) -> None:
        """Do nothing: the connection is XGBoost's."""
