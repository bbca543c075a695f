"""How epochs and steps are numbered over runs, resumes and rewinds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import Run
from monitor_core.tensorboard.parts.numbering import Numbering, counts_epochs


def trained(numbers, epochs, batches=2, first=0, step=0):
    """Record a run of several epochs; return the numbers of its epochs and of their last steps."""
    run, found = Run(), []
    run.step = step
    numbers.begin()
    for epoch in range(first, first + epochs):
        numbers.settle(run, epoch)
        run.epoch, run.step = epoch, run.step + batches
        found.append((numbers.epoch(epoch), numbers.step(run.step)))
        numbers.record(run, epoch)
    return found


@pytest.mark.parametrize(
    ("tag", "is_over_epochs"),
    [
        ("epoch_loss", True),
        ("dense/kernel/histogram", True),
        ("dense/kernel/image", True),
        ("dense/activations", True),
        ("0.weight/gradient", True),
        ("dense/activations/not_finite", True),
        ("pr_curve/cat", True),
        ("confusion_matrix", True),
        (" x/image_0123abcd", True),
        ("batch_loss", False),
        ("evaluation_loss_vs_iterations", False),
        ("keras", False),
        ("my/epoch_loss", False),
        ("histogram", False),
        ("a/image/b", False),
    ],
)
def test_a_tag_says_what_it_counts(tag, is_over_epochs):
    """A tag alone says whether its steps are epochs, for files of earlier processes too."""
    assert counts_epochs(tag) is is_over_epochs


def test_runs_are_numbered_one_after_another():
    """Two runs that begin with epoch 0 and step 1 get numbers that ascend."""
    numbers = Numbering()
    assert trained(numbers, 2) == [(0, 2), (1, 4)]
    assert trained(numbers, 2) == [(2, 6), (3, 8)]


def test_a_run_that_begins_late_keeps_its_epochs():
    """A first epoch above 0 is kept as chosen by the user; steps counted from 1 again are still shifted."""
    numbers = Numbering()
    trained(numbers, 2)
    assert trained(numbers, 1, first=5) == [(5, 6)]


def test_a_run_that_counts_on_keeps_its_steps():
    """Steps that do not begin with 1 are kept."""
    assert trained(Numbering(), 1, first=3, step=10) == [(3, 12)]


def test_default_step_is_the_epoch_or_the_step():
    """A value's default step is how many batches have ended or, if its tag says so, the epoch."""
    numbers, run = Numbering(), Run()
    assert (numbers.present(None, "mine"), numbers.present(None, "epoch_mine")) == (0, 0)
    trained(numbers, 2)
    numbers.begin()
    assert (numbers.present(run, "mine"), numbers.present(run, "epoch_mine")) == (4, 1)
    numbers.settle(run, 0)
    run.epoch, run.step = 0, 1
    assert (numbers.present(run, "mine"), numbers.present(run, "epoch_mine")) == (5, 2)


def test_rewinding_drops_each_value_by_its_own_number():
    """A rewind keeps values before the epoch, or up to the step, each shifted as in this run."""
    numbers = Numbering()
    trained(numbers, 2)
    trained(numbers, 3)
    keep = numbers.rewind(1, 2)
    assert [step for step in range(12) if keep(step, "batch_loss")] == list(range(7))
    assert [epoch for epoch in range(12) if keep(epoch, "epoch_loss")] == [0, 1, 2]
    assert (numbers.last_epoch, numbers.last_step) == (2, 6)


def test_rewinding_to_the_begin_of_a_run_without_an_epoch_drops_nothing():
    """In a run without an epoch, a rewind drops nothing."""
    numbers = Numbering()
    trained(numbers, 2)
    numbers.begin()
    keep = numbers.rewind(0, 0)
    assert [(keep(step, "batch_loss"), keep(epoch, "epoch_loss")) for step, epoch in ((4, 1), (5, 2))] == [
        (True, True),
        (False, False),
    ]


def test_a_run_of_an_earlier_process_has_its_own_numbers():
    """A new object that is rewound to a later epoch takes the run's numbers unshifted."""
    numbers = Numbering()
    numbers.begin()
    keep = numbers.rewind(3, 30)
    assert [keep(2, "epoch_loss"), keep(3, "epoch_loss"), keep(30, "batch_loss"), keep(31, "batch_loss")] == [
        True,
        False,
        True,
        False,
    ]


@given(st.lists(st.integers(1, 4), max_size=5), st.integers(1, 4), st.data())
def test_numbers_ascend_over_runs_and_resumes(runs, batches, data):
    """Over any runs, with the state saved and loaded between any two, no number is given twice."""
    numbers, found = Numbering(), []
    for epochs in runs:
        if data.draw(st.booleans()):
            numbers = Numbering.from_state(json.loads(json.dumps(numbers.state_dict())))
        found += trained(numbers, epochs, batches)
    total = sum(runs)
    assert found == [(epoch, (epoch + 1) * batches) for epoch in range(total)]
