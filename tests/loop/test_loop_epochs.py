"""The loop: epochs, batches, what is logged, evaluation, and every way to leave: events, epochs."""

import numpy as np
import pytest

from loop_support import epoch_logs, names
from monitor_core import History, Loop, on
from recorders import BlockRecorder, Handle, Raiser, Recorder


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
        ("evaluation_block", (0, [(0, {"loss": 10.0})])),
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


def test_plan_is_in_the_run():
    """How many epochs, and how many steps each has where the data knows it, can be read from the run."""
    with Loop() as loop:
        for data, length in ((iter([1]), None), ([1, 2], 2)):
            for _ in loop.epochs(5):
                list(loop.batches(data))
                break
            assert (loop.run.epochs, loop.run.steps_per_epoch) == (5, length)


def test_data_whose_length_raises():
    """A dataset whose ``__len__`` raises is not an error."""

    class Stream:
        def __len__(self):
            raise NotImplementedError

        def __iter__(self):
            return iter([1, 2])

    with Loop() as loop:
        for _ in loop.epochs(1):
            assert list(loop.batches(Stream())) == [1, 2]


def test_sinks_get_the_model_and_the_validation_data():
    """The run has the arguments of the loop."""
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


def test_initial_epoch():
    """Epochs begin at ``initial_epoch`` and go up to the total."""
    with Loop(initial_epoch=3) as loop:
        assert loop.next_epoch == 3
        assert list(loop.epochs(5)) == [3, 4]
        assert loop.next_epoch == 5


def test_epochs_continue_to_a_larger_total():
    """A second call continues after the first."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        assert list(loop.epochs(2)) == [0, 1]
        assert list(loop.epochs(3)) == [2]
    assert epoch_logs(recorder) == [(0, {}), (1, {}), (2, {})]


def test_nothing_left_to_do_is_reported(warned):
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


def test_break_in_epochs_ends_the_epoch():
    """An epoch that is left by break is recorded like any other, as partial; the next call takes the next number."""
    partial = []
    with Loop(
        recorder := Recorder("on_epoch_begin", "on_epoch_end", "on_block"),
        on("epoch_end", lambda run, epoch, logs: partial.append(run.partial)),
    ) as loop:
        for epoch in loop.epochs(5):
            for x in loop.batches([0, 2]):
                loop.log(loss=epoch + x)
                if epoch == 1:
                    break
            if epoch == 1:
                break
        assert not loop.in_epoch
        for _ in loop.epochs(3):
            pass
    assert recorder.events == [
        ("epoch_begin", 0),
        ("block", (0, [(1, {"loss": 0.0}), (2, {"loss": 2.0})])),
        ("epoch_end", 0, {"loss": 1.0}),
        ("epoch_begin", 1),
        ("block", (1, [(3, {"loss": 1.0})])),
        ("epoch_end", 1, {"loss": 1.0}),
        ("epoch_begin", 2),
        ("epoch_end", 2, {}),
    ]
    assert partial == [False, True, False]
    assert loop.run.status == "completed"


def test_break_before_the_first_batch_leaves_no_record():
    """An epoch in which no batch has ended has nothing to record."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(5):
            break
    assert recorder.events == []


def test_break_through_a_generator_in_between():
    """A progress bar around the epochs, or enumerate, does not hide the break."""

    def bar(epochs):
        yield from epochs

    def shown(epochs):
        for epoch in epochs:
            yield epoch + 0

    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for wrap in (bar, shown, enumerate):
            for _ in wrap(loop.epochs(5)):
                for _ in loop.batches([1.0]):
                    loop.log(loss=1.0)
                break
    assert recorder.events == [("epoch_end", epoch, {"loss": 1.0}) for epoch in range(3)]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["epoch", "batch", "call"])
def test_exception_leaves_no_record_of_its_epoch(error, where):
    """Neither where it leaves the loop nor where it is caught within it; the epochs before are on record."""

    def fail():
        raise error

    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        with pytest.raises(error):
            for epoch in loop.epochs(5):
                for _ in loop.batches([1.0, 2.0]):
                    loop.log(loss=1.0)
                    if epoch == 1 and where == "batch":
                        raise error
                if epoch == 1 and where == "epoch":
                    raise error
                if epoch == 1:
                    fail()
        assert recorder.events == [("epoch_end", 0, {"loss": 1.0})]
    assert recorder.events == [("epoch_end", 0, {"loss": 1.0})]


def test_error_of_a_sink_at_a_break_is_raised_when_the_loop_is_left():
    """What a critical sink raises while a generator is closed would be lost."""
    with (
        pytest.raises(ValueError, match="full"),
        Loop(Raiser("on_epoch_end", ValueError("full"), critical=True)) as loop,
    ):
        for _ in loop.epochs(5):
            for _ in loop.batches([1.0]):
                loop.log(loss=1.0)
            break


def test_return_from_within_a_batch():
    """A function that returns from within a batch ends the batch, the epoch and the run."""

    def work():
        with loop:
            for _ in loop.epochs(5):
                for _ in loop.batches(range(5)):
                    loop.log(loss=1.0)
                    return

    loop = Loop(recorder := Recorder())
    work()
    assert names(recorder.events) == [
        *("train_begin", "epoch_begin", "batch_begin", "batch_end", "block", "epoch_end", "train_end")
    ]
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


def test_repr_shows_the_sinks_and_the_run():
    """Of a loop as of its bus, in one line."""
    loop = Loop(History(), Recorder(name="Named"))
    assert repr(loop) == "Loop(History, Named; Run(index=0, pending, epoch=-1, step=0))"
    assert repr(loop.bus) == "Bus(History, Named; Run(index=0, pending, epoch=-1, step=0))"
