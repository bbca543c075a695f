"""Inspecting PyTorch modules: outputs, activations, gradients and the graph of their parts.

Contract. Inspection leaves the modules unchanged: their buffers, the mode of each part, the parameters' gradients and
PyTorch's random generators. All results are copies in host memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch

from monitor_core.adapters.torch import parts
from monitor_core.frameworks.base import is_a
from monitor_core.model.handles import Array, check_layers, to_host
from monitor_core.model.layer_graph import LayerGraph

Loss = Callable[[Any, Any], Any]
"""Called with outputs and targets; returns a tensor of one element."""


class Several(torch.nn.ModuleDict):
    """Several modules as one, whose inputs and outputs are mappings by the modules' names.

    Args:
        modules: The modules by name; they are not changed.

    Raises:
        ValueError: A name is empty, has a dot, or is a member of PyTorch's ``ModuleDict``.
    """

    def __init__(self, modules: Mapping[str, torch.nn.Module]) -> None:
        try:
            super().__init__(modules)
        except (KeyError, TypeError) as error:
            raise ValueError(f"modules must have other names (got {', '.join(map(str, modules))}): {error}") from None

    def forward(self, **inputs: Any) -> dict[str, Any]:
        """Call the modules that have inputs."""
        return {name: call(self[name], x) for name, x in inputs.items()}


def call(module: Any, x: Any) -> Any:
    """Call a module with one input, a tuple or list of positional ones, or a mapping of those by name."""
    if isinstance(x, Mapping):
        if isinstance(module, Several) and not x.keys() <= set(module):
            raise TypeError(f"x must have names of the modules {', '.join(module)} (got {', '.join(map(str, x))})")
        return module(**x)
    if isinstance(module, Several):
        names, kind = ", ".join(module), type(x).__name__
        raise TypeError(f"x must be a mapping with inputs for some of the modules {names} (got a {kind})")
    return module(*x) if isinstance(x, (tuple, list)) else module(x)


def tensors(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and tensor of each parameter, then of each buffer."""
    return chain(module.named_parameters(), module.named_buffers())


def predict(module: Any, x: Any) -> Any:
    """Return the outputs for the samples ``x`` in evaluation mode, in their structure."""
    with looking(module), torch.no_grad():
        return mapped(to_host, call(module, placed(module, x)))


def layer_names(module: Any) -> list[str] | None:
    """Return the names of the innermost layers, or None before lazy ones have seen a batch."""
    lazy = any(torch.nn.parameter.is_lazy(tensor) for _, tensor in tensors(module))
    return None if lazy else [name for name, _ in innermost(module)]


def activations(module: Any, x: Any, layers: Collection[str] | None) -> dict[str, Array]:
    """Return the output of each layer, by its name, numbered from its second tensor on."""
    chosen = list(innermost(module) if layers is None else _named(module, layers))
    found: dict[str, Array] = {}
    numbers: dict[str, int] = {}

    def keep(name: str, output: Any) -> None:
        numbers[name] = number = numbers.get(name, -1) + 1
        found[f"{name}:{number}" if number else name] = to_host(output)

    def hook(name: str) -> Callable[..., None]:
        def forward(_layer: Any, _inputs: Any, output: Any) -> None:  # its return value would replace the output
            mapped(lambda tensor: keep(name, tensor), output)

        return forward

    with ExitStack() as stack:
        stack.enter_context(looking(module))
        stack.enter_context(torch.no_grad())
        for name, layer in chosen:
            stack.callback(layer.register_forward_hook(hook(name)).remove)
        call(module, placed(module, x))
    return found


def _named(module: Any, layers: Collection[str]) -> list[tuple[str, Any]]:
    """Return the modules of these names, innermost or not."""
    modules = {name or type(part).__name__: part for name, part in module.named_modules()}
    check_layers(layers, modules)
    return [(name, modules[name]) for name in layers]


