"""scikit-learn: its estimators."""

from __future__ import annotations

from monitor_core.frameworks.base import Framework, bases
from monitor_core.frameworks.lightgbm import LIGHTGBM
from monitor_core.frameworks.xgboost import XGBOOST

_OTHERS = XGBOOST.packages | LIGHTGBM.packages


class Sklearn(Framework):
    """scikit-learn, whose metrics are NumPy's numbers."""

    name = "sklearn"
    title = "scikit-learn"
    packages = frozenset({"sklearn"})
    handle = "monitor_core.adapters.sklearn.model:SklearnModel"

    def is_model(self, kind: type) -> bool:
        """Return whether objects of this type are estimators, but for those of XGBoost and LightGBM."""
        modules = {module.partition(".")[0] for module, _ in bases(kind)}
        return ("sklearn.base", "BaseEstimator") in bases(kind) and not modules & _OTHERS


SKLEARN = Sklearn()
