"""Values as people read them, in lines, bars and tables."""

from __future__ import annotations


def format_value(value: float) -> str:
    """Return a human-readable value: four significant digits, with an exponent for tiny and huge ones."""
    if 9999.5 <= abs(value) < 1e7:
        return f"{value:.0f}"
    return f"{value:.4g}"
