"""The loop: epochs, batches, what is logged, evaluation, and every way to leave: stop requests, exceptions, misuse."""

import itertools
import math
from contextlib import suppress

import numpy as np
import pytest

from loop_support import epoch_logs, names
from monitor_core import History, Loop, OrderError, SetupError, on
from monitor_core.bus.run import Evaluation
from recorders import BlockRecorder, Raiser, Recorder


def stop_at(hook):
    """Return a sink that asks for a stop whenever this hook is called."""
    return on(hook, lambda run, *args: run.stop(f"at {hook}"))


@pytest.mark.parametrize(
    ("hook", "expected"),
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
def test_stop_request(hook, expected):
    """A loop ends by itself at the next opportunity: no further batch, no further epoch, nothing untrained recorded."""
    recorder = Recorder("on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end", "on_evaluation_end")
    with Loop(stop_at(hook), recorder) as loop:
        for _ in loop.epochs(3):
            for x in loop.batches(range(3)):
                loop.log(loss=x)
            with loop.evaluation():
                loop.log(loss=1)
    trained = [name for name in names(recorder.events) if name != "evaluation_end" or "evaluation_end" in expected]
    assert trained == expected
    assert (loop.run.status, loop.run.stop_reason) == ("stopped", f"at {hook}")


def test_stop_request_of_the_training_itself():
    """The training may ask too, for a failure; the current batch is finished."""
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


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("boom"), "failed"), (KeyboardInterrupt(), "interrupted"), (SystemExit(), "interrupted")],
)
def test_exception_in_a_batch(error, status):
    """Everything so far is delivered, the epoch is not recorded, sinks are notified, and the error propagates."""
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
    """A run whose last values could not be delivered to a critical sink is not completed."""
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


@pytest.mark.parametrize("make", [lambda: np.full((), 0.1), lambda: np.full((1,), 0.1)])
def test_value_counts_as_it_was_when_it_was_logged(make):
    """What changes in place before the batch's end is recorded, and given to hooks, with the value that was logged."""
    value = make()
    with Loop(recorder := Recorder("on_batch_end", "on_block", "on_evaluation_batch_end", "on_evaluation_end")) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches(range(3)):
                loop.log(rate=value)
                value *= 0.5
            with loop.evaluation():
                for _ in loop.batches(range(1)):
                    loop.log(rate=value)
                    value *= 0.5
    assert recorder.events == [
        *[("batch_end", step, {"rate": rate}) for step, rate in ((1, 0.1), (2, 0.05), (3, 0.025))],
        ("block", (0, [(1, {"rate": 0.1}), (2, {"rate": 0.05}), (3, {"rate": 0.025})])),
        ("evaluation_batch_end", 0, {"rate": 0.0125}),
        ("evaluation_end", {"rate": 0.0125}),
    ]


def test_mappings_within_a_log_give_names_with_a_slash():
    """Metrics of one name in two mappings stay two metrics, in batches, epochs and evaluations."""
    with Loop(recorder := Recorder("on_batch_end", "on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches([0]):
                loop.log(train={"loss": 1, "more": {"acc": 2}}, val={"loss": 99})
            loop.log({"test": {"loss": 3}})
            with loop.evaluation():
                for _ in loop.batches([0]):
                    loop.log(a={"loss": 4})
    batch = {"train/loss": 1, "train/more/acc": 2, "val/loss": 99}
    assert recorder.events == [("batch_end", 1, batch), ("epoch_end", 0, {**batch, "test/loss": 3, "val_a/loss": 4})]


def test_values_that_are_not_metrics_reach_the_hooks_as_they_were_logged():
    """An array in a batch is skipped by the recorders, and hooks that read it get it."""
    image = np.ones((2, 2))
    seen = []
    with Loop(on("batch_end", lambda run, step, logs: seen.append(logs["image"])), History(per_batch=True)) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches([0]):
                loop.log(loss=1.0, image=image)
    assert seen == [image]


def test_evaluation_batches_arrive_as_blocks():
    """Blocks of an evaluation number its batches from 0, know its prefix and step, and have its weights."""
    seen = []

    @on("evaluation_block")
    def see(run, block):
        seen.append(
            (run.evaluation, block.steps.tolist(), block.columns["loss"].tolist(), block.weights["loss"].tolist())
        )

    with Loop(see, recorder := Recorder("on_block")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=x)
                with loop.evaluation("test_") as results:
                    for y in loop.batches([4.0, 8.0]):
                        loop.log(loss=y, weight=y)
        assert loop.run.evaluation is None
    assert seen == [(Evaluation(None, "test_", step), [0, 1], [4.0, 8.0], [4.0, 8.0]) for step in (1, 2)]
    assert results == {"loss": (16 + 64) / 12}
    assert recorder.events == [("block", (0, [(1, {"loss": 1.0})])), ("block", (0, [(2, {"loss": 2.0})]))]


def test_evaluation_that_raises_is_over():
    """After an exception within an evaluation the next batches are the training's again."""
    with Loop(recorder := Recorder("on_block", "on_evaluation_block")) as loop:
        for _ in loop.epochs(1):
            with suppress(RuntimeError), loop.evaluation():
                for x in loop.batches([1.0]):
                    loop.log(loss=x)
                raise RuntimeError
            assert loop.run.evaluation is None
            for x in loop.batches([2.0]):
                loop.log(loss=x)
    assert recorder.events == [("evaluation_block", (0, [(0, {"loss": 1.0})])), ("block", (0, [(1, {"loss": 2.0})]))]
