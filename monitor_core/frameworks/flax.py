"""Flax NNX: its modules and variables. A variable holds an array of JAX, and another one after the next step."""

from __future__ import annotations

from typing import Any

from monitor_core.frameworks.base import Framework, bases
from monitor_core.frameworks.jax import JAX


class Flax(Framework):
    """Flax, with its NNX interface."""

    name = "flax"
    title = "Flax NNX"
    packages = frozenset({"flax"})
    handle = "monitor_core.adapters.flax:FlaxModel"
    takes_optimizer = True

    def is_array(self, kind: type) -> bool:
        """Return whether values of this type are variables."""
        return any(name == "Variable" and module.startswith("flax.") for module, name in bases(kind))

    @staticmethod
    def keep(value: Any) -> Any:
        """Return the array that the variable holds now.

        Raises:
            TypeError: It holds something else, such as a traced value.
            ValueError: It has more or fewer than one element.
        """
        array = value.get_value()
        if not JAX.is_array(type(array)):
            raise TypeError("it holds no array")
        return JAX.keep(array)

    def why_no_metric(self, value: Any) -> str | None:
        """Return why what a variable holds is not a metric."""
        if not self.is_array(type(value)):
            return None
        held = value.get_value()
        return "it is a variable that holds None" if held is None else JAX.why_no_metric(held)

    def is_model(self, kind: type) -> bool:
        """Return whether objects of this type are NNX modules; those of the older Linen have no parameters."""
        return ("flax.nnx.module", "Module") in bases(kind)

    @property
    def backend(self) -> Framework | None:
        """JAX."""
        return JAX


FLAX = Flax()
