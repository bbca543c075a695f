"""The handle of a module whose framework sets the learning rate by a scheduler."""

from __future__ import annotations

from monitor_core.adapters.torch.model import TorchModel


class ScheduledModel(TorchModel):
    """A handle whose rate stays set while the framework continues its schedule.

    A rate that a sink sets scales the rest of the schedule, so that the scheduler does not undo it.
    """

    @property
    def learning_rates(self) -> list[float]:
        """The learning rate of each parameter group, optimizer by optimizer in their order."""
        return super().learning_rates

    @learning_rates.setter
    def learning_rates(self, rates: list[float]) -> None:
        before = {id(group): float(group["lr"]) for group in self._training.groups()}
        self._training.set_rates(rates)
        for scheduler in self.schedulers.values():
            bases, groups = getattr(scheduler, "base_lrs", None), scheduler.optimizer.param_groups
            if bases is not None:
                scheduler.base_lrs = [
                    base * float(group["lr"]) / before[id(group)] if before.get(id(group)) else base
                    for base, group in zip(bases, groups, strict=True)
                ]
