"""The decisions of sinks, as plain objects: whether a value is the best so far, and whether patience has run out.

They know no hooks, models or frameworks; a sink passes values to them and reads the result. All comparisons are in
float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import attrs

Mode = Literal["min", "max"]


@attrs.define
class Best:
    """The best value so far.

    NaN is never the best and never better. The first other value is the best; after that a value is better if it
    beats the best by more than ``min_delta``.

    Attributes:
        mode: Whether smaller or larger values are better.
        min_delta: By how much a value must beat the best, strictly; at least 0.
        relative: Whether ``min_delta`` is a fraction of the best instead of a difference.
        by_magnitude: Whether that fraction is of the best's absolute value. This differs from PyTorch's rule only below
            zero, where PyTorch's takes a worse value as better: with a best of -1 and ``min_delta=0.1``, -0.95 beats it
            in ``"min"``.
        value: The best so far; None before the first.

    Source: the difference as in Keras's ``MonitorCallback``, ``value + min_delta < best``; the fraction as in PyTorch's
    ``ReduceLROnPlateau``, ``value < best * (1 - min_delta)``; for ``"max"`` the other way round.
    """

    mode: Mode = attrs.field(validator=attrs.validators.in_(("min", "max")))
    min_delta: float = 0.0
    relative: bool = False
    value: float | None = None
    by_magnitude: bool = attrs.field(default=False, kw_only=True)

    def beats(self, value: float, reference: float | None) -> bool:
        """Return whether a value is better than a reference; anything but NaN beats None."""
        if math.isnan(value):
            return False
        if reference is None:
            return True
        sign = 1.0 if self.mode == "min" else -1.0
        if self.relative:
            side = sign * math.copysign(1.0, reference) if self.by_magnitude else sign
            return sign * value < sign * (reference * (1.0 - side * self.min_delta))
        return sign * (value + sign * self.min_delta) < sign * reference

    def reaches(self, value: float, threshold: float) -> bool:
        """Return whether a value is as good as a threshold or better, regardless of ``min_delta``; NaN is not."""
        return value <= threshold if self.mode == "min" else value >= threshold

    def update(self, value: float) -> bool:
        """Store a value if it is better; return whether it was."""
        if not self.beats(value, self.value):
            return False
        self.value = value
        return True

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the ``mode`` and the ``value`` that `state_of` returned.

        Raises:
            ValueError: They are of the other direction.
        """
        if state["mode"] != self.mode:
            raise ValueError(f"the state is of mode {state['mode']!r}, and mode is {self.mode!r} now")
        restore(self, {"value": state["value"]})


@attrs.define
class Patience:
    """A count of the times in a row without an improvement.

    Attributes:
        limit: The count at which patience has run out; 0 acts as 1.
        waited: The count so far.
    """

    limit: int
    waited: int = 0

    def wait(self) -> bool:
        """Count one more; return whether patience has run out."""
        self.waited += 1
        return self.has_run_out

    @property
    def has_run_out(self) -> bool:
        """Whether there were too many."""
        return self.waited >= self.limit

    def reset(self) -> None:
        """Start counting again."""
        self.waited = 0


def state_of(decision: Any, *names: str) -> dict[str, Any]:
    """Return fields of a decision, which are numbers, booleans or None, as JSON values; see `restore`.

    Numbers that are not finite become strings, because JSON cannot represent them.
    """
    state = {}
    for name in names:
        value = getattr(decision, name)
        state[name] = str(value) if isinstance(value, float) and not math.isfinite(value) else value
    return state


def restore(decision: Any, state: dict[str, Any]) -> None:
    """Set fields to what `state_of` returned."""
    for name, value in state.items():
        setattr(decision, name, float(value) if isinstance(value, str) else value)
