"""How long steps take, epoch by epoch."""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

WINDOWS = 64
"""How many windows are kept; when there are more, neighbors are joined."""


@attrs.define(eq=False)
class Timing:
    """The median time of a step, in windows of equal numbers of steps.

    Attributes:
        medians: Seconds of each complete window.
        window: How many steps a window has.
    """

    medians: list[float] = attrs.field(factory=list)
    window: int = 64
    _open: list[float] = attrs.field(factory=list)
    _last: tuple[int, float] | None = None

    def add(self, epoch: int, steps: NDArray[np.int64], times: NDArray[np.float64]) -> None:
        """Add steps of one epoch; the time between epochs, with its evaluation, does not count."""
        before = self._last
        joined = times if before is None or before[0] != epoch else np.concatenate([[before[1]], times])
        self._last = (epoch, float(times[-1]))
        self._open += np.diff(joined).tolist()
        while len(self._open) >= self.window:
            self.medians.append(float(np.median(self._open[: self.window])))
            del self._open[: self.window]
        if len(self.medians) >= 2 * WINDOWS:
            pairs = np.array(self.medians[: 2 * WINDOWS]).reshape(-1, 2).mean(axis=1)
            self.medians, self.window = pairs.tolist(), 2 * self.window
