"""LightGBM: its callbacks, and the handle of a booster. It imports lightgbm.

In: ``lightgbm.train``, ``lightgbm.cv`` and the estimators, through callbacks. Out: the bus's events, a round each.
Public: `LightGBMAdapter`, `LightGBMModel`; the modules themselves are private.
"""

from monitor_core.adapters.lightgbm.adapter import LightGBMAdapter
from monitor_core.adapters.lightgbm.model import LightGBMModel

__all__ = ["LightGBMAdapter", "LightGBMModel"]
