"""Equinox: the handle of a model and its Optax state, for manual loops. It imports equinox.

In: functions that read and set the training's current parts. Out: weights, rates, activations, gradients and training
state. Public: `EquinoxModel`; the modules themselves are private.
"""

from monitor_core.adapters.equinox.model import EquinoxModel

__all__ = ["EquinoxModel"]
