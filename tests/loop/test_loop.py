"""The loop: epochs, batches, what is logged, evaluation, and every way to leave."""

import gc
import itertools
import math
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import History, Loop, OrderError, SetupError, on
from monitor_core.values import blocks
from recorders import BlockRecorder, Handle, Raiser, Recorder, close_to


def names(events):
    """Return the events' names alone."""
    return [event[0] for event in events]


def epoch_logs(recorder):
    """Return the epochs that were recorded, with their logs."""
    return [event[1:] for event in recorder.events if event[0] == "epoch_end"]


def stop_at(hook):
    """Return a sink that asks for a stop whenever this hook is called."""
    return on(hook, lambda run, *args: run.stop(f"at {hook}"))


# --- events --------------------------------------------------------------------------------------------------------


def test_every_event_of_a_loop():
    """A loop emits the whole of a run, in order, and its epoch logs are the batches' means and the evaluation."""
    with Loop(recorder := Recorder()) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 3.0]):
                loop.log(loss=x)
            with loop.evaluation():
                for x in loop.batches([10.0]):
                    loop.log(loss=x)
        with loop.prediction():
            for _ in loop.batches(["x"]):
                loop.log(outputs=[0])
    assert recorder.events == [
        ("train_begin",),
        ("epoch_begin", 0),
        ("batch_begin", 1),
        ("batch_end", 1, {"loss": 1.0}),
        ("batch_begin", 2),
        ("batch_end", 2, {"loss": 3.0}),
        ("block", (0, [(1, {"loss": 1.0}), (2, {"loss": 3.0})])),
        ("evaluation_begin",),
        ("evaluation_batch_begin", 0),
        ("evaluation_batch_end", 0, {"loss": 10.0}),
        ("evaluation_end", {"loss": 10.0}),
        ("epoch_end", 0, {"loss": 2.0, "val_loss": 10.0}),
        ("prediction_begin",),
        ("prediction_batch_begin", 0),
        ("prediction_batch_end", 0, {"outputs": [0]}),
        ("prediction_end", {}),
        ("train_end", {"loss": 2.0, "val_loss": 10.0}),
    ]
    assert loop.run.status == "completed"


