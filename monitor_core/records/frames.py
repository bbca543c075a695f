"""Recorded columns as a pandas frame; pandas is imported only when a frame is created."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def with_labels(labels: Mapping[str, Any], named: Mapping[str, Any], kind: str = "logs") -> dict[str, Any]:
    """Return labels, and then what users have named; a name that is taken becomes ``<kind>/<name>``."""
    found = dict(labels)
    for given, value in named.items():
        name = given
        while name in found or (name != given and name in named):
            name = f"{kind}/{name}"
        found[name] = value
    return found


def frame(labels: Mapping[str, NDArray[Any]], metrics: Mapping[str, NDArray[Any]]) -> pd.DataFrame:
    """Return the labels and then the metrics as the columns of a frame.

    Args:
        labels: The labels of the rows: ``run``, ``epoch``, and ``step`` and ``time`` if recorded.
        metrics: Each metric's values, of the same length; one that is named like a label becomes ``logs/<name>``.

    Raises:
        ImportError: pandas is not installed.
    """
    import pandas as pd

    return pd.DataFrame(with_labels(labels, metrics))
