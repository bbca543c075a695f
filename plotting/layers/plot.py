"""Plots of activations: feature maps, distributions over the epochs, and the share of dead units.

They are drawn from files that an `ActivationDump` wrote, or from plain arrays. They need neither pyplot nor a display,
and change no matplotlib settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from monitor_core.checks import checked_count
from monitor_core.plotting.curves.plot import image_path
from monitor_core.plotting.layers.series import (
    Source,
    checked_index,
    feature_maps,
    read_dead_units,
    read_distributions,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_feature_maps(
    activation: Any,
    *,
    sample: int = 0,
    channels: Sequence[int] | None = None,
    channel_axis: int = -1,
    shared_scale: bool = True,
    columns: int | None = None,
    title: str | None = None,
    to_file: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the channels of a layer's output for one sample as a grid of numbered images.

    If no value is negative, colours go from dark to light; otherwise from blue over white, which is 0, to red.
    Non-finite values are grey.

    Args:
        activation: ``(height, width, channels)``, or ``(samples, height, width, channels)``.
        sample: Which of several samples, from 0; a negative number counts from the end.
        channels: Which channels, in this order; None for all.
        channel_axis: The axis of the channels: -1, or 1 for PyTorch's ``(samples, channels, height, width)``.
        shared_scale: Whether a colour means the same value in all images. If not, each image uses the full range, which
            reveals structure in weak channels.
        columns: How many images side by side; None chooses by their number and shape.
        title: A title above the plot.
        to_file: A path with the suffix ``.png`` or ``.svg`` to write the image to, atomically.
        figsize: Width and height in inches; None chooses by the number of images.

    Returns:
        The figure; its first axes hold the images.

    Raises:
        ImportError: matplotlib is not installed.
        IndexError: The sample or channel does not exist.
        TypeError: ``sample``, ``columns`` or a channel is not an integer.
        ValueError: The array has another number of axes or is empty, or the suffix is unknown.

    Example:
        >>> figure = plot_feature_maps(np.random.default_rng(0).normal(size=(1, 12, 12, 8)), title="conv")
        >>> figure.axes[0].images[0].get_array().ndim
        3
    """
    path = None if to_file is None else image_path(to_file)
    maps = feature_maps(activation, sample=sample, channel_axis=channel_axis)
    numbers = (
        list(range(len(maps)))
        if channels is None
        else [checked_index("channels", each, len(maps)) for each in channels]
    )
    if not numbers:
        raise ValueError("channels must have at least one number, or be None for all channels (got none)")
    if columns is not None:
        checked_count("columns", columns, least=1)

    from monitor_core.plotting import figures
    from monitor_core.plotting.layers import feature_map_drawing

    figure = feature_map_drawing.draw_maps(
        maps[numbers], numbers, columns=columns, shared_scale=shared_scale, title=title, figsize=figsize
    )
    if path is not None:
        figures.save(figure, path)
    return figure


def plot_activation_distributions(
    activations: Source,
    *,
    layers: Sequence[str] | None = None,
    title: str | None = None,
    to_file: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the distribution of each layer's values over the epochs: the median, within bands of quantiles.

    The darkest band contains the middle half of all values, the next one the middle 80%, and the lightest one all but
    1% at either end. Non-finite values are left out, and their epochs are marked.

    Args:
        activations: A folder that an `ActivationDump` wrote, of which the latest run is drawn; or a sequence of its
            files, or of mappings from layer names to arrays, one for each epoch.
        layers: Which layers, in this order; None for all.
        title: A title above the plot.
        to_file: A path with the suffix ``.png`` or ``.svg`` to write the image to, atomically.
        figsize: Width and height in inches; None chooses by the number of layers.

    Returns:
        The figure; its axes are the layers in their order.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: A file cannot be read.
        TypeError: ``activations`` is of another kind.
        ValueError: The layer does not exist, there is nothing to draw, a file is damaged, or the suffix is unknown.

    Example:
        >>> values = np.random.default_rng(0).normal(size=(8, 4))
        >>> figure = plot_activation_distributions([{"dense": values}, {"dense": 2 * values}])
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['dense']
    """
    path = None if to_file is None else image_path(to_file)
    distributions = read_distributions(activations, layers)

    from monitor_core.plotting import figures
    from monitor_core.plotting.layers import activation_drawing

    figure = activation_drawing.draw_distributions(distributions, title=title, figsize=figsize)
    if path is not None:
        figures.save(figure, path)
    return figure


def plot_dead_units(
    activations: Source,
    *,
    layers: Sequence[str] | None = None,
    channel_axis: int = -1,
    title: str | None = None,
    to_file: str | PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the share of dead units of each layer, over the epochs.

    A unit is one index along the channel axis: a neuron of a dense layer, or a filter of a convolution. It is dead if
    its value is the same for all samples and at all positions: always 0, such as a ReLU whose input is never positive,
    or, if there are at least two values, always the same other number. The more samples are dumped, the more reliable
    this is.

    Args:
        activations: As for `plot_activation_distributions`.
        layers: Which layers, in this order; None for all.
        channel_axis: The axis of the units: -1, or 1 for PyTorch's convolutions.
        title: A title above the plot.
        to_file: A path with the suffix ``.png`` or ``.svg`` to write the image to, atomically.
        figsize: Width and height in inches.

    Returns:
        The figure, with one axes.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: A file cannot be read.
        TypeError: ``activations`` is of another kind.
        ValueError: The layer does not exist, there is nothing to draw, a file is damaged, an array does not have this
            axis, or the suffix is unknown.

    Example:
        >>> figure = plot_dead_units([{"relu": np.array([[0.0, 1.0], [0.0, 2.0]])}])
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [0.5]
    """
    path = None if to_file is None else image_path(to_file)
    shares = read_dead_units(activations, layers, channel_axis=channel_axis)

    from monitor_core.plotting import figures
    from monitor_core.plotting.layers import activation_drawing

    figure = activation_drawing.draw_shares(shares, title=title, figsize=figsize)
    if path is not None:
        figures.save(figure, path)
    return figure
