"""Draw activations over the epochs, as bands of quantiles or as shares: matplotlib figures without pyplot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monitor_core.plotting.curves.smoothing import Floats
from monitor_core.plotting.figures import PALETTE, HistoryFigure
from monitor_core.plotting.layers.series import QUANTILES, Series

try:
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
except ModuleNotFoundError as error:
    raise ImportError('drawing needs matplotlib: pip install "monitor_core[plot]"') from error

GREY = "0.55"
_FEW_POINTS = 30
WIDTH = 8.5
_BANDS = ((0, "1 to 99 %", 0.16), (1, "10 to 90 %", 0.3), (2, "25 to 75 %", 0.5))
"""For each band the number of its lower quantile, its name, and its opacity."""


def new_figure(size: tuple[float, float], title: str | None, *, is_laid_out: bool = False) -> Figure:
    """Return a figure of a size in inches, without pyplot; matplotlib lays it out unless the caller does."""
    figure = HistoryFigure(figsize=size, layout=None if is_laid_out else "constrained")
    FigureCanvasAgg(figure)
    if title is not None:
        place = {"y": 1 - 0.1 / size[1]} if is_laid_out else {}
        figure.suptitle(title, fontsize="large", fontweight="bold", **place)
    return figure


# --- distributions -------------------------------------------------------------------------------------------------


def draw_distributions(
    distributions: Sequence[Series], *, title: str | None = None, figsize: tuple[float, float] | None = None
) -> Figure:
    """Draw the quantiles of each layer into its own axes.

    Args:
        distributions: One for each layer, at least one; ``values`` are the `QUANTILES`.
        title: A title above the plot.
        figsize: Width and height in inches.
    """
    count = len(distributions)
    columns = count if count < 4 else 2 if count == 4 else 3
    rows = -(-count // columns)
    figure = new_figure(figsize or (max(5.6, 3.7 * columns), 2.5 * rows + 0.5), title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes, each in zip(grid.flat, distributions, strict=False):
        _draw_bands(axes, each)
    for axes in grid.flat[count:]:
        axes.remove()
    for column in range(columns):
        lowest = grid[(count - 1 - column) // columns, column]
        lowest.set_xlabel("epoch")
        lowest.tick_params(labelbottom=True)
    handles: list[Any] = [Line2D([], [], color=PALETTE[0], linewidth=1.8, label="median")]
    handles += [
        Patch(color=PALETTE[0], alpha=opacity, linewidth=0, label=name) for _, name, opacity in reversed(_BANDS)
    ]
    if any(each.flawed.any() for each in distributions):
        handles.append(Line2D([], [], **_FLAW, label="some values not finite"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize="small")
    return figure


_FLAW: dict[str, Any] = {
    "color": PALETTE[1], "marker": "x", "markersize": 5, "markeredgewidth": 1.5, "linestyle": "none",
}  # fmt: skip


def _draw_bands(axes: Any, series: Series) -> None:
    epochs, values = series.epochs, series.values
    if len(epochs) == 1:  # a band needs a width
        epochs, values = epochs + np.array([-0.4, 0.4]), np.repeat(values, 2, axis=0)
    for lower, _, opacity in _BANDS:
        low, high = values[:, lower], values[:, len(QUANTILES) - 1 - lower]
        axes.fill_between(epochs, low, high, color=PALETTE[0], alpha=opacity, linewidth=0, label="_band")
    axes.plot(epochs, values[:, len(QUANTILES) // 2], color=PALETTE[0], linewidth=1.8, label="median")
    flawed = series.epochs[series.flawed]
    if len(flawed):
        axes.plot(flawed, [0.03] * len(flawed), **_FLAW, transform=axes.get_xaxis_transform(), label="not finite")
    axes.set_title(series.layer, loc="left", fontsize="medium", fontweight="bold")
    axes.axhline(0.0, color=GREY, linewidth=0.8, zorder=1, label="_zero")
    _dress(axes, series.epochs)


# --- dead units ----------------------------------------------------------------------------------------------------


def draw_shares(
    shares: Sequence[Series], *, title: str | None = None, figsize: tuple[float, float] | None = None
) -> Figure:
    """Draw the share of each layer as a line, with its last value in the legend.

    Args:
        shares: One for each layer, at least one, in [0, 1].
        title: A title above the plot.
        figsize: Width and height in inches.
    """
    figure = new_figure(figsize or (WIDTH, 4.0), title)
    axes = figure.add_subplot()
    style: dict[str, Any] = {"linewidth": 1.6, "markersize": 3.5}
    style["marker"] = "o" if max(len(each.epochs) for each in shares) <= _FEW_POINTS else ""
    for each, colour in zip(shares, _colours(len(shares)), strict=True):
        share = each.values[:, 0]
        axes.plot(each.epochs, share, color=colour, label=f"{each.layer}   {100 * share[-1]:.3g}%", **style)
    highest = max(float(np.nanmax(each.values)) for each in shares)
    axes.set_ylim(-0.02 * max(highest, 0.05), min(1.02, 1.1 * max(highest, 0.05)))
    axes.set_ylabel("dead units")
    axes.set_xlabel("epoch")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.legend(loc="outside right upper", title="layer   last share", frameon=False, alignment="left")
    _dress(axes, np.concatenate([each.epochs for each in shares]))
    return figure


def _colours(count: int) -> list[Any]:
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    return [colormaps["viridis"](position) for position in np.linspace(0.0, 0.9, count)]  # by depth


def _dress(axes: Any, epochs: Floats) -> None:
    for name, spine in axes.spines.items():
        spine.set(linewidth=0.7, edgecolor=GREY, visible=name in {"bottom", "left"})
    axes.tick_params(width=0.7, length=3.0, color=GREY, labelsize="small")
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=GREY, alpha=0.25, linewidth=0.6)
    axes.locator_params(axis="y", nbins=6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    margin = 0.02 * (epochs.max() - epochs.min()) or 0.6
    axes.set_xlim(epochs.min() - margin, epochs.max() + margin)
