"""What the handles of JAX models share: named arrays, files, the training state, and rates that Optax injects.

Contract. A part of a training is a pytree: its weights, its optimizer's state, its random keys. Arrays are named by
their paths, such as ``layers/0/kernel``. All results are copies in host memory; what is set keeps the dtype and the
placement of what it replaces, so that a compiled step is not compiled again. A file is checked as a whole before
anything is set, and nothing in it is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from monitor_core.adapters import jax_shards
from monitor_core.adapters.pytree import alike, numbered
from monitor_core.files.state import read_arrays, write_arrays
from monitor_core.model.handles import Array, to_host

_TRAINING = ("optimizer", "rngs")
"""The parts of a training besides the weights."""

Loss = Callable[[Any, Any], Any]
"""Called with outputs and targets; returns an array of one element."""


class JaxModel:
    """Provide the parts of a training in JAX to sinks; subclasses say what the parts are.

    Args:
        loss: The loss for `gradients`.
    """

    framework: ClassVar[str] = "jax"
    weights_suffix: ClassVar[str] = ".npz"

    def __init__(self, loss: Loss | None) -> None:
        if loss is not None and not callable(loss):
            raise TypeError(f"loss must be a function of outputs and targets (got {loss!r})")
        self._loss = loss

    def _tree(self, part: str) -> Any:
        """Return the arrays of ``"weights"``, ``"optimizer"`` or ``"rngs"``, in a tree that may be empty."""
        raise NotImplementedError

    def _replace(self, part: str, tree: Any) -> None:
        """Make a tree like that of `_tree` the current one."""
        raise NotImplementedError

    def _outputs(self, x: Any) -> Any:
        """Return the model's outputs for samples, without changing the model."""
        raise NotImplementedError

    # --- weights and files -----------------------------------------------------------------------------------------

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield each array's path, such as ``layers/0/kernel``, and a copy of it on the host."""
        yield from self._arrays("weights").items()

    def get_weights(self) -> list[Array]:
        """Return copies of all weights on the host, in a fixed order."""
        return [*self._arrays("weights").values()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Set all weights to what `get_weights` returned.

        Raises:
            ValueError: Their number or shapes differ from the model's; none is set then.
        """
        names = [*self._leaves("weights")]
        if len(weights) != len(names):
            raise ValueError(f"weights must be {len(names)} arrays (got {len(weights)})")
        self._set({"weights": dict(zip(names, weights, strict=True))}, "weights")

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write the weights and the optimizer's state, with their paths, into one ``.npz`` file.

        Args:
            path: The file.
            weights_only: Whether to leave out the optimizer's state.
        """
        named = {f"{part}/{name}": array for part in _saved(weights_only) for name, array in self._arrays(part).items()}
        write_arrays(path, [np.array([*named], dtype=str), *named.values()])

    @property
    def is_sharded(self) -> bool:
        """Whether arrays of the model or its optimizer are sharded over several processes."""
        return any(jax_shards.is_sharded(leaf) for part in _saved(False) for leaf in self._leaves(part).values())

    def save_shards(self, folder: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write a folder with Orbax, each process its part of the arrays. All processes call this.

        Args:
            folder: The folder, which all processes see.
            weights_only: Whether to leave out the optimizer's state.

        Raises:
            ImportError: Orbax is not installed.
        """
        jax_shards.save(Path(folder), {part: self._data_of(part) for part in _saved(weights_only)})

    def load(self, path: str | PathLike[str]) -> None:
        """Set the weights, and the optimizer's state if both the file and the handle have one, to what `save` wrote.

        A folder is one that `save_shards` wrote, on any number of processes; each loads what it has a part of.

        Raises:
            ValueError: The file belongs to another model or optimizer; nothing is set then.
        """
        if Path(path).is_dir():
            self._set(jax_shards.load(Path(path), {part: self._data_of(part) for part in _saved(False)}), str(path))
            return
        names, *arrays = read_arrays(path)
        if names.dtype.kind != "U" or names.shape != (len(arrays),):
            raise ValueError(f"{path} must be a file that a handle's save wrote (its first array holds no names)")
        found: dict[str, dict[str, Array]] = {"weights": {}}
        for whole, array in zip(names.tolist(), arrays, strict=True):
            part, _, name = whole.partition("/")
            found.setdefault(part, {})[name] = array
        if not self._leaves("optimizer"):
            found.pop("optimizer", None)
        self._set(found, str(path))

    # --- training state --------------------------------------------------------------------------------------------

    def training_state(self) -> dict[str, Any]:
        """Return what a training needs to continue in addition to the weights: the optimizer's state, random keys."""
        parts = ("rngs",) if self.is_sharded else _TRAINING  # of a sharded one, `save_shards` has the optimizer's state
        return {part: self._arrays(part) for part in parts}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `training_state` returned.

        Raises:
            ValueError: The state belongs to another model or optimizer; nothing is set then.
        """
        self._set({part: state[part] for part in _TRAINING if part in state}, "state")

    # --- learning rates --------------------------------------------------------------------------------------------

    @property
    def learning_rates(self) -> list[float]:
        """The learning rates in the states of ``optax.inject_hyperparams``, usually a single one.

        Raises:
            AttributeError: There is no such state.
            TypeError: On setting: a rate is a schedule.
            ValueError: On setting: the number of rates differs.
        """
        return [float(leaf) for leaf in self._rates().values()]

    @learning_rates.setter
    def learning_rates(self, rates: list[float]) -> None:
        present = self._rates()
        if len(rates) != len(present):
            raise ValueError(f"learning_rates must have one rate for each of {len(present)} groups (got {len(rates)})")
        if self.has_rate_schedule:
            raise TypeError(
                "the optimizer's learning rate is a schedule, which sets the rate itself: give "
                "optax.inject_hyperparams(...) a number"
            )
        new = {name: alike(leaf, np.array(rate)) for (name, leaf), rate in zip(present.items(), rates, strict=True)}
        self._replace_leaves("optimizer", new)

    @property
    def has_rate_schedule(self) -> bool:
        """Whether a learning rate is a schedule, and so cannot be set."""
        return any("hyperparams_states/learning_rate/" in name for name in self._leaves("optimizer"))

    def _rates(self) -> dict[str, Any]:
        leaves = self._leaves("optimizer").items()
        found = {name: leaf for name, leaf in leaves if f"/{name}".endswith("/hyperparams/learning_rate")}
        if not found:
            raise AttributeError(
                "there is no learning rate to read or set: give the handle an optimizer that keeps it in its state, "
                "optax.inject_hyperparams(optax.adam)(learning_rate=0.001)"
            )
        return found

    # --- a look inside ---------------------------------------------------------------------------------------------

    def predict(self, x: Any) -> Any:
        """Return the model's outputs for the samples ``x`` as host arrays, in the model's structure.

        Args:
            x: One input, or a tuple or list of positional ones, or a mapping of inputs by name.
        """
        return jax.tree.map(to_host, self._outputs(x))

    def direction(self, metric: str) -> None:
        """Return None: a model has no metrics."""

    def _loss_of(self, outputs: Any, y: Any) -> Any:
        """Return the loss, of no dimension.

        Raises:
            TypeError: No loss was given, or it returns more than one element.
        """
        if self._loss is None:
            kind = type(self).__name__
            raise TypeError(f"gradients need a loss: {kind}(..., loss=lambda outputs, y: ((outputs - y) ** 2).mean())")
        value = self._loss(outputs, y)
        if np.size(value) != 1:
            raise TypeError(f"loss must return an array of one element (got the shape {np.shape(value)})")
        return value.reshape(())

    # --- named arrays ----------------------------------------------------------------------------------------------

    def _leaves(self, part: str) -> dict[str, Any]:
        return named_leaves(self._tree(part))

    def _data_of(self, part: str) -> dict[str, Any]:
        return {name: _data(leaf) for name, leaf in self._leaves(part).items()}

    def _arrays(self, part: str) -> dict[str, Array]:
        data = self._data_of(part)
        jax_shards.require_whole(data)
        return {name: to_host(leaf) for name, leaf in data.items()}

    def _set(self, states: Mapping[str, Mapping[str, Array]], where: str) -> None:
        new = {part: _all_alike(self._leaves(part), arrays, where) for part, arrays in states.items()}
        for part, leaves in new.items():
            self._replace_leaves(part, leaves)

    def _replace_leaves(self, part: str, new: Mapping[str, Any]) -> None:
        tree = self._tree(part)
        leaves = {**named_leaves(tree), **new}
        self._replace(part, jax.tree.unflatten(jax.tree.structure(tree), leaves.values()))


def _saved(weights_only: bool) -> list[str]:
    """Return the parts that a checkpoint has."""
    return ["weights"] if weights_only else ["weights", "optimizer"]


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a pytree by their paths, in JAX's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return dict(numbered((jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves))


def is_key(leaf: Any) -> bool:
    """Return whether an object is an array of typed random keys."""
    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def call(function: Callable[..., Any], x: Any) -> Any:
    """Call a function with one input, a tuple or list of positional ones, or a mapping of those by name."""
    if isinstance(x, Mapping):
        return function(**x)
    return function(*x) if isinstance(x, (tuple, list)) else function(x)


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def _all_alike(leaves: Mapping[str, Any], arrays: Mapping[str, Array], where: str) -> dict[str, Any]:
    """Return host arrays as the leaves that they are to replace.

    Raises:
        ValueError: They have other names or shapes.
    """
    data = {name: _data(leaf) for name, leaf in leaves.items()}
    jax_shards.require_alike(data, {name: np.shape(array) for name, array in arrays.items()}, where)
    return {name: _one_alike(leaf, arrays[name]) for name, leaf in leaves.items()}


def _one_alike(leaf: Any, array: Array) -> Any:
    if is_key(leaf):
        return jax.random.wrap_key_data(alike(_data(leaf), array), impl=jax.random.key_impl(leaf))
    return alike(leaf, array)
