"""What the package asks of a framework, and what holds where a framework's module says nothing.

Contract. A framework is one subclass of `Framework`, in a module of its own, and one adapter. No module imports its
framework: a value of it exists only once its user has imported it, so ``sys.modules`` has it. ``keep`` is called on the
training thread and never waits for a device. ``fetch`` may wait, and may raise anything where the values are not alike:
the caller then converts them one by one.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Stop = Callable[[], object]
"""Ends a profile and writes it."""

UNDER_TRACING = "it is a value under tracing: log what the compiled function returns"


class Framework:
    """A framework, as far as the package knows it.

    Attributes:
        name: The package that its users import.
        title: Its name in sentences.
        packages: The top-level packages that its types come from.
        handle: What makes a handle of one of its models, as ``module:name``; empty where it has no models of its own.
        takes_optimizer: Whether the handle takes an optimizer beside the model.
        callback_members: What the framework asks of its callbacks, and no sink has.
        adapter: The class that attaches sinks to it, if it has callbacks.
        endings: How a file of a whole model must end; empty where any name will do.
        weights_endings: The same for a file of the weights alone.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    packages: ClassVar[frozenset[str]]
    handle: ClassVar[str] = ""
    takes_optimizer: ClassVar[bool] = False
    callback_members: ClassVar[tuple[str, ...]] = ()
    adapter: ClassVar[str] = ""
    endings: ClassVar[tuple[str, ...]] = ()
    weights_endings: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return f"<framework {self.name}>"

    @property
    def module(self) -> Any:
        """The framework itself, None where it has not been imported."""
        return sys.modules.get(self.name)

    @property
    def version(self) -> str | None:
        """Its version, None where it has not been imported."""
        version = getattr(self.module, "__dict__", {}).get("__version__")  # asked for by name it might import something
        return str(version) if isinstance(version, str) else None  # PyTorch's is a string of a class of its own

    # --- values ----------------------------------------------------------------------------------------------------

    def is_array(self, kind: type) -> bool:
        """Return whether `keep`, `is_ready` and `fetch` are for values of this type."""
        return False

    @staticmethod
    def keep(value: Any) -> Any:
        """Return what will still hold the value of an array later; static, because it is on the path of every value.

        Raises:
            Exception: It has more or fewer than one element, or no number.
        """
        return value

    def is_ready(self, value: Any) -> bool:
        """Return whether a kept array can be fetched without waiting; True where that is not known."""
        return True

    def fetch(self, values: Sequence[Any]) -> NDArray[Any]:
        """Return kept arrays of one element and one type as one array on the host, ``(n,)``."""
        return np.array([np.asarray(each).item() for each in values])

    def is_symbolic(self, kind: type) -> bool:
        """Return whether values of this type only stand for values, as under tracing."""
        return False

    def why_no_metric(self, value: Any) -> str | None:
        """Return why a value of one of its types, symbolic or not to be converted, is no metric; None if not known."""
        return None

    def to_host(self, array: Any) -> NDArray[Any]:
        """Return a copy of an array in host memory."""
        return np.array(array)

    def like(self, leaf: Any, array: NDArray[Any]) -> Any:
        """Return a host array as an array of the framework, of the leaf's dtype."""
        return np.array(array, dtype=getattr(leaf, "dtype", None))

    def children(self, tree: Any) -> list[Any] | None:
        """Return what a container of the framework's own holds, None for anything else."""
        return None

    def rebuilt(self, tree: Any, children: Sequence[Any]) -> Any:
        """Return a container like the one given, with other children."""
        raise NotImplementedError

    # --- models ----------------------------------------------------------------------------------------------------

    def is_model(self, kind: type) -> bool:
        """Return whether objects of this type are models that `handle` takes."""
        return False

    def make_handle(self, model: Any, optimizer: Any = None) -> Any:
        """Return a handle of a model; the adapter is imported with the first one."""
        make = pkgutil.resolve_name(self.handle)
        return make(model, optimizer) if self.takes_optimizer else make(model)

    # --- data ------------------------------------------------------------------------------------------------------

    def batches(self, data: Any, count: int) -> Iterable[Any] | None:
        """Return the batches of one of its data sets, each at least as far as ``count`` samples; None for other data.

        Reading them leaves the data set, its workers and iterators under way as they are.
        """
        return None

    def generators_kept(self, data: Any) -> AbstractContextManager[Any]:
        """Restore, at the end, the framework's random generators that reading the data draws from."""
        return nullcontext()

    # --- profiles --------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> Framework | None:
        """What computes its models: the framework itself, or one of several; None where that one is not known."""
        return self

    def start_profile(self, folder: Path) -> Stop:
        """Start a profile of this process into a folder, and return what ends it.

        Raises:
            ValueError: It has no profiler.
        """
        raise ValueError(f"there is no profiler for {self.title}")


def bases(kind: type) -> Iterator[tuple[str, str]]:
    """Yield module and name of a type and of each of its bases, in their order."""
    for base in kind.__mro__:
        module = base.__dict__.get("__module__")
        yield (module if isinstance(module, str) else ""), base.__name__


def is_a(value: Any, package: str, name: str) -> bool:
    """Return whether an object is of a class of this name from this package, or from one within it."""
    return any(own == name and (module + ".").startswith(package + ".") for module, own in bases(type(value)))


def iterated(data: Any) -> Iterator[Any]:
    """Return an iterator over data that can be read again.

    Raises:
        TypeError: The data are an iterator.
    """
    if hasattr(data, "__next__"):
        raise TypeError(
            f"data must be readable more than once (got a {type(data).__name__}): what is read of it would be missing "
            "afterwards; give some samples as arrays"
        )
    return iter(data)
