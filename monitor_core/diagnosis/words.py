"""How findings write numbers and lists."""

from __future__ import annotations

import math
from collections.abc import Sequence


def number(value: float) -> str:
    """Return a number with three digits, without an exponent where it reads well without one."""
    if not math.isfinite(value):
        return {"nan": "NaN", "inf": "infinity", "-inf": "-infinity"}[str(float(value))]
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(share: float) -> str:
    """Return a share as a percentage."""
    value = 100 * share
    return f"{value:.0f}%" if value >= 1 or not value else f"{value:.1g}%"


def portion(share: float) -> str:
    """Return a share of several things as the beginning of a sentence about them, such as ``Half of``."""
    for limit, words in ((0.995, "All of"), (0.9, "Nearly all of"), (0.8, "Most of"), (0.7, "Three quarters of")):
        if share >= limit:
            return words
    if 0.45 <= share <= 0.55:
        return "Half of"
    return f"{percent(share)} of"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as a list in a sentence; of many, the first and how many more there are."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
