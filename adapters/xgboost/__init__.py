"""XGBoost: its callbacks, and the handle of a booster. It imports xgboost.

In: ``xgboost.train``, ``xgboost.cv`` and the estimators, through a callback. Out: the bus's events, a round each.
Public: `XGBoostAdapter`, `XGBoostModel`; the modules themselves are private.
"""

from monitor_core.adapters.xgboost.adapter import XGBoostAdapter
from monitor_core.adapters.xgboost.model import XGBoostModel

__all__ = ["XGBoostAdapter", "XGBoostModel"]
