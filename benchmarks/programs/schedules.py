"""Learning rate schedules of programs, as functions of the epoch."""

from __future__ import annotations

import math
from typing import Any


def _warmup(rate: float, epochs: int) -> Any:
    return lambda epoch: rate * min(1.0, (epoch + 1) / 5)


def _restarts(rate: float, epochs: int) -> Any:
    return lambda epoch: rate * 0.5 * (1 + math.cos(math.pi * (epoch % 10) / 10))


def _steps(rate: float, epochs: int) -> Any:
    return lambda epoch: rate * 0.1 ** (epoch // (epochs // 3))


def _cosine(rate: float, epochs: int) -> Any:
    return lambda epoch: rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


SCHEDULES = {"warmup": _warmup, "restarts": _restarts, "steps": _steps, "cosine": _cosine}
"""Learning rates by epoch, from the highest rate and the number of epochs."""
