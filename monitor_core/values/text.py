"""Values as people read them, in lines, bars and tables."""

from __future__ import annotations


def format_value(value: float) -> str:
    """Return a human-readable value: four significant digits, with an exponent for tiny and huge ones."""
    if 9999.5 <= abs(value) < 1e7:
        return f"{value:.0f}"
    return f"{value:.4g}"


def shortened(text: str, limit: int) -> str:
    """Return a string of at most so many characters: a longer one ends with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def valid_text(text: str) -> str:
    """Return a string with halves of surrogate pairs escaped, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def counted(count: int, thing: str) -> str:
    """Return a number of things: ``1 epoch``, ``3 epochs``."""
    return f"{count:,} {thing}{'' if count == 1 else 'es' if thing.endswith('s') else 's'}"
