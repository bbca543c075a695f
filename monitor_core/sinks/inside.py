"""Looks into the model every few epochs: statistics and histograms of its layers, weights and gradients.

Contract. The samples are read once, at train begin, and released at train end. The model computes in inference mode
and is not changed. What is seen goes to the other sinks by ``on_probe``; a `Journal` records it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from monitor_core import checks
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.model.handles import is_built
from monitor_core.model.probe import SAMPLES, Prober
from monitor_core.model.samples import first_samples


@attrs.define(eq=False)
class Inside(Sink):
    """Look into the model before the first step and at the end of every N-th epoch.

    Each look passes some samples through the model, and reduces what it sees to a few numbers and a histogram of 64
    bins for each layer, each trainable weight and its gradient. A `Journal` records them; `open_run` returns them as
    ``layers``, ``weights`` and ``histograms``. A `Diagnosis` looks too, at times of its own choice; this sink is for
    fixed ones, and for runs without a diagnosis.

    Gradients are seen if the samples have targets and the model's handle knows the loss.

    Args:
        every: Look every this many epochs, at least 1: with 5 after the 5th, 10th, 15th, ...
        samples: How many of the data's first samples to use, at least 1.
        data: Samples to use, of any kind that `first_samples` reads, such as ``(x, y)``. None uses the arrays that were
            passed to ``fit``, or else the validation data: ``validation_data=`` of `KerasAdapter`, ``adapter.fit``
            or `Loop`.

    Raises:
        TypeError: A number is not an integer.
        ValueError: A number is below 1.
        SetupError: At train begin: there are no samples, or they cannot be read.

    Example:
        >>> handle = TorchModel(module, optimizer, loss=loss)
        >>> with Loop(Inside(every=2, data=(x, y)), record="runs/a", model=handle) as loop:
        ...     train(loop)
        >>> open_run("runs/a").weights["update_ratio", "0.weight"]
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("activations", "weights")

    every: int = attrs.field(default=1, kw_only=True, validator=checks.count(least=1))
    samples: int = attrs.field(default=SAMPLES, kw_only=True, validator=checks.count(least=1))
    data: Any = attrs.field(default=None, kw_only=True, repr=False)
    _sample: tuple[Any, Any] | None = attrs.field(init=False, default=None, repr=False)
    _prober: Prober = attrs.field(init=False, factory=Prober, repr=False)

    def on_train_begin(self, run: Run) -> None:
        """Read the samples, and look at the model as it begins, if it is built."""
        self._sample = self._read(run)
        summary = getattr(run.model, "summary", None)
        self._prober = Prober(None if summary is None else summary(self._sample[0]))
        if run.step == 0 and is_built(run.model):
            self._look(run)

    def _read(self, run: Run) -> tuple[Any, Any]:
        data = next(
            (each for each in (self.data, _arrays(run.training_data), run.validation_data) if each is not None), None
        )
        if data is None:
            raise SetupError(
                "Inside needs samples, and there are no validation data and no arrays that fit got: pass "
                "Inside(data=(x, y))"
            )
        try:
            return first_samples(data, self.samples)
        except Exception as error:
            raise SetupError(f"Inside cannot read samples: {error}") from error

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Look at the model if it is time."""
        if (epoch + 1) % self.every == 0:
            self._look(run)

    def _look(self, run: Run) -> None:
        if self._sample is not None:
            x, y = self._sample
            run.show(self._prober.probe(run.model, x, y, epoch=run.epoch, step=run.step))

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Release the samples."""
        self._sample = None
        self._prober = Prober()


def _arrays(data: Any) -> Any:
    """Return the training data if they are arrays: others may be read only once."""
    return data if data is not None and hasattr(data[0], "shape") else None
