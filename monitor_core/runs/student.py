"""Student's t distribution, central and not, by numerical integration: what the gate needs, without SciPy.

With a standard normal ``Z`` and an independent ``U = sqrt(chi2 / df)``, ``T = (Z + shift) / U``, so that
``P(T > t) = E[Phi(shift - t * U)]``. The mean is taken over ``v = log(U)``, whose density vanishes so fast at both ends
that the trapezoidal rule is exact to about 1e-12; tests compare it with SciPy.

Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 2, chapter 31.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_POINTS = 1001
_NORMAL = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2.0)), otypes=[np.float64])


def exceeds(t: float, df: int, shift: float = 0.0) -> float:
    """Return the probability that T exceeds a value.

    Args:
        t: The value.
        df: The degrees of freedom, at least 1.
        shift: The noncentrality: the mean of the normal variable in the numerator.
    """
    u, weights = _grid(df)
    return float((weights * _NORMAL(shift - t * u)).sum())


@lru_cache(maxsize=256)
def critical(df: int, alpha: float) -> float:
    """Return the value that T exceeds with the probability ``alpha``, in (0, 0.5)."""
    return _root(lambda t: exceeds(t, df) - alpha)


@lru_cache(maxsize=256)
def shift_seen(df: int, alpha: float, power: float) -> float:
    """Return the shift with which T exceeds its `critical` value with the probability ``power``, above ``alpha``."""
    limit = critical(df, alpha)
    return _root(lambda shift: power - exceeds(limit, df, shift))


def _root(falling: Callable[[float], float]) -> float:
    """Return where a falling function, positive at 0, crosses 0."""
    low, high = 0.0, 1.0
    while falling(high) > 0:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=64)
def _grid(df: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values of U, and their weights in a mean."""
    width = 7.0 / math.sqrt(df)
    v = np.linspace(-max(37.0 / df, width), min(3.0, width), _POINTS)
    log_density = df * v - 0.5 * df * np.exp(2 * v)
    density = np.exp(log_density - log_density.max())
    return np.exp(v), density / density.sum()
