"""Tuners: sinks that report a run to a tuner of hyperparameters, and stop it where that decides so; each is an extra.

Public: ``from monitor_core.tuners import OptunaPruning``. The modules are private. A tracker sends results in the
background; these sinks report on the training's thread, because the training waits for what is decided.
"""

import typing

from monitor_core import _lazy

if typing.TYPE_CHECKING:
    from monitor_core.tuners.optuna import OptunaPruning
    from monitor_core.tuners.ray import RayReport

_LAZY = {
    "OptunaPruning": "monitor_core.tuners.optuna",
    "RayReport": "monitor_core.tuners.ray",
}


if not typing.TYPE_CHECKING:  # else a misspelt name would be of any type
    __getattr__ = _lazy.importer(__name__, _LAZY)


__all__ = ["OptunaPruning", "RayReport"]
