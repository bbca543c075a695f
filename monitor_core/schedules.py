"""Learning rate schedules that are ready to use: plain objects that are called with a position and return the rate.

A position is an epoch or a step, 0-based, as `LearningRateScheduler` counts them: position 0 is the first epoch or the
first batch. Schedules have no state, so a resumed run continues with the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from monitor_core import checks

Schedule = Callable[[int], float]
"""A function from a position, 0-based, to a learning rate."""


_RATE = checks.number(least=0, finite=True)
_MULTIPLE = checks.number(least=1, finite=True)
_COUNT = checks.count(least=1)


def _check_callable(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{field.name} must be a function of a position (got {value!r})")


def _cosine(fraction: float) -> float:
    """Return half a cosine wave: 1 at the fraction 0, 0 at 1."""
    return 0.5 * (1.0 + math.cos(math.pi * fraction))


def _line(start: float, end: float, fraction: float) -> float:
    return start + (end - start) * fraction


@attrs.frozen
class LinearWarmup:
    """Raise the rate linearly, then follow another schedule or stay constant.

    Args:
        initial_learning_rate: The rate at position 0, at least 0.
        warmup_target: The rate at position ``warmup_steps``, at least 0.
        warmup_steps: How many positions the warm-up takes, at least 1.
        then: The schedule that follows, called with the position counted from ``warmup_steps``; by default, the rate
            stays at ``warmup_target``.

    Source: Goyal et al., "Accurate, Large Minibatch SGD" (2017). The same rates as PyTorch's ``LinearLR``, followed by
    another scheduler in a ``SequentialLR``.

    Example:
        >>> rate = LinearWarmup(0.0, 0.5, 4)
        >>> [rate(step) for step in range(6)]
        [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]
    """

    initial_learning_rate: float = attrs.field(validator=_RATE)
    warmup_target: float = attrs.field(validator=_RATE)
    warmup_steps: int = attrs.field(validator=_COUNT)
    then: Schedule | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(_check_callable)
    )

    def __call__(self, position: int) -> float:
        """Return the rate at a position, 0-based."""
        if position < self.warmup_steps:
            return _line(self.initial_learning_rate, self.warmup_target, position / self.warmup_steps)
        return self.warmup_target if self.then is None else self.then(position - self.warmup_steps)


@attrs.frozen
class CosineDecay:
    """Lower the rate along half a cosine wave, after an optional linear warm-up; then keep it constant.

    Args:
        initial_learning_rate: The rate at position 0, at least 0.
        decay_steps: How many positions the wave takes, at least 1.
        alpha: The final rate, as a fraction of the rate from which the wave starts; at least 0.
        warmup_target: The rate at which the warm-up ends and the wave starts, at least 0. By default there is no
            warm-up, and the wave starts from ``initial_learning_rate``.
        warmup_steps: How many positions the warm-up takes, before the wave; at least 1 with ``warmup_target``.

    Raises:
        ValueError: An argument is out of its range, or only one of ``warmup_target`` and ``warmup_steps`` is given.

    Source: Loshchilov and Hutter, "SGDR" (2017), without restarts. The same rates as Keras's ``CosineDecay``, and, up
    to ``decay_steps``, as PyTorch's ``CosineAnnealingLR`` with ``eta_min`` = ``alpha`` times the rate.

    Example:
        >>> rate = CosineDecay(0.0, 100, warmup_target=0.5, warmup_steps=10)
        >>> [rate(step) for step in (0, 5, 10, 60, 110, 1000)]
        [0.0, 0.25, 0.5, 0.25, 0.0, 0.0]
    """

    initial_learning_rate: float = attrs.field(validator=_RATE)
    decay_steps: int = attrs.field(validator=_COUNT)
    alpha: float = attrs.field(default=0.0, kw_only=True, validator=_RATE)
    warmup_target: float | None = attrs.field(default=None, kw_only=True, validator=attrs.validators.optional(_RATE))
    warmup_steps: int = attrs.field(default=0, kw_only=True)

    @warmup_steps.validator
    def _check_warmup(self, field: attrs.Attribute[Any], value: Any) -> None:
        if self.warmup_target is not None:
            _COUNT(self, field, value)
        elif value != 0:
            raise ValueError(f"warmup_target must be given with warmup_steps (got only warmup_steps={value!r})")

    def __call__(self, position: int) -> float:
        """Return the rate at a position, 0-based."""
        if self.warmup_target is None:
            peak = self.initial_learning_rate
        elif position < self.warmup_steps:
            return _line(self.initial_learning_rate, self.warmup_target, position / self.warmup_steps)
        else:
            peak = self.warmup_target
        fraction = min((position - self.warmup_steps) / self.decay_steps, 1.0)
        return peak * ((1.0 - self.alpha) * _cosine(fraction) + self.alpha)


@attrs.frozen
class CosineDecayRestarts:
    """Lower the rate along half a cosine wave, and restart at the top after each wave.

    Args:
        initial_learning_rate: The rate at position 0, at least 0.
        first_decay_steps: How many positions the first wave takes, at least 1.
        t_mul: The factor from each wave's length to that of the next, at least 1.
        m_mul: The factor from each wave's height to that of the next, at least 0.
        alpha: The rate at a wave's end, as a fraction of ``initial_learning_rate``; at least 0.

    Source: Loshchilov and Hutter, "SGDR" (2017). The same rates as Keras's ``CosineDecayRestarts`` (unless its float32
    logarithm assigns a wave's first positions to the wave before) and, with ``m_mul=1``, as PyTorch's
    ``CosineAnnealingWarmRestarts``.

    Example:
        >>> rate = CosineDecayRestarts(0.5, 2)
        >>> [round(rate(step), 3) for step in range(7)]
        [0.5, 0.25, 0.5, 0.427, 0.25, 0.073, 0.5]
    """

    initial_learning_rate: float = attrs.field(validator=_RATE)
    first_decay_steps: int = attrs.field(validator=_COUNT)
    t_mul: float = attrs.field(default=2.0, kw_only=True, validator=_MULTIPLE)
    m_mul: float = attrs.field(default=1.0, kw_only=True, validator=_RATE)
    alpha: float = attrs.field(default=0.0, kw_only=True, validator=_RATE)

    def __call__(self, position: int) -> float:
        """Return the rate at a position, 0-based."""
        restarts, fraction = self._place(position)
        height = self.m_mul**restarts * _cosine(fraction)
        return self.initial_learning_rate * ((1.0 - self.alpha) * height + self.alpha)

    def _place(self, position: int) -> tuple[int, float]:
        """Return how many waves have ended, and the elapsed fraction of the present one, in [0, 1)."""
        steps: float = self.first_decay_steps
        if self.t_mul == 1:
            return position // self.first_decay_steps, position % self.first_decay_steps / steps
        restarts = 0
        left: float = position
        while left >= steps:
            left -= steps
            steps *= self.t_mul
            restarts += 1
        return restarts, left / steps
