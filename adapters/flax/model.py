"""The handle of a Flax NNX module, with its optimizer.

Contract. Variables are set in place, and keep their dtype and placement, so that a function of ``nnx.jit`` is not
compiled again. Inspection runs a clone in evaluation mode: the module's variables, random streams and modes stay as
they are.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar

from flax import nnx

from monitor_core.adapters.flax import insides
from monitor_core.adapters.jax_models import JaxModel, Loss, named_leaves
from monitor_core.adapters.versions import require
from monitor_core.model.handles import Array, to_host

__all__ = ["FlaxModel"]

_PARTS: dict[str, Any] = {
    "weights": nnx.Not(nnx.Any(nnx.RngState, nnx.Intermediate, nnx.Perturbation)),
    "rngs": nnx.RngState,
    "optimizer": nnx.OptState,
}
"""The variables of each part; those that a call writes, such as intermediates, belong to none."""


class FlaxModel(JaxModel):
    """Provide a Flax NNX module and its optimizer to sinks.

    ``Loop(model=module, optimizer=optimizer)`` makes one.

    Args:
        module: The module.
        optimizer: Its ``nnx.Optimizer``, for sinks that read or set the learning rate or save the training's state;
            several in an ``nnx.Dict``. The learning rate must be in its state: make it with
            ``optax.inject_hyperparams(optax.adam)(learning_rate=0.001)``.
        loss: The loss for `gradients`, called with the outputs and the targets; returns one element.

    Attributes:
        module: The module.
        optimizer: The optimizer, or None.
        framework: ``"flax"``.
        weights_suffix: The suffix of a file of weights without a given name.

    Raises:
        SetupError: Flax is older than 0.12.8.
        TypeError: An argument is of another type.

    Example:
        >>> optimizer = nnx.Optimizer(module, optax.inject_hyperparams(optax.adam)(learning_rate=0.01), wrt=nnx.Param)
        >>> with Loop(ReduceLROnPlateau("loss"), model=FlaxModel(module, optimizer)) as loop:
        ...     ...
    """

    framework: ClassVar[str] = "flax"

    def __init__(self, module: nnx.Module, optimizer: Any = None, *, loss: Loss | None = None) -> None:
        require("flax", "0.12.8", "flax")
        super().__init__(loss)
        if not isinstance(module, nnx.Module):
            raise TypeError(f"module must be an nnx.Module (got {type(module).__name__})")
        if optimizer is not None and not isinstance(optimizer, (nnx.Optimizer, nnx.Dict)):
            kind = type(optimizer).__name__
            raise TypeError(f"optimizer must be an nnx.Optimizer, or an nnx.Dict of them (got {kind})")
        self.module: Any = module
        self.optimizer: Any = optimizer

    def __repr__(self) -> str:
        return f"FlaxModel({type(self.module).__name__})"

    def recall(self) -> Callable[[], FlaxModel | None]:
        """Return a function that returns a handle of the same parts while all of them live, None afterwards."""
        module, loss = weakref.ref(self.module), self._loss
        optimizer = (lambda: None) if self.optimizer is None else weakref.ref(self.optimizer)
        has_optimizer = self.optimizer is not None

        def again() -> FlaxModel | None:
            parts = module(), optimizer()
            if parts[0] is None or (has_optimizer and parts[1] is None):
                return None
            return FlaxModel(*parts, loss=loss)

        return again

    def layer_names(self) -> list[str]:
        """Return the names of the innermost layers, such as ``layers/0``."""
        return [*insides.innermost(self.module)]

    def activations(self, x: Any, layers: Collection[str] | None = None) -> Iterator[tuple[str, Array]]:
        """Yield each innermost layer's name and its output for the samples ``x``, in evaluation mode.

        A layer that is called several times, or returns several arrays, yields each of them, named ``layer``,
        ``layer:1``, and so on. A layer that is called inside of ``nnx.scan`` or another transformation yields nothing.

        Args:
            x: As for `predict`.
            layers: The names of the modules to yield, without numbers, innermost or not, and of intermediates that
                the module sows; None for the innermost layers.

        Raises:
            ValueError: There is no such module or intermediate; the message suggests the nearest name.
        """
        yield from insides.activations(self.module, x, layers)

    def embeddings(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each ``nnx.Embed``, and a copy of its matrix, ``(rows, dimensions)``."""
        for name, layer in insides.modules(self.module).items():
            if isinstance(layer, nnx.Embed):
                yield name, to_host(layer.embedding.get_value())

    def gradients(self, x: Any, y: Any) -> Iterator[tuple[str, Array]]:
        """Yield the name of each parameter, and the gradient of the loss on ``(x, y)`` by it, in evaluation mode.

        Args:
            x: As for `predict`.
            y: The targets.

        Raises:
            TypeError: No loss was given, or it returns more than one element.
        """
        found = nnx.grad(lambda module: self._loss_of(insides.run(module, x)[0], y))(insides.clone(self.module))
        for name, leaf in named_leaves(nnx.to_pure_dict(found)).items():
            yield name, to_host(leaf)

    def _tree(self, part: str) -> Any:
        owner = self._owner(part)
        return {} if owner is None else nnx.to_pure_dict(nnx.state(owner, _PARTS[part]))

    def _replace(self, part: str, tree: Any) -> None:
        if (owner := self._owner(part)) is not None:
            nnx.update(owner, tree)

    def _owner(self, part: str) -> Any:
        return self.optimizer if part == "optimizer" else self.module

    def _outputs(self, x: Any) -> Any:
        return insides.run(insides.clone(self.module), x)[0]
