"""The run: its facts, stop requests, the learning rate and its state."""

import pytest

from monitor_core import Run
from recorders import Handle


def facts(run):
    """Return all facts of a run."""
    return {
        name: getattr(run, name)
        for name in (
            "index",
            "status",
            "epoch",
            "step",
            "epochs",
            "steps_per_epoch",
            "stopped",
            "stop_reason",
            "failed",
        )
    }


def test_new_run():
    """A run begins pending, before its first epoch and step."""
    assert facts(Run()) == {
        "index": 0,
        "status": "pending",
        "epoch": -1,
        "step": 0,
        "epochs": None,
        "steps_per_epoch": None,
        "stopped": False,
        "stop_reason": None,
        "failed": False,
    }


def test_stop_keeps_the_first_reason():
    """The first request's reason and ``failed`` are kept."""
    run = Run()
    run.stop("enough")
    run.stop("it broke", failed=True)
    assert (run.stopped, run.stop_reason, run.failed) == (True, "enough", False)


def test_stop_as_a_failure():
    """A stop request may report a failure."""
    run = Run()
    run.stop("loss is NaN", failed=True)
    assert (run.stopped, run.stop_reason, run.failed) == (True, "loss is NaN", True)


def test_stop_needs_a_reason():
    """An empty reason is refused and requests nothing."""
    run = Run()
    with pytest.raises(ValueError, match="reason must not be empty"):
        run.stop("")
    assert not run.stopped


def test_learning_rate_is_the_first_and_setting_sets_all():
    """The rate is read from the first parameter group and written to every one."""
    run = Run(model=Handle(0.1, 0.01))
    assert run.learning_rate == 0.1
    run.learning_rate = 1
    assert run.model.learning_rates == [1.0, 1.0]
    assert run.learning_rate_was_set


@pytest.mark.parametrize(
    ("model", "missing"),
    [(None, "no model was given"), (object(), "object has none")],
)
def test_missing_learning_rate(model, missing):
    """Reading and setting a missing learning rate say what is missing."""
    run = Run(model=model)
    with pytest.raises(AttributeError, match=f"there is no learning rate to read or set: {missing}"):
        run.learning_rate  # noqa: B018
    with pytest.raises(AttributeError, match=missing):
        run.learning_rate = 0.1


def test_unknown_facts_are_refused():
    """A misspelt attribute is an error, not a new fact."""
    with pytest.raises(AttributeError):
        Run().stoped = True


def test_state_continues_in_another_run():
    """What `state_dict` returns makes another run continue from there."""
    run, other = Run(index=2, model=Handle()), Run()
    run.epoch, run.step = 4, 500
    run.learning_rate = 0.5
    other.load_state_dict(run.state_dict())
    assert (other.index, other.epoch, other.step, other.learning_rate_was_set) == (2, 4, 500, True)


def test_repr():
    """A run's repr shows its position and why it was stopped."""
    run = Run()
    run.stop("enough")
    assert repr(run) == "Run(index=0, pending, epoch=-1, step=0, 'enough')"
