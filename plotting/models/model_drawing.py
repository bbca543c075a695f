"""Draw a layer graph as a matplotlib figure, without pyplot.

The user's settings decide the colours of text and background, so that a dark style stays dark; nothing is set globally.
The axes count points from the upper left corner. The ``gid`` of every box, frame and line says what it represents:
``layer:conv``, ``model:encoder``, ``edge:conv->add``.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import attrs
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Curve
from matplotlib.patheffects import withStroke

from monitor_core.files.replacing import replacing
from monitor_core.model.layer_graph import LayerGraph
from monitor_core.plotting.figures import PALETTE, HistoryFigure
from monitor_core.plotting.graph_layout.layout import Direction, lay_out
from monitor_core.plotting.graph_layout.shapes import Box, Frame, Layout, Line, Point, Size
from monitor_core.plotting.models.captions import Caption, Style, caption

_KIND, _NAME, _ROW = 9.5, 8.5, 8.0  # sizes of type, in points
_LEADING = 1.4
_PADDING = (9.0, 5.5)
_MARGIN = 14.0
_GAP = 3.0  # above the rows
_COLUMN = 7.0  # between the columns of the rows
_GREY = "0.55"
_LINE = "0.45"
_TINT = 0.09  # how much darker each nested frame's background is
_HEAD = (6.0, 5.0)  # the length and width of an arrow's head
_LONGEST_SIDE = 65_000  # pixels per side that matplotlib can draw
_MOST_PIXELS = 100e6  # pixels in total; four bytes each
_COLOURS = {
    "input": _GREY,
    "recurrent": PALETTE[3],
    "convolution": PALETTE[0],
    "dense": PALETTE[1],
    "normalization": PALETTE[5],
    "pooling": PALETTE[2],
    "activation": PALETTE[4],
    "other": _GREY,
}


class ModelFigure(HistoryFigure):
    """A figure of any size that displays itself in a notebook."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=fitting_dpi(self, 2 * self.dpi))
        width, height = self.get_size_inches() * self.dpi
        return buffer.getvalue(), {"width": int(width), "height": int(height)}


def draw_model(graph: LayerGraph, style: Style, direction: Direction, longest: float) -> Figure:
    """Draw a graph with at least one layer.

    Args:
        graph: The layers.
        style: What their boxes show.
        direction: The direction of flow.
        longest: The length, in points, beyond which the drawing is folded.
    """
    nodes = graph.ordered()
    numbers = {node.name: number for number, node in enumerate(nodes)}
    measure = _Measure()
    captions = [_Measured.of(caption(node, style), measure) for node in nodes]
    layout = lay_out(
        [each.size for each in captions],
        [(numbers[source], numbers[target]) for source, target in graph.edges],
        [node.inside for node in nodes],
        {group: measure(group[-1], _NAME, bold=True)[0] for node in nodes for group in _around(node.inside)},
        direction=direction,
        longest=longest,
    )
    figure, axes = _sheet(layout)
    for frame in layout.frames:
        _draw_frame(axes, frame)
    for (source, target), line in zip(graph.edges, layout.lines, strict=True):
        _draw_line(axes, f"edge:{source}->{target}", line)
    for node, each, box in zip(nodes, captions, layout.boxes, strict=True):
        each.draw(axes, f"layer:{node.name}", box)
    return figure


def save_model(figure: Figure, path: Path, dpi: float) -> None:
    """Write a figure to a file atomically, at a lower resolution if the image would be too large.

    Raises:
        OSError: It cannot be written; an existing file stays unchanged.
    """
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {}  # the same plot is the same file
    with replacing(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=fitting_dpi(figure, dpi), metadata=metadata)


def fitting_dpi(figure: Figure, dpi: float) -> float:
    """Return the dots per inch, or fewer if the image would be too large to draw."""
    width, height = figure.get_size_inches()
    return float(min(dpi, _LONGEST_SIDE / max(width, height), math.sqrt(_MOST_PIXELS / (width * height))))


def _around(inside: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [inside[: depth + 1] for depth in range(len(inside))]


def _sheet(layout: Layout) -> tuple[Figure, Any]:
    """Return a figure with axes that count points, y downwards."""
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    figure = ModelFigure(figsize=(width / 72, height / 72))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-_MARGIN, layout.width + _MARGIN), ylim=(layout.height + _MARGIN, -_MARGIN))
    axes.axis("off")
    return figure, axes


# --- texts ---------------------------------------------------------------------------------------------------------


class _Measure:
    """Measures the size of drawn text."""

    def __init__(self) -> None:
        self._dpi = 288.0  # keeps the rounding to whole dots small
        self._renderer: Any = FigureCanvasAgg(Figure(dpi=self._dpi)).get_renderer()
        self._known: dict[tuple[str, float, bool], Size] = {}

    def __call__(self, text: str, size: float, *, bold: bool = False) -> Size:
        """Return a text's width, and the height of its line, in points."""
        key = (text, size, bold)
        if key not in self._known:
            font = FontProperties(size=size, weight="bold" if bold else "normal")
            width = self._renderer.get_text_width_height_descent(text, font, False)[0]
            self._known[key] = width * 72 / self._dpi, size * _LEADING
        return self._known[key]


