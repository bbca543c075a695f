"""Flax NNX: the handle of a module and its Optax optimizer, for manual loops. It imports flax.

In: a module and its `nnx.Optimizer`. Out: weights, rates, activations, gradients and training state. Public:
`FlaxModel`; the modules themselves are private.
"""

from monitor_core.adapters.flax.model import FlaxModel

__all__ = ["FlaxModel"]
