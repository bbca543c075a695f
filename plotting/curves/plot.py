"""The plot of a history: `plot_history`."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from monitor_core.plotting.curves.curves import curves_of
from monitor_core.plotting.curves.sources import read_sources

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
"""The kinds of files that a plot can be written to."""


def plot_history(
    history: object,
    *,
    metrics: Sequence[str] | None = None,
    batches: bool = False,
    smoothing: float | None = None,
    mark_best: bool = True,
    title: str | None = None,
    to_file: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the curves of one run, or compare several runs.

    One run has a panel for its losses, one for accuracies and the other metrics between 0 and 1 (AUC, F1, precision,
    recall, ...), and a small panel for each further quantity, the learning rate last. Each metric has a hue; training
    is solid, validation dashed, and the lines are labelled at their ends. Marks show what decided the run: the best
    epoch of the metric that a sink monitored (by default the lowest validation loss), where the learning rate was
    lowered, and where a sink stopped the run, with its reason.

    For several runs, each quantity has its own axes, each run its colour, and a table lists the results, the best
    first. A run that goes far beyond the others leaves the axes, with a mark and a note, instead of flattening them.

    If a run has evaluations within epochs, each is a point of its curves, and the axis counts steps instead of epochs,
    unless one of several runs does not know its steps.

    Values that span three decades or more get a logarithmic axis. Epochs are numbered from 1. Non-finite values are
    skipped, and the line connects the neighbouring points.

    It needs neither pyplot nor a display, and changes no matplotlib settings. In a notebook the returned figure
    displays itself. For characters that the user's font lacks, such as those of an East Asian title, another installed
    font is used; if there is none, a warning says which to install.

    Args:
        history: A `History`; an adapter or a loop that has one; the result of `open_run`, or the run's folder; the path
            of a CSV file; an object with a mapping ``history``, such as Keras's; a mapping from metric name to values;
            or, for several runs, a list of any of these, or a mapping from labels to them.
        metrics: The names of the metrics to draw; ``acc`` finds ``accuracy`` and vice versa. None draws all.
        batches: Whether to draw every batch by its step instead of every epoch; for a ``History(per_batch=True)`` or a
            recorded run. Beyond 8,000 points, only the lowest and the highest of each pixel column are drawn.
        smoothing: How much to smooth, in [0, 1): the factor by which a value's weight in the moving average shrinks
            with each further value. The raw values stay visible, pale, below the line. None smooths long, noisy curves.
        mark_best: Whether to mark the epochs that decided the run.
        title: A title above the plot.
        to_file: A path with the suffix ``.png`` or ``.svg`` to write the image to; an existing file is replaced
            atomically.
        figsize: Width and height in inches; None chooses them to fit the content.

    Returns:
        The figure; its first axes are the panels in their order.

    Raises:
        FileNotFoundError: The file does not exist, or the folder contains no journal.
        ImportError: matplotlib is not installed.
        KeyError: A metric does not exist; the message lists the available names.
        TypeError: ``history`` or ``metrics`` has an unsupported type.
        ValueError: ``smoothing`` is out of range, the suffix is unknown, there is nothing to draw, batches were not
            recorded, an adapter has no History or several, or a metric's values are not one number for each epoch.

    Example:
        >>> figure = plot_history({"loss": [0.9, 0.5, 0.3], "val_loss": [0.9, 0.6, 0.7]})
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['loss']
    """
    check_smoothing(smoothing)
    path = None if to_file is None else image_path(to_file)
    sources = read_sources(history, batches=batches)
    curves = curves_of(sources, metrics)

    from monitor_core.plotting import figures  # says what to install where matplotlib is missing
    from monitor_core.plotting.curves.drawing import Options, draw_run
    from monitor_core.plotting.curves.overlay import draw_runs

    options = Options(
        x_label=sources[0].unit,
        smoothing=smoothing,
        mark_best=mark_best,
        title=title,
        figsize=figsize,
    )
    alone = len(sources) == 1 and sources[0].label is None
    figure = draw_run(sources[0], curves, options) if alone else draw_runs(sources, curves, options)
    if path is not None:
        figures.save(figure, path)
    return figure


def check_smoothing(smoothing: float | None) -> None:
    """Check the amount of smoothing; None lets each curve decide.

    Raises:
        ValueError: It is not in [0, 1).
    """
    if smoothing is not None and not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be >= 0 and < 1 (got {smoothing!r})")


def image_path(to_file: str | PathLike[str]) -> Path:
    """Check the path of an image, and return it.

    Raises:
        ValueError: Its suffix is not one of `SUFFIXES`.
    """
    path = Path(to_file)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"to_file must end in {' or '.join(SUFFIXES)} (got {str(path)!r})")
    return path
