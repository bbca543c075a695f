"""What all plots share: the figure that shows itself in a notebook, the palette, and saving a file as a whole.

The module that the others import before matplotlib: it says what to install where matplotlib is missing.
"""

from __future__ import annotations

import io
from pathlib import Path

from monitor_core.files.replacing import replacing

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise ImportError('drawing needs matplotlib: pip install "monitor_core[plot]"') from error

# Okabe and Ito, Color Universal Design (2008), without black and yellow: apart for every kind of colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DOTS_PER_INCH = 150


class HistoryFigure(Figure):
    """A figure that shows itself in a notebook also where pyplot, which would teach the notebook so, is not there."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the image with twice as many dots as it is to be wide, for dense screens."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=2 * self.dpi)
        width, height = self.get_size_inches() * self.dpi
        return buffer.getvalue(), {"width": int(width), "height": int(height)}


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file in one go: whoever reads it sees the old image or the new one, both whole.

    Raises:
        OSError: It cannot be written; what was there stays.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lower().removeprefix("."), dpi=DOTS_PER_INCH)
