"""TensorFlow: eager tensors are immutable, so they are kept themselves; many are stacked and fetched as one.

A ``tf.data.Dataset`` yields its batches each time it is iterated over, and so needs nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from monitor_core.frameworks.base import UNDER_TRACING, Framework, Stop


class TensorFlow(Framework):
    """TensorFlow. Its models are Keras's."""

    name = "tensorflow"
    title = "TensorFlow"
    packages = frozenset({"tensorflow"})

    def is_array(self, kind: type) -> bool:
        """Return whether values of this type are eager tensors; variables are not, because they change."""
        return kind.__name__ == "EagerTensor"

    @staticmethod
    def keep(value: Any) -> Any:
        """Return the tensor itself.

        Raises:
            ValueError: It has more or fewer than one element.
        """
        shape = value.shape
        if shape.rank and shape.num_elements() != 1:
            raise ValueError("it has more or fewer than one element")
        return value

    def fetch(self, values: Sequence[Any]) -> NDArray[Any]:
        """Fetch tensors of one element and one type, ``(n,)``: 2.2 us each, with a single wait."""
        stacked: NDArray[Any] = self.module.stack(values).numpy()
        return stacked.reshape(len(values))

    def is_symbolic(self, kind: type) -> bool:
        """Return whether values of this type are traced."""
        return kind.__name__ == "SymbolicTensor"

    def why_no_metric(self, value: Any) -> str | None:
        """Return why a traced value, or one without numbers, is not a metric."""
        kind = type(value)
        if self.is_symbolic(kind) or (not self.is_array(kind) and not self.module.executing_eagerly()):
            return UNDER_TRACING
        dtype = getattr(getattr(value, "dtype", None), "name", "")
        if dtype in {"string", "resource", "variant"}:
            what = "strings" if dtype == "string" else f"the type {dtype}"
            return f"it is a tensor of {what}, and a metric is a number"
        return None

    def like(self, leaf: Any, array: NDArray[Any]) -> Any:
        """Return a host array as a tensor."""
        return self.module.constant(array, dtype=leaf.dtype)

    def start_profile(self, folder: Path) -> Stop:
        """Start a profile of the devices and the host."""
        profiler = self.module.profiler.experimental
        profiler.start(str(folder))
        stop: Stop = profiler.stop
        return stop


TENSORFLOW = TensorFlow()
