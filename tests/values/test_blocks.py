"""Blocks: the values of steps as columns, and when they are taken."""

import math
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import Bus
from monitor_core.bus import batch_path
from monitor_core.values import blocks
from monitor_core.values.blocks import MANY_NAMES, BlockBuffer
from recorders import BlockRecorder, exact, train


def taken(*rows, epoch=0):
    """Return the block of steps with these logs, and what was skipped."""
    skips = []
    buffer = BlockBuffer(lambda name, reason: skips.append(name))
    for step, logs in enumerate(rows, 1):
        buffer.append(step, logs)
    return buffer.take(epoch), skips


def as_lists(block):
    """Return a block's columns and masks as lists, NaN as a string."""
    return {
        name: (
            [value if value == value else "nan" for value in column.tolist()],  # noqa: PLR0124
            None if block.present[name] is None else block.present[name].tolist(),
        )
        for name, column in block.columns.items()
    }


def test_columns():
    """Each metric is a column over the steps, in the order of the logs."""
    block, _ = taken({"loss": 1, "acc": 0.5}, {"loss": 2, "acc": True}, epoch=4)
    assert (block.epoch, block.steps.tolist(), len(block)) == (4, [1, 2], 2)
    assert as_lists(block) == {"loss": ([1.0, 2.0], None), "acc": ([0.5, 1.0], None)}
    assert list(block.rows()) == [(1, {"loss": 1.0, "acc": 0.5}), (2, {"loss": 2.0, "acc": 1.0})]


def test_types():
    """Steps are int64, times and columns float64, masks bool."""
    block, _ = taken({"loss": 1}, {})
    arrays = (block.steps, block.times, block.columns["loss"], block.present["loss"])
    assert [array.dtype for array in arrays] == [np.int64, np.float64, np.float64, np.bool_]


