"""One event bus for training runs: any loop feeds it, any sink listens.

Importing this package imports NumPy and attrs, and no framework.
"""

from monitor_core.blocks import Block
from monitor_core.bus import Bus
from monitor_core.errors import HookError, MonitorError, OrderError, SetupError
from monitor_core.hooks import on
from monitor_core.loop import Loop
from monitor_core.members import Failure
from monitor_core.run import Run
from monitor_core.sink import Sink
from monitor_core.sinks.history import History
from monitor_core.sinks.progress import Progress
from monitor_core.values import scalar

__all__ = [
    "Block",
    "Bus",
    "Failure",
    "History",
    "HookError",
    "Loop",
    "MonitorError",
    "OrderError",
    "Progress",
    "Run",
    "SetupError",
    "Sink",
    "on",
    "scalar",
]
