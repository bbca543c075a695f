"""Numbers and durations as the page says them."""

from __future__ import annotations

import datetime as dt


def number(value: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{round(value):,}"


def count_of(count: int, name: str) -> str:
    """Return so many of something that has no plural."""
    return f"{number(count)} {name}"


def plural(count: int, name: str) -> str:
    """Return so many of something."""
    return f"{number(count)} {name}{'' if count == 1 else 's'}"


def moment(time: float) -> str:
    """Return a moment, seconds since 1970, in UTC."""
    return dt.datetime.fromtimestamp(time, dt.UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0")


def share(part: float) -> str:
    """Return a share as a percentage."""
    if part and part < 0.001:
        return "< 0.1%"
    return f"{part:.1%}" if part < 0.1 else f"{part:.0%}"


def seconds(value: float) -> str:
    """Return a duration in its largest unit, or two."""
    if value < 1e-3:
        return f"{value * 1e6:.3g} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 60:
        return f"{value:.3g} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def joined(texts: list[str]) -> str:
    """Return texts as a list in a sentence."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))
