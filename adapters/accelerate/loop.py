"""A loop with an ``Accelerator``: its steps are optimizer steps, however many micro-batches are accumulated for one.

Contract. As for `Loop`, but for what a step is: see `monitor_core.adapters.accelerate.steps`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, TypeVar

import torch

from monitor_core.adapters.accelerate.steps import AccumulatedEpoch, plain
from monitor_core.adapters.torch.scheduled import ScheduledModel
from monitor_core.adapters.versions import require
from monitor_core.loop.loop import Loop

__all__ = ["AccelerateLoop"]

T = TypeVar("T")


class AccelerateLoop(Loop):
    """Drive sinks from a custom training loop with an ``Accelerator``; everything else is as in `Loop`.

    A step is an optimizer step: the micro-batches within ``accelerator.accumulate`` make up one, whose metrics are the
    mean of theirs, weighted if they are logged with ``weight``. A step that a loss scaler skips is not counted. With
    ``epochs(..., steps_per_epoch=n)`` an epoch has n optimizer steps.

    Args:
        accelerator: The accelerator.
        *sinks: Sinks, in the order in which they are to be called.
        model: The module, or modules by name, as ``accelerator.prepare`` returned them or before; or a handle.
        optimizer: The optimizer, or optimizers by name, prepared or not.
        scheduler: The learning rate scheduler, or schedulers by name, prepared or not. A rate that a sink sets scales
            the rest of its schedule.
        validation_data: As for `Loop`.
        initial_epoch: As for `Loop`.
        record: As for `Loop`.
        resume: As for `Loop`; the loss scaler's state is saved too.
        strict: As for `Loop`.

    Raises:
        HookError: An object is not a sink.
        SetupError: accelerate is older than 1.0.
        TypeError: As for `Loop`; or ``optimizer`` or ``scheduler`` is given with a handle.

    Example:
        >>> accelerator = Accelerator(gradient_accumulation_steps=4)
        >>> model, optimizer, data = accelerator.prepare(model, optimizer, data)
        >>> with AccelerateLoop(accelerator, History(), model=model, optimizer=optimizer) as loop:
        ...     for epoch in loop.epochs(5):
        ...         for x, y in loop.batches(data):
        ...             with accelerator.accumulate(model):
        ...                 loss = loss_of(model(x), y)
        ...                 accelerator.backward(loss)
        ...                 optimizer.step()
        ...                 optimizer.zero_grad()
        ...             loop.log(loss=loss)
    """

    def __init__(
        self,
        accelerator: Any,
        *sinks: object,
        model: Any = None,
        optimizer: Any = None,
        scheduler: Any = None,
        validation_data: Any = None,
        initial_epoch: int = 0,
        record: str | PathLike[str] | None = None,
        resume: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        require("accelerate", "1.0", "accelerate")
        if not hasattr(accelerator, "gradient_state"):
            raise TypeError(f"accelerator must be an Accelerator, the first argument (got {accelerator!r})")
        self._accelerator = accelerator
        super().__init__(
            *sinks,
            model=_handle(accelerator, model, optimizer, scheduler),
            validation_data=validation_data,
            initial_epoch=initial_epoch,
            record=record,
            resume=resume,
            strict=strict,
        )

    def _new_epoch(self, steps: int | None) -> AccumulatedEpoch:
        return AccumulatedEpoch(self.bus, steps, self._accelerator)

    def _stretch(self, data: Iterable[T], length: int) -> Iterable[T]:
        return super()._stretch(data, sys.maxsize)  # the epoch counts steps, of as many micro-batches as they take


def _handle(accelerator: Any, model: Any, optimizer: Any, scheduler: Any) -> Any:
    """Return the handle of modules, without what an accelerator wrapped around them; a handle unchanged."""
    if not isinstance(model, (torch.nn.Module, Mapping)):
        if optimizer is not None or scheduler is not None:
            raise TypeError(f"optimizer and scheduler are only for a PyTorch module (got the model {model!r})")
        return model
    schedulers = plain(scheduler, lambda each: getattr(each, "scheduler", each)) or {}
    if not isinstance(schedulers, Mapping):
        schedulers = {"scheduler": schedulers}
    if accelerator.scaler is not None:
        schedulers = {**schedulers, "scaler": accelerator.scaler}
    return ScheduledModel(
        plain(model, accelerator.unwrap_model),
        plain(optimizer, lambda each: getattr(each, "optimizer", each)),
        schedulers or None,
    )