def test_arrays_are_read_only():
    """No sink can change the block of the others."""
    block, _ = taken({"a": 1, "b": 1}, {"a": 1})
    for array in (block.steps, block.times, *block.columns.values(), block.present["b"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_late_and_missing_keys():
    """A metric that appears late or is missing has NaN and a mask; NaN itself is present."""
    block, skips = taken({"a": 1.0}, {"a": float("nan"), "b": 2.0}, {}, {"a": None, "b": 3.0})
    assert as_lists(block) == {
        "a": ([1.0, "nan", "nan", "nan"], [True, True, False, False]),
        "b": (["nan", 2.0, "nan", 3.0], [False, True, False, True]),
    }
    assert skips == []


def test_same_metrics_in_another_order():
    """The order of the names within a step does not matter."""
    block, _ = taken({"a": 1.0, "b": 2.0}, {"b": 4.0, "a": 3.0})
    assert as_lists(block) == {"a": ([1.0, 3.0], None), "b": ([2.0, 4.0], None)}


def test_metric_without_any_value_has_no_column():
    """A metric that is None or unusable throughout a block is not in it."""
    block, skips = taken({"a": None, "b": "text", "c": 1.0})
    assert (as_lists(block), skips) == ({"c": ([1.0], None)}, ["b"])


def test_names_are_strings():
    """A metric whose name is not a string is skipped with a reason."""
    block, skips = taken({3: 1.0, "a": 2.0})
    assert (as_lists(block), skips) == ({"a": ([2.0], None)}, ["3"])


def test_steps_without_values():
    """Batches without logs are still steps."""
    block, _ = taken({}, None, {})
    assert (block.steps.tolist(), as_lists(block)) == ([1, 2, 3], {})


def test_metrics_within_a_metric():
    """A mapping within a batch's logs adds its own metrics."""
    block, _ = taken({"a": 1, "m": {"b": 2, "n": {"c": 3}}}, {"a": 4, "m": {"b": 5, "n": {"c": 6}}})
    assert as_lists(block) == {"a": ([1.0, 4.0], None), "b": ([2.0, 5.0], None), "c": ([3.0, 6.0], None)}


def test_metrics_within_a_metric_that_come_and_go():
    """Nested metrics may be missing in some steps."""
    block, _ = taken({"m": {"b": 2}}, {"a": 1}, {"m": {"c": 3}})
    assert as_lists(block) == {
        "a": (["nan", 1.0, "nan"], [False, True, False]),
        "b": ([2.0, "nan", "nan"], [True, False, False]),
        "c": (["nan", "nan", 3.0], [False, False, True]),
    }


def test_nested_metric_loses_no_value_of_its_namesake():
    """A metric that is nested in some steps and not in others is one column with all the values."""
    block, _ = taken({"loss": 1.0}, {"all": {"loss": 2.0}}, {"loss": {"loss": 3.0}})
    assert as_lists(block) == {"loss": ([1.0, 2.0, 3.0], None)}


def test_logs_may_be_reused_by_the_caller():
    """A dict that is reused for each batch gives each batch its own values."""
    logs, buffer = {}, BlockBuffer(lambda name, reason: None)
    for step in (1, 2):
        logs["loss"] = step
        buffer.append(step, logs)
    assert buffer.take(0).columns["loss"].tolist() == [1.0, 2.0]


def test_value_that_raises_leaves_the_steps_in_line():
    """A value whose conversion raises an unusual error affects no other step."""

    class Fails:
        def __float__(self):
            raise ZeroDivisionError

    block, skips = taken({"a": 1.0}, {"a": Fails(), "b": 2.0}, {"a": 3.0})
    assert list(block.rows()) == [(1, {"a": 1.0}), (2, {"b": 2.0}), (3, {"a": 3.0})]
    assert skips == ["a"]


def test_block_is_due_after_256_steps():
    """Blocks are closed every 256 steps and at the epoch's end, and never span epochs."""
    bus = Bus(recorder := BlockRecorder())
    train(bus, [{"loss": 1.0}] * 600, [{"loss": 1.0}] * 256, [{"loss": 1.0}] * 3)
    assert [(block.epoch, block.steps[0], block.steps[-1]) for block in recorder.blocks] == [
        (0, 1, 256),
        (0, 257, 512),
        (0, 513, 600),
        (1, 601, 856),
        (2, 857, 859),
    ]


class Clock:
    """Clocks that are set by hand."""

    def __init__(self):
        self.now = 100.0
        self.wall = 1000.0

    def perf_counter(self):
        return self.now

    def time(self):
        return self.wall


@pytest.fixture
def clock(monkeypatch):
    """Give the blocks a clock that is set by hand."""
    clock = Clock()
    monkeypatch.setattr(blocks, "time", types.SimpleNamespace(perf_counter=clock.perf_counter, time=clock.time))
    monkeypatch.setattr(batch_path, "perf_counter", clock.perf_counter)
    return clock


def test_block_is_due_after_a_second(clock):
    """A block is due when its first value is a second old, regardless of later ones, or at once when full."""
    buffer = BlockBuffer(lambda name, reason: None)
    assert buffer.seconds_left() is None
    for seconds, left in [(0.0, 1.0), (0.25, 0.75), (0.5, 0.25), (0.5, -0.25)]:
        clock.now += seconds
        buffer.append(1, {"loss": 1.0})
        assert buffer.seconds_left() == left
    assert len(buffer.take(0)) == 4
    for step in range(256):
        buffer.append(step, {"loss": 1.0})
    assert buffer.seconds_left() == 0.0


def test_steps_with_very_many_values_fill_a_block_sooner():
    """What waits is bounded in values too: steps of 10,000 metrics are taken by two dozen."""
    buffer = BlockBuffer(lambda name, reason: None)
    for step in range(1, 61):
        buffer.append(step, {f"metric {number}": 1.0 for number in range(10_000)})
    assert buffer.limit < 30
    taken_steps = []
    while (block := buffer.take(0)) is not None:
        taken_steps += block.steps.tolist()
        assert len(block) <= buffer.limit
    assert taken_steps == list(range(1, 61))


class ArrayImpl:
    """Looks to the package like a JAX array that a device has not computed yet."""

    __module__ = "jaxlib"
    shape = ()

    def __init__(self, value, *, ready):
        self.value, self.ready = value, ready

    @property
    def aval(self):
        return self

    def is_ready(self):
        return self.ready

    def item(self):
        return self.value


def test_values_that_are_not_ready_are_left_for_a_later_block():
    """Steps from the first one with a value still being computed stay pending, in order."""
    buffer = BlockBuffer(lambda name, reason: None)
    values = [ArrayImpl(float(step), ready=step < 3) for step in range(1, 6)]
    for step, value in enumerate(values, 1):
        buffer.append(step, {"loss": value, "lr": 0.5})
    assert buffer.take(0, ready_only=True).steps.tolist() == [1, 2]
    assert (buffer.take(0, ready_only=True), len(buffer)) == (None, 3)
    values[2].ready = values[3].ready = values[4].ready = True
    assert buffer.take(0, ready_only=True).columns["loss"].tolist() == [3.0, 4.0, 5.0]


def test_times_are_when_each_batch_ended(clock):
    """Times are seconds since 1970, spaced as the batches were, however late the block is closed."""
    bus = Bus(recorder := BlockRecorder())
    bus.train_begin()
    bus.batch_end(1, {})
    clock.now += 0.25
    clock.wall += 0.25
    bus.batch_end(2, {})
    clock.now += 0.5
    clock.wall += 0.5
    bus.flush()
    assert recorder.blocks[0].times.tolist() == [1000.0, 1000.25]


def test_times_never_go_back(clock):
    """A wall clock that is set back during a run makes no time earlier than the last; one set forward is followed."""
    bus = Bus(recorder := BlockRecorder())
    for step, wall in enumerate([1000.0, 500.0, 2000.0], 1):
        clock.now += 0.5
        clock.wall = wall
        bus.batch_end(step, {})
        bus.flush()
    assert [block.times[0] for block in recorder.blocks] == [1000.0, 1000.5, 2000.0]


def test_repr():
    """A block shows its epoch, steps and metrics."""
    block, _ = taken({"loss": 1.0}, {"loss": 2.0})
    assert repr(block) == "Block(epoch=0, steps 1..2, loss)"


class EagerTensor:
    """Looks to the package like a value on a device whose fetch the user interrupts."""

    __module__ = "tensorflow"
    shape = types.SimpleNamespace(rank=0)

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    def numpy(self):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return np.array(outcome)


def test_interrupt_while_values_are_fetched_loses_none():
    """After Ctrl-C during a wait for the device, the values arrive with the next flush."""
    bus = Bus(recorder := BlockRecorder())
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 1.0})
    bus.batch_end(2, {"loss": EagerTensor(KeyboardInterrupt(), 2.0)})
    with pytest.raises(KeyboardInterrupt):
        bus.flush()
    bus.exception(KeyboardInterrupt())
    assert recorder.rows == [(0, 1, {"loss": 1.0}), (0, 2, {"loss": 2.0})]


