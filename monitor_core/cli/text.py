"""Text for a terminal: names and values that come from files are shown as they are, and nothing of them is obeyed."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

_NARROWEST = 4
"""The width below which no column is cut."""
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
    text = plain(name)
    text.stylize(_STYLES.get(name, ""))
    return text


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


def print_table(
    out: Console, headers: Iterable[str], rows: Iterable[Iterable[Text | str]], *, right: Iterable[int] = ()
) -> None:
    """Print rows in aligned columns, no wider than the terminal; rich's own table takes a millisecond for each row.

    Args:
        out: Where to.
        headers: The columns' names.
        rows: The cells; strings are shown as they are.
        right: The columns that are aligned to the right.
    """
    lines = [[Text(plain(name).plain, style="bold", no_wrap=True) for name in headers]]
    lines += [[cell if isinstance(cell, Text) else plain(cell) for cell in row] for row in rows]
    widths = _fitting([max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)], out.width)
    rights = set(right)
    for line in lines:
        for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
            cell.truncate(width, overflow="ellipsis")
            cell.align("right" if place in rights else "left", width)
        joined = Text("  ").join(line)
        joined.rstrip()
        if out.is_terminal:
            out.print(joined, no_wrap=True, overflow="crop", crop=True)
        else:
            out.file.write(joined.plain + "\n")


def _fitting(widths: list[int], available: int) -> list[int]:
    """Return widths of columns that fit, with the widest cut first."""
    widths = list(widths)
    excess = sum(widths) + 2 * (len(widths) - 1) - available
    while excess > 0 and max(widths) > _NARROWEST:
        widest = widths.index(max(widths))
        second = max((width for place, width in enumerate(widths) if place != widest), default=_NARROWEST)
        cut = min(excess, max(1, widths[widest] - max(second, _NARROWEST)))
        widths[widest] -= cut
        excess -= cut
    return widths
