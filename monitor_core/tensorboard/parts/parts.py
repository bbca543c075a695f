"""Parts: the outputs for TensorBoard other than the metrics, and what happens if one fails.

Contract. Parts are called one after another on the training's thread, at a run's begin, at the ends of its epochs and
at its end. An exception of a part stops neither the others nor the training: it is logged once. Only a `SetupError` at
a run's begin propagates, because the user can fix its cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from monitor_core._log import logger
from monitor_core.bus.run import Run
from monitor_core.errors import SetupError
from monitor_core.model.samples import first_samples
from monitor_core.tensorboard.formats.axes import Axis
from monitor_core.tensorboard.parts.files import RunFiles


def is_due(frequency: int, epoch: int) -> bool:
    """Return whether an output written every ``frequency`` epochs is due in this one; 0 is never."""
    return frequency > 0 and epoch % frequency == 0


class Part:
    """One output; subclasses override some of the methods below.

    Attributes:
        name: Its name in messages, with its article.
        axis: What the steps of its values are; what is written once, at step 0, does not count epochs.
    """

    name: ClassVar[str]
    axis: ClassVar[Axis] = "epoch"

    def begin(self, run: Run, files: RunFiles) -> None:
        """Called when a run begins: prepare, or write what is known from the beginning."""

    def record(self, logs: Mapping[str, float], epoch: int, files: RunFiles) -> None:
        """Called with an epoch's metrics, before any part reads the model."""

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        """Called when an epoch ends; ``epoch`` is its number in TensorBoard."""

    def end(self, run: Run, files: RunFiles) -> None:
        """Called when a run ends."""

    def rewind(self, epoch: int, files: RunFiles) -> None:
        """Called when a resume goes back: drop what was written from ``epoch`` on outside the event files."""


class Parts:
    """The parts of a sink, each isolated from the others."""

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._warned: set[str] = set()

    def begin(self, run: Run, files: RunFiles) -> None:
        """Call `Part.begin` of each part.

        Raises:
            SetupError: A part raised it.
        """
        for part in self._parts:
            try:
                part.begin(run, files)
            except SetupError:
                raise
            except Exception as error:
                self._warn(part, error)

    def call(self, method: str, *args: Any) -> None:
        """Call a method of each part."""
        for part in self._parts:
            try:
                getattr(part, method)(*args)
            except Exception as error:
                self._warn(part, error)

    def _warn(self, part: Part, error: Exception) -> None:
        if part.name not in self._warned:
            self._warned.add(part.name)
            # Strings, not the error: it would keep its frames alive as long as the log record lives.
            logger.warning(
                "TensorBoard cannot write %s: %s: %s; training continues", part.name, type(error).__name__, str(error)
            )
            logger.debug("traceback of this error", exc_info=True)


class Samples:
    """The first samples of a run's validation data, read once per run.

    Args:
        count: How many samples, at least 1.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._data: Any = None
        self._taken: tuple[Any, Any] = (None, None)

    def of(self, run: Run) -> tuple[Any, Any]:
        """Return ``x`` and ``y``; ``y`` is None if there are no targets.

        Raises:
            ValueError: There are no validation data.
            TypeError: They cannot be read.
        """
        if run.validation_data is None:
            raise ValueError(
                "there are no validation data to read: pass validation_data=(x, y) to the adapter, to "
                "adapter.fit or to the Loop"
            )
        if run.validation_data is not self._data:
            self._taken = first_samples(run.validation_data, self._count)
            self._data = run.validation_data
        return self._taken

    def are_at_hand(self, run: Run) -> bool:
        """Return whether there are validation data that can be read without changing the training.

        An iterator would lose the samples read, and a shuffling ``tf.data.Dataset`` would change its order.
        """
        data = run.validation_data
        return data is not None and not hasattr(data, "__next__") and not hasattr(data, "element_spec")

    def inputs_at_hand(self, run: Run) -> Any:
        """Return ``x`` if the data are arrays, which cost nothing to slice; else None."""
        if not isinstance(run.validation_data, (tuple, list)):
            return None
        try:
            return self.of(run)[0]
        except (TypeError, ValueError):
            return None

    def forget(self) -> None:
        """Release the data."""
        self._data, self._taken = None, (None, None)
