"""The player drives a sink as a loop does, and says what happened."""

import pytest

from monitor_core import EarlyStopping, Sink
from monitor_core.testing import Epoch, Recorder, play


def test_epochs_may_be_given_by_their_logs_alone():
    """A mapping in the script is an epoch's logs; the run ends where the sink asks."""
    played = play(EarlyStopping("val_loss", patience=1), [{"val_loss": 1.0}, {"val_loss": 2.0}, {"val_loss": 0.5}])
    assert played.epochs == [(0, {"val_loss": 1.0}), (1, {"val_loss": 2.0})]
    assert played.run.status == "stopped"


def test_batches_and_evaluations_are_played_in_order():
    """An epoch's batches come first, then its evaluation, then its end with the means."""
    script = [Epoch(batches=[{"loss": 1.0}, {"loss": 0.5}], evaluation=[{"loss": 2.0}], logs={"rate": 0.1})]
    played = play(Recorder(name="sink"), script)
    assert [event[0] for event in played.events] == [
        "train_begin",
        "epoch_begin",
        "batch_begin",
        "batch_end",
        "batch_begin",
        "batch_end",
        "block",
        "evaluation_begin",
        "evaluation_batch_begin",
        "evaluation_batch_end",
        "evaluation_block",
        "evaluation_end",
        "epoch_end",
        "train_end",
    ]
    assert played.epochs == [(0, {"loss": 0.75, "val_loss": 2.0, "rate": 0.1})]


def test_evaluations_are_played_within_an_epoch():
    """Those that more batches follow are events of their own; the epoch has the last one's results."""
    batches = [{"loss": 1.0}, {"loss": 0.5}]
    evaluations = {0: [{"loss": 9.0}], 1: [{"loss": 8.0}], 2: [{"loss": 7.0}]}
    played = play(Recorder(name="sink"), [Epoch(batches, evaluations=evaluations)])
    assert [event for event in played.events if event[0] in ("batch_end", "midepoch_evaluation", "epoch_end")] == [
        ("midepoch_evaluation", {"val_loss": 9.0}),
        ("batch_end", 1, {"loss": 1.0}),
        ("midepoch_evaluation", {"val_loss": 8.0}),
        ("batch_end", 2, {"loss": 0.5}),
        ("epoch_end", 0, {"loss": 0.75, "val_loss": 7.0}),
    ]


def test_an_exception_of_the_script_ends_the_training_and_is_returned():
    """The run fails with it, and it is not raised."""
    error = ValueError("in the training")
    played = play(Recorder(name="sink"), [{"loss": 1.0}, [{"loss": 1.0}, error]])
    assert (played.error, played.run.status) == (error, "failed")


class Raises(Sink):
    """Fails at every epoch."""

    def on_epoch_end(self, run, epoch, logs):
        """Raise."""
        raise ConnectionError("the dashboard is down")


def test_what_the_sink_raises_is_raised():
    """By default nothing that a sink raises is isolated."""
    with pytest.raises(ConnectionError, match="the dashboard is down"):
        play(Raises(), [{"loss": 1.0}])


def test_what_the_sink_raises_is_isolated_without_strict():
    """As in a training, it is among the failures."""
    played = play(Raises(), [{"loss": 1.0}], strict=False)
    assert [(each.sink, each.hook) for each in played.failures] == [("Raises", "on_epoch_end")]
    assert played.run.status == "completed"


def test_a_recorder_of_an_unknown_hook_is_refused():
    """A misspelt hook would record nothing."""
    with pytest.raises(ValueError, match=r"hooks must be among .* \(got 'on_epoch'\)"):
        Recorder("on_epoch")


@pytest.mark.parametrize("script", [{"loss": 1.0}, Epoch(logs={"loss": 1.0}), "loss"])
def test_a_script_of_one_epoch_without_a_list_is_refused(script):
    """The message says what to write."""
    with pytest.raises(TypeError, match=r"script must be a sequence .* write \[\.\.\.\] around it"):
        play(Recorder(), script)
