"""PyTorch Lightning: sinks attached to its ``Trainer``. It imports lightning, or pytorch_lightning in its place.

In: a trainer's callbacks. Out: a bus's events. Public: `LightningAdapter`; the modules themselves are private.
"""

from monitor_core.adapters.lightning.adapter import LightningAdapter

__all__ = ["LightningAdapter"]