def innermost(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield the modules that compute: those without parts, and those that use their parts' weights themselves."""
    for name, each in module.named_modules():
        parts = [part for part, _ in each.named_children() if part != "parametrizations"]
        if "parametrizations" not in name.split(".") and (not parts or isinstance(each, torch.nn.MultiheadAttention)):
            yield name or type(each).__name__, each


def embeddings(module: Any) -> Iterator[tuple[str, Array]]:
    """Yield the name of each embedding layer, and a copy of its matrix."""
    for name, each in module.named_modules():
        if isinstance(each, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
            yield name or type(each).__name__, to_host(each.weight)


def gradients(module: Any, loss: Loss, x: Any, y: Any) -> list[tuple[str, Array]]:
    """Return the name of each trainable parameter, and the gradient of the loss on ``(x, y)`` by it.

    Raises:
        TypeError: The loss returns more than one element.
    """
    named = [(name, each) for name, each in module.named_parameters() if each.requires_grad]
    recurrent = any(isinstance(each, torch.nn.RNNBase) for each in module.modules())
    with ExitStack() as stack:
        stack.enter_context(looking(module))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        if recurrent:  # cuDNN has no backward pass in evaluation mode
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        value = loss(call(module, placed(module, x)), placed(module, y))
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            got = f"one of the shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"loss must return a tensor of one element (got {got})")
        found = torch.autograd.grad(value.reshape(()), [each for _, each in named], allow_unused=True)
    return [
        (name, to_host(torch.zeros_like(parameter) if gradient is None else gradient))
        for (name, parameter), gradient in zip(named, found, strict=True)
    ]


def layer_graph(module: Any, sample: Any, *, expand_nested: bool) -> LayerGraph:
    """Return the parts of a module and how they feed each other."""
    from monitor_core.adapters.torch.layers import layer_graph as read  # imports torch.fx, which is slow to import

    with looking(module), torch.no_grad():
        run = None if sample is None else lambda: call(module, placed(module, sample))
        return read(module, run, expand_nested=expand_nested)


# --- inspection without side effects -------------------------------------------------------------------------------


def placed(module: Any, data: Any) -> Any:
    """Return arrays and tensors on the module's device, NumPy floats as its type; by name those of several modules."""
    if isinstance(module, Several) and isinstance(data, Mapping) and data.keys() <= set(module):
        return {name: placed(module[name], value) for name, value in data.items()}
    first = next((tensor for _, tensor in tensors(module)), torch.empty(0))

    def place(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(first.device)
        tensor = torch.tensor(value)
        floating = tensor.is_floating_point() and first.is_floating_point()
        return tensor.to(first.device, first.dtype if floating else tensor.dtype)

    return mapped(place, data)


@contextmanager
def looking(module: Any) -> Iterator[None]:
    """Set evaluation mode; at the end restore each module's mode, the buffers and the random generators."""
    modes = {each: each.training for each in module.modules()}
    buffers = [(each, each.detach().clone(), each._version) for each in module.buffers()]
    devices = {tensor.device.index for _, tensor in tensors(module) if tensor.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices), device_type="cuda"):
        try:
            module.eval()
            yield
        finally:
            for each in module.values() if isinstance(module, Several) else [module]:
                each.train(modes[each])  # some modules do more than set a flag
            for each, training in modes.items():
                each.training = training
            with torch.no_grad():
                for buffer, value, version in buffers:
                    if buffer._version != version:
                        buffer.copy_(value)


def mapped(function: Callable[[Any], Any], data: Any) -> Any:
    """Apply a function to all tensors and arrays in nested containers; leave other values unchanged."""
    if isinstance(data, Mapping):
        return {name: mapped(function, value) for name, value in data.items()}
    if isinstance(data, (tuple, list)):
        values = [mapped(function, value) for value in data]
        return values if isinstance(data, list) else tuple(values)
    return function(data) if isinstance(data, (torch.Tensor, np.ndarray)) else data


def require_whole(state: Mapping[str, Any]) -> None:
    """Raise a ValueError if tensors of a module's state are sharded over several ranks."""
    for name, value in state.items():
        if parts.is_sharded(value):
            raise ValueError(
                f"{name!r} is sharded over {value.device_mesh.size()} ranks, of which each has a part: call "
                "save_shards(folder) on all of them, as ModelCheckpoint does"
            )


def refuse_flattened(module: Any) -> None:
    """Raise a ValueError if a module's parameters were sharded in PyTorch's earlier way, which flattens them."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return
    for each in module.modules():
        if is_a(each, "torch.distributed.fsdp", "FullyShardedDataParallel"):
            raise ValueError(
                "the module is wrapped by FullyShardedDataParallel, of whose state each rank has a part without names: "
                "shard it by its successor, torch.distributed.fsdp.fully_shard(module)"
            )
