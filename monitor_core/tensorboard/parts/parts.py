"""Parts: the outputs for TensorBoard beside the metrics, and how one that fails is treated.

Contract. Parts are called one after the other on the thread that trains, at a run's begin, the ends of its epochs and
its end. What a part raises stops neither the others nor the training: it is told of once. Only a `SetupError` at a
run's begin goes on, because the user can mend what it names.
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
    """Return whether what is written every ``frequency`` epochs is due in this one; 0 is never."""
    return frequency > 0 and epoch % frequency == 0


class Part:
    """One output; it does what it does in those of the methods below that it overrides.

    Attributes:
        name: What it is called in messages, with its article.
        axis: What the steps of its values are; what is written once, at step 0, does not count epochs.
    """

    name: ClassVar[str]
    axis: ClassVar[Axis] = "epoch"

    def begin(self, run: Run, files: RunFiles) -> None:
        """Prepare for a run, or write what is known from its begin on."""

    def record(self, logs: Mapping[str, float], epoch: int, files: RunFiles) -> None:
        """Write what an epoch's metrics give, before the model is looked at."""

    def end_epoch(self, run: Run, epoch: int, files: RunFiles) -> None:
        """Write what there is at an epoch's end; ``epoch`` is its number in TensorBoard."""

    def end(self, run: Run, files: RunFiles) -> None:
        """Finish a run."""

    def rewind(self, epoch: int, files: RunFiles) -> None:
        """Drop what was written from ``epoch`` on beside the event files."""


class Parts:
    """The parts of a sink, each isolated from the others."""

    def __init__(self, *parts: Part) -> None:
        self._parts = parts
        self._told: set[str] = set()

    def begin(self, run: Run, files: RunFiles) -> None:
        """Tell the parts that a run begins.

        Raises:
            SetupError: One says so.
        """
        for part in self._parts:
            try:
                part.begin(run, files)
            except SetupError:
                raise
            except Exception as error:
                self._tell(part, error)

    def call(self, method: str, *args: Any) -> None:
        """Call a method of each part."""
        for part in self._parts:
            try:
                getattr(part, method)(*args)
            except Exception as error:
                self._tell(part, error)

    def _tell(self, part: Part, error: Exception) -> None:
        if part.name not in self._told:
            self._told.add(part.name)
            # The texts, not the error, which would keep its frames alive with the log's record.
            logger.warning(
                "TensorBoard goes without %s: %s: %s; training goes on", part.name, type(error).__name__, str(error)
            )
            logger.debug("where that was raised", exc_info=True)


class Samples:
    """The first samples of a run's validation data, read once a run.

    Args:
        count: How many samples, at least 1.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._data: Any = None
        self._taken: tuple[Any, Any] = (None, None)

    def of(self, run: Run) -> tuple[Any, Any]:
        """Return ``x`` and ``y``; ``y`` is None where there is none.

        Raises:
            ValueError: There are no validation data.
            TypeError: They cannot be read.
        """
        if run.validation_data is None:
            raise ValueError(
                "there are no validation data to look at: give validation_data=(x, y) to the adapter, to "
                "adapter.fit or to the Loop"
            )
        if run.validation_data is not self._data:
            self._taken = first_samples(run.validation_data, self._count)
            self._data = run.validation_data
        return self._taken

    def are_at_hand(self, run: Run) -> bool:
        """Return whether there are validation data that can be read without changing the training.

        An iterator would lack what is read, and a ``tf.data.Dataset`` that shuffles would have another order.
        """
        data = run.validation_data
        return data is not None and not hasattr(data, "__next__") and not hasattr(data, "element_spec")

    def inputs_at_hand(self, run: Run) -> Any:
        """Return ``x`` where the data are arrays, which cost nothing to cut; else None."""
        if not isinstance(run.validation_data, (tuple, list)):
            return None
        try:
            return self.of(run)[0]
        except (TypeError, ValueError):
            return None

    def forget(self) -> None:
        """Let go of the data."""
        self._data, self._taken = None, (None, None)
