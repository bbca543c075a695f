"""Training by steps: stretches of a stream, and evaluations at any step."""

import itertools

import pytest

from monitor_core import Bus, Loop, Sink
from monitor_core.errors import OrderError
from recorders import Recorder


def evaluations_of(recorder):
    """Return what the recorder got of evaluations and of the epochs' ends."""
    return [event for event in recorder.events if event[0] in ("midepoch_evaluation", "epoch_end", "batch_begin")]


# --- stretches ---------------------------------------------------------------------------------------------------


def test_stretches_of_an_endless_stream():
    """Each epoch takes its steps from where the last one stopped."""
    stream = itertools.count()
    with Loop(recorder := Recorder("on_epoch_end", "on_batch_end")) as loop:
        for _ in loop.epochs(3, steps_per_epoch=2):
            assert loop.run.steps_per_epoch == 2
            for x in loop.batches(stream):
                loop.log(x=x)
    assert recorder.events == [
        ("batch_end", 1, {"x": 0}),
        ("batch_end", 2, {"x": 1}),
        ("epoch_end", 0, {"x": 0.5}),
        ("batch_end", 3, {"x": 2}),
        ("batch_end", 4, {"x": 3}),
        ("epoch_end", 1, {"x": 2.5}),
        ("batch_end", 5, {"x": 4}),
        ("batch_end", 6, {"x": 5}),
        ("epoch_end", 2, {"x": 4.5}),
    ]
    assert next(stream) == 6


def test_data_that_end_begin_again():
    """A dataset of three batches fills epochs of two."""
    data, seen = [1, 2, 3], []
    with Loop() as loop:
        for _ in loop.epochs(3, steps_per_epoch=2):
            seen += list(loop.batches(data))
    assert seen == [1, 2, 3, 1, 2, 3]


def test_a_break_continues_in_the_same_epoch_and_loses_no_item():
    """A second `batches` takes what the epoch still lacks."""
    stream, seen = iter(range(100)), []
    with Loop() as loop:
        for _ in loop.epochs(2, steps_per_epoch=4):
            for x in loop.batches(stream):
                seen.append(x)
                loop.log(x=x)
                if x % 4 == 1:
                    break
            seen += list(loop.batches(stream))
            assert list(loop.batches(stream)) == []
        assert loop.run.step == 8
    assert seen == list(range(8))


def test_two_streams_continue_separately():
    """Two data of one epoch, such as labelled and unlabelled, each have their position."""
    first, second, seen = iter(range(100)), iter("abcdefgh"), []
    with Loop() as loop:
        for _ in loop.epochs(2, steps_per_epoch=4):
            for data in (first, second):
                for x in itertools.islice(loop.batches(data), 2):
                    seen.append(x)
                    loop.log(x=1)
    assert seen == [0, 1, "a", "b", 2, 3, "c", "d"]


def test_a_generator_that_ends_stops_the_run():
    """As with Keras, data that cannot be read again end the training; the epoch is recorded."""
    stream = iter([1.0, 2.0, 3.0])
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(5, steps_per_epoch=2):
            for x in loop.batches(stream):
                loop.log(x=x)
    assert recorder.events == [("epoch_end", 0, {"x": 1.5}), ("epoch_end", 1, {"x": 3.0})]
    assert loop.run.stop_reason == (
        "the data ended after 3 steps: pass a dataset or a loader that can be read again, or an endless iterator"
    )


def test_data_made_again_in_each_epoch_are_warned_about(warned):
    """Another object has no position: it is read from its beginning, which is rarely meant."""
    with Loop(recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(3, steps_per_epoch=2):
            for x in loop.batches(itertools.count()):
                loop.log(x=x)
    assert [logs["x"] for _, _, logs in recorder.events] == [0.5, 0.5, 0.5]
    assert warned() == [
        (
            "batches() got other data in epoch 2 than before, which are read from their beginning: with "
            "steps_per_epoch, make the data once and pass the same object in every epoch"
        )
    ]


def test_empty_data_are_refused():
    """Data without a batch would begin again and again."""
    with pytest.raises(ValueError, match="data must have at least one batch"), Loop() as loop:
        for _ in loop.epochs(1, steps_per_epoch=2):
            list(loop.batches([]))


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        (0, ValueError, r"steps_per_epoch must be >= 1 \(got 0\)"),
        (1.5, TypeError, "steps_per_epoch must be an integer"),
    ],
)
def test_steps_per_epoch_is_checked(steps, error, message):
    """A wrong number of steps is named before the first epoch."""
    with pytest.raises(error, match=message), Loop() as loop:
        list(loop.epochs(1, steps_per_epoch=steps))


# --- evaluations within an epoch ---------------------------------------------------------------------------------


