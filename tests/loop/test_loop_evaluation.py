"""The loop: epochs, batches, what is logged, evaluation, and every way to leave: evaluation and prediction."""

import threading

import numpy as np
import pytest

from loop_support import epoch_logs
from monitor_core import History, Loop, OrderError, on
from recorders import Recorder


def test_evaluation_hands_back_its_results():
    """The results are in the yielded dict once the evaluation has ended, without the prefix."""
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
    """An evaluation that was aborted has no result, and the epoch continues."""
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


def test_evaluation_continues_after_a_stop_request():
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


def test_an_evaluation_on_another_thread_has_its_own_values():
    """The training continues to log meanwhile, over an epoch's end, and each gets what was logged on its thread."""
    begun, go_on, seen = threading.Event(), threading.Event(), {}

    def evaluate(loop):
        with loop.evaluation() as results:
            begun.set()
            assert go_on.wait(60)
            for value in loop.batches([1.0, 2.0]):
                loop.log(loss=value)
        seen.update(results)

    with Loop(history := History(per_batch=True), strict=True) as loop:
        thread = threading.Thread(target=evaluate, args=(loop,))
        for epoch in loop.epochs(2):
            for value in loop.batches([10.0, 20.0]):
                if loop.run.step == 1:
                    thread.start()
                    assert begun.wait(60)
                if loop.run.step == 3:
                    go_on.set()
                    thread.join(60)
                if loop.run.step in (1, 2):
                    with pytest.raises(OrderError, match="while another thread evaluates"), loop.evaluation():
                        pytest.fail("one at a time, whichever thread it is on")
                loop.log(loss=value + epoch)
    assert seen == {"loss": 1.5}
    assert history.batches["loss"].tolist() == [10.0, 20.0, 11.0, 21.0]
    assert history.history["loss"] == [15.0, 16.0]
    assert history.evaluations["val_loss"].tolist() == [1.5]


def test_an_evaluation_waits_until_another_thread_has_delivered_its_own():
    """Until then a second one is refused, and nothing is filed under its name."""
    delivering, refused = threading.Event(), []

    def slow(run, logs):
        delivering.set()
        assert done.wait(60)

    def evaluate(loop):
        with loop.evaluation(name="first"):
            loop.log(loss=1.0)

    done = threading.Event()
    with Loop(on("evaluation_end", slow), history := History(), strict=True) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=0.0)
            thread = threading.Thread(target=evaluate, args=(loop,))
            thread.start()
            assert delivering.wait(60)
            try:
                with loop.evaluation(name="second"):
                    loop.log(loss=2.0)
            except OrderError as error:
                refused.append(str(error))
            done.set()
            thread.join(60)
    assert refused == ["evaluation() while another thread evaluates or predicts: one at a time, so wait for it"]
    assert {name: history.evaluations[name].tolist() for name in history.evaluations} == {"first_loss": [1.0]}
