"""Overlay several runs: axes for each quantity, a colour for each run, and a table of their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from matplotlib.figure import Figure

from monitor_core.plotting.curves import style
from monitor_core.plotting.curves.curves import Curve
from monitor_core.plotting.curves.drawing import Options, finish, new_figure
from monitor_core.plotting.curves.marks import dot
from monitor_core.plotting.curves.panels import Panel, Scale, panels_of_runs, scale_of
from monitor_core.plotting.curves.sources import Source
from monitor_core.plotting.curves.table import ROW, Ranking, Table, rank, rows_that_fit

_WIDTH = 4.9
_HEIGHT_OF_MAIN = 3.5
_HEIGHT_OF_SMALL = 1.9
_FEW_RUNS = 6
"""Up to these, training and validation share a diagram, and each run keeps its colour whatever the others reach."""
_NARROW = 7.0
"""Inches; below, the diagrams are above each other."""
_LOW = 4.5
"""Inches; below, diagrams have few ticks and narrow labels."""
_MOST_ROWS = 40
_MOST_NOTES = 3


@attrs.frozen(kw_only=True)
class _Overlay:
    """What all axes of a figure share."""

    ranking: Ranking
    colours: dict[str, Any]
    options: Options

    @property
    def is_many(self) -> bool:
        return len(self.ranking.rows) > _FEW_RUNS

    @property
    def is_ranked(self) -> bool:
        return self.options.mark_best and self.ranking.metric is not None

    def place(self, curve: Curve) -> int:
        """Return the rank of a curve's run, 0 for the best."""
        return next(place for place, row in enumerate(self.ranking.rows) if row.run == str(curve.run))


def draw_runs(sources: Sequence[Source], curves: Sequence[Curve], options: Options) -> Figure:
    """Draw several runs, ranked by their results."""
    ranking = rank(sources, curves)
    many = len(ranking.rows) > _FEW_RUNS
    panels = panels_of_runs(curves, apart=many)
    columns = 1 if len(panels) == 1 or (options.figsize and options.figsize[0] < _NARROW) else 2
    rows = _rows_of(panels, columns)
    heights = [_HEIGHT_OF_MAIN if row[0].is_main else _HEIGHT_OF_SMALL for row in rows]
    listed = ROW * (5 + min(len(ranking.rows), _MOST_ROWS))
    size = (_WIDTH * columns + 2.6, max(sum(heights), listed) + 0.3 + (0.35 if options.title else 0.0))
    figure = new_figure(options, size)
    overlay = _Overlay(ranking=ranking, colours=_colours(ranking, sources), options=options)
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    notes = _draw_diagrams(figure, grid, rows, curves, overlay)
    figure.align_ylabels(figure.axes)
    first = figure.axes[0]
    side = figure.add_axes((0.0, 0.0, 1.0, 1.0), label="runs")
    width = _add_table(side, overlay, key=not many and len({curve.is_validation for curve in curves}) > 1)
    if options.figsize is None:
        figure.set_figwidth(_WIDTH * columns + width + 0.1)
    left = max(1.0 - (width + 0.05) / figure.get_figwidth(), 0.3)
    figure.set_layout_engine("constrained", rect=(0.0, 0.0, left, 1.0))
    finish(figure, notes)
    side.set_position((left + 0.005, 0.0, 1.0 - left - 0.005, first.get_position().y1))
    return figure


def _rows_of(panels: Sequence[Panel], columns: int) -> list[list[Panel]]:
    """Return the panels in rows, the large ones first."""
    groups = [[panel for panel in panels if panel.is_main is is_main] for is_main in (True, False)]
    return [group[first : first + columns] for group in groups for first in range(0, len(group), columns)]


def _colours(ranking: Ranking, sources: Sequence[Source]) -> dict[str, Any]:
    """Return each run's colour: for few runs in the given order, for many by rank, with the strongest for the best."""
    runs = [row.run for row in ranking.rows]
    if len(runs) <= _FEW_RUNS:
        runs = list(dict.fromkeys(str(source.label) for source in sources))
    return dict(zip(runs, style.colours(len(runs), dark=style.is_dark()), strict=True))


def _add_table(side: Any, overlay: _Overlay, *, key: bool) -> float:
    """Add the table, and return its width in inches."""
    side.set_axis_off()
    most = min(_MOST_ROWS, rows_that_fit(side.figure.get_figheight()))
    table = Table(side)
    table.add_runs(
        overlay.ranking,
        overlay.colours,
        most=most,
        x_label=overlay.options.x_label,
        has_best=overlay.options.mark_best,
    )
    if key:
        table.add_key()
    return table.width


