"""The loop: epochs, batches, what is logged, evaluation, and every way to leave: batches, logs."""

import gc
import math
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop_support import epoch_logs
from monitor_core import Loop
from monitor_core.values import blocks
from recorders import Raiser, Recorder, close_to


def test_break_in_batches_keeps_the_epoch():
    """Leaving the batches early counts the batch in which something was logged, and records the epoch."""
    with Loop(recorder := Recorder("on_batch_end", "on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 3.0, 5.0]):
                loop.log(loss=x)
                if x == 3.0:
                    break
    assert recorder.events == [
        ("batch_end", 1, {"loss": 1.0}),
        ("batch_end", 2, {"loss": 3.0}),
        ("epoch_end", 0, {"loss": 2.0}),
    ]


def test_break_before_anything_was_logged_does_not_count_the_batch():
    """A batch that is left before its values were logged has not been trained."""
    with Loop(recorder := Recorder("on_batch_begin", "on_batch_end", "on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 3.0]):
                if x == 3.0:
                    break
                loop.log(loss=x)
    assert recorder.events == [
        ("batch_begin", 1),
        ("batch_end", 1, {"loss": 1.0}),
        ("batch_begin", 2),
        ("epoch_end", 0, {"loss": 1.0}),
    ]
    assert loop.run.step == 1


def test_strict_loop_continues_after_a_batch_that_was_left():
    """After a batch that was left with nothing logged, the next stretch of batches is in order, strict or not."""
    with Loop(recorder := Recorder("on_batch_end"), strict=True) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches(range(3)):
                break
            for x in loop.batches(range(2)):
                loop.log(loss=x)
    assert recorder.events == [("batch_end", 1, {"loss": 0}), ("batch_end", 2, {"loss": 1})]


def test_break_from_batches_that_are_held_on_to():
    """The same holds where a variable, such as one's own progress bar, still refers to the iterator."""
    with Loop(recorder := Recorder("on_batch_end", "on_epoch_end")) as loop:
        for epoch in loop.epochs(2):
            batches = loop.batches([1.0, 3.0, 5.0])
            for x in batches:
                loop.log(loss=x + epoch)
                if x == 3.0:
                    break
    assert recorder.events == [
        ("batch_end", 1, {"loss": 1.0}),
        ("batch_end", 2, {"loss": 3.0}),
        ("epoch_end", 0, {"loss": 2.0}),
        ("batch_end", 3, {"loss": 2.0}),
        ("batch_end", 4, {"loss": 4.0}),
        ("epoch_end", 1, {"loss": 3.0}),
    ]


def test_batches_held_on_to_after_an_exception():
    """An iterator that a traceback keeps alive counts its batch before the run ends, and is inert afterwards."""
    recorder = Recorder("on_batch_end", "on_block", "on_train_end")
    with pytest.raises(ValueError, match="boom") as caught, Loop(recorder) as loop:
        for _ in loop.epochs(1):
            batches = loop.batches([1.0, 3.0])
            for x in batches:
                loop.log(loss=x)
                raise ValueError("boom")
    assert caught.value
    del batches
    gc.collect()
    assert recorder.events == [("batch_end", 1, {"loss": 1.0}), ("block", (0, [(1, {"loss": 1.0})])), ("train_end", {})]


def test_data_that_raises():
    """An error of the dataset itself is the training's error, raised after what was recorded before it."""

    def data():
        yield 1.0
        raise OSError("disk")

    recorder = Recorder("on_batch_end", "on_exception", "on_epoch_end")
    with pytest.raises(OSError, match="disk") as caught, Loop(recorder) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches(data()):
                loop.log(loss=x)
    assert recorder.events == [("batch_end", 1, {"loss": 1.0}), ("exception", caught.value)]


def test_critical_sink_in_a_batch_that_is_left_propagates():
    """What a critical sink raises is never lost, also where the batch ends by a break."""
    with (
        pytest.raises(ValueError, match="boom"),
        Loop(Raiser("on_batch_end", ValueError("boom"), critical=True)) as loop,
    ):
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=x)
                break
    assert loop.run.status == "failed"


def test_stretches_of_batches_in_one_epoch():
    """An epoch may have several datasets; its means are over all of their batches."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for data in ([1.0, 2.0], [6.0]):
                for x in loop.batches(data):
                    loop.log(loss=x)
    assert (epoch_logs(recorder), loop.run.step) == ([(0, {"loss": 3.0})], 3)


def test_log_adds_up_within_a_batch():
    """Several calls in one batch make one mapping; the last value of a name stays."""
    with Loop(recorder := Recorder("on_batch_end")) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches([0]):
                loop.log({"train/loss": 1, "a": 1})
                loop.log({"a": 2}, b=3, logs=4)
    assert recorder.events == [("batch_end", 1, {"train/loss": 1, "a": 2, "b": 3, "logs": 4})]


def test_value_logged_outside_of_batches_wins():
    """It takes the place of the mean of the batches, before or after them."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            loop.log(before=7)
            for x in loop.batches([1.0, 3.0]):
                loop.log(loss=x, acc=x, before=x)
            loop.log(acc=9.0, extra=True)
    assert epoch_logs(recorder) == [(0, {"loss": 2.0, "acc": 9.0, "before": 7.0, "extra": 1.0})]


def test_value_changed_after_it_was_logged_for_the_epoch():
    """An array that changes in place until the epoch's end counts as it was."""
    array = np.array(1.0)
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=array)
            array += 1
    assert epoch_logs(recorder) == [(0, {"loss": 1.0})]


def test_weighted_mean():
    """A batch counts by its weight; a metric of another call in the batch by its own."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x, weight in loop.batches([(1.0, 3), (5.0, 1)]):
                loop.log(loss=x, weight=weight)
                loop.log(acc=x)
    assert epoch_logs(recorder) == [(0, {"loss": 2.0, "acc": 3.0})]


def test_weight_of_a_metric_that_is_logged_again():
    """A later value of the same batch has the weight of its own call: 1 if none was given."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([0.0, 1.0]):
                loop.log(loss=100.0, weight=9 * x)
                loop.log(loss=x)
    assert epoch_logs(recorder) == [(0, {"loss": 0.5})]


def test_weight_of_metrics_within_a_metric():
    """A weight holds for everything logged in its call, nested metrics too."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x, weight in loop.batches([(1.0, 3), (5.0, 1)]):
                loop.log({"all": {"loss": x}}, weight=weight)
    assert epoch_logs(recorder) == [(0, {"all/loss": 2.0})]


def test_batch_of_no_weight_contributes_nothing():
    """Not even its NaN; where all weights are zero the mean is NaN."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x, weight in loop.batches([(math.nan, 0), (5.0, 2.0)]):
                loop.log(loss=x, weight=weight)
                loop.log(none=x, weight=0)
    ((_, logs),) = epoch_logs(recorder)
    assert logs["loss"] == 5.0
    assert math.isnan(logs["none"])


@pytest.mark.parametrize("weight", [-1, -0.5, math.nan, math.inf, np.int64(-1), np.float32(-1)])
def test_weight_that_is_none(weight):
    """A weight below 0 or not finite is refused where it can be known without a wait."""
    with Loop() as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches([0]):
                with pytest.raises(ValueError, match=r"weight must be >= 0 and finite \(got "):
                    loop.log(loss=1.0, weight=weight)


def test_means_begin_again_in_each_epoch():
    """Nothing of an epoch goes into the next one's means, also where that has no batches."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for epoch in loop.epochs(3):
            for x in loop.batches([[1.0, 2.0], [], [4.0]][epoch]):
                loop.log(loss=x)
    assert epoch_logs(recorder) == [(0, {"loss": 1.5}), (1, {}), (2, {"loss": 4.0})]


def test_metric_that_is_missing_in_some_batches():
    """A mean is over the batches that have the metric."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, None, 3.0]):
                loop.log(loss=x, **({"late": 5} if x == 3.0 else {}))
    assert epoch_logs(recorder) == [(0, {"loss": 2.0, "late": 5.0})]


def test_no_batch_waits_for_its_value():
    """Where only epochs are listened to, values are read once a block is closed, not one by one."""

    class EagerTensor:
        __module__ = "tensorflow"
        shape = types.SimpleNamespace(rank=0)

        def numpy(self):
            read.append(loop.run.step)
            return np.array(1.0)

    read = []
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches(range(3)):
                loop.log(loss=EagerTensor())
    assert (read, epoch_logs(recorder)) == ([3, 3, 3], [(0, {"loss": 1.0})])


values = st.one_of(
    st.none(), st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(-9, 9)
)


weights = st.one_of(st.none(), st.integers(0, 5), st.floats(0, 100).filter(lambda weight: weight == 0 or weight > 1e-3))


calls = st.lists(st.tuples(st.dictionaries(st.sampled_from("abc"), values), weights), max_size=3)


loop_epochs = st.lists(st.lists(calls, max_size=8), min_size=1, max_size=3)


def model_means(batches):
    """Return an epoch's weighted means by a loop over the batches' calls of ``log``, the last of a name counting."""
    sums = {}
    for batch in batches:
        last = {name: (value, weight) for logs, weight in batch for name, value in logs.items()}
        for name, (value, weight) in last.items():
            if value is not None:
                sums.setdefault(name, []).append((float(value), 1.0 if weight is None else float(weight)))
    means = {}
    for name, pairs in sums.items():
        used = [(value, weight) for value, weight in pairs if weight > 0]
        total = sum(weight for _, weight in used)
        means[name] = sum(value * weight for value, weight in used) / total if used else math.nan
    return means


@given(loop_epochs, st.integers(1, 5))
def test_means_against_a_plain_model(epochs, block_steps):
    """For every sequence of calls the epoch's logs are the weighted means, however the batches fall into blocks."""
    recorder = Recorder("on_epoch_end")
    with pytest.MonkeyPatch.context() as patch, Loop(recorder) as loop:
        patch.setattr(blocks, "BLOCK_STEPS", block_steps)
        for epoch in loop.epochs(len(epochs)):
            for batch in loop.batches(epochs[epoch]):
                for logs, weight in batch:
                    loop.log(logs, weight=weight)
    for (_, logs), batches in zip(epoch_logs(recorder), epochs, strict=True):
        expected = model_means(batches)
        assert set(logs) == set(expected)
        for name, value in expected.items():
            assert close_to(logs[name], value) or abs(logs[name] - value) < 1e-6