def test_steps_count_over_epochs():
    """Batches are numbered from 1 over the whole run; epochs from 0."""
    with Loop(blocks := BlockRecorder()) as loop:
        for epoch in loop.epochs(3):
            for _ in loop.batches(range(2)):
                loop.log(epoch=epoch)
    assert blocks.rows == [(step // 2, step + 1, {"epoch": float(step // 2)}) for step in range(6)]


def test_batches_yields_the_data():
    """The data comes through unchanged, whatever iterable it is."""
    with Loop() as loop:
        for _ in loop.epochs(1):
            assert list(loop.batches(iter("abc"))) == ["a", "b", "c"]
            assert list(loop.batches([])) == []
    assert loop.run.step == 3


def test_plan_stands_in_the_run():
    """How many epochs, and how many steps each has where the data knows it, can be read from the run."""
    with Loop() as loop:
        for data, length in ((iter([1]), None), ([1, 2], 2)):
            for _ in loop.epochs(5):
                list(loop.batches(data))
                break
            assert (loop.run.epochs, loop.run.steps_per_epoch) == (5, length)


def test_data_whose_length_raises():
    """A data set that has a ``__len__`` and no length is no error."""

    class Stream:
        def __len__(self):
            raise NotImplementedError

        def __iter__(self):
            return iter([1, 2])

    with Loop() as loop:
        for _ in loop.epochs(1):
            assert list(loop.batches(Stream())) == [1, 2]


def test_model_and_validation_data_are_lent():
    """What the loop was given stands in the run."""
    handle, data = Handle(0.5), ("x", "y")
    with Loop(model=handle, validation_data=data) as loop:
        assert (loop.run.model, loop.run.validation_data, loop.run.learning_rate) == (handle, data, 0.5)


def test_loop_can_be_entered_again():
    """Each time it is entered a new run begins, from the first epoch."""
    loop = Loop(history := History())
    for _ in range(2):
        with loop:
            for epoch in loop.epochs(2):
                loop.log(epoch_seen=epoch)
    assert (history.run.tolist(), history.epoch, loop.run.index) == ([0, 0, 1, 1], [0, 1, 0, 1], 1)


# --- epochs ---------------------------------------------------------------------------------------------------------


def test_initial_epoch():
    """Epochs begin at ``initial_epoch`` and go up to the total."""
    with Loop(initial_epoch=3) as loop:
        assert loop.next_epoch == 3
        assert list(loop.epochs(5)) == [3, 4]
        assert loop.next_epoch == 5


def test_epochs_go_on_to_a_larger_total():
    """A second call goes on where the first left off."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        assert list(loop.epochs(2)) == [0, 1]
        assert list(loop.epochs(3)) == [2]
    assert epoch_logs(recorder) == [(0, {}), (1, {}), (2, {})]


def test_nothing_left_to_do_is_told(warned):
    """A total that was reached already trains nothing, with a warning; a total of 0 is quiet."""
    with Loop(initial_epoch=2) as loop:
        assert list(loop.epochs(0)) == []
        assert list(loop.epochs(2)) == []
    assert warned() == ["epochs(2): nothing is left to do, the next epoch is number 2"]


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (1.5, TypeError), ("3", TypeError)])
def test_counts_are_integers_from_0(value, error):
    """A number of epochs is an integer of at least 0, of Python or NumPy."""
    with pytest.raises(error, match=r"initial_epoch must be (>= 0|an integer) \(got "):
        Loop(initial_epoch=value)
    with Loop() as loop:
        with pytest.raises(error, match=r"epochs must be (>= 0|an integer) \(got "):
            list(loop.epochs(value))
        assert list(loop.epochs(np.int64(1))) == [0]


def test_break_in_epochs_abandons_the_epoch():
    """An epoch that is left by break is not recorded, but its batches are; the next call takes the next number."""
    with Loop(recorder := Recorder("on_epoch_begin", "on_epoch_end", "on_block")) as loop:
        for epoch in loop.epochs(5):
            for _ in loop.batches([0]):
                loop.log(loss=epoch)
            if epoch == 1:
                break
        assert not loop.in_epoch
        for _ in loop.epochs(3):
            pass
    assert recorder.events == [
        ("epoch_begin", 0),
        ("block", (0, [(1, {"loss": 0.0})])),
        ("epoch_end", 0, {"loss": 0.0}),
        ("epoch_begin", 1),
        ("block", (1, [(2, {"loss": 1.0})])),
        ("epoch_begin", 2),
        ("epoch_end", 2, {}),
    ]
    assert loop.run.status == "completed"


def test_return_from_within_a_batch():
    """A function that returns from within a batch leaves the epoch unrecorded and the run completed."""

    def work():
        with loop:
            for _ in loop.epochs(5):
                for _ in loop.batches(range(5)):
                    loop.log(loss=1.0)
                    return

    loop = Loop(recorder := Recorder())
    work()
    assert names(recorder.events) == ["train_begin", "epoch_begin", "batch_begin", "batch_end", "block", "train_end"]
    assert loop.run.status == "completed"


def test_epochs_that_are_held_on_to():
    """An iterator of epochs that was left, but is still referred to, disturbs neither the end nor the next run."""
    loop = Loop(recorder := Recorder("on_epoch_begin", "on_epoch_end"))
    with loop:
        epochs = loop.epochs(5)
        for _ in epochs:
            break
    with loop:
        for _ in loop.epochs(1):
            epochs.close()
            loop.log(loss=1.0)
    assert recorder.events == [("epoch_begin", 0), ("epoch_begin", 0), ("epoch_end", 0, {"loss": 1.0})]


# --- batches --------------------------------------------------------------------------------------------------------


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


def test_strict_loop_goes_on_after_a_batch_that_was_left():
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
    """An error of the data set itself is the training's error, after what was recorded before it."""

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
    """An epoch may have several data sets; its means are over all of their batches."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for data in ([1.0, 2.0], [6.0]):
                for x in loop.batches(data):
                    loop.log(loss=x)
    assert (epoch_logs(recorder), loop.run.step) == ([(0, {"loss": 3.0})], 3)


# --- logs -----------------------------------------------------------------------------------------------------------


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
    assert epoch_logs(recorder) == [(0, {"loss": 2.0})]


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


def test_means_begin_anew_in_each_epoch():
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


# --- evaluation and prediction --------------------------------------------------------------------------------------


def test_evaluation_hands_back_its_results():
    """The results stand in the yielded dict once the evaluation has ended, without the prefix."""
    with Loop(recorder := Recorder("on_evaluation_end", "on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            with loop.evaluation("test_") as results:
                for x in loop.batches([1.0, 2.0]):
                    loop.log(loss=x, weight=x)
                loop.log(acc=np.float32(0.5))
                assert results == {}
            assert results == {"loss": 5 / 3, "acc": 0.5}
    assert recorder.events == [
        ("evaluation_end", {"loss": 5 / 3, "acc": 0.5}),
        ("epoch_end", 0, {"test_loss": 5 / 3, "test_acc": 0.5}),
    ]


def test_evaluation_within_a_batch():
    """A mid-epoch evaluation leaves the batch, its step and the epoch's means as they are."""
    with Loop(recorder := Recorder("on_batch_end", "on_evaluation_end", "on_epoch_end", "on_block")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 3.0]):
                loop.log(loss=x)
                if x == 3.0:
                    with loop.evaluation():
                        for y in loop.batches([10.0, 20.0]):
                            loop.log(loss=y)
                    assert loop.run.step == 1
                loop.log(acc=x)
    assert recorder.events == [
        ("batch_end", 1, {"loss": 1.0, "acc": 1.0}),
        ("block", (0, [(1, {"loss": 1.0, "acc": 1.0})])),
        ("evaluation_end", {"loss": 15.0}),
        ("batch_end", 2, {"loss": 3.0, "acc": 3.0}),
        ("block", (0, [(2, {"loss": 3.0, "acc": 3.0})])),
        ("epoch_end", 0, {"loss": 2.0, "acc": 2.0, "val_loss": 15.0}),
    ]


def test_evaluation_outside_of_epochs():
    """An evaluation before, between or after epochs is legal and enters no epoch's logs."""
    with Loop(recorder := Recorder("on_evaluation_end", "on_epoch_end")) as loop:
        for _ in range(2):
            with loop.evaluation() as results:
                for x in loop.batches([1.0]):
                    loop.log(loss=x)
            assert results == {"loss": 1.0}
            list(loop.epochs(1))
    assert recorder.events == [
        ("evaluation_end", {"loss": 1.0}),
        ("epoch_end", 0, {}),
        ("evaluation_end", {"loss": 1.0}),
    ]


def test_last_of_several_evaluations_counts():
    """Where an epoch evaluates twice, its logs have the later result."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for value in (1.0, 2.0):
                with loop.evaluation():
                    loop.log(loss=value)
    assert epoch_logs(recorder) == [(0, {"val_loss": 2.0})]


def test_evaluation_of_many_batches():
    """Means are over all batches, in however many blocks."""
    with Loop() as loop, loop.evaluation() as results:
        for x in loop.batches(range(1000)):
            loop.log(loss=x)
    assert results == {"loss": 499.5}


def test_evaluation_that_raises_is_not_recorded():
    """An evaluation that was broken off has no result, and the epoch goes on."""
    with Loop(recorder := Recorder("on_evaluation_end", "on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            with pytest.raises(ValueError, match="boom"), loop.evaluation():
                for x in loop.batches([1.0]):
                    loop.log(loss=x)
                    raise ValueError("boom")
            loop.log(loss=2.0)
    assert recorder.events == [("epoch_end", 0, {"loss": 2.0})]


def test_break_in_the_batches_of_an_evaluation():
    """The batch in which something was logged counts, as in training."""
    with Loop() as loop, loop.evaluation() as results:
        for x in loop.batches([1.0, 3.0, 9.0]):
            loop.log(loss=x)
            if x == 3.0:
                break
    assert results == {"loss": 2.0}


def test_evaluation_goes_on_after_a_stop_request():
    """A stop ends training batches; an evaluation is finished."""
    with Loop() as loop:
        loop.run.stop("enough")
        with loop.evaluation() as results:
            for x in loop.batches([1.0, 3.0]):
                loop.log(loss=x)
    assert results == {"loss": 2.0}


def test_prediction_takes_values_of_any_shape():
    """What is logged in a prediction reaches the sinks as it is, in its batches and outside of them."""
    outputs, recorder = np.ones((2, 3)), Recorder("on_prediction_batch_end", "on_prediction_end")
    with Loop(recorder) as loop, loop.prediction():
        for _ in loop.batches(range(1)):
            loop.log(outputs=outputs)
        loop.log(all_outputs=outputs)
    assert recorder.events[0][2]["outputs"] is outputs
    assert recorder.events[1][1]["all_outputs"] is outputs


# --- stop requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "heard"),
    [
        ("train_begin", []),
        ("epoch_begin", ["epoch_begin"]),
        ("batch_begin", ["epoch_begin", "batch_begin", "batch_end", "evaluation_end", "epoch_end"]),
        ("batch_end", ["epoch_begin", "batch_begin", "batch_end", "evaluation_end", "epoch_end"]),
        ("block", ["epoch_begin", *["batch_begin", "batch_end"] * 3, "evaluation_end", "epoch_end"]),
        ("evaluation_begin", ["epoch_begin", *["batch_begin", "batch_end"] * 3, "evaluation_end", "epoch_end"]),
        ("evaluation_end", ["epoch_begin", *["batch_begin", "batch_end"] * 3, "evaluation_end", "epoch_end"]),
        ("epoch_end", ["epoch_begin", *["batch_begin", "batch_end"] * 3, "evaluation_end", "epoch_end"]),
    ],
)
def test_stop_request(hook, heard):
    """A loop ends by itself at the next opportunity: no further batch, no further epoch, nothing untrained recorded."""
    recorder = Recorder("on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end", "on_evaluation_end")
    with Loop(stop_at(hook), recorder) as loop:
        for _ in loop.epochs(3):
            for x in loop.batches(range(3)):
                loop.log(loss=x)
            with loop.evaluation():
                loop.log(loss=1)
    trained = [name for name in names(recorder.events) if name != "evaluation_end" or "evaluation_end" in heard]
    assert trained == heard
    assert (loop.run.status, loop.run.stop_reason) == ("stopped", f"at {hook}")


def test_stop_request_of_the_training_itself():
    """The training may ask too, for a failure; the batch under way is finished."""
    with Loop(blocks := BlockRecorder()) as loop:
        for _ in loop.epochs(3):
            for x in loop.batches([1.0, math.nan, 3.0]):
                if math.isnan(x):
                    loop.run.stop("loss is NaN", failed=True)
                loop.log(loss=x)
    assert blocks.steps == [[1, 2]]
    assert loop.run.status == "failed"


def test_stopped_loop_yields_no_batches():
    """Batches after a stop request yield nothing and do not touch the data."""
    data = iter(range(3))
    with Loop() as loop:
        for _ in loop.epochs(1):
            loop.run.stop("enough")
            assert list(loop.batches(data)) == []
    assert list(data) == [0, 1, 2]


# --- exceptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("boom"), "failed"), (KeyboardInterrupt(), "interrupted"), (SystemExit(), "interrupted")],
)
def test_exception_in_a_batch(error, status):
    """Everything so far is handed over, the epoch is not recorded, the sinks are told, and the error goes on."""
    loop = Loop(recorder := Recorder())
    with pytest.raises(type(error)) as caught, loop:
        for _ in loop.epochs(2):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=x)
                if x == 2.0:
                    raise error
    assert caught.value is error
    assert recorder.events[-5:] == [
        ("batch_begin", 2),
        ("batch_end", 2, {"loss": 2.0}),
        ("block", (0, [(1, {"loss": 1.0}), (2, {"loss": 2.0})])),
        ("exception", error),
        ("train_end", {}),
    ]
    assert loop.run.status == status


def test_exception_between_epochs():
    """An error outside of epochs ends the run with the last epoch's results."""
    with pytest.raises(ValueError, match="boom"), Loop(recorder := Recorder("on_epoch_end", "on_train_end")) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
        raise ValueError("boom")
    assert recorder.events == [("epoch_end", 0, {"loss": 1.0}), ("train_end", {"loss": 1.0})]
    assert loop.run.status == "failed"


def test_exception_that_is_caught_within_an_epoch():
    """An error that the training handles by itself leaves the loop in order."""
    with Loop(recorder := Recorder("on_batch_end", "on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            try:
                for x in loop.batches([1.0, 2.0]):
                    loop.log(loss=x)
                    raise ValueError
            except ValueError:
                loop.log(failed=True)
            for x in loop.batches([3.0]):
                loop.log(loss=x)
    assert recorder.events == [
        ("batch_end", 1, {"loss": 1.0}),
        ("batch_end", 2, {"loss": 3.0}),
        ("epoch_end", 0, {"loss": 2.0, "failed": 1.0}),
    ]


def test_failing_sink_does_not_end_the_loop():
    """A training goes to its end whatever its sinks raise."""
    sinks = [Raiser(f"on_{event}", forever=ValueError()) for event in ("batch_end", "block", "epoch_end", "train_end")]
    with Loop(*sinks, recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(3):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=x)
    assert epoch_logs(recorder) == [(epoch, {"loss": 1.5}) for epoch in range(3)]
    assert loop.run.status == "completed"


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_begin", "on_batch_end", "on_block", "on_epoch_end"])
def test_critical_sink_ends_the_loop_as_failed(hook):
    """An exception of a critical sink goes through the loop as the training's own."""
    error = ValueError("boom")
    recorder = Recorder("on_exception", "on_train_end")
    with pytest.raises(ValueError, match="boom"), Loop(Raiser(hook, error, critical=True), recorder) as loop:
        for _ in loop.epochs(2):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=x)
    assert (names(recorder.events), recorder.events[0][1]) == (["exception", "train_end"], error)
    assert loop.run.status == "failed"


def test_critical_failure_on_leaving_fails_the_run():
    """A run whose last values could not be handed over to a critical sink is not completed."""
    recorder = Recorder("on_train_end")
    with (
        pytest.raises(ValueError, match="boom"),
        Loop(Raiser("on_block", ValueError("boom"), critical=True), recorder) as loop,
    ):
        loop.bus.batch_end(1, {"loss": 1.0})
    assert (loop.run.status, recorder.events) == ("failed", [("train_end", {})])


def test_setup_error_keeps_the_loop_from_being_entered():
    """A sink that cannot begin ends it before anything was trained."""
    with pytest.raises(SetupError, match="no folder"), Loop(Raiser("on_train_begin", SetupError("no folder"))):
        pytest.fail("the body must not run")


# --- misuse ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda loop: next(loop.epochs(1)), r"epochs\(\) outside of the loop: write `with Loop"),
        (lambda loop: loop.evaluation().__enter__(), r"evaluation\(\) outside of the loop"),
        (lambda loop: loop.prediction().__enter__(), r"prediction\(\) outside of the loop"),
        (lambda loop: next(loop.batches([1])), r"batches\(\) outside of an epoch: write `for epoch in loop.epochs"),
        (lambda loop: loop.log(loss=1), r"log\(\) outside of an epoch"),
    ],
)
def test_use_outside_of_the_loop(misuse, message):
    """What needs the loop says so before it is entered and after it was left."""
    loop = Loop()
    with pytest.raises(OrderError, match=message):
        misuse(loop)
    with loop:
        pass
    with pytest.raises(OrderError, match=message):
        misuse(loop)


