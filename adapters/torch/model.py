"""The handle of a PyTorch module.

Contract. Whatever the handle lends is a copy in host memory; whatever it sets is set in place, so that an optimizer, a
compiled module or a captured graph goes on with the same tensors. A look inside leaves the module as it was: its
buffers, the mode of each of its parts, the parameters' gradients and PyTorch's random generators.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import torch

from monitor_core.model.handles import Array, check_layers, to_host
from monitor_core.model.layer_graph import LayerGraph

__all__ = ["TorchModel"]

_FORMAT = "monitor_core.TorchModel/1"
_NOT_FINITE = ("inf", "-inf", "nan")

Loss = Callable[[Any, Any], Any]


class TorchModel:
    """Lend a PyTorch module, and its optimizer, to sinks.

    Args:
        module: The module; of one that ``torch.compile`` returned, the module inside is lent.
        optimizer: Its optimizer, for sinks that read or set learning rates or save the training's state.
        loss: The loss for `gradients`, called with the module's outputs and the targets; returns one element.

    Attributes:
        module: The module itself.
        optimizer: The optimizer, or None.
        weights_suffix: How a file of weights ends, where nobody names it.

    Raises:
        TypeError: An argument is of another type.

    Example:
        >>> with Loop(ReduceLROnPlateau("loss"), model=TorchModel(module, optimizer)) as loop:
        ...     ...
    """

    framework: ClassVar[str] = "torch"
    weights_suffix: ClassVar[str] = ".pt"

    def __init__(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None, *, loss: Loss | None = None
    ) -> None:
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"module must be a torch.nn.Module (got {type(module).__name__})")
        if optimizer is not None and not hasattr(optimizer, "param_groups"):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer (got {type(optimizer).__name__})")
        if loss is not None and not callable(loss):
            raise TypeError(f"loss must be a function of outputs and targets (got {loss!r})")
        self.module: Any = getattr(module, "_orig_mod", module)  # the names in a compiled one bear a prefix
        self.optimizer: Any = optimizer
        self._loss = loss

    def __repr__(self) -> str:
        return f"TorchModel({type(self.module).__name__})"

    def recall(self) -> Callable[[], TorchModel | None]:
        """Return a function that gives a handle of this module while it and its optimizer live, None afterwards."""
        module, loss = weakref.ref(self.module), self._loss
        optimizer = None if self.optimizer is None else weakref.ref(self.optimizer)

        def again() -> TorchModel | None:
            parts = module(), optimizer and optimizer()
            if parts[0] is None or (optimizer and parts[1] is None):
                return None
            return TorchModel(*parts, loss=loss)

        return again

    # --- learning rates --------------------------------------------------------------------------------------------

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate of each of the optimizer's parameter groups.

        Raises:
            AttributeError: There is no optimizer.
            ValueError: On setting: there are not as many rates as parameter groups.
        """
        return [float(group["lr"]) for group in self._groups()]

    @learning_rates.setter
    def learning_rates(self, rates: list[float]) -> None:
        groups = self._groups()
        if len(rates) != len(groups):
            raise ValueError(f"learning_rates must have one rate for each of {len(groups)} groups (got {len(rates)})")
        for group, rate in zip(groups, rates, strict=True):
            _set_rate(group, group["lr"], rate)

    def _groups(self) -> list[dict[str, Any]]:
        if self.optimizer is None:
            raise AttributeError(
                "there is no learning rate: give the optimizer, Loop(model=module, optimizer=...) or "
                "TorchModel(module, optimizer)"
            )
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups

    # --- weights and files -----------------------------------------------------------------------------------------

    def _tensors(self) -> Iterator[tuple[str, Any]]:
        return chain(self.module.named_parameters(), self.module.named_buffers())

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and a host copy of each parameter, then of each buffer; bfloat16 as float32."""
        for name, tensor in self._tensors():
            yield name, to_host(tensor)

    def get_weights(self) -> list[Array]:
        """Return host copies of all parameters, then of all buffers; bfloat16 as float32, which loses nothing."""
        return [array for _, array in self.weights()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Set all parameters and buffers in place to what `get_weights` returned.

        Raises:
            ValueError: Their number or shapes are not the module's; nothing is set then.
        """
        tensors = list(self._tensors())
        if len(weights) != len(tensors):
            raise ValueError(f"weights must be {len(tensors)} arrays (got {len(weights)})")
        for (name, tensor), array in zip(tensors, weights, strict=True):
            if tuple(tensor.shape) != np.shape(array):
                raise ValueError(
                    f"weights must have the shape {tuple(tensor.shape)} for {name} (got {np.shape(array)})"
                )
        with torch.no_grad():
            for (_, tensor), array in zip(tensors, weights, strict=True):
                tensor.copy_(torch.tensor(array))

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write the module's ``state_dict``, and the optimizer's, with ``torch.save``.

        Args:
            path: The file.
            weights_only: Whether to write the module's ``state_dict`` alone, as other programs expect it.
        """
        state = self.module.state_dict()
        if not weights_only:
            state = {"format": _FORMAT, "module": state}
            if self.optimizer is not None:
                state["optimizer"] = self.optimizer.state_dict()
        torch.save(state, path)

    def load(self, path: str | PathLike[str]) -> None:
        """Set the module's state, and the optimizer's if both have one, to what a file holds.

        The file is one that `save` wrote, or any with a module's ``state_dict``. It is read by
        ``torch.load(weights_only=True)``: nothing in it is executed.

        Raises:
            pickle.UnpicklingError: The file holds more than tensors and plain values.
            RuntimeError: The state is that of another module.
            ValueError: The state is that of another optimizer.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("format") != _FORMAT:
            state = {"module": state}
        self.module.load_state_dict(state["module"])
        if self.optimizer is not None and "optimizer" in state:
            self._load_optimizer(state["optimizer"])

    def _load_optimizer(self, state: Mapping[str, Any]) -> None:
        """Load, and keep those learning rates that are tensors the same tensors, on their devices."""
        before = [group["lr"] for group in self._groups()]
        self.optimizer.load_state_dict(state)
        for group, rate in zip(self._groups(), before, strict=True):
            _set_rate(group, rate, float(group["lr"]))

    # --- training state --------------------------------------------------------------------------------------------

    def training_state(self) -> dict[str, Any]:
        """Return what a training needs to go on beside the weights, as JSON values and host arrays.

        Returns:
            The optimizer's state (None without one), and the states of PyTorch's generators: the CPU's and, where CUDA
            is in use, each CUDA device's.
        """
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return {
            "optimizer": None if self.optimizer is None else _encoded(self.optimizer.state_dict(), "the optimizer"),
            "torch": to_host(torch.get_rng_state()),
            "cuda": [to_host(state) for state in cuda],
        }

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `training_state` returned; states of CUDA devices that are not here are left out.

        Raises:
            ValueError: The state is that of another optimizer.
        """
        if (state["optimizer"] is None) != (self.optimizer is None):
            wanted, got = ("no", "one") if self.optimizer is None else ("an", "none")
            raise ValueError(f"state must have {wanted} optimizer's state, as this handle does (got {got})")
        if self.optimizer is not None:
            self._load_optimizer(self._optimizer_state(state["optimizer"]))
        torch.set_rng_state(torch.tensor(state["torch"]))
        devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for device, generator in zip(range(devices), state["cuda"], strict=False):
            torch.cuda.set_rng_state(torch.tensor(generator), device)

    def _optimizer_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state as the optimizer takes it: parameters by number, tuples where its options are tuples."""
        optimizer: dict[str, Any] = _decoded(state)
        groups = self._groups()
        if len(optimizer["param_groups"]) != len(groups):
            raise ValueError(f"state must have {len(groups)} parameter groups (got {len(optimizer['param_groups'])})")
        return {
            **optimizer,
            "state": {int(key) if key.isdecimal() else key: each for key, each in optimizer["state"].items()},
            "param_groups": [_like(now, then) for now, then in zip(groups, optimizer["param_groups"], strict=True)],
        }

    # --- a look inside ---------------------------------------------------------------------------------------------

    def predict(self, x: Any) -> Any:
        """Return the module's outputs for the samples ``x``, in evaluation mode.

        Args:
            x: One input, or a tuple or list of positional inputs, or a mapping of inputs by name; arrays or tensors.
                They are moved to the module's device, and NumPy floats are cast to its type.

        Returns:
            The outputs as host arrays, in the structure in which the module returns them.
        """
        with self._looking(), torch.no_grad():
            return _map(to_host, self._call(x))

    def layer_names(self) -> list[str] | None:
        """Return the names of the innermost layers, or None before lazy ones have seen a batch."""
        lazy = any(torch.nn.parameter.is_lazy(tensor) for _, tensor in self._tensors())
        return None if lazy else [name for name, _ in self._innermost()]

    def activations(self, x: Any, layers: Collection[str] | None = None) -> Iterator[tuple[str, Array]]:
        """Yield each innermost layer's name and its output for the samples ``x``, in evaluation mode.

        A layer that is called several times, or returns several tensors, yields each of them, named ``layer``,
        ``layer:1``, and so on, in the order of the calls. A layer that is not called, such as one whose weights another
        uses by itself, yields nothing.

        Args:
            x: As for `predict`.
            layers: The names of the modules to yield, without numbers, innermost or not; None for the innermost.

        Raises:
            ValueError: There is no such module; the message tells the nearest.
        """
        chosen = list(self._innermost() if layers is None else self._named(layers))
        found: dict[str, Array] = {}
        numbers: dict[str, int] = {}

        def keep(name: str, output: Any) -> None:
            numbers[name] = number = numbers.get(name, -1) + 1
            found[f"{name}:{number}" if number else name] = to_host(output)

        def hook(name: str) -> Callable[..., None]:
            def forward(_layer: Any, _inputs: Any, output: Any) -> None:  # what it returned would become the output
                _map(lambda tensor: keep(name, tensor), output)

            return forward

        with ExitStack() as stack:
            stack.enter_context(self._looking())
            stack.enter_context(torch.no_grad())
            for name, layer in chosen:
                stack.callback(layer.register_forward_hook(hook(name)).remove)
            self._call(x)
        yield from found.items()

    def embeddings(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each embedding layer, and a copy of its matrix, ``(rows, dimensions)``."""
        for name, module in self.module.named_modules():
            if isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
                yield name or type(module).__name__, to_host(module.weight)

    def _named(self, layers: Collection[str]) -> list[tuple[str, Any]]:
        """Return the modules of these names, innermost or not."""
        modules = {name or type(module).__name__: module for name, module in self.module.named_modules()}
        check_layers(layers, modules)
        return [(name, modules[name]) for name in layers]

    def _innermost(self) -> Iterator[tuple[str, Any]]:
        """Yield the modules that compute: those without parts, and those that use their parts' weights themselves."""
        for name, module in self.module.named_modules():
            parts = [part for part, _ in module.named_children() if part != "parametrizations"]
            if "parametrizations" not in name.split(".") and (
                not parts or isinstance(module, torch.nn.MultiheadAttention)
            ):
                yield name or type(module).__name__, module

    def gradients(self, x: Any, y: Any) -> Iterator[tuple[str, Array]]:
        """Yield the name of each parameter that is trained, and the gradient by it of the loss on ``(x, y)``.

        The module computes in evaluation mode; the gradients that the parameters hold are not touched.

        Args:
            x: As for `predict`.
            y: The targets, moved to the module's device.

        Raises:
            TypeError: No loss was given, or it returns more than one element.
        """
        if self._loss is None:
            raise TypeError("gradients need a loss: TorchModel(module, optimizer, loss=torch.nn.functional.mse_loss)")
        named = [(name, each) for name, each in self.module.named_parameters() if each.requires_grad]
        recurrent = any(isinstance(module, torch.nn.RNNBase) for module in self.module.modules())
        with ExitStack() as stack:
            stack.enter_context(self._looking())
            stack.enter_context(torch.inference_mode(mode=False))
            stack.enter_context(torch.enable_grad())
            if recurrent:  # cuDNN's cannot go backward in evaluation mode
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            loss = self._loss(self._call(x), self._placed(y))
            if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
                raise TypeError(f"loss must return a tensor of one element (got {_shown(loss)})")
            gradients = torch.autograd.grad(loss.reshape(()), [each for _, each in named], allow_unused=True)
        return iter(
            [
                (name, to_host(torch.zeros_like(parameter) if gradient is None else gradient))
                for (name, parameter), gradient in zip(named, gradients, strict=True)
            ]
        )

    def layer_graph(self, sample: Any = None, *, expand_nested: bool = False) -> LayerGraph:
        """Return the parts of the module, in evaluation mode, and how they feed each other.

        Args:
            sample: Inputs as for `predict`, to be run once for the shapes and for code that cannot be traced.
            expand_nested: Whether to show the parts of parts, down to those that compute.
        """
        from monitor_core.adapters.torch.layers import layer_graph  # takes torch.fx, which takes time to import

        with self._looking(), torch.no_grad():
            run = None if sample is None else lambda: self._call(sample)
            return layer_graph(self.module, run, expand_nested=expand_nested)

    def direction(self, metric: str) -> None:
        """Return None: a module knows nothing of metrics."""

    def _call(self, x: Any) -> Any:
        if isinstance(x, Mapping):
            return self.module(**{name: self._placed(value) for name, value in x.items()})
        if isinstance(x, (tuple, list)):
            return self.module(*map(self._placed, x))
        return self.module(self._placed(x))

    def _placed(self, data: Any) -> Any:
        """Return arrays and tensors on the module's device."""
        first = next((tensor for _, tensor in self._tensors()), torch.empty(0))

        def place(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value.to(first.device)
            if isinstance(value, np.ndarray):
                tensor = torch.tensor(value)
                floating = tensor.is_floating_point() and first.is_floating_point()
                return tensor.to(first.device, first.dtype if floating else tensor.dtype)
            return value

        return _map(place, data)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Set evaluation mode; in the end restore each module's mode, the buffers and the random generators."""
        module = self.module
        modes = [(each, each.training) for each in module.modules()]
        buffers = [(each, each.detach().clone(), each._version) for each in module.buffers()]
        devices = {tensor.device.index for _, tensor in self._tensors() if tensor.device.type == "cuda"}
        with torch.random.fork_rng(devices=sorted(devices), device_type="cuda"):
            try:
                module.eval()
                yield
            finally:
                module.train(modes[0][1])  # some modules do more than set a flag
                for each, training in modes:
                    each.training = training
                with torch.no_grad():
                    for buffer, value, version in buffers:
                        if buffer._version != version:
                            buffer.copy_(value)


def _set_rate(group: dict[str, Any], present: Any, rate: float) -> None:
    """Set a group's rate; where it is a tensor at present, in place, since a captured graph reads that tensor."""
    if isinstance(present, torch.Tensor):
        with torch.no_grad():
            present.fill_(rate)
        group["lr"] = present
    else:
        group["lr"] = rate


def _map(function: Callable[[Any], Any], data: Any) -> Any:
    """Apply a function to all tensors and arrays in nested containers; leave anything else as it is."""
    if isinstance(data, Mapping):
        return {name: _map(function, value) for name, value in data.items()}
    if isinstance(data, (tuple, list)):
        values = [_map(function, value) for value in data]
        return values if isinstance(data, list) else tuple(values)
    return function(data) if isinstance(data, (torch.Tensor, np.ndarray)) else data


def _encoded(value: Any, where: str) -> Any:
    """Return an optimizer's state as JSON values and host arrays; what is not finite as a string."""
    if isinstance(value, torch.Tensor):
        return to_host(value)
    if isinstance(value, np.generic):
        return _encoded(value.item(), where)
    if isinstance(value, Mapping):
        return {str(name): _encoded(each, f"{where}'s {name}") for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_encoded(each, where) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray)):
        return value
    raise TypeError(f"{where} must be numbers, texts and tensors to be saved (got {type(value).__name__})")


def _decoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.tensor(value)
    if isinstance(value, Mapping):
        return {name: _decoded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    return float(value) if isinstance(value, str) and value in _NOT_FINITE else value


def _like(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter group's options, tuples where the optimizer has them."""
    return {name: tuple(value) if isinstance(now.get(name), tuple) else value for name, value in then.items()}


def _shown(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"one of the shape {tuple(value.shape)}"
    return type(value).__name__
