"""What the package needs from a framework, with defaults for what a framework's module does not define.

Contract. A framework is one subclass of `Framework`, in its own module, and one adapter. No module imports its
framework: its values exist only once the user has imported it, so ``sys.modules`` has it. ``keep`` is called on the
training thread and never waits for a device. ``fetch`` may wait, and may raise anything if the values differ in kind:
the caller then converts them one by one.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Stop = Callable[[], object]
"""Ends a profile and writes it."""


class Generator(NamedTuple):
    """A random generator.

    Attributes:
        read: Returns its state, as an array in host memory.
        load: Sets its state to what ``read`` returned.
    """

    read: Callable[[], NDArray[Any]]
    load: Callable[[NDArray[Any]], object]


UNDER_TRACING = "it is a value under tracing: log what the compiled function returns"


class Framework:
    """What the package knows of a framework.

    Attributes:
        name: The package that its users import.
        title: Its name in sentences.
        packages: The top-level packages of its types.
        handle: The class of its models' handles, as ``module:name``; empty if it has no models of its own.
        takes_optimizer: Whether the handle takes an optimizer in addition to the model.
        callback_members: Members that the framework requires of its callbacks and that no sink has.
        callback_sink: The class that makes a sink of one of its callbacks, as ``module:name``; empty if there is none.
        adapter: The class that attaches sinks to it, if it has callbacks.
        endings: The possible endings of a whole model's file name; empty if any name is allowed.
        weights_endings: The same for a file of weights only.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    packages: ClassVar[frozenset[str]]
    handle: ClassVar[str] = ""
    takes_optimizer: ClassVar[bool] = False
    callback_members: ClassVar[tuple[str, ...]] = ()
    callback_sink: ClassVar[str] = ""
    adapter: ClassVar[str] = ""
    endings: ClassVar[tuple[str, ...]] = ()
    weights_endings: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return f"<framework {self.name}>"

    @property
    def module(self) -> Any:
        """The framework itself; None if it has not been imported."""
        return sys.modules.get(self.name)

    @property
    def version(self) -> str | None:
        """Its version; None if it has not been imported."""
        version = getattr(self.module, "__dict__", {}).get("__version__")  # a plain getattr might import a module
        return str(version) if isinstance(version, str) else None  # PyTorch's is a subclass of str

    # --- values ----------------------------------------------------------------------------------------------------

    def is_array(self, kind: type) -> bool:
        """Return whether `keep`, `is_ready` and `fetch` accept values of this type."""
        return False

    @staticmethod
    def keep(value: Any) -> Any:
        """Return an object that still has the array's value later; static, because every value passes through it.

        Raises:
            Exception: It has more or fewer than one element, or is not a number.
        """
        return value

    def is_ready(self, value: Any) -> bool:
        """Return whether a kept array can be fetched without waiting; True if unknown."""
        return True

    def fetch(self, values: Sequence[Any]) -> NDArray[Any]:
        """Return kept arrays of one element and one type as one array on the host, ``(n,)``."""
        return np.array([np.asarray(each).item() for each in values])

    def is_symbolic(self, kind: type) -> bool:
        """Return whether values of this type are symbolic, such as traced ones."""
        return False

    def why_no_metric(self, value: Any) -> str | None:
        """Return why a value of one of its types, symbolic or not convertible, is not a metric; None if unknown."""
        return None

    def to_host(self, array: Any) -> NDArray[Any]:
        """Return a copy of an array in host memory."""
        return np.array(array)

    def from_host(self, array: NDArray[Any]) -> Any:
        """Return a host array as an array of the framework, of the same dtype."""
        return array

    def like(self, leaf: Any, array: NDArray[Any]) -> Any:
        """Return a host array as an array of the framework, of the leaf's dtype."""
        return np.array(array, dtype=getattr(leaf, "dtype", None))

    def children(self, tree: Any) -> list[Any] | None:
        """Return the children of one of the framework's own containers, None for anything else."""
        return None

    def rebuilt(self, tree: Any, children: Sequence[Any]) -> Any:
        """Return a container like the given one, with other children."""
        raise NotImplementedError

    # --- models ----------------------------------------------------------------------------------------------------

    def is_model(self, kind: type) -> bool:
        """Return whether objects of this type are models that `handle` accepts."""
        return False

    def make_handle(self, model: Any, optimizer: Any = None) -> Any:
        """Return a handle of a model; the first call imports the adapter."""
        make = pkgutil.resolve_name(self.handle)
        return make(model, optimizer) if self.takes_optimizer else make(model)

    def is_callback(self, kind: type) -> bool:
        """Return whether objects of this type are callbacks that ``callback_sink`` accepts."""
        return False

    # --- data ------------------------------------------------------------------------------------------------------

    def batches(self, data: Any, count: int) -> Iterable[Any] | None:
        """Return the batches of one of its datasets, each with at least ``count`` samples if it has them, or None.

        Reading does not change the dataset, its workers or iterators in progress.
        """
        return None

    def generators(self, data: Any) -> list[Generator]:
        """Return the framework's random generators that reading the data draws from."""
        return []

    # --- processes -------------------------------------------------------------------------------------------------

    def ranks(self) -> tuple[int, int] | None:
        """Return this process's rank, from 0, and how many there are; None if it has not connected them."""
        return None

    # --- profiles --------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> Framework | None:
        """The framework that computes its models: itself, or one of several; None if unknown."""
        return self

    def start_profile(self, folder: Path) -> Stop:
        """Start a profile of this process, written into a folder, and return a function that ends it.

        Raises:
            ValueError: It has no profiler.
        """
        raise ValueError(f"there is no profiler for {self.title}")


def bases(kind: type) -> Iterator[tuple[str, str]]:
    """Yield module and name of a type and of each of its bases, in order."""
    for base in kind.__mro__:
        module = base.__dict__.get("__module__")
        yield (module if isinstance(module, str) else ""), base.__name__


def is_a(value: Any, package: str, name: str) -> bool:
    """Return whether an object's class has this name and is from this package or one within it."""
    return any(own == name and (module + ".").startswith(package + ".") for module, own in bases(type(value)))


def iterated(data: Any) -> Iterator[Any]:
    """Return an iterator over data that can be read again.

    Raises:
        TypeError: The data are an iterator.
    """
    if hasattr(data, "__next__"):
        raise TypeError(
            f"data must be readable more than once (got a {type(data).__name__}): reading it would remove samples from "
            "it; give some samples as arrays"
        )
    return iter(data)
