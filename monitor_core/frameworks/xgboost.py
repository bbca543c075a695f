"""XGBoost: its boosters."""

from __future__ import annotations

from monitor_core.frameworks.base import Framework, bases


class XGBoost(Framework):
    """XGBoost, whose metrics are plain numbers."""

    name = "xgboost"
    title = "XGBoost"
    packages = frozenset({"xgboost"})
    handle = "monitor_core.adapters.xgboost.model:XGBoostModel"

    def is_model(self, kind: type) -> bool:
        """Return whether objects of this type are boosters; estimators have one once they are fitted."""
        return ("xgboost.core", "Booster") in bases(kind)

    def ranks(self) -> tuple[int, int] | None:
        """Return the rank among XGBoost's workers, each of which is a thread's."""
        collective = self.module.collective
        return (collective.get_rank(), collective.get_world_size()) if collective.is_distributed() else None


XGBOOST = XGBoost()
