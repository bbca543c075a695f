"""The cost meter: what is timed, what is estimated, and which sink is warned about."""

import time

import pytest

from monitor_core import Bus, Sink
from monitor_core.bus.costs import BUS, SAMPLED, Cost, CostMeter, HookCost
from recorders import Recorder, train


class Sleeper(Sink):
    """Takes its time in the hooks given."""

    read_only = True

    def __init__(self, **seconds):
        self.seconds = seconds

    def wants_hook(self, hook):
        return hook in self.seconds

    def on_batch_end(self, run, step, logs):
        time.sleep(self.seconds["on_batch_end"])

    def on_block(self, run, block):
        time.sleep(self.seconds["on_block"])

    def on_epoch_end(self, run, epoch, logs):
        time.sleep(self.seconds["on_epoch_end"])


def by_hook(bus):
    """Return the calls and seconds of each sink's hook."""
    return {(each.sink, each.hook): (each.calls, each.seconds) for each in bus.cost().hooks}


def test_hooks_are_counted_and_timed():
    """The cost has each hook's calls and time; those of batches are estimated from the few that were timed."""
    bus = Bus(Sleeper(on_batch_end=0.001, on_epoch_end=0.02), Recorder("on_epoch_begin"))
    train(bus, [{"loss": 1.0}] * 2 * SAMPLED, [{"loss": 1.0}] * SAMPLED)
    costs = by_hook(bus)
    assert {hook: calls for hook, (calls, _) in costs.items()} == {
        ("Sleeper", "on_batch_end"): 3 * SAMPLED,
        ("Sleeper", "on_epoch_end"): 2,
        ("Recorder", "on_epoch_begin"): 2,
    }
    assert costs["Sleeper", "on_epoch_end"][1] >= 0.04
    assert costs["Sleeper", "on_batch_end"][1] >= 3 * SAMPLED * 0.001
    assert bus.cost().slowest == "Sleeper"


def test_only_sampled_batches_are_timed():
    """Before the first sampled batch there is no figure for batch hooks."""
    bus = Bus(Sleeper(on_batch_end=0.0))
    train(bus, [{}] * (SAMPLED - 1))
    assert by_hook(bus) == {}
    assert str(bus.cost()) == "no hook was called"


def test_bus_reports_its_own_cost():
    """Keeping and fetching values is listed next to the sinks and attributed to none of them."""
    bus = Bus(Sleeper(on_block=0.0))
    train(bus, [{"loss": 1.0}] * 2 * SAMPLED)
    assert {(BUS, "values kept"), (BUS, "values fetched"), ("Sleeper", "on_block")} <= set(by_hook(bus))
    assert bus.cost().slowest == "Sleeper"


def test_each_run_has_its_own_cost():
    """A run's figures begin with it and no longer change once it has ended."""
    bus = Bus(Sleeper(on_epoch_end=0.0))
    train(bus, [{}], [{}])
    first = bus.cost()
    time.sleep(0.01)
    assert bus.cost() == first
    train(bus, [{}])
    assert by_hook(bus)["Sleeper", "on_epoch_end"][0] == 1


def test_a_sink_that_raises_is_timed_too():
    """The time of a hook that raises counts."""

    class Raises(Sink):
        def on_epoch_end(self, run, epoch, logs):
            time.sleep(0.01)
            raise ValueError

    bus = Bus(Raises())
    train(bus, [{}], [{}])
    calls, seconds = by_hook(bus)["Raises", "on_epoch_end"]
    assert calls == 2
    assert seconds >= 0.02


@pytest.mark.parametrize("hook", ["on_batch_end", "on_block"])
def test_slow_sink_is_reported_once(hook, warned, monkeypatch):
    """A sink that takes more than its share of the step is named in one warning a run; the others are not."""
    monkeypatch.setattr("monitor_core.bus.costs._WARM_UP_SECONDS", 0.0)
    bus = Bus(Sleeper(**{hook: 0.004}), Recorder("on_epoch_end"))
    train(bus, *[[{"loss": 1.0}] * 2 * SAMPLED] * 3)
    (message,) = warned()
    assert message.startswith("Sleeper takes ")
    assert message.endswith("% of each step's time; bus.cost() shows where")


def test_sink_within_its_share_is_not_reported(warned, monkeypatch):
    """The user can set the share, and the ends of epochs do not count towards it."""
    monkeypatch.setattr("monitor_core.bus.costs._WARM_UP_SECONDS", 0.0)
    bus = Bus(Sleeper(on_batch_end=0.0005, on_epoch_end=0.05))
    bus.slow_share = 20.0
    train(bus, *[[{"loss": 1.0}] * 2 * SAMPLED] * 3)
    assert warned() == []


def test_short_runs_are_not_judged(warned):
    """There is no warning in a run dominated by the first calls, which compile and import."""
    train(Bus(Sleeper(on_batch_end=0.0005)), [{"loss": 1.0}] * 2 * SAMPLED)
    assert warned() == []


def test_table():
    """The cost reads as a table, the most expensive hook first, in readable units."""
    meter = CostMeter()
    meter.add("History", "on_block", 0.0005)
    meter.add("CSVLogger", "on_epoch_end", 2.5)
    cost = Cost(meter.cost(0).hooks, 10.0, 1000)
    assert str(cost).splitlines() == [
        "1000 steps in 10.0 s, 10 ms each; slowest sink: CSVLogger",
        "CSVLogger                on_epoch_end                      1 x      2.5 s =      2.5 s  25.00%",
        "History                  on_block                          1 x     500 us =     500 us   0.01%",
    ]
    assert cost.by_sink() == {"CSVLogger": 2.5, "History": 0.0005}
    assert cost.hooks[0] == HookCost("CSVLogger", "on_epoch_end", 1, 2.5, 2.5)
    assert cost.share_of_step("History") == pytest.approx(0.00005)
    assert cost.share_of_step("CSVLogger") == 0


def test_sampled_costs_are_close_to_those_of_every_call():
    """Over 10,000 steps the estimate of a hook whose calls differ is within 10% of the sum of all calls.

    Time is counted, not measured: the hook moves the clock that the meter reads.
    """
    now, taken = [0.0], []

    class Uneven(Sink):
        def on_batch_end(self, run, step, logs):
            taken.append(1e-6 * (1 + step % 7))
            now[0] += taken[-1]

    bus = Bus(Uneven())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monitor_core.bus.dispatch.perf_counter", lambda: now[0])
        train(bus, [{"loss": 1.0}] * 10_000)
    (cost,) = [each for each in bus.cost().hooks if each.hook == "on_batch_end"]
    assert cost.seconds == pytest.approx(sum(taken), rel=0.1)