def _draw_diagrams(
    figure: Figure, grid: Any, rows: Sequence[Sequence[Panel]], curves: Sequence[Curve], overlay: _Overlay
) -> list[str]:
    """Draw all panels, and return the notes about them."""
    smoothed = 0.0
    beyond: dict[str, list[str]] = {}
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            axes = figure.add_subplot(grid[row, column])
            scale = scale_of(panel)
            smoothed = max(smoothed, _draw_panel(axes, panel, scale, overlay))
            is_last = row == len(rows) - 1 or column >= len(rows[row + 1])
            style.dress_x(axes, curves, overlay.options.x_label if is_last else None)
            for run, extreme in _mark_beyond(axes, panel, scale, overlay.colours).items():
                beyond.setdefault(run, []).append(f"{panel.label} (up to {extreme:.3g})")
    _share_limits(figure.axes, [panel for panels in rows for panel in panels])
    notes = [f"▲ {run} leaves the plot of {' and '.join(where)}" for run, where in beyond.items()]
    if len(notes) > _MOST_NOTES:
        notes = [f"▲ {len(beyond)} runs leave the plot: {', '.join(beyond)}"]
    return notes + ([f"pale: as recorded; line: moving average (smoothing={smoothed:.3g})"] if smoothed else [])


def _share_limits(diagrams: Sequence[Any], panels: Sequence[Panel]) -> None:
    """Give training and validation of one quantity the same limits if they have separate axes."""
    together: dict[str, list[Any]] = {}
    for axes, panel in zip(diagrams, panels, strict=True):
        together.setdefault(panel.curves[0].quantity, []).append(axes)
    for group in together.values():
        if len({axes.get_yscale() for axes in group}) == 1:
            limits = [axes.get_ylim() for axes in group]
            for axes in group:
                axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _draw_panel(axes: Any, panel: Panel, scale: Scale, overlay: _Overlay) -> float:
    """Draw a panel, and return how much its curves were smoothed."""
    smoothed = 0.0
    for curve in sorted(panel.curves, key=overlay.place, reverse=True):
        place = overlay.place(curve)
        is_best = place == 0 and overlay.is_ranked
        look: dict[str, Any] = {
            "linewidth": 1.9 if is_best else 0.9 if overlay.is_many else 1.3,
            "marker": "o" if len(curve.x) == 1 else None,
            "zorder": 3.0 if is_best else 2.0 + 0.5 / (1 + place),
        }
        if overlay.is_many:
            look["linestyle"] = "solid"  # training and validation have separate axes
        label = f"{curve.run}: {curve.name}"
        smoothing = overlay.options.smoothing
        colour = overlay.colours[str(curve.run)]
        smoothed = max(smoothed, style.draw_curve(axes, curve, colour, label=label, smoothing=smoothing, **look)[1])
    is_low = overlay.options.figsize is not None and overlay.options.figsize[1] < _LOW
    style.dress(axes, scale, label=panel.label, small=not panel.is_main or is_low)
    for row in overlay.ranking.rows[: 1 if overlay.is_many else None]:
        if overlay.is_ranked and row.best is not None and row.best[0] in panel.curves and scale.shows(row.best[2]):
            axes.plot(*row.best[1:], **dot(overlay.colours[row.run], axes.get_facecolor(), size=5.5))
    return smoothed


def _mark_beyond(axes: Any, panel: Panel, scale: Scale, colours: dict[str, Any]) -> dict[str, float]:
    """Mark where runs leave the axes, and return how far each of them goes."""
    extremes: dict[str, float] = {}
    for curve in panel.curves:
        above = curve.y > (np.inf if scale.high is None else scale.high)
        below = curve.y < (-np.inf if scale.low is None else scale.low)
        for outside, height, marker in ((above, 1.0, "^"), (below, 0.0, "v")):
            if not outside.any():
                continue
            extreme = float(curve.y.max() if height else curve.y.min())
            extremes[str(curve.run)] = max(extremes.get(str(curve.run), extreme), extreme, key=abs)
            axes.plot(
                curve.x[outside][0],
                height,
                transform=axes.get_xaxis_transform(),
                marker=marker,
                markersize=6.0,
                color=colours[str(curve.run)],
                linestyle="none",
                clip_on=False,
                label="_beyond",
                zorder=6,
            )
    return extremes
