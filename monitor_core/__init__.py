"""One event bus for training runs: any loop feeds it, any sink listens.

Importing this package imports NumPy and attrs, and no framework.
"""

import typing

from monitor_core import _lazy
from monitor_core.bus.bus import Bus
from monitor_core.bus.finding import Finding
from monitor_core.bus.hooks import on
from monitor_core.bus.origin import Origin
from monitor_core.bus.run import Failure, Run
from monitor_core.bus.sink import Sink
from monitor_core.errors import HookError, MonitorError, OrderError, RankError, SetupError
from monitor_core.loop.loop import Loop
from monitor_core.ranks.options import Ranks
from monitor_core.values.blocks import Block
from monitor_core.values.scalars import scalar

if typing.TYPE_CHECKING:
    from monitor_core._version import __version__ as __version__
    from monitor_core.diagnosis.offline import diagnose
    from monitor_core.diagnosis.sink import Diagnosis
    from monitor_core.files.activations import load_activations
    from monitor_core.files.checkpoint_index import Keep
    from monitor_core.journal.recorded import open_run
    from monitor_core.model.layer_graph import LayerGraph
    from monitor_core.network.retries import DeliveryError
    from monitor_core.network.sink import NetworkSink
    from monitor_core.sinks.activation_dump import ActivationDump
    from monitor_core.sinks.control import Control
    from monitor_core.sinks.csv_logger import CSVLogger
    from monitor_core.sinks.early_stopping import EarlyStopping
    from monitor_core.sinks.history import History
    from monitor_core.sinks.inside import Inside
    from monitor_core.sinks.journal import Journal
    from monitor_core.sinks.learning_rate_scheduler import LearningRateScheduler
    from monitor_core.sinks.model_checkpoint import ModelCheckpoint
    from monitor_core.sinks.progress import Progress
    from monitor_core.sinks.reduce_lr_on_plateau import ReduceLROnPlateau
    from monitor_core.sinks.snapshots import Snapshots
    from monitor_core.sinks.system_metrics import SystemMetrics
    from monitor_core.sinks.tensorboard import TensorBoard
    from monitor_core.sinks.terminate_on_nan import TerminateOnNaN
    from monitor_core.sinks.webhook import Webhook

# Imported when first asked for: together they take longer to import than the rest.
_LAZY = {
    "ActivationDump": "monitor_core.sinks.activation_dump",
    "CSVLogger": "monitor_core.sinks.csv_logger",
    "Control": "monitor_core.sinks.control",
    "DeliveryError": "monitor_core.network.retries",
    "Diagnosis": "monitor_core.diagnosis.sink",
    "EarlyStopping": "monitor_core.sinks.early_stopping",
    "History": "monitor_core.sinks.history",
    "Inside": "monitor_core.sinks.inside",
    "Journal": "monitor_core.sinks.journal",
    "Keep": "monitor_core.files.checkpoint_index",
    "LayerGraph": "monitor_core.model.layer_graph",
    "LearningRateScheduler": "monitor_core.sinks.learning_rate_scheduler",
    "ModelCheckpoint": "monitor_core.sinks.model_checkpoint",
    "NetworkSink": "monitor_core.network.sink",
    "Progress": "monitor_core.sinks.progress",
    "ReduceLROnPlateau": "monitor_core.sinks.reduce_lr_on_plateau",
    "Snapshots": "monitor_core.sinks.snapshots",
    "SystemMetrics": "monitor_core.sinks.system_metrics",
    "TensorBoard": "monitor_core.sinks.tensorboard",
    "TerminateOnNaN": "monitor_core.sinks.terminate_on_nan",
    "Webhook": "monitor_core.sinks.webhook",
    "__version__": "monitor_core._version",
    "diagnose": "monitor_core.diagnosis.offline",
    "load_activations": "monitor_core.files.activations",
    "open_run": "monitor_core.journal.recorded",
}


if not typing.TYPE_CHECKING:  # else a misspelt name would be of any type
    __getattr__ = _lazy.importer(__name__, _LAZY)


__all__ = [
    "ActivationDump",
    "Block",
    "Bus",
    "CSVLogger",
    "Control",
    "DeliveryError",
    "Diagnosis",
    "EarlyStopping",
    "Failure",
    "Finding",
    "History",
    "HookError",
    "Inside",
    "Journal",
    "Keep",
    "LayerGraph",
    "LearningRateScheduler",
    "Loop",
    "ModelCheckpoint",
    "MonitorError",
    "NetworkSink",
    "OrderError",
    "Origin",
    "Progress",
    "RankError",
    "Ranks",
    "ReduceLROnPlateau",
    "Run",
    "SetupError",
    "Sink",
    "Snapshots",
    "SystemMetrics",
    "TensorBoard",
    "TerminateOnNaN",
    "Webhook",
    "diagnose",
    "load_activations",
    "on",
    "open_run",
    "scalar",
]