def test_value_whose_fetch_fails_is_skipped():
    """A framework's own error in a fetch skips that value and affects no other."""

    class ResourceExhaustedError(Exception):
        """An error that, like TensorFlow's, derives only from Exception."""

    block, skips = taken({"loss": 1.0}, {"loss": EagerTensor(ResourceExhaustedError("out of memory"))})
    assert (list(block.rows()), skips) == ([(1, {"loss": 1.0}), (2, {})], ["loss"])


usable = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.floats(width=32).map(np.float32),
    st.floats().map(np.array),
)
unusable = st.one_of(st.none(), st.text(max_size=3), st.just(10**400), st.just(np.ones(2)))


def is_number(value):
    """Return whether a value of these strategies is a metric."""
    return (
        isinstance(value, (bool, float, np.floating, np.ndarray, int))
        and np.size(value) == 1
        and (type(value) is not int or abs(value) < 2**1023)
    )


step_logs = st.dictionaries(
    st.sampled_from(["loss", "acc", "train/x", "y"]),
    st.one_of(usable, unusable),
    max_size=4,
)
epochs_of_logs = st.lists(st.lists(step_logs, max_size=12), max_size=4)


@given(epochs_of_logs, st.integers(1, 7), st.lists(st.integers(1, 40), max_size=3))
def test_blocks_against_a_plain_model(epochs, block_steps, flushes):
    """For every sequence of logs, each step arrives exactly once, in order, with its numbers, in blocks of an epoch."""
    expected, step = [], 0
    bus = Bus(recorder := BlockRecorder())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_STEPS", block_steps)
        bus.train_begin()
        for epoch, batches in enumerate(epochs):
            bus.epoch_begin(epoch)
            for logs in batches:
                step += 1
                bus.batch_end(step, logs)
                numbers = {name: value for name, value in logs.items() if is_number(value)}
                expected.append((epoch, step, exact(numbers)))
                if step in flushes:
                    bus.flush()
            bus.epoch_end(epoch)
        bus.train_end()
    assert [(epoch, step, exact(row)) for epoch, step, row in recorder.rows] == expected
    assert all(1 <= len(block) <= block_steps for block in recorder.blocks)
    assert all(np.diff(block.steps).tolist() == [1] * (len(block) - 1) for block in recorder.blocks)
    assert all((np.diff(block.times) >= 0).all() for block in recorder.blocks)


def many(*rows):
    """Return logs with so many metrics that their columns are converted together."""
    return [{f"m{number}": number + row for number in range(2 * MANY_NAMES)} for row in rows]


def test_many_columns_are_those_that_are_converted_one_by_one(monkeypatch):
    """Floats, integers and booleans of many metrics: the same block, without a call for each column."""
    rows = many(0, 0.5, 2.0**60)
    rows[1]["m3"], rows[2]["m4"] = True, math.nan
    monkeypatch.setattr(blocks, "fetch", None)
    together, _ = taken(*rows)
    monkeypatch.undo()
    monkeypatch.setattr(blocks, "MANY_NAMES", 1 << 30)
    assert as_lists(together) == as_lists(taken(*rows)[0])
    with pytest.raises(ValueError, match="read-only"):
        together.columns["m0"][0] = 0.0


@pytest.mark.parametrize(
    ("odd", "expected"),
    [("a", None), (None, None), (1 << 2000, None), (np.float32(0.5), 0.5), ({"inner": 7.0}, None)],
    ids=["string", "missing", "too large", "numpy", "nested"],
)
def test_one_odd_value_among_many_metrics_costs_no_other(odd, expected):
    """What is no plain number is looked at by itself."""
    first, second = many(0, 1)
    block, _ = taken(first, {**second, "m5": odd})
    last = {name: column[-1] for name, column in block.columns.items()}
    assert math.isnan(last["m5"]) if expected is None else last["m5"] == expected
    assert {name: last[name] for name in second if name != "m5"} == {n: v for n, v in second.items() if n != "m5"}


def test_a_name_that_is_not_a_string_among_many_is_skipped():
    """The others are recorded."""
    (first,) = many(0)
    block, skips = taken({**first, 7: 1.0})
    assert (list(block.columns), skips) == (list(first), ["7"])
