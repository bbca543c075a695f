"""Counting reads: how often this package's code reads a framework's value on the host."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

READS = ("__array__", "__bool__", "__float__", "__index__", "__int__", "cpu", "item", "numpy", "tolist")
"""The methods by which values of the usual frameworks are read on the host."""


class HostReads:
    """Count the reads of one type's values by this package's code, directly or through functions that it calls.

    Reads by the training and by the framework itself are not counted, also if an adapter's ``fit`` or ``train`` called
    them.

    Args:
        kind: The type of a framework's values, whose methods can be replaced.
        methods: The methods that read a value; those that the type lacks are left out.
        attributes: Attributes of all values while reads are counted, for values that are to look as if they were on a
            device: reading one that is in host memory costs nothing.

    Attributes:
        count: The number of reads so far.
        places: Where they were made, as ``module:line``.
    """

    def __init__(
        self, kind: type, methods: tuple[str, ...] = READS, *, attributes: Mapping[str, Any] | None = None
    ) -> None:
        self.kind = kind
        self.methods = methods
        self.attributes = dict(attributes or {})
        self.places: list[str] = []

    @property
    def count(self) -> int:
        """The number of reads so far."""
        return len(self.places)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count within this block."""
        with ExitStack() as stack:
            for name in self.methods:
                if hasattr(self.kind, name):
                    stack.enter_context(_replaced(self.kind, name, self._counting(getattr(self.kind, name))))
            for name, value in self.attributes.items():
                stack.enter_context(_replaced(self.kind, name, value))
            yield

    def _counting(self, read: Callable[..., Any]) -> Callable[..., Any]:
        def counting(value: Any, *args: Any, **kwargs: Any) -> Any:
            if (place := _place()) is not None:
                self.places.append(place)
            return read(value, *args, **kwargs)

        return counting


@contextmanager
def _replaced(kind: type, name: str, value: Any) -> Iterator[None]:
    own = vars(kind).get(name, _replaced)
    setattr(kind, name, value)
    try:
        yield
    finally:
        if own is _replaced:
            delattr(kind, name)
        else:
            setattr(kind, name, own)


def _place() -> str | None:
    """Return the innermost line of this package on the stack, None if there is none."""
    frame = sys._getframe(2)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        is_ours = module.startswith("monitor_core.") and not module.startswith("monitor_core.testing.")
        if is_ours and frame.f_code.co_name not in {"fit", "train"}:
            return f"{module}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return None
