"""The handle of a trainer's model, whose rate stays set while a schedule continues."""

from __future__ import annotations

from monitor_core.adapters.torch import TorchModel


class ScheduledModel(TorchModel):
    """A module whose learning rate a scheduler sets after each step.

    A rate that a sink sets scales the rest of the schedule, so that the scheduler does not undo it.
    """

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate of each parameter group."""
        return super().learning_rates

    @learning_rates.setter
    def learning_rates(self, rates: list[float]) -> None:
        before = super().learning_rates
        self._training.set_rates(rates)
        for scheduler in self.schedulers.values():
            bases = getattr(scheduler, "base_lrs", None)
            if bases and len(bases) == len(rates):
                scheduler.base_lrs = [
                    base * (new / old) if old else base for base, old, new in zip(bases, before, rates, strict=True)
                ]
