"""How the benchmarks measure: whose turn it is, what a row says, what counts as waiting for a device."""

import gc
import importlib
import importlib.util
import itertools
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def harness(load):
    return load("harness")


@pytest.fixture
def timing(load):
    return load("support.timing")


@pytest.fixture
def waits(load):
    """Return what counts waits, with the frameworks loaded that are installed."""
    for framework in ("torch", "jax"):
        if importlib.util.find_spec(framework):
            importlib.import_module(framework)
    return load("support.waits").Waits()


def test_every_round_has_every_variant_once_and_begins_elsewhere(timing):
    """The order rotates and reverses, so that no variant always runs after the same one."""
    order = list(timing.turns(["a", "b", "c"], 4))
    assert [order[first : first + 3] for first in range(0, 12, 3)] == [
        ["a", "b", "c"],
        ["a", "c", "b"],
        ["c", "a", "b"],
        ["c", "b", "a"],
    ]


def test_rows_compare_each_round_with_the_floor_of_the_same_round(harness, timing):
    """A round in which the machine was slow counts as any other; the warm-up does not count."""
    times = {
        "floor": timing.Times(wall=[9.0, 1.0, 2.0, 4.0], processor=[9.0, 1.0, 1.0, 1.0]),
        "ours": timing.Times(wall=[9.0, 1.5, 3.0, 8.0], processor=[9.0, 2.0, 3.0, 5.0], hooks=[9.0, 1.0, 2.0, 3.0]),
    }
    floor, ours = harness.rows(times, "floor", calls=1000)
    assert floor["ratio"] == 1.0
    assert ours == {
        "variant": "ours",
        "ns": 3e6,
        "added_us": 1000.0,
        "processor_us": 2000.0,
        "hooks_us": 2000.0,
        "ratio": 1.5,
        "quartiles": [1.5, 1.75],
    }


def test_the_control_is_the_floor_once_more(harness):
    """Interleaving adds a copy of the floor, and makes each variant's calls in every round and in the warm-up."""
    calls = {"floor": [], "ours": []}
    variants = {name: made.append for name, made in calls.items()}
    rows = harness.interleave(variants, "floor", 5, rounds=2)
    assert [row["variant"] for row in rows] == ["floor", "ours", "A/A control"]
    assert calls == {"floor": [5] * 6, "ours": [5] * 3}


def test_a_variant_is_charged_for_its_cleanup_and_not_for_preparation(harness, timing, monkeypatch):
    """Waiting for the device counts, preparing does not."""
    clock = itertools.count()

    def spend(seconds):
        for _ in range(seconds):
            next(clock)

    stopped = SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: 0)
    monkeypatch.setattr(timing, "time", stopped)
    steps = {"prepare": lambda _: spend(1000), "settle": lambda: spend(10)}
    (floor, _) = harness.interleave({"floor": spend}, "floor", 5, rounds=2, **steps)
    assert floor["ns"] == pytest.approx((5 + 10 + 1) / 5 * 1e9)  # reading the clock is the one more


def test_a_variant_may_say_itself_what_it_took(harness):
    """A variant that returns seconds is taken at its word."""
    rows = harness.interleave({"floor": lambda _: 1.0, "ours": lambda _: 3.0}, "floor", 2, rounds=2)
    assert [row["ratio"] for row in rows] == [1.0, 3.0, 1.0]
    assert rows[1]["ns"] == 1.5e9


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_as_asked_and_as_before_afterwards(timing, on):
    """What is there already is left out of collections for as long as it is measured."""
    with timing.collector(on=on):
        assert (gc.isenabled(), gc.get_freeze_count() > 0) == (on, True)
    assert (gc.isenabled(), gc.get_freeze_count()) == (True, 0)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
def test_growth_is_the_power_over_the_largest_sizes(load, power):
    """What small runs pay once does not hide how the large ones grow."""
    sizes = [10**exponent for exponent in range(3, 8)]
    values = [1e9, 1e9, *(3.0 * size**power for size in sizes[2:])]
    assert load("growth").power(sizes, values) == pytest.approx(power)


def read_torch():
    torch = pytest.importorskip("torch")
    value = torch.ones(())
    return {
        "item": value.item,
        "float": lambda: float(value),
        "bool": lambda: bool(value),
        "numpy": value.numpy,
        "asarray": lambda: np.asarray(value),
        "tolist": value.tolist,
    }


def read_jax():
    jax = pytest.importorskip("jax")
    value = jax.numpy.ones(())
    return {
        "item": value.item,
        "float": lambda: float(value),
        "bool": lambda: bool(value),
        "asarray": lambda: np.asarray(value),
        "device_get": lambda: jax.device_get([value, value + 1]),
        "block_until_ready": lambda: jax.block_until_ready(value),
        "tolist": value.tolist,
    }


@pytest.mark.parametrize("reads", [read_torch, read_jax])
def test_every_way_to_read_a_value_counts_once(waits, reads):
    """Reads that go through others count once, on the thread that makes them."""
    found = {}
    with waits:
        for name in reads():
            before = waits.read()
            reads()[name]()
            found[name] = (waits.read() - before).tolist()
    assert found == {name: [1, 0] for name in reads()}


def test_asking_without_waiting_does_not_count(waits):
    """Detaching, cloning and asking whether a value is ready wait for nothing."""
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    tensor, array = torch.ones(()), jax.numpy.ones(())
    with waits:
        tensor.detach().clone()
        torch.stack([tensor, tensor])
        array.is_ready()
        array.copy_to_host_async()
        np.asarray([1.0])
        assert waits.read().tolist() == [0, 0]


def test_reads_on_other_threads_count_apart(waits):
    """A wait in the background is distinguished from one that blocks the training."""
    value = pytest.importorskip("torch").ones(())
    with waits:
        thread = threading.Thread(target=lambda: [value.item() for _ in range(3)])
        thread.start()
        thread.join()
        value.item()
        with waits.paused():
            value.item()
        assert waits.read().tolist() == [1, 3]


def test_frameworks_are_as_before_afterwards(waits):
    """Every function that counted is put back where it was."""
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    owners = (torch.Tensor, type(jax.numpy.zeros(())), np, jax)
    before = [dict(vars(owner)) for owner in owners]
    with waits:
        assert [dict(vars(owner)) for owner in owners] != before
    assert [dict(vars(owner)) for owner in owners] == before


def test_warnings_of_synchronizing_count_and_others_are_shown(waits):
    """On CUDA PyTorch warns where it waits."""

    def train():
        with waits._warnings():
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
            warnings.warn("something else", stacklevel=1)

    with pytest.warns(UserWarning, match="something else") as shown:
        train()
    assert len(shown) == 1
    assert waits.read().tolist() == [1, 0]


def test_a_loop_learns_the_waits_of_its_batches_and_of_its_end(load):
    """Waits between the steps are those of batches, and what comes after the last one of the epoch's end."""
    module = load("support.waits")
    value = pytest.importorskip("torch").ones(())

    class Step:
        settle = staticmethod(lambda: None)
        on_step = staticmethod(lambda: None)

    def work(batches):
        for _ in range(batches):
            Step.on_step()
            value.item()
            value.item()
        float(value)

    counted = module.of_loop(work, Step, 5)
    assert counted.columns("reads") == {"reads": 2.0, "reads_elsewhere": 0.0, "reads_at_end": 1.0}