def test_batches_and_log_outside_of_an_epoch():
    """Within the loop they need an epoch or an evaluation."""
    with Loop() as loop:
        for _ in range(2):
            with pytest.raises(OrderError, match=r"log\(\) outside of an epoch"):
                loop.log(loss=1)
            with pytest.raises(OrderError, match=r"batches\(\) outside of an epoch"):
                next(loop.batches([1]))
            list(loop.epochs(1))


def test_batches_within_a_batch():
    """One batch is open at a time; the error disturbs nothing."""
    with Loop(recorder := Recorder("on_batch_end", "on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 3.0]):
                loop.log(loss=x)
                with pytest.raises(OrderError, match=r"batches\(\) inside of a batch: one batch is open at a time"):
                    next(loop.batches([1]))
    assert recorder.events == [
        ("batch_end", 1, {"loss": 1.0}),
        ("batch_end", 2, {"loss": 3.0}),
        ("epoch_end", 0, {"loss": 2.0}),
    ]


@pytest.mark.parametrize("total", [1, 5])
def test_epochs_within_an_epoch(total):
    """One epoch is open at a time, whatever the totals."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            with pytest.raises(OrderError, match="while epoch 0 is open"):
                next(loop.epochs(total))
            loop.log(loss=1.0)
        assert loop.run.epochs == 1
    assert epoch_logs(recorder) == [(0, {"loss": 1.0})]


@pytest.mark.parametrize("scope", ["evaluation", "prediction"])
def test_epochs_within_an_evaluation(scope):
    """No epoch begins within an evaluation or a prediction."""
    with Loop() as loop, getattr(loop, scope)(), pytest.raises(OrderError, match=scope):
        next(loop.epochs(1))


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(["evaluation", "prediction"], repeat=2)))
def test_evaluation_within_an_evaluation(outer, inner):
    """One evaluation or prediction is open at a time."""
    with Loop() as loop, getattr(loop, outer)(), pytest.raises(OrderError, match=outer):
        getattr(loop, inner)().__enter__()


def test_second_fit_in_an_epoch():
    """An epoch is claimed by one fit; the error names the fix."""
    with Loop() as loop:
        with pytest.raises(OrderError, match="outside of an epoch"):
            loop.join_fit_epoch()
        for _ in loop.epochs(2):
            loop.join_fit_epoch()
            with pytest.raises(
                OrderError, match=r"a second fit epoch inside epoch \d of the loop: call fit\(epochs=1\)"
            ):
                loop.join_fit_epoch()
