"""What a rule is: a plain object that reads what was seen, and returns what is wrong, or None."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from monitor_core.bus.finding import Finding, Severity
from monitor_core.diagnosis.seen import Seen

Moment = Literal["begin", "batches", "probe", "epoch", "end"]
"""When a rule is asked: before the first step, after some batches, after a probe, at an epoch's end, at the run's."""

MISSING: dict[str, str] = {
    "model": "the model's handle does not say what it consists of: pass model=...",
    "loss": "the model's loss is not known: compile the Keras model with a loss that Keras names, or pass "
    "TorchModel(module, optimizer, loss=...)",
    "data": "no sample of the training data was seen: pass Diagnosis(sample=(x, y))",
    "validation": "no validation data was seen: pass validation_data=(x, y) as arrays",
    "probe": "the model's activations could not be read: pass model=... and Diagnosis(sample=(x, y))",
    "memory": "the process's memory is recorded live only, on Linux or with psutil installed",
    "waiting": "how long a training waits for its data is measured live only, in loop.batches",
    "batches": "batches are not logged with values of their own",
}
"""What a rule may need, and what to do where it is missing."""


class Rule:
    """A rule. Its options, in subclasses, are its thresholds.

    Attributes:
        symptom: The symptom that it finds.
        source: Where it comes from.
        moments: When it is asked.
        needs: What it needs, of `MISSING`; it is not asked without.
        lasts: Whether what it found is never over: it is about the beginning.
    """

    symptom: ClassVar[str]
    source: ClassVar[str] = "this package"
    moments: ClassVar[tuple[Moment, ...]] = ("epoch",)
    needs: ClassVar[tuple[str, ...]] = ()
    lasts: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The rule's name, for the list of rules that were not asked."""
        return type(self).__name__

    def check(self, seen: Seen) -> Finding | None:
        """Return what is wrong, None if nothing is."""
        raise NotImplementedError

    def found(
        self,
        seen: Seen,
        severity: Severity,
        message: str,
        advice: str = "",
        *,
        symptom: str | None = None,
        layer: str | None = None,
        epoch: int | None = None,
        step: int | None = None,
        **evidence: Any,
    ) -> Finding:
        """Return a finding of this rule, at the place to which the run has come."""
        return Finding(
            symptom=symptom or self.symptom,
            severity=severity,
            message=message,
            advice=advice,
            evidence={name: _plain(value) for name, value in evidence.items()},
            source=self.source,
            epoch=seen.epoch if epoch is None else epoch,
            step=seen.step if step is None else step,
            layer=layer,
        )


def _plain(value: Any) -> Any:
    """Return NumPy's numbers as Python's, so that a finding is equal to one that was read from JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
