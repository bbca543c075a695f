"""The handle of an Equinox model, with the state of its optimizer.

Contract. Equinox's models cannot change: a loop replaces them in each step, and so does the handle, by the loop's own
function. What it sets has the dtype and placement of what it replaces. Inspection uses the model in inference mode.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax

from monitor_core.adapters.equinox import insides
from monitor_core.adapters.jax_models import JaxModel, Loss, is_key, named_leaves
from monitor_core.adapters.versions import require
from monitor_core.model.handles import Array, to_host

__all__ = ["EquinoxModel"]


class EquinoxModel(JaxModel):
    """Provide an Equinox model, and what is trained with it, to sinks.

    Args:
        get: Returns the current parts of the training by name: ``model``; ``optimizer``, the state of an Optax
            optimizer; ``state``, the ``eqx.nn.State`` of a model that is called with one; and any others, such as the
            random key. Only the model is required. To read and set the learning rate, make the optimizer with
            ``optax.inject_hyperparams(optax.adam)(learning_rate=0.001)``.
        assign: Called with a dict of parts that are to be the current ones.
        loss: The loss for `gradients`, called with the outputs and the targets; returns one element.

    Attributes:
        framework: ``"jax"``.
        weights_suffix: The suffix of a file of weights without a given name.

    Raises:
        SetupError: Equinox is older than 0.13.
        TypeError: ``get`` returns no mapping with an ``eqx.Module`` as ``model``, or ``loss`` is not a function.

    Example:
        >>> training = {"model": model, "optimizer": optimizer.init(eqx.filter(model, eqx.is_array))}
        >>> with Loop(ModelCheckpoint("best.npz"), model=EquinoxModel(lambda: training, training.update)) as loop:
        ...     ...
    """

    def __init__(
        self, get: Callable[[], Mapping[str, Any]], assign: Callable[[Any], object], *, loss: Loss | None = None
    ) -> None:
        require("equinox", "0.13", "equinox")
        super().__init__(loss)
        parts = get()
        model = parts.get("model") if isinstance(parts, Mapping) else parts
        if not isinstance(parts, Mapping) or not isinstance(model, eqx.Module):
            raise TypeError(f"get must return a mapping with an eqx.Module as 'model' (got {type(model).__name__})")
        self._get = get
        self._assign = assign

    def __repr__(self) -> str:
        return f"EquinoxModel({type(self._get()['model']).__name__})"

    def layer_names(self) -> list[str]:
        """Return the names of the innermost layers, such as ``layers/0``."""
        return [*insides.layers(self._get()["model"])]

    def activations(self, x: Any, layers: Collection[str] | None = None) -> Iterator[tuple[str, Array]]:
        """Yield each innermost layer's name and its output for the samples ``x``, in inference mode.

        A layer that is called several times, or returns several arrays, yields each of them, named ``layer``,
        ``layer:1``, and so on; also one that is called within ``jax.vmap`` or a scan.

        Args:
            x: As for `predict`.
            layers: The names of the layers to yield, without numbers; None for all.

        Raises:
            ValueError: There is no such layer; the message suggests the nearest name.
        """
        yield from insides.activations(*self._inference(), x, layers)

    def embeddings(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each ``eqx.nn.Embedding``, and a copy of its matrix, ``(rows, dimensions)``."""
        for name, layer in insides.layers(self._get()["model"]).items():
            if isinstance(layer, eqx.nn.Embedding):
                yield name, to_host(layer.weight)

    def gradients(self, x: Any, y: Any) -> Iterator[tuple[str, Array]]:
        """Yield the name of each array of floats, and the gradient of the loss on ``(x, y)`` by it, in inference mode.

        Args:
            x: As for `predict`.
            y: The targets.

        Raises:
            TypeError: No loss was given, or it returns more than one element.
        """
        model, state = self._inference()
        trainable, rest = eqx.partition(model, eqx.is_inexact_array)
        loss = lambda arrays: self._loss_of(insides.outputs(eqx.combine(arrays, rest), state, x), y)  # noqa: E731
        for name, leaf in named_leaves({"model": jax.grad(loss)(trainable)}).items():
            yield name, to_host(leaf)

    def _tree(self, part: str) -> Any:
        parts = {**self._get()}
        optimizer = parts.pop("optimizer", None)
        if part == "optimizer":
            return eqx.filter(optimizer, eqx.is_array)
        return eqx.filter(parts, lambda leaf: eqx.is_array(leaf) and is_key(leaf) == (part == "rngs"))

    def _replace(self, part: str, tree: Any) -> None:
        new = {"optimizer": tree} if part == "optimizer" else tree
        parts = self._get()
        self._assign({name: eqx.combine(each, parts.get(name)) for name, each in new.items()})

    def _outputs(self, x: Any) -> Any:
        return insides.outputs(*self._inference(), x)

    def _inference(self) -> tuple[Any, Any]:
        parts = self._get()
        return eqx.nn.inference_mode(parts["model"]), parts.get("state")
