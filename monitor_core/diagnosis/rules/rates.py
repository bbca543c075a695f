"""Learning rates: which are usual for an optimizer, and what to say of one that is not."""

from __future__ import annotations

import attrs

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.seen import Seen
from monitor_core.diagnosis.words import number

USUAL: dict[str, tuple[float, float]] = {
    "adam": (1e-5, 1e-2),
    "adamw": (1e-5, 1e-2),
    "adamax": (1e-5, 2e-2),
    "nadam": (1e-5, 1e-2),
    "radam": (1e-5, 1e-2),
    "rmsprop": (1e-5, 1e-2),
    "lion": (1e-6, 3e-3),
    "sgd": (1e-3, 0.5),
}
"""Between which rates an optimizer usually trains a network whose inputs are near unit scale."""

_NAMES = {"sgd": "SGD", "adamw": "AdamW", "rmsprop": "RMSprop", "radam": "RAdam"}


def optimizer_name(seen: Seen) -> str | None:
    """Return the optimizer's name as people write it, None if it is not known."""
    optimizer = None if seen.model is None else seen.model.optimizer
    return None if optimizer is None else _NAMES.get(optimizer, optimizer.capitalize())


def current_rate(seen: Seen) -> float | None:
    """Return the current rate, None if it is not known."""
    return seen.rate if seen.rate is not None or seen.model is None else seen.model.learning_rate


def usual(seen: Seen) -> tuple[float, float] | None:
    """Return the usual rates of the optimizer, None if it is not known."""
    return None if seen.model is None else USUAL.get(seen.model.optimizer or "")


def too_high(seen: Seen) -> str | None:
    """Return a sentence about a rate above the usual ones; None for others."""
    rate, known = current_rate(seen), usual(seen)
    if rate is None or known is None or rate <= known[1]:
        return None
    better = rate / 100 if rate / known[1] > 5 else rate / 10
    return f"A rate of {number(rate)} is high for {optimizer_name(seen)}: try {number(better)}."


def too_low(seen: Seen) -> str | None:
    """Return a sentence about a rate at or below the lowest usual one; None for others."""
    rate, known = current_rate(seen), usual(seen)
    if rate is None or known is None or rate > known[0]:
        return None
    return (
        f"A rate of {number(rate)} is low for {optimizer_name(seen)}: try {number(rate * 10)} or {number(rate * 100)}."
    )


@attrs.frozen
class RateOfZero(Rule):
    """The learning rate is 0.

    Before the first step it is a warning, since a warm-up may begin there; after some epochs it is a problem.

    Attributes:
        epochs: After how many epochs.
    """

    symptom = "untrained"
    moments = ("begin", "epoch")
    needs = ("model",)

    epochs: int = 2

    def check(self, seen: Seen) -> Finding | None:
        """Return it unless a schedule object sets the rate."""
        if seen.model is None or seen.model.has_rate_schedule or current_rate(seen) != 0:
            return None
        is_late = seen.epochs_ended >= self.epochs
        if seen.epochs_ended and not is_late:
            return None
        return self.found(
            seen,
            "problem" if is_late else "warning",
            f"The learning rate is 0{f' after {self.epochs} epochs' if is_late else ''}, so no weight changes.",
            "Set a rate, such as 0.001 for Adam.",
            rate=0.0,
        )


@attrs.frozen
class RateFarTooHigh(Rule):
    """The learning rate is so far above the usual ones that hardly any network trains.

    Attributes:
        ratio: How many times the highest usual rate.
    """

    symptom = "lr_too_high"
    moments = ("begin",)
    needs = ("model",)

    ratio: float = 10.0

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning: some small convex problems bear it."""
        rate, known = None if seen.model is None else seen.model.learning_rate, usual(seen)
        if rate is None or known is None or rate < self.ratio * known[1]:
            return None
        return self.found(
            seen,
            "warning",
            f"A learning rate of {number(rate)} is far above what {optimizer_name(seen)} usually trains with, "
            f"{number(known[0])} to {number(known[1])}.",
            f"Try {number(known[1] / 10)}.",
            rate=rate,
            threshold=self.ratio * known[1],
        )
