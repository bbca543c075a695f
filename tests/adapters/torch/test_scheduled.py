"""A rate that a sink sets is kept by a schedule that continues."""

import pytest

torch = pytest.importorskip("torch")

from torch.optim import SGD, Adam  # noqa: E402
from torch.optim.lr_scheduler import LambdaLR, StepLR  # noqa: E402

from monitor_core.adapters.torch.scheduled import ScheduledModel  # noqa: E402


@pytest.fixture
def module():
    """Return a module."""
    return torch.nn.Linear(2, 1)


def rates(optimizer, scheduler, steps):
    """Return the rates of so many steps of a scheduler."""
    found = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_the_rest_of_a_schedule_is_scaled(module):
    """Half the rate now is half the rate later."""
    optimizer = SGD(module.parameters(), lr=1.0)
    scheduler = LambdaLR(optimizer, lambda step: 1 - step / 8)
    handle = ScheduledModel(module, optimizer, scheduler)
    assert rates(optimizer, scheduler, 2) == [0.875, 0.75]
    handle.learning_rates = [0.375]
    assert rates(optimizer, scheduler, 3) == [0.3125, 0.25, 0.1875]


def test_schedulers_scale_by_their_own_optimizers(module):
    """Of several optimizers, each scheduler keeps to its own; one without a scheduler is just set."""
    first, second, third = (
        SGD(module.parameters(), lr=1.0),
        Adam(module.parameters(), lr=0.5),
        SGD([module.bias], lr=9.0),
    )
    schedulers = {"a": LambdaLR(second, lambda _: 1.0), "b": LambdaLR(first, lambda _: 1.0)}
    handle = ScheduledModel(module, {"first": first, "second": second, "third": third}, schedulers)
    handle.learning_rates = [0.1, 0.2, 0.3]
    assert rates(first, schedulers["b"], 2) == pytest.approx([0.1, 0.1])
    assert rates(second, schedulers["a"], 2) == pytest.approx([0.2, 0.2])
    assert third.param_groups[0]["lr"] == 0.3


def test_a_rate_of_zero_leaves_the_schedule(module):
    """At the first step of a warm-up there is nothing to scale."""
    optimizer = SGD(module.parameters(), lr=1.0)
    scheduler = LambdaLR(optimizer, lambda step: min(1.0, step / 2))
    handle = ScheduledModel(module, optimizer, scheduler)
    handle.learning_rates = [0.1]
    assert rates(optimizer, scheduler, 2) == [0.5, 1.0]


def test_a_scheduler_that_multiplies_continues_from_the_rate(module):
    """Its next rate is a factor of the one that was set."""
    optimizer = SGD(module.parameters(), lr=1.0)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    ScheduledModel(module, optimizer, scheduler).learning_rates = [0.1]
    assert rates(optimizer, scheduler, 2) == [0.05, 0.025]
