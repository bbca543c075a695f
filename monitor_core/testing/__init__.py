"""For authors of sinks, adapters and model handles: a recorder, a player, a model of NumPy arrays, and contract tests.

A contract is a class of tests: subclass it in a test module, give it one fixture, and pytest runs all of them on your
sink, handle or adapter. It needs pytest, which nothing else here does. Public.
"""

from typing import TYPE_CHECKING, Any

from monitor_core.testing.handles import HandleContract
from monitor_core.testing.model import NumpyModel
from monitor_core.testing.player import Epoch, Played, play
from monitor_core.testing.reads import HostReads
from monitor_core.testing.recorder import Recorder
from monitor_core.testing.sinks import SinkContract
from monitor_core.testing.trainings import Plan, Trained

if TYPE_CHECKING:
    from monitor_core.testing.adapters import AdapterContract

__all__ = [
    "AdapterContract",
    "Epoch",
    "HandleContract",
    "HostReads",
    "NumpyModel",
    "Plan",
    "Played",
    "Recorder",
    "SinkContract",
    "Trained",
    "play",
]


def __getattr__(name: str) -> Any:
    """Import `AdapterContract` when it is asked for: its tests have parameters, so it imports pytest."""
    if name == "AdapterContract":
        from monitor_core.testing.adapters import AdapterContract

        return AdapterContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
