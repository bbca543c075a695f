"""What all plots share: a figure that displays itself in a notebook, the palette, and atomic saving.

The other modules import this one before matplotlib, so that a missing matplotlib raises an error with the command to
install it.
"""

from __future__ import annotations

import io
from pathlib import Path

from monitor_core.files.replacing import replacing

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise ImportError('drawing needs matplotlib: pip install "monitor_core[plot]"') from error

# Okabe and Ito, Color Universal Design (2008), without black and yellow: distinct for every kind of colour vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DOTS_PER_INCH = 150


class HistoryFigure(Figure):
    """A figure that displays itself in a notebook even if pyplot, which would register that, is not imported."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the image at twice its display width, for high-density screens."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=2 * self.dpi)
        width, height = self.get_size_inches() * self.dpi
        return buffer.getvalue(), {"width": int(width), "height": int(height)}


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file atomically: a reader sees the complete old image or the complete new one.

    Raises:
        OSError: It cannot be written; an existing file stays unchanged.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lower().removeprefix("."), dpi=DOTS_PER_INCH)
