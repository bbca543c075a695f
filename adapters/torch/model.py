"""The handle of PyTorch modules, with their optimizers and learning rate schedulers.

Contract. The handle returns copies in host memory, and sets tensors in place, so that an optimizer, a compiled module
or a captured graph keeps working with the same tensors. Inspection leaves the modules unchanged: see
`monitor_core.adapters.torch.insides`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import attrs
import numpy as np
import torch

from monitor_core.adapters.torch import insides, parts
from monitor_core.adapters.torch.states import decoded, encoded
from monitor_core.adapters.torch.training import Training
from monitor_core.model.handles import Array, to_host
from monitor_core.model.layer_graph import LayerGraph
from monitor_core.model.summary import ModelSummary

__all__ = ["TorchModel"]

_FORMAT = "monitor_core.TorchModel/1"

T = TypeVar("T")


class TorchModel:
    """Provide PyTorch modules, their optimizers and schedulers to sinks.

    Each of the three is one object, or a dict of several by name. With several modules, the names of weights and layers
    begin with that of their module (``generator.0.weight``), and samples ``x`` are a dict with inputs for some of the
    modules; their outputs are a dict too.

    Args:
        modules: The module, or modules by name; of one that ``torch.compile`` returned, the module inside is used.
        optimizers: The optimizer, or optimizers by name, for sinks that read or set learning rates or save the
            training's state.
        schedulers: The learning rate scheduler, or schedulers by name, of any kind with ``state_dict``. The handle
            saves and restores their states; your loop still calls ``step``.
        loss: The loss for `gradients`, called with the outputs and the targets; returns one element.

    Attributes:
        module: The module; of several, a ``torch.nn.ModuleDict``.
        modules: The modules by name; a single one is named ``module``.
        optimizer: The only optimizer, None without one; an AttributeError if there are several.
        optimizers: The optimizers by name; a single one is named ``optimizer``.
        schedulers: The schedulers by name; a single one is named ``scheduler``.
        framework: ``"torch"``.
        weights_suffix: The suffix of a file of weights without a given name.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A name is empty or has a dot, or a dict is empty.

    Example:
        >>> gan = TorchModel(
        ...     {"generator": generator, "critic": critic}, {"generator": adam, "critic": rmsprop}, StepLR(adam, 30)
        ... )
        >>> with Loop(ModelCheckpoint("{epoch}.pt"), model=gan, resume="runs/gan") as loop:
        ...     ...
    """

    framework: ClassVar[str] = "torch"
    weights_suffix: ClassVar[str] = ".pt"

    def __init__(
        self,
        modules: torch.nn.Module | Mapping[str, torch.nn.Module],
        optimizers: torch.optim.Optimizer | Mapping[str, torch.optim.Optimizer] | None = None,
        schedulers: Any = None,
        *,
        loss: insides.Loss | None = None,
    ) -> None:
        if loss is not None and not callable(loss):
            raise TypeError(f"loss must be a function of outputs and targets (got {loss!r})")
        given = _by_name("module", modules, lambda each: isinstance(each, torch.nn.Module), "a torch.nn.Module")
        if not given:
            raise TypeError("modules must be a torch.nn.Module, or a dict of them by name (got None)")
        # The names in a compiled module have a prefix.
        self.modules: dict[str, Any] = {name: getattr(each, "_orig_mod", each) for name, each in given.items()}
        self._training = Training(
            _by_name("optimizer", optimizers, lambda each: hasattr(each, "param_groups"), "a torch.optim.Optimizer"),
            _by_name("scheduler", schedulers, _has_state, "an LRScheduler"),
        )
        self._has_names = isinstance(modules, Mapping)
        self.module: Any = insides.Several(self.modules) if self._has_names else self.modules["module"]
        self._loss = loss

    def __repr__(self) -> str:
        kinds = [f"{name}={type(each).__name__}" for name, each in self.modules.items()]
        return f"TorchModel({', '.join(kinds) if self._has_names else type(self.module).__name__})"

    @property
    def optimizers(self) -> dict[str, Any]:
        """The optimizers by name; a single one is named ``optimizer``."""
        return self._training.optimizers

    @property
    def schedulers(self) -> dict[str, Any]:
        """The schedulers by name; a single one is named ``scheduler``."""
        return self._training.schedulers

    @property
    def optimizer(self) -> Any:
        """The only optimizer, None without one.

        Raises:
            AttributeError: There are several: use `optimizers`.
        """
        if len(self.optimizers) > 1:
            raise AttributeError(f"there are several optimizers, by name: {', '.join(self.optimizers)}")
        return next(iter(self.optimizers.values()), None)

    def recall(self) -> Callable[[], TorchModel | None]:
        """Return a function that returns a handle of the same parts while all of them live, None afterwards."""
        modules, optimizers, schedulers = map(_references, (self.modules, self.optimizers, self.schedulers))
        has_names, loss = self._has_names, self._loss

        def again() -> TorchModel | None:
            parts = [{name: each() for name, each in named.items()} for named in (modules, optimizers, schedulers)]
            if any(each is None for named in parts for each in named.values()):
                return None
            first: Any = parts[0] if has_names else parts[0]["module"]
            return TorchModel(first, parts[1] or None, parts[2] or None, loss=loss)

        return again

    # --- learning rates --------------------------------------------------------------------------------------------

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate of each parameter group, optimizer by optimizer in their order.

        Raises:
            AttributeError: There is no optimizer.
            ValueError: On setting: the number of rates differs from that of parameter groups.
        """
        return [float(group["lr"]) for group in self._training.groups()]

    @learning_rates.setter
    def learning_rates(self, rates: list[float]) -> None:
        self._training.set_rates(rates)

    # --- weights and files -----------------------------------------------------------------------------------------

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and a host copy of each parameter, then of each buffer; bfloat16 as float32.

        Raises:
            ValueError: One is sharded over several ranks.
        """
        for name, tensor in insides.tensors(self.module):
            insides.require_whole({name: tensor})
            yield name, to_host(tensor)

    def get_weights(self) -> list[Array]:
        """Return host copies of all parameters, then of all buffers; bfloat16 as float32, which is exact.

        Of a parameter that is sharded over several ranks, it is this rank's part.
        """
        return [to_host(parts.local(tensor)) for _, tensor in insides.tensors(self.module)]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Set all parameters and buffers in place to what `get_weights` returned.

        Raises:
            ValueError: Their number or shapes differ from the module's; no tensor is set then.
        """
        tensors = list(insides.tensors(self.module))
        if len(weights) != len(tensors):
            raise ValueError(f"weights must be {len(tensors)} arrays (got {len(weights)})")
        own = [parts.local(tensor) for _, tensor in tensors]
        for (name, _), part, array in zip(tensors, own, weights, strict=True):
            if tuple(part.shape) != np.shape(array):
                raise ValueError(f"weights must have the shape {tuple(part.shape)} for {name} (got {np.shape(array)})")
        with torch.no_grad():
            for part, array in zip(own, weights, strict=True):
                part.copy_(torch.tensor(array))

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write the ``state_dict`` of modules, optimizers and schedulers with ``torch.save``.

        Args:
            path: The file.
            weights_only: Whether to write only the modules' ``state_dict``, as other programs expect it.

        Raises:
            ValueError: The parameters are sharded over several ranks, of which each has a part.
        """
        insides.refuse_flattened(self.module)
        state = self.module.state_dict()
        insides.require_whole(state)
        state = {name: parts.local(value) for name, value in state.items()}
        if not weights_only:
            schedulers = insides.mapped(torch.as_tensor, self._training.scheduler_states())
            state = {
                "format": _FORMAT,
                "module": state,
                "optimizers": self._training.optimizer_states(),
                "schedulers": schedulers,
            }
        torch.save(state, path)

    @property
    def is_sharded(self) -> bool:
        """Whether parameters are sharded over several ranks, as `fully_shard` does it, so that none has the whole."""
        return any(parts.is_sharded(tensor) for _, tensor in insides.tensors(self.module))

    def save_shards(self, folder: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write a folder with ``torch.distributed.checkpoint``, each rank its part. All ranks call this.

        Buffers, and what is not sharded, are those of the first rank.

        Args:
            folder: The folder, which all ranks see.
            weights_only: Whether to write only the modules' state.

        Raises:
            OSError: It cannot be written, on any rank.
            RuntimeError: A rank cannot save for another reason, or the ranks have different parameters.
            ValueError: The modules are wrapped by ``FullyShardedDataParallel``, whose parameters have lost their names.
        """
        from monitor_core.adapters.torch import shards

        insides.refuse_flattened(self.module)
        shards.save(Path(folder), lambda: self._shards(weights_only=weights_only))

    def _shards(self, *, weights_only: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the tensors of a checkpoint, and what else it has."""
        state = self.module.state_dict()
        tensors = {f"module.{name}": value for name, value in state.items() if isinstance(value, torch.Tensor)}
        others = {name: value for name, value in state.items() if not isinstance(value, torch.Tensor)}
        rest: dict[str, Any] = {"optimizers": {}, "schedulers": {}}
        if not weights_only:
            tensors |= self._training.tensors()
            rest = self._training.rest()
        return tensors, {"format": _FORMAT, "module": encoded(others, "the module"), **rest}

    def load(self, path: str | PathLike[str]) -> None:
        """Set the state of the modules, and of optimizers and schedulers if both the file and the handle have them.

        The file is one that `save` wrote, or any with a module's ``state_dict``. It is read by
        ``torch.load(weights_only=True)``: nothing in it is executed. A folder is one that `save_shards` wrote; the
        modules may be sharded over another number of ranks, or not at all, and each rank loads by itself.

        Raises:
            pickle.UnpicklingError: The file holds more than tensors and plain values.
            RuntimeError: The state belongs to another module.
            ValueError: The state belongs to other optimizers or schedulers.
        """
        if Path(path).is_dir():
            self._load_shards(Path(path))
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("format") != _FORMAT:
            state = {"module": state, "optimizers": {}, "schedulers": {}}
        self._training.check(state, partly=True)
        own = self.module.state_dict()
        placed = {
            name: parts.placed_like(value, own[name]) if name in own else value
            for name, value in state["module"].items()
        }
        self.module.load_state_dict(placed)
        self._training.load(state, partly=True)

    def _load_shards(self, folder: Path) -> None:
        from monitor_core.adapters.torch.shards import Saved

        saved = Saved(folder)
        own = self.module.state_dict()
        module = {f"module.{name}": value for name, value in own.items() if isinstance(value, torch.Tensor)}
        states, optimizers = self._training.joined(saved.rest, saved)
        self._training.check(states, partly=True)
        if unknown := set(saved.names("module.")) - {name.removeprefix("module.") for name in module}:
            raise RuntimeError(f"{folder} has {min(unknown)}, which the module lacks: it is of another module")
        saved.load({**module, **optimizers})
        self.module.load_state_dict({**own, **decoded(saved.rest["module"])})
        self._training.load(states, partly=True)

    # --- training state --------------------------------------------------------------------------------------------

    def training_state(self) -> dict[str, Any]:
        """Return what a training needs to continue in addition to the weights, as JSON values and host arrays.

        Returns:
            The states of the optimizers and schedulers by name, and those of PyTorch's generators: the CPU's and, where
            CUDA is in use, each CUDA device's. Where parameters are sharded over several ranks, the former are left
            out, because `save_shards` has them.
        """
        return {**({} if self.is_sharded else self._training.states()), **self.rank_state()}

    def rank_state(self) -> dict[str, Any]:
        """Return the part of `training_state` that each rank of a run has of its own: the generators' states."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return {"torch": to_host(torch.get_rng_state()), "cuda": [to_host(state) for state in cuda]}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `training_state` returned; states of missing CUDA devices are ignored.

        Raises:
            ValueError: The state belongs to other optimizers or schedulers; no state is set then.
        """
        if "optimizers" in state:
            self._training.load(state)
        torch.set_rng_state(torch.tensor(state["torch"]))
        devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for device, generator in zip(range(devices), state["cuda"], strict=False):
            torch.cuda.set_rng_state(torch.tensor(generator), device)

    # --- a look inside ---------------------------------------------------------------------------------------------

    def predict(self, x: Any) -> Any:
        """Return the module's outputs for the samples ``x``, in evaluation mode.

        Args:
            x: One input, or a tuple or list of positional inputs, or a mapping of inputs by name; arrays or tensors.
                They are moved to the module's device, and NumPy floats are cast to its type. With several modules, a
                mapping of these by module; those without inputs are not called.

        Returns:
            The outputs as host arrays, in the structure that the module returns; of several modules, by name.

        Raises:
            TypeError: There are several modules, and ``x`` is not a mapping of inputs by their names.
        """
        return insides.predict(self.module, x)

    def layer_names(self) -> list[str] | None:
        """Return the names of the innermost layers, or None before lazy ones have seen a batch."""
        return insides.layer_names(self.module)

    def activations(self, x: Any, layers: Collection[str] | None = None) -> Iterator[tuple[str, Array]]:
        """Yield each innermost layer's name and its output for the samples ``x``, in evaluation mode.

        A layer that is called several times, or returns several tensors, yields each of them, named ``layer``,
        ``layer:1``, and so on, in the order of the calls. A layer that is not called, such as one whose weights another
        layer uses directly, yields nothing.

        Args:
            x: As for `predict`.
            layers: The names of the modules to yield, without numbers, innermost or not; None for the innermost.

        Raises:
            ValueError: There is no such module; the message suggests the nearest name.
        """
        yield from insides.activations(self.module, x, layers).items()

    def embeddings(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each embedding layer, and a copy of its matrix, ``(rows, dimensions)``."""
        yield from insides.embeddings(self.module)

    def gradients(self, x: Any, y: Any) -> Iterator[tuple[str, Array]]:
        """Yield the name of each trainable parameter, and the gradient of the loss on ``(x, y)`` by it.

        The modules compute in evaluation mode; the parameters' own gradients are not changed.

        Args:
            x: As for `predict`.
            y: The targets, moved to the module's device.

        Raises:
            TypeError: No loss was given, or it returns more than one element.
        """
        if self._loss is None:
            raise TypeError("gradients need a loss: TorchModel(module, optimizer, loss=torch.nn.functional.mse_loss)")
        return iter(insides.gradients(self.module, self._loss, x, y))

    def summary(self, x: Any = None) -> ModelSummary:
        """Return what the modules consist of and how they are trained.

        Args:
            x: Samples as for `predict`, which are run once, in evaluation mode, to see which layer follows which; None
                to look at the layers alone.
        """
        from monitor_core.adapters.torch.summary import summarize

        found = summarize(self.module, self._training, self._loss, x)
        rate = self.learning_rates[0] if self.optimizers else None
        return attrs.evolve(found, learning_rate=rate, has_rate_schedule=bool(self.schedulers))

    def layer_graph(self, sample: Any = None, *, expand_nested: bool = False) -> LayerGraph:
        """Return the parts of the module, in evaluation mode, and how they feed each other.

        Args:
            sample: Inputs as for `predict`, which are run once for the shapes and for code that cannot be traced.
            expand_nested: Whether to show the parts of parts, down to those that compute.
        """
        return insides.layer_graph(self.module, sample, expand_nested=expand_nested)

    def direction(self, metric: str) -> None:
        """Return None: a module has no metrics."""


def _by_name(kind: str, given: Any, is_one: Callable[[Any], bool], wanted: str) -> dict[str, Any]:
    """Return the argument as a dict by name; a single object is named after its kind, and None is an empty dict."""
    if given is None:
        return {}
    named = dict(given) if isinstance(given, Mapping) else {kind: given}
    if not named:
        raise ValueError(f"{kind}s must not be an empty dict")
    for name, each in named.items():
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"{kind}s must have names without a dot (got {name!r})")
        if not is_one(each):
            raise TypeError(f"{kind}s must be {wanted}, or a dict of them by name (got {type(each).__name__})")
    return named


def _has_state(scheduler: Any) -> bool:
    return hasattr(scheduler, "state_dict") and hasattr(scheduler, "load_state_dict")


def _references(parts: Mapping[str, T]) -> dict[str, weakref.ref[T]]:
    return {name: weakref.ref(each) for name, each in parts.items()}
