"""scikit-learn: its callback API, and the handle of an estimator. It imports scikit-learn.

In: the tasks of estimators that take callbacks. Out: the bus's events, a run for each fit. Public: `SklearnAdapter`,
`SklearnModel`; the modules themselves are private.
"""

from monitor_core.adapters.sklearn.adapter import SklearnAdapter
from monitor_core.adapters.sklearn.model import SklearnModel

__all__ = ["SklearnAdapter", "SklearnModel"]
