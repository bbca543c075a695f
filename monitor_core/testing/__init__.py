"""For authors of sinks, adapters and model handles: a recorder, a player, a model of NumPy arrays, and contract tests.

A contract is a class of tests: subclass it in a test module, give it one fixture, and pytest runs all of them on your
sink or handle. It needs pytest, which nothing else here does. Public.
"""

from monitor_core.testing.handles import HandleContract
from monitor_core.testing.model import NumpyModel
from monitor_core.testing.player import Epoch, Played, play
from monitor_core.testing.recorder import Recorder
from monitor_core.testing.sinks import SinkContract

__all__ = ["Epoch", "HandleContract", "NumpyModel", "Played", "Recorder", "SinkContract", "play"]