def test_evaluations_are_events_and_the_last_belongs_to_the_epoch():
    """In 6 steps with an evaluation every 2, two are events of their own; the third joins the epoch's logs."""
    with Loop(recorder := Recorder("on_midepoch_evaluation", "on_epoch_end")) as loop:
        for _ in loop.epochs(1, steps_per_epoch=6):
            for x in loop.batches(itertools.count(1)):
                loop.log(loss=x)
                if x % 2 == 0:
                    with loop.evaluation():
                        loop.log(loss=10 * x)
    assert recorder.events == [
        ("midepoch_evaluation", {"val_loss": 20.0}),
        ("midepoch_evaluation", {"val_loss": 40.0}),
        ("epoch_end", 0, {"loss": 3.5, "val_loss": 60.0}),
    ]


def test_an_evaluation_within_a_batch_is_delivered_after_it():
    """The batch counts: its values come first, and the evaluation's step is its number."""
    seen = []

    class See(Sink):
        def on_batch_end(self, run, step, logs):
            seen.append(("batch_end", step))

        def on_midepoch_evaluation(self, run, logs):
            seen.append((run.evaluation.name, run.evaluation.step, run.step, logs))

        def on_batch_begin(self, run, step):
            seen.append(("batch_begin", step))

    with Loop(See()) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=x)
                if x == 1.0:
                    with loop.evaluation(name="test"):
                        loop.log(loss=5.0)
                loop.log(acc=x)
    assert seen == [
        ("batch_begin", 1),
        ("batch_end", 1),
        ("test", 1, 1, {"test_loss": 5.0}),
        ("batch_begin", 2),
        ("batch_end", 2),
    ]


def test_an_evaluation_before_the_batch_has_logged_is_delivered_at_once():
    """What follows it is the batch itself."""
    with Loop(recorder := Recorder("on_midepoch_evaluation", "on_batch_end")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0]):
                with loop.evaluation():
                    loop.log(loss=5.0)
                assert recorder.events == [("midepoch_evaluation", {"val_loss": 5.0})]
                loop.log(loss=x)


def test_with_an_unknown_length_the_next_batch_decides():
    """Whether an evaluation is within the epoch shows when a batch follows; sinks act just before it."""
    with Loop(recorder := Recorder("on_midepoch_evaluation", "on_epoch_end", "on_batch_begin")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches(iter([1.0, 2.0])):
                loop.log(loss=x)
                with loop.evaluation():
                    loop.log(loss=10 * x)
    assert recorder.events == [
        ("batch_begin", 1),
        ("midepoch_evaluation", {"val_loss": 10.0}),
        ("batch_begin", 2),
        ("epoch_end", 0, {"loss": 1.5, "val_loss": 20.0}),
    ]


def test_without_listeners_to_batches_the_next_batch_decides_too():
    """The one call before a batch costs nothing where no sink listens to its begin."""
    with Loop(recorder := Recorder("on_midepoch_evaluation", "on_epoch_end")) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches(iter([1.0, 2.0, 3.0])):
                if x == 2.0:
                    with loop.evaluation():
                        loop.log(loss=10 * x)
                loop.log(loss=x)
    assert recorder.events == [
        ("midepoch_evaluation", {"val_loss": 20.0}),
        ("epoch_end", 0, {"loss": 2.0, "val_loss": 20.0}),
    ]


def test_with_an_unknown_length_the_open_batch_follows(tmp_path):
    """An evaluation before the batch has trained is delivered at once, with the weights and means of then."""
    seen = []

    class See(Sink):
        wants_interval_means = True

        def on_midepoch_evaluation(self, run, logs):
            seen.append((run.evaluation.step, run.step, dict(run.interval_means)))

    with Loop(See()) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches(iter([1.0, 2.0, 9.0])):
                if x == 9.0:
                    with loop.evaluation():
                        loop.log(loss=5.0)
                    assert seen == [(2, 2, {"loss": 1.5})]
                loop.log(loss=x)


@pytest.mark.parametrize("name", [3, "", "x" * 101])
def test_a_name_that_is_none_is_refused(name):
    """It names files and metrics."""
    message = "name must be a string of 1 to 100 characters"
    with pytest.raises(ValueError, match=message), Loop() as loop, loop.evaluation(name=name):
        pass


def test_the_epoch_says_which_of_its_values_were_delivered_before():
    """A decision at the epoch's end must not count a result twice."""
    seen = []

    class See(Sink):
        def on_epoch_end(self, run, epoch, logs):
            seen.append((run.evaluation and run.evaluation.prefix, sorted(run.stale_metrics), logs))

    with Loop(See()) as loop:
        for epoch in loop.epochs(2):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=x)
                if x == 1.0:
                    with loop.evaluation():
                        loop.log(loss=5.0, acc=0.5)
            if epoch == 1:
                with loop.evaluation():
                    loop.log(loss=6.0)
    assert seen == [
        (None, ["val_acc", "val_loss"], {"loss": 1.5, "val_loss": 5.0, "val_acc": 0.5}),
        ("val_", ["val_acc"], {"loss": 1.5, "val_loss": 6.0, "val_acc": 0.5}),
    ]


