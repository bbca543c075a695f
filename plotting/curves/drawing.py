"""Draw the curves of one or several runs as a matplotlib figure, without pyplot."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from monitor_core.plotting import fonts
from monitor_core.plotting.curves import marks, style
from monitor_core.plotting.curves.curves import Curve
from monitor_core.plotting.curves.labels import EndLabel, label_ends
from monitor_core.plotting.curves.panels import Panel, panels_of_run, scale_of
from monitor_core.plotting.curves.sources import Source
from monitor_core.plotting.figures import PALETTE, HistoryFigure

_WIDTH = 8.5
_HEIGHT_OF_MAIN = 2.6
_HEIGHT_OF_SMALL = 1.15
_MOST_LINES = 8
"""Of a note."""
_MOST_IN_ONE_COLUMN = 4
"""Small panels; more of them are drawn side by side."""


@attrs.frozen(kw_only=True)
class Options:
    """The options of a drawing; see `plot_history`.

    Attributes:
        x_label: What the rows are: epochs or steps.
        smoothing: As in `smooth`; None smooths long, noisy curves.
        mark_best: Whether to mark the epochs that decided the run.
        title: A title above the plot.
        figsize: Width and height in inches.
    """

    x_label: str
    smoothing: float | None = None
    mark_best: bool = True
    title: str | None = None
    figsize: tuple[float, float] | None = None


def new_figure(options: Options, size: tuple[float, float]) -> Figure:
    """Return an empty figure with the title."""
    figure = HistoryFigure(figsize=options.figsize or size, layout="constrained")
    FigureCanvasAgg(figure)
    if options.title is not None:
        figure.suptitle(options.title, fontsize="large", fontweight="bold", gid=fonts.TITLE)
    return figure


def draw_run(source: Source, curves: Sequence[Curve], options: Options) -> Figure:
    """Draw one run: a panel for the losses, one for metrics between 0 and 1, and small ones for other quantities."""
    panels = panels_of_run(curves)
    rows = _rows_of(panels)
    heights = [_HEIGHT_OF_MAIN if row[0].is_main else _HEIGHT_OF_SMALL for row in rows]
    figure = new_figure(options, (_WIDTH, sum(heights) + 0.75 + (0.35 if options.title else 0.0)))
    diagrams = _add_diagrams(figure, rows, heights)
    colours = _own_colours(panels, dark=style.is_dark())
    smoothed = 0.0
    for axes, panel in diagrams:
        for curve in panel.curves:
            _, amount = style.draw_curve(
                axes, curve, colours[curve.quantity], label=curve.name, smoothing=options.smoothing
            )
            smoothed = max(smoothed, amount)
        style.dress(axes, scale_of(panel), label=panel.label, small=not panel.is_main)
    last_row = len(rows[-1])
    for number, (axes, _) in enumerate(diagrams):
        style.dress_x(axes, curves, options.x_label if number >= len(diagrams) - last_row else None)
    notes = [f"pale: as recorded; line: moving average (smoothing={smoothed:.3g})"] if smoothed else []
    if empty := [curve.name for curve in curves if not len(curve.x)]:
        notes.append(f"without a finite value: {', '.join(empty)}")
    best = _mark(source, curves, diagrams, colours, notes) if options.mark_best else []
    finish(figure, notes)
    for axes, panel in diagrams:
        if panel.is_main or len(panel.curves) > 1:  # else the axis says it
            ends = [_end_label(curve, axes, colours[curve.quantity]) for curve in panel.curves if len(curve.x)]
            label_ends(axes, ends)
    fonts.settle(figure.findobj(Text))
    figure.draw_without_rendering()
    for axes, point in best:
        marks.write_best(axes, point)
    fonts.settle(figure.findobj(Text))
    return figure


def _rows_of(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Return the panels in rows: one per row, unless there are many small ones."""
    main, small = ([panel for panel in panels if panel.is_main is is_main] for is_main in (True, False))
    columns = 1 if len(small) <= _MOST_IN_ONE_COLUMN else 2
    return [[panel] for panel in main] + [small[first : first + columns] for first in range(0, len(small), columns)]


def _add_diagrams(figure: Figure, rows: Sequence[Sequence[Panel]], heights: Sequence[float]) -> list[tuple[Any, Panel]]:
    columns = max(map(len, rows))
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    diagrams: list[tuple[Any, Panel]] = []
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            place = grid[row, :] if panel.is_main else grid[row, column]
            diagrams.append((figure.add_subplot(place), panel))
    figure.align_ylabels([axes for axes, _ in diagrams])
    return diagrams


def _own_colours(panels: Sequence[Panel], *, dark: bool) -> dict[str, Any]:
    """Return each quantity's hue: hues differ within a panel, and the learning rate is grey."""
    together = [list(dict.fromkeys(curve.quantity for curve in panel.curves)) for panel in panels if not panel.is_rate]
    hues = style.colours(max([len(PALETTE), *map(len, together)]), dark=dark)
    quantities = [quantity for group in together for quantity in group]
    found = {quantity: hues[place % len(hues)] for place, quantity in enumerate(quantities)}
    return found | {curve.quantity: style.GREY for panel in panels if panel.is_rate for curve in panel.curves}


def _end_label(curve: Curve, axes: Any, colour: Any) -> EndLabel:
    line = next(line for line in axes.lines if line.get_label() == curve.name)
    ended = len(curve.rows) > 1 and curve.x[-1] + _spacing(curve) <= curve.rows[-1]
    text = f"{curve.name} (to {curve.x[-1]:,.0f})" if ended else curve.name
    return EndLabel(text, colour, float(curve.x[-1]), float(line.get_ydata()[-1]))


def _spacing(curve: Curve) -> float:
    """Return the usual distance between neighbouring values of a curve."""
    return float(np.median(np.diff(curve.x if len(curve.x) > 1 else curve.rows)))


def _mark(
    source: Source,
    curves: Sequence[Curve],
    diagrams: Sequence[tuple[Any, Panel]],
    colours: dict[str, Any],
    notes: list[str],
) -> list[tuple[Any, marks.Best]]:
    """Draw the marks, and return the points that still need a label, with their axes."""
    panels = [axes for axes, _ in diagrams]
    placed = []
    for best in marks.best_points(source, curves):
        axes = next(axes for axes, panel in diagrams if best.curve in panel.curves)
        marks.mark_best(panels, axes, best, colours[best.curve.quantity])
        placed.append((axes, best))
    if drops := marks.rate_drops(curves):
        marks.mark_drops(panels, drops)
        notes.insert(0, "▼ learning rate lowered")
    if stop := marks.stop_of(source):
        marks.mark_stop(panels, stop[0])
        notes.insert(0, f"■ stopped after {source.unit} {stop[0]:,.0f}: {stop[1]}")
    return placed


def finish(figure: Figure, notes: Sequence[str]) -> None:
    """Write the notes at the bottom, find fallback fonts, and lay out the figure once."""
    if notes:
        width = max(20, int(figure.get_figwidth() * 14))
        wrapped = (textwrap.wrap(note, width, max_lines=_MOST_LINES, placeholder=" …") for note in notes)
        text = "\n".join(itertools.chain.from_iterable(wrapped))
        figure.supxlabel(text, fontsize="small", color=style.GREY, x=0.01, ha="left", linespacing=1.4, gid=fonts.NOTES)
    fonts.settle(figure.findobj(Text))
    figure.draw_without_rendering()
