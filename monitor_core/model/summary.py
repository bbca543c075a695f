"""What is to be trained, and how: a model's layers, loss, metrics and optimizer, as plain values of every framework.

Contract. Handles provide it as ``summary()``. What cannot be read is None, never a guess: code between layers, a loss
that is a function of the user's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

Role = Literal["linear", "convolution", "embedding", "recurrent", "normalization", "dropout", "activation", "other"]
"""What a layer does; ``"other"`` is all that neither learns nor bends: pooling, flattening, reshaping."""


@attrs.frozen(kw_only=True)
class LayerSummary:
    """One layer.

    Attributes:
        name: Its name, as in the handle's ``activations``.
        kind: Its class's name.
        role: What it does.
        activation: What is applied to its output, such as ``"relu"``; ``"linear"`` for nothing, None if not known.
        units: The size of the axis of its output that has its units, None if not known.
        rate: Of dropout: the share that is dropped.
        weights: The names of its weights, as in the handle's ``weights``.
        trainable: Whether any of them is trained.
    """

    name: str
    kind: str
    role: Role = "other"
    activation: str | None = None
    units: int | None = None
    rate: float | None = None
    weights: tuple[str, ...] = ()
    trainable: bool = True


@attrs.frozen(kw_only=True)
class ModelSummary:
    """A model and its training.

    Attributes:
        layers: The innermost layers; of a chain, in the order of computation.
        is_chain: Whether each layer's output is all that the next one gets, and nothing else is computed.
        output_layer: The name of the layer that gives the only output; None if there are several, or it is not known.
        output_activation: What is applied last to that output, ``"linear"`` for nothing; None if it is not known.
        output_units: The size of its last axis; None if it is not known.
        channels_first: Whether a convolution's output has its channels before its places.
        loss: The loss's name in Keras's spelling, such as ``"categorical_crossentropy"``; None if it is not known.
        from_logits: Whether the loss applies softmax or sigmoid itself; None if that is not known.
        loss_broadcasts: Whether the loss takes outputs and targets of different shapes, and broadcasts them.
        has_penalties: Whether the loss includes penalties of weights or activations; None if that is not known.
        metrics: The metrics' names.
        optimizer: The optimizer's class's name in lower case, None without one.
        learning_rate: The first rate, None if there is none.
        has_rate_schedule: Whether a schedule sets the rate.
        trainable: How many numbers are trained.
    """

    layers: tuple[LayerSummary, ...] = ()
    is_chain: bool = False
    output_layer: str | None = None
    output_activation: str | None = None
    output_units: int | None = None
    channels_first: bool = False
    loss: str | None = None
    from_logits: bool | None = None
    loss_broadcasts: bool = False
    has_penalties: bool | None = None
    metrics: tuple[str, ...] = ()
    optimizer: str | None = None
    learning_rate: float | None = None
    has_rate_schedule: bool = False
    trainable: int = 0

    def layer(self, name: str) -> LayerSummary | None:
        """Return the layer of that name, also for one of its further outputs; None if there is none."""
        stem = name.partition(":")[0]
        return next((each for each in self.layers if each.name == stem), None)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelSummary:
        """Return what `to_json` returned."""
        layers = tuple(LayerSummary(**{**each, "weights": tuple(each["weights"])}) for each in values["layers"])
        return cls(**{**values, "layers": layers, "metrics": tuple(values["metrics"])})
