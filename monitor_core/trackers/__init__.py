"""Trackers: sinks that send a run to MLflow, W&B, trackio, Prometheus or an OpenTelemetry receiver; each is an extra.

Public: ``from monitor_core.trackers import MLflow``. Each sink bears the name of the product that shows its runs, as
`TensorBoard` does. The modules are private.
"""

import typing

from monitor_core import _lazy

if typing.TYPE_CHECKING:
    from monitor_core.trackers.mlflow import MLflow
    from monitor_core.trackers.otlp import OTLP
    from monitor_core.trackers.prometheus import Prometheus
    from monitor_core.trackers.trackio import Trackio
    from monitor_core.trackers.wandb import WandB

_LAZY = {
    "MLflow": "monitor_core.trackers.mlflow",
    "OTLP": "monitor_core.trackers.otlp",
    "Prometheus": "monitor_core.trackers.prometheus",
    "Trackio": "monitor_core.trackers.trackio",
    "WandB": "monitor_core.trackers.wandb",
}


if not typing.TYPE_CHECKING:  # else a misspelt name would be of any type
    __getattr__ = _lazy.importer(__name__, _LAZY)


__all__ = ["OTLP", "MLflow", "Prometheus", "Trackio", "WandB"]
