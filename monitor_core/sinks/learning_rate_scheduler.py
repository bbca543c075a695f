"""The learning rate scheduler: sets the rate that a function gives, before each epoch or each batch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import attrs
import numpy as np

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Sink
from monitor_core.model.handles import check_rate_can_be_set
from monitor_core.values.scalars import scalar

Unit = Literal["epoch", "step"]


def _check_schedule(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not callable(value):
        raise TypeError(f"schedule must be a function of an epoch or step (got {value!r})")


def _takes_rate(schedule: Callable[..., Any]) -> bool:
    """Return whether to call a schedule with the present rate too, judged by its signature alone.

    Raises:
        TypeError: It takes neither one nor two positional arguments, or has no signature to inspect.
    """
    wanted = f"schedule must take (epoch) or (epoch, rate), positionally (got {_name(schedule)}"
    try:
        signature = inspect.signature(schedule)
    except (TypeError, ValueError):  # some built-ins have no signature
        raise TypeError(f"{wanted}, which has no signature to inspect: wrap it in a function)") from None
    for arguments in ((0, 0.0), (0,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise TypeError(f"{wanted}{signature})")


def _name(schedule: Callable[..., Any]) -> str:
    name = getattr(schedule, "__name__", None)
    return name if isinstance(name, str) else repr(schedule)


@attrs.define(eq=False)
class LearningRateScheduler(Sink):
    """Set the learning rate that a schedule gives, before each epoch or before each batch.

    With several parameter groups a schedule of one argument sets the same rate for all; one that takes the present
    rate is called for each group with the group's own. What the schedule returns must be a finite number of at least 0;
    a schedule that raises, or returns anything else, is reported as any sink that fails, and leaves the rate as it is.

    On Keras's JAX backend, ``unit="step"`` makes Keras write the whole state back at each batch, with a warning.

    Args:
        schedule: Called with the position, and with the present rate too if its signature takes two positional
            arguments: ``schedule(epoch)`` or ``schedule(epoch, rate)``. The position is 0-based: the epoch, or, with
            ``unit="step"``, how many batches of the run have ended before this one, so that ``schedule(0)`` is the
            first batch's rate, as in PyTorch's ``LambdaLR`` and Keras's schedule objects. `monitor_core.schedules`
            has some ready to use.
        unit: ``"epoch"`` or ``"step"``.

    Raises:
        TypeError: ``schedule`` cannot be called with one or two positional arguments.
        ValueError: ``unit`` is neither.

    Source: by epoch, the same rates as Keras's ``LearningRateScheduler``, which also passes the rate to any
    function that can take it, including one such as ``lambda epoch, base=0.1: ...``.

    Example:
        >>> from monitor_core.schedules import CosineDecay
        >>> scheduler = LearningRateScheduler(CosineDecay(0.1, 1000), unit="step")
    """

    __copy__ = independent_copy

    needs: ClassVar[tuple[str, ...]] = ("learning_rates",)
    sets_learning_rate: ClassVar[bool] = True
    read_only: ClassVar[bool] = True

    schedule: Callable[..., Any] = attrs.field(validator=_check_schedule)
    unit: Unit = attrs.field(default="epoch", kw_only=True, validator=checks.one_of("epoch", "step"))
    _with_rate: bool = attrs.field(init=False, repr=False)
    _groups: int = attrs.field(init=False, repr=False, default=1)

    @_with_rate.default
    def _look_at_signature(self) -> bool:
        return callable(self.schedule) and _takes_rate(self.schedule)

    def wants_hook(self, hook: str) -> bool:
        """Listen to batches only with ``unit="step"``."""
        return hook != "on_batch_begin" or self.unit == "step"

    def on_train_begin(self, run: Run) -> None:
        """Check that the rate can be set.

        Raises:
            SetupError: The optimizer's rate is a schedule object.
        """
        check_rate_can_be_set(run.model, type(self).__name__)

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Set the epoch's rate."""
        model: Any = run.model
        before = model.learning_rates
        self._groups = len(before)
        if self.unit == "epoch":
            after = self._rates(epoch, before)
            model.learning_rates = after
            if after != before:
                logger.info(
                    "epoch %d: %s set the learning rate to %s",
                    epoch + 1,
                    _name(self.schedule),
                    ", ".join(map(str, after)),
                )

    def on_batch_begin(self, run: Run, step: int) -> None:
        """Set the batch's rate; only a schedule that takes the present one reads it, which may wait for the device."""
        model: Any = run.model
        before = model.learning_rates if self._with_rate else None
        model.learning_rates = self._rates(step - 1, before)

    def _rates(self, position: int, before: list[float] | None) -> list[float]:
        if self._with_rate and before is not None:
            return [self._checked(self.schedule(position, rate), position) for rate in before]
        return [self._checked(self.schedule(position), position)] * self._groups

    def _checked(self, result: Any, position: int) -> float:
        try:
            rate = math.nan if isinstance(result, (bool, np.bool_)) else scalar(result)
        except (TypeError, ValueError):
            rate = math.nan
        if not 0 <= rate < math.inf:
            raise ValueError(
                f"schedule {_name(self.schedule)} must return a finite number >= 0 "
                f"(got {result!r} for {self.unit} {position})"
            )
        return rate
