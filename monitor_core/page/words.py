"""Numbers and durations as the page says them."""

from __future__ import annotations

import datetime as dt
import math

_SIZES = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}


def number(value: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value if isinstance(value, int) else round(value):,}"


def moment(time: float) -> str:
    """Return a moment, seconds since 1970, in UTC; the empty string for one that is none."""
    try:
        return dt.datetime.fromtimestamp(time, dt.UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    except (OverflowError, ValueError, OSError):
        return ""


def share(part: float) -> str:
    """Return a share as a percentage."""
    if part and part < 0.001:
        return "< 0.1%"
    return f"{part:.1%}" if part < 0.1 else f"{part:.0%}"


def seconds(value: float) -> str:
    """Return a duration in its largest unit, or two."""
    if not math.isfinite(value):
        return "unknown"
    for size, unit in ((1e-3, "µs"), (1.0, "ms"), (60.0, "s")):
        if value < size:
            return f"{value / _SIZES[unit]:.3g} {unit}"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def joined(texts: list[str]) -> str:
    """Return texts as a list in a sentence."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))
