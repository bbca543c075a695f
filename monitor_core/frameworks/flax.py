"""Flax NNX: its modules. JAX computes them, and their variables hold JAX's arrays."""

from __future__ import annotations

from monitor_core.frameworks.base import Framework, bases
from monitor_core.frameworks.jax import JAX


class Flax(Framework):
    """Flax, with its NNX interface."""

    name = "flax"
    title = "Flax NNX"
    packages = frozenset({"flax"})
    handle = "monitor_core.adapters.flax:FlaxModel"
    takes_optimizer = True

    def is_model(self, kind: type) -> bool:
        """Return whether objects of this type are NNX modules; those of the older Linen have no parameters."""
        return ("flax.nnx.module", "Module") in bases(kind)

    @property
    def backend(self) -> Framework | None:
        """JAX."""
        return JAX


FLAX = Flax()
