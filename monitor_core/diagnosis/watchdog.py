"""A watchdog: notices that no step has ended for a long time, and says so while the training stalls.

Contract. It runs on a thread of its own, which sleeps between checks, reads the run's step alone, and calls no sink: it
logs a warning, and leaves the finding for the training's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from monitor_core._log import logger
from monitor_core.background.worker import DeliveryThread
from monitor_core.bus.finding import Finding
from monitor_core.bus.run import Run
from monitor_core.values.text import counted

USUAL_STEPS = 50
"""How many times the longest step so far a pause must be."""


class Watchdog:
    """Watches a run.

    Args:
        run: The run.
        seconds: How long no step may end, at least.
        clock: Seconds, from any origin.

    Attributes:
        finding: That the run stalls, or has stalled, until it is taken.
    """

    def __init__(self, run: Run, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.finding: Finding | None = None
        self._run = run
        self._seconds = seconds
        self._clock = clock
        self._step, self._since, self._longest = run.step, clock(), 0.0
        self._has_warned = False
        self._thread = DeliveryThread(self.check, "monitor_core watchdog")

    def start(self) -> None:
        """Begin to watch."""
        self._thread.wake()

    def stop(self) -> None:
        """Watch no longer."""
        self._thread.stop()

    def take(self) -> Finding | None:
        """Return the finding, if there is one, and forget it."""
        finding, self.finding = self.finding, None
        return finding

    def check(self) -> float | None:
        """Look at the run; return when to look again, None once it has ended."""
        run, now = self._run, self._clock()
        if run.status != "running":
            return None
        if run.step != self._step or run.evaluation is not None:
            if run.step > self._step > 0:
                self._longest = max(self._longest, (now - self._since) / (run.step - self._step))
            self._step, self._since, self._has_warned = run.step, now, False
        elif not self._has_warned and now - self._since > max(self._seconds, USUAL_STEPS * self._longest):
            self._warn(now - self._since)
        return self._seconds / 4

    def _warn(self, seconds: float) -> None:
        self._has_warned = True
        run = self._run
        pause = counted(round(seconds / 60), "minute") if seconds >= 120 else counted(round(seconds), "second")
        self.finding = Finding(
            symptom="stalled",
            severity="warning",
            message=f"No step has ended for {pause}, since step {run.step}.",
            advice="Look at the data loader's workers, at locks and queues, and, of several processes, at the others.",
            evidence={"seconds": round(seconds, 1), "threshold": self._seconds},
            source="smdebug's StalledTraining (1,800 seconds)",
            epoch=run.epoch,
            step=run.step,
        )
        logger.warning("warning (stalled): %s", self.finding)
