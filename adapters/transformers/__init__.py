"""Hugging Face transformers: sinks attached to a ``Trainer``, and so to those of TRL. It imports transformers.

In: a trainer's callbacks and its model's outputs. Out: a bus's events. Public: `TransformersAdapter`; the modules
themselves are private.
"""

from monitor_core.adapters.transformers.adapter import TransformersAdapter

__all__ = ["TransformersAdapter"]
