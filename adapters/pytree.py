"""The handle of a pytree: nested dicts, lists and tuples of arrays, as JAX programs keep their parameters.

JAX is not required; if it is imported, its registered containers (Flax's and Optax's states) are supported too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from monitor_core import frameworks
from monitor_core.adapters import jax_shards
from monitor_core.files.state import read_arrays, write_arrays
from monitor_core.model.handles import Array, to_host


class PytreeModel:
    """Provide a pytree of arrays to sinks.

    A training loop in JAX replaces its parameters at every step, so the handle takes functions that read and set them.

    Args:
        get: Returns the current tree: nested dicts, lists, tuples and named tuples of arrays and numbers.
        assign: Called with a tree of the same structure, and makes it the current one.

    Example:
        >>> state = {"params": params, "optimizer": optimizer.init(params)}
        >>> handle = PytreeModel(lambda: state, state.update)
    """

    def __init__(self, get: Callable[[], Any], assign: Callable[[Any], object]) -> None:
        self._get = get
        self._assign = assign

    def __repr__(self) -> str:
        return f"PytreeModel({len(self.get_weights())} arrays)"

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Yield each leaf's path, such as ``params/dense/kernel``, and a copy of it on the host.

        Raises:
            ValueError: A leaf is sharded over several processes.
        """
        for name, leaf in numbered(_leaves(self._get())):
            jax_shards.require_whole({name: leaf})
            yield name, to_host(leaf)

    def get_weights(self) -> list[Array]:
        """Return copies of all leaves on the host, in a fixed order."""
        return [array for _, array in self.weights()]

    def set_weights(self, weights: list[Array]) -> None:
        """Replace all leaves; each keeps its kind: a number, a NumPy or a JAX array, and its dtype.

        Raises:
            ValueError: Their number or shapes differ from the tree's.
        """
        tree = self._get()
        leaves = [leaf for _, leaf in _leaves(tree)]
        if len(weights) != len(leaves):
            raise ValueError(f"weights must have the tree's {len(leaves)} arrays (got {len(weights)})")
        for number, (leaf, array) in enumerate(zip(leaves, weights, strict=True)):
            if np.shape(leaf) != np.shape(array):
                raise ValueError(f"weights[{number}] must have the shape {np.shape(leaf)} (got {np.shape(array)})")
        self._assign(_rebuilt(tree, iter([alike(*pair) for pair in zip(leaves, weights, strict=True)])))

    def save(self, path: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write all leaves with their paths into one ``.npz`` file; ``weights_only`` makes no difference."""
        names, arrays = [], []
        for name, array in self.weights():
            names.append(name)
            arrays.append(array)
        write_arrays(path, [np.array(names, dtype=str), *arrays])

    @property
    def is_sharded(self) -> bool:
        """Whether leaves are arrays of JAX that are sharded over several processes, so that none has the whole."""
        return any(jax_shards.is_sharded(leaf) for _, leaf in _leaves(self._get()))

    def save_shards(self, folder: str | PathLike[str], *, weights_only: bool = False) -> None:
        """Write all leaves into a folder with Orbax, each process its part. All processes call this.

        Args:
            folder: The folder, which all processes see.
            weights_only: It makes no difference.

        Raises:
            ImportError: Orbax is not installed.
        """
        jax_shards.save(Path(folder), {"tree": dict(numbered(_leaves(self._get())))})

    def load(self, path: str | PathLike[str]) -> None:
        """Replace all leaves by those that `save` or `save_shards` wrote, without executing anything in the file.

        Raises:
            ImportError: Orbax is not installed, and the path is a folder.
            ValueError: The file holds another tree.
        """
        tree = self._get()
        leaves = dict(numbered(_leaves(tree)))
        if Path(path).is_dir():
            loaded = jax_shards.load(Path(path), {"tree": leaves})["tree"]
            self._assign(_rebuilt(tree, iter([alike(leaf, loaded[name]) for name, leaf in leaves.items()])))
            return
        names, *arrays = read_arrays(path)
        if names.tolist() != [*leaves]:
            raise ValueError(f"{path} must hold the arrays {', '.join(leaves)} (got {', '.join(map(str, names))})")
        self.set_weights(arrays)


def numbered(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield named objects; from its second object on, a name gets a number."""
    taken: dict[str, int] = {}
    for name, each in pairs:
        taken[name] = number = taken.get(name, 0) + 1
        yield (name if number == 1 else f"{name}#{number}"), each


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves with their paths, in JAX's order: dicts by sorted keys."""
    children = _children(tree)
    if children is None:
        yield prefix, tree
        return
    for key, child in children:
        yield from _leaves(child, f"{prefix}/{key}" if prefix else str(key))


def _children(tree: Any) -> list[tuple[Any, Any]] | None:
    """Return a container's children with their keys, or None for a leaf."""
    if tree is None:
        return []
    if isinstance(tree, dict):
        return [(key, tree[key]) for key in sorted(tree)]
    if isinstance(tree, (list, tuple)):
        return list(zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True))
    if isinstance(tree, (int, float, complex, np.ndarray, np.generic)):
        return None
    found = frameworks.container_of(tree)
    return None if found is None else list(enumerate(found[1]))


def _rebuilt(tree: Any, leaves: Iterator[Any]) -> Any:
    children = _children(tree)
    if children is None:
        return next(leaves)
    values = [_rebuilt(child, leaves) for _, child in children]
    if tree is None:
        return None
    if isinstance(tree, dict):
        by_key = {key: value for (key, _), value in zip(children, values, strict=True)}
        return type(tree)((key, by_key[key]) for key in tree)
    if isinstance(tree, (list, tuple)):
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    framework, _ = frameworks.container_of(tree)  # type: ignore[misc] # `_children` found it
    return framework.rebuilt(tree, values)


def alike(leaf: Any, array: Array) -> Any:
    """Return an array converted to the type and dtype of the leaf; a global one of JAX is that already."""
    if jax_shards.is_global(array):
        return array
    if isinstance(leaf, (bool, int, float, complex)):
        return type(leaf)(array.item())
    framework = frameworks.of(type(leaf))
    return np.array(array, dtype=getattr(leaf, "dtype", None)) if framework is None else framework.like(leaf, array)
