"""What a Keras model consists of and how it is trained, as plain values."""

from __future__ import annotations

import inspect
import re
from typing import Any

import keras

from monitor_core.adapters.keras import insides
from monitor_core.model.summary import LayerSummary, ModelSummary, Role

_ROLES: tuple[tuple[Role, tuple[type, ...]], ...] = (
    ("recurrent", (keras.layers.RNN, keras.layers.Bidirectional)),
    ("embedding", (keras.layers.Embedding,)),
    ("linear", (keras.layers.Dense, keras.layers.EinsumDense)),
    ("activation", (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU,
                    keras.layers.ELU, keras.layers.Softmax)),
    ("dropout", (keras.layers.Dropout, keras.layers.SpatialDropout1D, keras.layers.SpatialDropout2D,
                 keras.layers.AlphaDropout)),
    ("normalization", (keras.layers.BatchNormalization, keras.layers.LayerNormalization,
                       keras.layers.GroupNormalization, keras.layers.Normalization)),
)  # fmt: skip
_ACTIVATIONS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "PReLU": "prelu", "ELU": "elu", "Softmax": "softmax"}
_LOSSES = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "bce": "binary_crossentropy"}
_REGULARIZERS = ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "embeddings_regularizer")


def summarize(model: keras.Model) -> ModelSummary:
    """Return what a model consists of and how it is trained; of one that is not built, only the latter."""
    found = [(name, layer) for name, layer in insides.named_layers(model) if not isinstance(layer, keras.Model)]
    names = {id(layer): name for name, layer in found}
    output = _output(model)
    loss, from_logits = _loss(model)
    optimizer = getattr(model, "optimizer", None)
    return ModelSummary(
        layers=tuple(_layer(name, layer) for name, layer in found),
        is_chain=_is_chain(model),
        output_layer=names.get(id(output)),
        output_activation=None if output is None else _activation(output),
        output_units=_units(model),
        loss=loss,
        from_logits=from_logits,
        has_penalties=any(getattr(layer, name, None) is not None for _, layer in found for name in _REGULARIZERS),
        metrics=tuple(_metrics(model)),
        optimizer=None if optimizer is None else _kind(optimizer).lower(),
        learning_rate=None,
        trainable=sum(_size(weight) for weight in model.trainable_variables),
    )


def _kind(optimizer: Any) -> str:
    return type(getattr(optimizer, "inner_optimizer", optimizer)).__name__


def _size(weight: Any) -> int:
    size = 1
    for axis in weight.shape:
        size *= axis or 1
    return size


# --- layers --------------------------------------------------------------------------------------------------------


def _layer(name: str, layer: Any) -> LayerSummary:
    weights = getattr(layer, "weights", [])
    return LayerSummary(
        name=name,
        kind=type(layer).__name__,
        role=_role(layer),
        activation=_activation(layer),
        units=getattr(layer, "units", None) or getattr(layer, "filters", None),
        rate=getattr(layer, "rate", None) if _role(layer) == "dropout" else None,
        weights=tuple(weight.path for weight in weights),
        trainable=bool(getattr(layer, "trainable", True)),
    )


def _role(layer: Any) -> Role:
    for role, kinds in _ROLES:
        if isinstance(layer, kinds):
            return role
    return "convolution" if "Conv" in type(layer).__name__ else "other"


def _activation(layer: Any) -> str | None:
    known = _ACTIVATIONS.get(type(layer).__name__)
    if known == "relu" and (layer.negative_slope or layer.threshold or layer.max_value):
        return "relu6" if layer.max_value and not layer.negative_slope and not layer.threshold else "leaky_relu"
    return known or getattr(getattr(layer, "activation", None), "__name__", None)


def _is_chain(model: Any) -> bool:
    if isinstance(model, keras.Sequential):
        return all(_is_chain(layer) for layer in model.layers if isinstance(layer, keras.Model))
    operations = getattr(model, "operations", None)
    if operations is None or len(model.inputs) != 1 or len(model.outputs) != 1:
        return False
    parents = []
    for operation in operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        nodes = operation._inbound_nodes
        if len(nodes) != 1 or len(nodes[0].parent_nodes) != 1 or not isinstance(operation, keras.Layer):
            return False
        if isinstance(operation, keras.Model) and not _is_chain(operation):
            return False
        parents.append(id(nodes[0].parent_nodes[0]))
    return len(set(parents)) == len(parents)


def _output(model: Any) -> Any:
    """Return the layer that gives the only output; None if there are several outputs, or it is not known."""
    outputs = getattr(model, "outputs", None) if model.built else None
    if not outputs or len(outputs) != 1:
        return None
    last = model.layers[-1] if isinstance(model, keras.Sequential) else outputs[0]._keras_history.operation
    return _output(last) if isinstance(last, keras.Model) else last


def _units(model: Any) -> int | None:
    outputs = getattr(model, "outputs", None) if model.built else None
    return None if not outputs or len(outputs) != 1 or len(outputs[0].shape) < 2 else outputs[0].shape[-1]


# --- training ------------------------------------------------------------------------------------------------------


def _loss(model: Any) -> tuple[str | None, bool | None]:
    """Return the name of the only loss, in Keras's spelling, and whether it applies softmax or sigmoid itself."""
    given = getattr(getattr(model, "_compile_loss", None), "_user_loss", None)
    flat = keras.tree.flatten(given) if given is not None else []
    if len(flat) != 1 or flat[0] is None:
        return None, None
    loss = flat[0]
    if isinstance(loss, str):
        name = _LOSSES.get(loss.lower(), _snake(loss))
        return name, False if "crossentropy" in name else None
    if isinstance(loss, keras.losses.Loss):
        is_own = type(loss).__module__.startswith("keras.")
        is_mean = getattr(loss, "reduction", None) in {"sum_over_batch_size", "mean", "mean_with_sample_weight"}
        logits = getattr(loss, "from_logits", None)
        logits = getattr(loss, "_fn_kwargs", {}).get("from_logits", logits)
        return (_snake(type(loss).__name__) if is_own and is_mean else None), logits
    if inspect.isfunction(loss) and loss.__module__.startswith("keras."):
        return loss.__name__, False if "crossentropy" in loss.__name__ else None
    return None, None


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("cross_entropy", "crossentropy")


def _metrics(model: Any) -> list[str]:
    metrics = getattr(model, "_compile_metrics", None)
    given = keras.tree.flatten(getattr(metrics, "_user_metrics", None)) if metrics is not None else []
    return [each if isinstance(each, str) else str(getattr(each, "name", each)) for each in given if each is not None]
