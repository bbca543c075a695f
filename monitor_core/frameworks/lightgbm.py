"""LightGBM: its boosters."""

from __future__ import annotations

from monitor_core.frameworks.base import Framework, bases


class LightGBM(Framework):
    """LightGBM, whose metrics are plain numbers."""

    name = "lightgbm"
    title = "LightGBM"
    packages = frozenset({"lightgbm"})
    handle = "monitor_core.adapters.lightgbm.model:LightGBMModel"

    def is_model(self, kind: type) -> bool:
        """Return whether objects of this type are boosters; estimators have one once they are fitted."""
        return ("lightgbm.basic", "Booster") in bases(kind)


LIGHTGBM = LightGBM()
