"""The picture of a history: `plot_history`."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from monitor_core.plotting.curves.curves import read_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
"""The kinds of files that a picture can be written to."""


def plot_history(
    history: object,
    *,
    metrics: Sequence[str] | None = None,
    batches: bool = False,
    smoothing: float = 0.0,
    mark_best: bool = True,
    title: str | None = None,
    to_file: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the curves of a run, or of several for comparison.

    One run is drawn into one diagram: losses and whatever has no bounds on the left axis; accuracies and the other
    metrics between 0 and 1 (AUC, F1, precision, recall, ...) on the right one. Several runs have a diagram for each
    metric, and a colour each. Training is drawn solid, validation dashed. Values that are not finite are left out,
    and the line goes on to the next one.

    No window, no pyplot and no display are needed, and no setting of matplotlib is changed. In a notebook the
    returned figure shows itself.

    Args:
        history: A `History`; an object with a mapping ``history``, such as Keras's; a mapping from metric name to
            values; or, for several runs, a mapping from labels to any of these.
        metrics: The names of what to draw, ``acc`` for ``accuracy`` and vice versa. None draws ``loss``, ``val_loss``
            and the metrics between 0 and 1; where there are none of these, whatever there is.
        batches: Whether to draw every batch by its step instead of every epoch; for a ``History(per_batch=True)``.
            Of more than 8,000 points the lowest and the highest of each pixel's width are drawn.
        smoothing: How much to smooth, in [0, 1): what a value keeps of its weight from one to the next in a moving
            average. The values themselves stay, pale, behind it.
        mark_best: Whether to mark the epoch of the lowest validation loss with its value.
        title: A title above the picture.
        to_file: A path with the suffix ``.png`` or ``.svg`` to write the picture to; what was there is replaced in
            one go, once the new picture is complete.
        figsize: Width and height in inches; chosen by the number of diagrams if None.

    Returns:
        The figure; its axes are the diagrams in their order, and of one run the left and then the right axis.

    Raises:
        ImportError: matplotlib is not installed.
        KeyError: There is no such metric; the message lists the names.
        TypeError: The history or ``metrics`` is of another kind.
        ValueError: ``smoothing`` or the suffix is out of range, there is nothing to draw, batches were not recorded,
            or a metric's values are not one number for each epoch.

    Example:
        >>> figure = plot_history({"loss": [0.9, 0.5, 0.3], "val_loss": [0.9, 0.6, 0.7]})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss']
    """
    check_smoothing(smoothing)
    path = None if to_file is None else picture_path(to_file)
    curves = read_curves(history, metrics, batches=batches)

    from monitor_core.plotting import figures  # says what to install where matplotlib is missing
    from monitor_core.plotting.curves import drawing

    figure = drawing.draw(
        curves,
        x_label="step" if batches else "epoch",
        smoothing=smoothing,
        mark_best=mark_best and not batches,
        title=title,
        figsize=figsize,
    )
    if path is not None:
        figures.save(figure, path)
    return figure


def check_smoothing(smoothing: float) -> None:
    """Check that the curves can be smoothed so.

    Raises:
        ValueError: It is not in [0, 1).
    """
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be >= 0 and < 1 (got {smoothing!r})")


def picture_path(to_file: str | PathLike[str]) -> Path:
    """Return the path of a picture.

    Raises:
        ValueError: Its suffix is none of `SUFFIXES`.
    """
    path = Path(to_file)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"to_file must end in {' or '.join(SUFFIXES)} (got {str(path)!r})")
    return path
