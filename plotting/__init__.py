"""Pictures of recorded data, as matplotlib figures; needs the extra ``plot``.

Importing this package imports no matplotlib; drawing does, and says what to install where it is missing.
"""

from monitor_core.plotting.history import plot_history
from monitor_core.plotting.live import LivePlot

__all__ = ["LivePlot", "plot_history"]
