"""What PyTorch modules consist of and how they are trained, as plain values.

A module's code is not read. With a sample, it is run once: what follows what, and which layer gives the output, is seen
from the tensors that layers take and return.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import attrs
import torch

from monitor_core.adapters.torch import insides
from monitor_core.model.summary import LayerSummary, ModelSummary, Role

_ACTIVATIONS = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "LeakyReLU": "leaky_relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Softplus": "softplus",
    "ELU": "elu",
    "SELU": "selu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Mish": "mish",
    "PReLU": "prelu",
    "Hardtanh": "hard_tanh",
    "Hardswish": "hard_swish",
    "Hardsigmoid": "hard_sigmoid",
}
_LOSSES: dict[str, tuple[str, bool | None]] = {
    "CrossEntropyLoss": ("sparse_categorical_crossentropy", True),
    "cross_entropy": ("sparse_categorical_crossentropy", True),
    "NLLLoss": ("nll", None),
    "nll_loss": ("nll", None),
    "BCELoss": ("binary_crossentropy", False),
    "binary_cross_entropy": ("binary_crossentropy", False),
    "BCEWithLogitsLoss": ("binary_crossentropy", True),
    "binary_cross_entropy_with_logits": ("binary_crossentropy", True),
    "MSELoss": ("mean_squared_error", None),
    "mse_loss": ("mean_squared_error", None),
    "L1Loss": ("mean_absolute_error", None),
    "l1_loss": ("mean_absolute_error", None),
    "HuberLoss": ("huber", None),
    "huber_loss": ("huber", None),
    "SmoothL1Loss": ("huber", None),
    "smooth_l1_loss": ("huber", None),
}
"""PyTorch's losses, with Keras's name and whether they apply softmax or sigmoid themselves."""


@attrs.define
class _Order:
    """How layers followed each other in one run.

    Attributes:
        names: The layers, in the order in which they were called.
        is_chain: Whether each took what the one before returned, and the last one's result is the module's.
        output: The layer whose result is the module's, None if none is.
        units: The size of the last axis of the module's output.
    """

    names: list[str]
    is_chain: bool
    output: str | None
    units: int | None


def summarize(module: Any, training: Any, loss: Any, sample: Any = None) -> ModelSummary:
    """Return what modules consist of and how they are trained.

    Args:
        module: The module, or `insides.Several`.
        training: The optimizers, as `monitor_core.adapters.torch.training.Training`.
        loss: The loss function, or None.
        sample: Inputs as for the handle's ``predict``, which are run once; None to look at the layers alone.
    """
    layers = {name: _layer(name, layer, module) for name, layer in insides.innermost(module)}
    order = _static_order(module) if sample is None else _order(module, sample)
    if order is not None and order.is_chain:
        layers = {name: layers[name] for name in order.names}
    name, from_logits = _loss_of(loss)
    output = None if order is None or order.output is None else layers[order.output]
    optimizers = list(training.optimizers.values())
    return ModelSummary(
        channels_first=True,
        loss_broadcasts=True,
        layers=tuple(layers.values()),
        is_chain=order is not None and order.is_chain,
        output_layer=None if output is None else output.name,
        output_activation=None if output is None else output.activation,
        output_units=None if order is None else order.units,
        loss=name,
        from_logits=from_logits,
        has_penalties=False,
        optimizer=type(optimizers[0]).__name__.lower() if len(optimizers) == 1 else None,
        trainable=sum(each.numel() for each in module.parameters() if each.requires_grad),
    )


def _layer(name: str, layer: Any, whole: Any) -> LayerSummary:
    weights = dict(layer.named_parameters(recurse=True))
    prefix = "" if layer is whole else f"{name}."
    role = _role(layer)
    return LayerSummary(
        name=name,
        kind=type(layer).__name__,
        role=role,
        activation=_ACTIVATIONS.get(type(layer).__name__) or ("linear" if role in {"linear", "convolution"} else None),
        units=getattr(layer, "out_features", None) or getattr(layer, "out_channels", None),
        rate=getattr(layer, "p", None) if role == "dropout" else None,
        weights=tuple(f"{prefix}{each}" for each in weights),
        trainable=not weights or any(each.requires_grad for each in weights.values()),
    )


def _role(layer: Any) -> Role:
    if isinstance(layer, torch.nn.RNNBase):
        return "recurrent"
    if isinstance(layer, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
        return "embedding"
    kind = type(layer).__name__
    if kind in _ACTIVATIONS:
        return "activation"
    for word, role in (
        ("Dropout", "dropout"),
        ("Norm", "normalization"),
        ("Conv", "convolution"),
        ("Linear", "linear"),
    ):
        if word in kind:
            return role  # type: ignore[return-value]
    return "other"


def _static_order(module: Any) -> _Order | None:
    """Return the order of a sequence of layers, possibly nested; None of another module, whose code is not read."""
    inner = [each for each in module.modules() if next(each.children(), None) is not None]
    if not inner or not all(type(each) is torch.nn.Sequential for each in inner):
        return None
    layers = list(insides.innermost(module))
    wide = (each for _, each in reversed(layers) if type(each).__name__ not in _ACTIVATIONS)
    units = getattr(next(wide, None), "out_features", None)
    return _Order([name for name, _ in layers], is_chain=True, output=layers[-1][0], units=units)


def _order(module: Any, sample: Any) -> _Order:
    """Return how layers follow each other when the module is run on a sample."""
    calls: list[tuple[str, list[int], Any]] = []

    def hook(name: str) -> Any:
        def forward(_layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
            calls.append((name, [id(each) for each in inputs], output))

        return forward

    with ExitStack() as stack:
        stack.enter_context(insides.looking(module))
        stack.enter_context(torch.no_grad())
        for name, layer in insides.innermost(module):
            stack.callback(layer.register_forward_hook(hook(name)).remove)
        result = insides.call(module, insides.placed(module, sample))
    names = [name for name, _, _ in calls]
    follows = all(id(before[2]) in after[1] for before, after in pairwise(calls))
    output = next((name for name, _, returned in reversed(calls) if returned is result), None)
    is_chain = bool(calls) and follows and calls[-1][2] is result and len(set(names)) == len(names)
    shape: tuple[int, ...] = getattr(result, "shape", ())
    return _Order(names, is_chain, output, int(shape[-1]) if len(shape) > 1 else None)


def _loss_of(loss: Any) -> tuple[str | None, bool | None]:
    """Return the loss's name and whether it applies softmax or sigmoid itself; None of a function of the user's."""
    if loss is None or not getattr(loss, "__module__", type(loss).__module__).startswith("torch."):
        return None, None
    if getattr(loss, "reduction", "mean") != "mean":
        return None, None
    return _LOSSES.get(getattr(loss, "__name__", type(loss).__name__), (None, None))
