"""The legend of several runs: a table sorted by their results, with the best run in bold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform

from monitor_core.metrics.monitor import DIRECTIONS
from monitor_core.metrics.outcome import Watched
from monitor_core.plotting import fonts
from monitor_core.plotting.curves.curves import Curve
from monitor_core.plotting.curves.sources import Source
from monitor_core.plotting.curves.style import DASHES, GREY

ROW = 0.185
"""A row's height in inches."""
_SWATCH = 0.26
_SPACE = 0.13
_LONGEST = 32
"""Characters of a label."""


@attrs.frozen(eq=False)
class Row:
    """A run's result.

    Attributes:
        run: Its label.
        best: The curve, epoch and value of its best point; None if it has none.
    """

    run: str
    best: tuple[Curve, float, float] | None


@attrs.frozen(eq=False)
class Ranking:
    """The runs in order, the best first.

    Attributes:
        metric: The metric that ranks them; None if no metric's direction is known.
        mode: ``"min"`` or ``"max"``.
        rows: The runs, those without a value last; in the given order if no metric ranks them.
    """

    metric: str | None
    mode: str
    rows: list[Row]


def rank(sources: Sequence[Source], curves: Sequence[Curve]) -> Ranking:
    """Rank runs by the metric that their sinks monitored, else the validation loss, else the first with a direction."""
    runs = list(dict.fromkeys(str(source.label) for source in sources))
    metric, mode = _criterion(sources, curves)
    if metric is None:
        return Ranking(None, mode, [Row(run, None) for run in runs])
    found = {str(curve.run): curve for curve in curves if _same(curve.name, metric)}
    rows = []
    for run in runs:
        point = found[run].best(mode) if run in found else None
        rows.append(Row(run, None if point is None else (found[run], *point)))
    sign = 1.0 if mode == "min" else -1.0
    rows.sort(key=lambda row: (row.best is None, sign * row.best[2] if row.best else 0.0))
    return Ranking(metric, mode, rows)


def _criterion(sources: Sequence[Source], curves: Sequence[Curve]) -> tuple[str | None, str]:
    names = list(dict.fromkeys(curve.name for curve in curves))
    watched: list[Watched] = [each for source in sources for each in source.outcome.watched]
    for each in watched:
        if (name := next((name for name in names if _same(name, each.metric)), None)) is not None:
            return name, each.mode
    validated = [name for name in names if name.startswith(("val_", "val/"))]
    for name in [*validated, *names]:
        mode = DIRECTIONS.get(name.removeprefix("val_").removeprefix("val/").lower())
        if mode is not None:
            return name, mode
    return None, "min"


def _same(name: str, other: str) -> bool:
    return name.replace("accuracy", "acc") == other.replace("accuracy", "acc")


def _short(label: str) -> str:
    """Return a label that leaves room for the axes: of a long one the beginning and the end."""
    half = _LONGEST // 2
    return label if len(label) <= _LONGEST else f"{label[: half - 1]}…{label[-half:]}"


def rows_that_fit(height: float) -> int:
    """Return how many runs fit into a table of some height in inches."""
    return max(3, int(height / ROW) - 6)


@attrs.define
class Table:
    """A table in a hidden axes, measured in inches from its upper left corner.

    Attributes:
        axes: Where it is drawn.
        top: The distance of the next row from the corner.
        width: The table's width.
    """

    axes: Any
    top: float = 0.0
    width: float = 0.0

    def add_runs(self, ranking: Ranking, colours: dict[str, Any], *, most: int, x_label: str, has_best: bool) -> None:
        """Add the runs in their order.

        Args:
            ranking: The runs.
            colours: Each run's colour.
            most: The maximum number of runs to list.
            x_label: What the rows are: epochs or steps.
            has_best: Whether to list the best values.
        """
        shown = ranking.rows[:most]
        columns = [["run", *(_short(row.run) for row in shown)]]
        if has_best and ranking.metric is not None:
            heading = f"{'lowest' if ranking.mode == 'min' else 'highest'} {ranking.metric}"
            columns.append([heading, *(f"{row.best[2]:.4g}" if row.best else "none" for row in shown)])
            columns.append([x_label, *(f"{row.best[1]:,.0f}" if row.best else "" for row in shown)])
            bold = 1 if shown[0].best is not None else None
        else:
            bold = None
        for place, row in enumerate(shown, start=1):
            self._swatch(self.top + ROW * place, color=colours[row.run])
        left = _SWATCH + _SPACE
        for number, cells in enumerate(columns):
            left = self._column(cells, left, bold=bold, to_right=number > 0) + _SPACE
        self.width, self.top = left, self.top + ROW * (len(shown) + 1)
        if (more := len(ranking.rows) - len(shown)) > 0:
            self._write(f"and {more} more", _SWATCH + _SPACE, self.top, color=GREY)
            self.top += ROW

    def add_key(self) -> None:
        """Add the key that says which line is training and which is validation."""
        self.top += ROW / 2
        for text, style in (("training", "solid"), ("validation", DASHES)):
            self._swatch(self.top, color=GREY, linestyle=style)
            self._write(text, _SWATCH + _SPACE, self.top)
            self.top += ROW

    def _column(self, cells: Sequence[str], left: float, *, bold: int | None, to_right: bool) -> float:
        """Write a column, with numbers aligned to the right, and return where it ends."""
        texts = []
        for place, cell in enumerate(cells):
            style: dict[str, Any] = {"color": GREY} if place == 0 else {}
            weight = "bold" if place == bold else "normal"
            texts.append(self._write(cell, left, self.top + ROW * place, weight=weight, **style))
        fonts.settle(texts)
        figure = self.axes.figure
        renderer = figure.canvas.get_renderer()
        right = left + max(text.get_window_extent(renderer).width for text in texts) / float(figure.dpi)
        for text in texts if to_right else ():
            text.set(x=right, ha="right")
        return float(right)

    def _write(self, text: str, x: float, y: float, **style: Any) -> Any:
        place = {"transform": self._inches(), "va": "center", "fontsize": "small", "in_layout": False}
        return self.axes.text(x, -y - ROW / 2, text, **place, **style)

    def _swatch(self, y: float, **style: Any) -> None:
        middle = -y - ROW / 2
        line = Line2D([0, _SWATCH], [middle, middle], transform=self._inches(), linewidth=2.0, clip_on=False, **style)
        line.set_in_layout(False)
        self.axes.add_artist(line)

    def _inches(self) -> Transform:
        figure = self.axes.figure
        inches: Transform = figure.dpi_scale_trans + ScaledTranslation(0.0, 1.0, self.axes.transAxes)
        return inches