def test_interval_means_are_of_the_batches_since_the_evaluation_before():
    """Weighted, over the end of an epoch, and only for a sink that wants them."""
    seen = []

    class See(Sink):
        wants_interval_means = True

        def on_midepoch_evaluation(self, run, logs):
            seen.append(dict(run.interval_means))

        def on_epoch_end(self, run, epoch, logs):
            seen.append(dict(run.interval_means))

    numbers = itertools.count(1)
    with Loop(See()) as loop:
        for _ in loop.epochs(2, steps_per_epoch=3):
            for x in loop.batches(numbers):
                loop.log(loss=x, weight=x)
                if x in (2, 5, 6):
                    with loop.evaluation():
                        loop.log(loss=0.0)
                    with loop.evaluation(name="test"):
                        loop.log(loss=0.0)
    assert seen == [{"loss": (1 + 4) / 3}, {}, {}, {"loss": (9 + 16 + 25) / 12}, {}, {"loss": 6.0}]


def test_names_in_common_are_warned_about_once(warned):
    """Two datasets under one name overwrite each other."""
    with Loop() as loop:
        for _ in loop.epochs(2):
            for _ in range(2):
                with loop.evaluation():
                    loop.log(loss=1.0)
    [warning] = warned()
    assert warning == (
        "two evaluations at step 0 both report 'val_loss', as two results of one dataset: give each dataset a name, "
        "such as evaluation(name='test')"
    )


def test_an_evaluation_of_an_aborted_epoch_is_delivered():
    """What was evaluated is not lost with the epoch."""
    recorder = Recorder("on_midepoch_evaluation", "on_epoch_end", "on_exception")
    error = ValueError("boom")
    with pytest.raises(ValueError, match="boom"), Loop(recorder) as loop:
        for _ in loop.epochs(1):
            with loop.evaluation():
                loop.log(loss=1.0)
            raise error
    assert recorder.events == [("midepoch_evaluation", {"val_loss": 1.0}), ("exception", error)]


def test_a_stop_by_an_evaluation_ends_the_batches():
    """What a sink asks for in mid-epoch is obeyed before the next batch."""

    class Stop(Sink):
        def on_midepoch_evaluation(self, run, logs):
            run.stop("enough")

    with Loop(Stop(), recorder := Recorder("on_epoch_end")) as loop:
        for _ in loop.epochs(9, steps_per_epoch=100):
            for x in loop.batches(itertools.count(1)):
                loop.log(loss=x)
                if x == 3:
                    with loop.evaluation():
                        loop.log(loss=7.0)
    assert (loop.run.step, loop.run.status) == (3, "stopped")
    assert recorder.events == [("epoch_end", 0, {"loss": 2.0, "val_loss": 7.0})]


def test_a_sink_that_raises_before_a_batch_is_isolated():
    """The others are served, and the batch begins."""

    class Bad(Sink):
        def on_midepoch_evaluation(self, run, logs):
            raise ValueError("bad")

    bus = Bus(Bad(), recorder := Recorder("on_midepoch_evaluation", "on_batch_begin", "on_batch_end"))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_begin(1)
    bus.batch_end(1, {})
    for _ in range(2):
        bus.evaluation_begin()
        bus.evaluation_end({"loss": 1.0})
    bus.batch_begin(2)
    bus.batch_end(2, {})
    assert recorder.events == [
        ("batch_begin", 1),
        ("batch_end", 1, {}),
        *[("midepoch_evaluation", {"val_loss": 1.0})] * 2,
        ("batch_begin", 2),
        ("batch_end", 2, {}),
    ]
    assert [failure.hook for failure in bus.failures] == ["on_midepoch_evaluation"] * 2


def test_adapters_say_whether_batches_follow():
    """What the framework knows, the bus need not wait for."""
    for followed in (True, False, None):
        bus = Bus(recorder := Recorder("on_midepoch_evaluation", "on_epoch_end"))
        bus.train_begin(steps_per_epoch=2)
        bus.epoch_begin(0)
        bus.batch_end(1, {})
        bus.evaluation_begin(name="a")
        bus.evaluation_end({"loss": 1.0}, followed=followed)
        bus.epoch_end(0, {"loss": 2.0})
        own = [] if followed is False else [("midepoch_evaluation", {"a_loss": 1.0})]
        assert recorder.events == [*own, ("epoch_end", 0, {"loss": 2.0, "a_loss": 1.0})]


def test_log_outside_of_an_epoch_still_fails():
    """Steps do not change where `batches` may be called."""
    with Loop() as loop, pytest.raises(OrderError, match="batches"):
        loop.batches([1])
