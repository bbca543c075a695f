"""Accelerate: a loop whose steps are those of its optimizers, and a tracker. It imports accelerate.

In: a custom loop with an ``Accelerator``, or what it logs to its trackers. Out: a bus's events. Public:
`AccelerateLoop`, `AccelerateTracker`; the modules themselves are private.
"""

from monitor_core.adapters.accelerate.loop import AccelerateLoop
from monitor_core.adapters.accelerate.tracker import AccelerateTracker

__all__ = ["AccelerateLoop", "AccelerateTracker"]
