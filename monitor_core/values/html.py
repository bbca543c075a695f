"""Pieces of what a notebook shows of an object: HTML with its names escaped, and small curves as inline SVG.

Contract. Every string that is passed in is text, and never markup. The pieces need no script and fetch nothing; colours
hold on light and dark ground, and tell training and validation apart by dashes too.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor_core.values.text import format_value, shortened, valid_text
from monitor_core.values.thinning import thinned

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito, Color Universal Design (2008)
_WIDTH, _HEIGHT, _MARGIN = 280, 70, 3
_LONGEST = 80
"""How many characters of a name are shown."""

Floats = NDArray[np.float64]
Points = tuple[Floats, Floats]


def escaped(text: object) -> str:
    """Return a text for HTML, cut if it is long; what UTF-8 cannot hold is written as an escape."""
    return html.escape(valid_text(shortened(str(text), _LONGEST)))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[int] = ()) -> str:
    """Return a table of texts.

    Args:
        headers: The columns' names.
        rows: The cells.
        right: The columns that are aligned to the right.
    """
    rights = set(right)

    def cells(tag: str, row: Sequence[object]) -> str:
        styles = ("right" if place in rights else "left" for place in range(len(row)))
        return "".join(
            f'<{tag} style="text-align: {side}; padding: 1px 8px">{escaped(cell)}</{tag}>'
            for side, cell in zip(styles, row, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', headers)}</tr></thead><tbody>{body}</tbody></table>"


def card(title: object, lines: Iterable[object], *pieces: str) -> str:
    """Return a title, lines of text and further pieces under each other."""
    texts = "".join(f'<div style="opacity: 0.8">{escaped(line)}</div>' for line in lines)
    return f"<div><div><strong>{escaped(title)}</strong></div>{texts}{''.join(pieces)}</div>"


def sparkline(curves: Mapping[str, Points]) -> str:
    """Return small curves over common axes, with their names; empty if no value is finite.

    Args:
        curves: The curves: places, ascending, and values, ``(n,)`` each. Of many points, the lowest and the highest in
            each pixel are drawn; what is not finite is a gap.
    """
    shown = {
        name: thinned(*points, limit=2 * _WIDTH, stretches=_WIDTH)
        for name, points in list(curves.items())[: len(_COLOURS)]
    }
    shown = {name: (x, y) for name, (x, y) in shown.items() if np.isfinite(y).any()}
    if not shown:
        return ""
    begin, end = min(float(x[0]) for x, _ in shown.values()), max(float(x[-1]) for x, _ in shown.values())
    finite = np.concatenate([y[np.isfinite(y)] for _, y in shown.values()])
    low, high = float(finite.min()), float(finite.max())
    lines, names = [], []
    for place, (name, (x, y)) in enumerate(shown.items()):
        colour, dash = _COLOURS[place], ' stroke-dasharray="5 3"' if name.startswith("val_") else ""
        across = _MARGIN + (x - begin) / ((end - begin) or 1.0) * (_WIDTH - 2 * _MARGIN)
        with np.errstate(over="ignore", invalid="ignore"):  # a range beyond float64 becomes a gap
            down = _MARGIN + (high - y) / ((high - low) or 1.0) * (_HEIGHT - 2 * _MARGIN)
        lines.append(f'<g fill="none" stroke="{colour}" stroke-width="1.5"{dash}>{_path(across, down)}</g>')
        names.append(f'<span style="color: {colour}">{escaped(name)}</span>')
    label = f"{', '.join(shown)}: from {format_value(low)} to {format_value(high)}"
    return (
        f'<svg role="img" aria-label="{escaped(label)}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" xmlns="http://www.w3.org/2000/svg">{"".join(lines)}</svg>'
        f"<div>{' '.join(names)}</div>"
    )


def _path(across: Floats, down: Floats) -> str:
    """Return the line through the points, with gaps where they are not finite, and a dot for a point between gaps."""
    commands, dots = [], []
    there = np.isfinite(down)
    for place in there.nonzero()[0].tolist():
        before = place > 0 and bool(there[place - 1])
        point = f"{across[place]:.1f} {down[place]:.1f}"
        commands.append(f"{'L' if before else 'M'}{point}")
        if not before and not (place + 1 < len(there) and there[place + 1]):
            dots.append(f'<circle cx="{across[place]:.1f}" cy="{down[place]:.1f}" r="1.5"/>')
    return f'<path d="{"".join(commands)}"/>{"".join(dots)}'
