"""Text for a terminal: names and values that come from files are shown as they are, and nothing of them is obeyed."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES = {
    "completed": "green",
    "stopped": "green",
    "running": "cyan",
    "failed": "red",
    "killed": "red",
    "interrupted": "yellow",
}


def console() -> Console:
    """Return the console of standard output; in a pipe it is wide and has no colours."""
    made = Console(highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = 100_000
    return made


def plain(text: object) -> Text:
    """Return a string as text on one line, in which control characters and markup do nothing."""
    return Text("".join(each if each.isprintable() else "�" for each in str(text)), no_wrap=True, overflow="ellipsis")


def status(name: str) -> Text:
    """Return a run's status in its colour."""
    return Text(name, style=_STYLES.get(name, ""), no_wrap=True)


def number(value: float) -> str:
    """Return a value with four significant digits."""
    return f"{value:.0f}" if 9999.5 <= abs(value) < 1e7 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def ago(moment: float) -> str:
    """Return how long ago a moment was, seconds since 1970; the empty string for 0."""
    if moment <= 0:
        return ""
    seconds = max(0.0, time.time() - moment)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "now"


def table(headers: Iterable[str], rows: Iterable[Iterable[Text | str]], *, right: Iterable[int] = ()) -> Table:
    """Return a table without borders; ``right`` are the columns that are aligned to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    rights = set(right)
    for place, header in enumerate(headers):
        made.add_column(plain(header), justify="right" if place in rights else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(each if isinstance(each, Text) else plain(each) for each in row))
    return made
