"""How epochs and steps are numbered over runs, resumes and rewinds."""

import json

from hypothesis import given
from hypothesis import strategies as st

from monitor_core.records.numbering import Numbering


def trained(numbers, epochs, batches=2, first=0, step=0):
    """Record a run of so many epochs; return its epochs' and its last steps' numbers."""
    found = []
    numbers.begin()
    for epoch in range(first, first + epochs):
        numbers.settle(epoch, step)
        step += batches
        found.append((numbers.epoch(epoch), numbers.step(step)))
        numbers.record(step, epoch)
    return found


def test_runs_continue_after_each_other():
    """Two runs that begin with epoch 0 and step 1 get numbers that ascend."""
    numbers = Numbering()
    assert trained(numbers, 2) == [(0, 2), (1, 4)]
    assert trained(numbers, 2) == [(2, 6), (3, 8)]


def test_a_run_that_begins_late_keeps_its_epochs():
    """A first epoch above 0 is an explicit number; steps counted from 1 again continue nevertheless."""
    numbers = Numbering()
    trained(numbers, 2)
    assert trained(numbers, 1, first=5) == [(5, 6)]


def test_a_run_that_counts_on_keeps_its_steps():
    """Steps that do not begin with 1 are kept."""
    assert trained(Numbering(), 1, first=3, step=10) == [(3, 12)]


def test_rewinding_says_which_numbers_stay():
    """Those before the epoch, and up to the step, each shifted as in this run."""
    numbers = Numbering()
    trained(numbers, 2)
    trained(numbers, 3)
    assert numbers.rewind(1, 2) == (3, 6)
    assert (numbers.last_epoch, numbers.last_step) == (2, 6)


def test_rewinding_to_the_begin_of_a_run_without_an_epoch_drops_nothing():
    """A run that has begun no epoch has written nothing that could be dropped."""
    numbers = Numbering()
    trained(numbers, 2)
    numbers.begin()
    assert numbers.rewind(0, 0) == (2, 4)


def test_a_run_of_an_earlier_process_has_its_own_numbers():
    """A new object that goes back to a later epoch takes the run's numbers as they are."""
    numbers = Numbering()
    numbers.begin()
    assert numbers.rewind(3, 30) == (3, 30)
    assert numbers.shift == (0, 0)


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