def _write(axes: Any, place: Point, text: str, size: float, **options: Any) -> None:
    axes.text(*place, text, **{"fontsize": size, "va": "center_baseline", "parse_math": False, "zorder": 4, **options})


@attrs.frozen
class _Measured:
    """A caption and the sizes of its parts, in points.

    Attributes:
        caption: The content.
        size: The size of the box around it.
        columns: The widths of the rows' two columns.
    """

    caption: Caption
    size: Size
    columns: Size

    @classmethod
    def of(cls, said: Caption, measure: _Measure) -> _Measured:
        """Measure a caption."""
        columns = [max((measure(row[side], _ROW)[0] for row in said.rows), default=0.0) for side in (0, 1)]
        lines = [measure(said.kind, _KIND, bold=True)]
        lines += [measure(said.name, _NAME)] if said.name else []
        lines += [(sum(columns) + _COLUMN, _ROW * _LEADING)] * len(said.rows)
        width = max(width for width, _ in lines)
        height = sum(height for _, height in lines) + (_GAP if said.rows else 0.0)
        return cls(said, (width + 2 * _PADDING[0], height + 2 * _PADDING[1]), (columns[0], columns[1]))

    def draw(self, axes: Any, gid: str, box: Box) -> None:
        """Draw the box and its texts."""
        colour = _COLOURS[self.caption.family]
        axes.add_artist(
            _rounded(box, 4.0, gid=gid, facecolor=(colour, 0.16), edgecolor=colour, linewidth=1.0, zorder=3)
        )
        middle, place = box.x + box.width / 2, box.y + _PADDING[1]
        lines = [(self.caption.kind, _KIND, {"weight": "bold"}), (self.caption.name, _NAME, {})]
        for text, size, options in lines:
            if text:
                _write(axes, (middle, place + size * _LEADING / 2), text, size, ha="center", **options)
                place += size * _LEADING
        self._draw_rows(axes, middle - (sum(self.columns) + _COLUMN) / 2, place + _GAP)

    def _draw_rows(self, axes: Any, left: float, place: float) -> None:
        for number, (label, value) in enumerate(self.caption.rows):
            line = place + (number + 0.5) * _ROW * _LEADING
            _write(axes, (left, line), label, _ROW, ha="left", alpha=0.6)
            _write(axes, (left + self.columns[0] + _COLUMN, line), value, _ROW, ha="left")


# --- shapes --------------------------------------------------------------------------------------------------------


def _rounded(box: Box, radius: float, **options: Any) -> FancyBboxPatch:
    style = f"round,pad=0,rounding_size={radius}"
    patch = FancyBboxPatch((box.x, box.y), box.width, box.height, boxstyle=style, mutation_aspect=1.0, **options)
    patch.set_clip_on(False)
    return patch


def _draw_frame(axes: Any, frame: Frame) -> None:
    box, gid = frame.box, f"model:{'/'.join(frame.group)}"
    axes.add_artist(_rounded(box, 6.0, gid=gid, facecolor=(_GREY, _TINT), edgecolor=_GREY, linewidth=0.8, zorder=1))
    if frame.is_first:
        ground = withStroke(linewidth=2.5, foreground=_ground(axes, len(frame.group)))  # a line may pass below it
        place = (box.x + 8.0, box.y + 10.0)
        _write(axes, place, frame.group[-1], _NAME, ha="left", weight="bold", alpha=0.75, path_effects=[ground])


def _ground(axes: Any, depth: int) -> Any:
    """Return the background colour inside this many frames."""
    share = (1 - _TINT) ** depth
    paper, tint = to_rgb(axes.figure.get_facecolor()), to_rgb(_GREY)
    return [share * one + (1 - share) * other for one, other in zip(paper, tint, strict=True)]


def _draw_line(axes: Any, gid: str, line: Line) -> None:
    """Draw a line with an arrow's head at its end."""
    (x, y), before = line[-1], next(point for point in reversed(line) if point != line[-1])
    length = math.dist((x, y), before)
    along, across = (x - before[0]) / length, (y - before[1]) / length
    neck = (x - _HEAD[0] * along, y - _HEAD[0] * across)
    half = _HEAD[1] / 2
    sides = [(neck[0] + sign * half * across, neck[1] - sign * half * along) for sign in (1, -1)]
    path = Curve([*line[:-1], neck], [Curve.MOVETO] + [Curve.CURVE4] * (len(line) - 1))
    common: dict[str, Any] = {"edgecolor": _LINE, "zorder": 2, "clip_on": False}
    axes.add_artist(PathPatch(path, gid=gid, facecolor="none", linewidth=1.0, capstyle="butt", **common))
    axes.add_artist(Polygon([(x, y), *sides], facecolor=_LINE, linewidth=0.0, **common))
