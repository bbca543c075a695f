"""Plots of recorded data, as matplotlib figures; needs the extra ``plot``.

matplotlib is imported only when something is drawn; if it is missing, the error says what to install.
"""

from monitor_core.plotting.curves.live import LivePlot
from monitor_core.plotting.curves.plot import plot_history
from monitor_core.plotting.layers.plot import plot_activation_distributions, plot_dead_units, plot_feature_maps
from monitor_core.plotting.models.plot import plot_model

__all__ = [
    "LivePlot",
    "plot_activation_distributions",
    "plot_dead_units",
    "plot_feature_maps",
    "plot_history",
    "plot_model",
]
