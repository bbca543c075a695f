"""JAX: arrays are immutable, so they are kept themselves; many are stacked on the device and fetched as one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.frameworks.base import UNDER_TRACING, Framework, Stop, bases

_STACKED = 64
"""Arrays per stack. A stack of this size compiles once, in 0.05 s; one of 256 takes 0.2 s and saves nothing."""


class Jax(Framework):
    """JAX. It has no models of its own: the user makes a handle that provides trees of arrays."""

    name = "jax"
    title = "JAX"
    packages = frozenset({"jax", "jaxlib"})

    def is_array(self, kind: type) -> bool:
        """Return whether values of this type are arrays; traced values are not."""
        return kind.__name__ == "ArrayImpl"

    @staticmethod
    def keep(value: Any) -> Any:
        """Return the array itself. If a step donates its memory, the message at the fetch says so.

        Raises:
            ValueError: It has more or fewer than one element.
        """
        aval = value.aval  # `shape` and `size` of the array take 0.15 and 0.4 us more
        if aval.shape and aval.size != 1:
            raise ValueError("it has more or fewer than one element")
        return value

    def is_ready(self, value: Any) -> bool:
        """Return whether the array has been computed; a donated one never will be."""
        try:
            return bool(value.is_ready())
        except RuntimeError:
            return True

    def fetch(self, values: Sequence[Any]) -> NDArray[Any]:
        """Fetch arrays of one element and one type, ``(n,)``.

        From a device, a stack of 64 is one small program and one transfer. On the CPU their memory is copied: 1 us
        each, where ``np.asarray`` takes 2, and a stack 1.4 plus its compilation.
        """
        first = values[0]
        if len({each.aval for each in values}) > 1 and len({each.dtype for each in values}) > 1:
            raise TypeError("the arrays differ")
        if all(device.platform == "cpu" for device in first.devices()):
            return _copied(values)
        stack = self._stack
        padded = [*values, *[values[-1]] * (-len(values) % _STACKED)]
        stacks = [stack(*padded[start : start + _STACKED]) for start in range(0, len(padded), _STACKED)]
        for each in stacks:
            each.copy_to_host_async()
        return np.concatenate([np.asarray(each) for each in stacks])[: len(values)]

    @cached_property
    def _stack(self) -> Callable[..., Any]:
        jax = self.module
        stack: Callable[..., Any] = jax.jit(lambda *arrays: jax.numpy.stack([each.reshape(()) for each in arrays]))
        return stack

    def is_symbolic(self, kind: type) -> bool:
        """Return whether values of this type are traced."""
        return any(name == "Tracer" for _, name in bases(kind))

    def why_no_metric(self, value: Any) -> str | None:
        """Return why a traced value, or a random key, is not a metric."""
        if self.is_symbolic(type(value)):
            return UNDER_TRACING
        if any(name == "PRNGKeyArray" for _, name in bases(type(value))):
            return "it is a random key of JAX, and a metric is a number"
        return None

    def like(self, leaf: Any, array: NDArray[Any]) -> Any:
        """Return a host array as a JAX array.

        It has the leaf's dtype, weak if that is a scalar's, and is on its devices: a compiled function takes it as it
        took the leaf.
        """
        if not getattr(leaf, "is_fully_addressable", True):  # `device_put` would compare the processes' arrays
            whole = np.asarray(array, dtype=leaf.dtype)
            return self.module.make_array_from_callback(whole.shape, leaf.sharding, lambda index: whole[index])
        is_weak = not array.ndim and getattr(leaf, "weak_type", False)
        new = self.module.numpy.asarray(array.item() if is_weak else array, dtype=None if is_weak else leaf.dtype)
        return self.module.device_put(new, leaf.sharding) if getattr(leaf, "committed", False) else new

    def children(self, tree: Any) -> list[Any] | None:
        """Return the children of a container that is registered with JAX, such as a state of Flax or Optax."""
        nodes, _ = self._one_level(tree)
        return None if len(nodes) == 1 and nodes[0] is tree else nodes

    def rebuilt(self, tree: Any, children: Sequence[Any]) -> Any:
        """Return a container like the given one, with other children."""
        return self.module.tree_util.tree_unflatten(self._one_level(tree)[1], children)

    def _one_level(self, tree: Any) -> tuple[list[Any], Any]:
        """Return a container's children and its structure."""
        flatten: Callable[..., tuple[list[Any], Any]] = self.module.tree_util.tree_flatten
        return flatten(tree, is_leaf=lambda each: each is not tree)

    def distributed_client(self) -> Any:
        """Return JAX's client of its distributed service; None if ``jax.distributed`` is not initialized."""
        state = getattr(sys.modules.get("jax._src.distributed"), "global_state", None)
        return getattr(state, "client", None)

    def ranks(self) -> tuple[int, int] | None:
        """Return the rank among the processes of ``jax.distributed``, without initializing devices."""
        if self.distributed_client() is None:
            return None
        state = sys.modules["jax._src.distributed"].global_state
        return state.process_id, state.num_processes

    def start_profile(self, folder: Path) -> Stop:
        """Start a profile of the devices and the host."""
        profiler = self.module.profiler
        profiler.start_trace(str(folder))
        stop: Stop = profiler.stop_trace
        return stop


JAX = Jax()


def _copied(values: Sequence[Any]) -> NDArray[Any]:
    """Copy the memory of arrays on the CPU."""
    try:
        return np.frombuffer(b"".join(values), values[0].dtype)
    except BufferError:  # bfloat16 and other types that Python's buffers do not know
        return np.array([np.asarray(each).item() for each in values])
