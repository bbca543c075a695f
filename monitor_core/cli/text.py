"""Text for a terminal: names and values that come from files are shown as they are, and nothing of them is obeyed."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

LONGEST = 100
"""How many characters of a name or a path a table in a pipe has at most; JSON has them whole."""
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
    return Text(_harmless(str(text)), no_wrap=True, overflow="ellipsis")


def _harmless(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "�" for each in text)


def status(name: str) -> Text:
    """Return a run's status in its colour."""
    return Text(_harmless(name), style=_STYLES.get(name, ""))


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
    out: Console,
    headers: Iterable[str],
    rows: Iterable[Iterable[Text | str]],
    *,
    right: Iterable[int] = (),
    longest: int | None = LONGEST,
) -> None:
    """Print rows in aligned columns, no wider than the terminal; rich's own table takes a millisecond for each row.

    Args:
        out: Where to.
        headers: The columns' names.
        rows: The cells; strings are shown as they are, texts in the style that each has as a whole.
        right: The columns that are aligned to the right.
        longest: How wide a column is at most; None: as wide as the terminal.
    """
    lines: list[list[Text | str]] = [[Text(_harmless(name), style="bold") for name in headers]]
    lines += [[cell if isinstance(cell, Text) else _harmless(cell) for cell in row] for row in rows]
    texts = [[cell.plain if isinstance(cell, Text) else cell for cell in line] for line in lines]
    most = out.width if longest is None else longest
    widths = [min(most, max(map(cell_len, column))) for column in zip(*texts, strict=True)]
    widths = _fitting(widths, out.width)
    rights = set(right)
    shapes = [(width, place in rights) for place, width in enumerate(widths)]
    for line, text in zip(lines, texts, strict=True):
        cells = [_sized(cell, *shape) for cell, shape in zip(text, shapes, strict=True)]
        if out.is_terminal:
            styles = [cell.style if isinstance(cell, Text) else "" for cell in line]
            joined = Text("  ").join(map(Text, cells, styles))
            joined.rstrip()
            out.print(joined, no_wrap=True, overflow="crop", crop=True)
        else:
            out.file.write("  ".join(cells).rstrip() + "\n")


def _sized(text: str, width: int, is_right: bool) -> str:
    """Return a text in so many cells of a terminal: cut, or filled with spaces."""
    missing = width - cell_len(text)
    if missing < 0:
        return set_cell_size(text, width - 1) + "…"
    return " " * missing + text if is_right else text + " " * missing


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
