"""Where ranks may be at the same time."""

import numpy as np
import pytest

from monitor_core import RankError
from monitor_core.ranks.positions import Kind, Position, completed, named

STEP = Position(Kind.STEP, 1, 100)
EVALUATION = Position(Kind.EVALUATION, 1, 50, label=7)
VALIDATION = Position(Kind.VALIDATION, 1, label=7)
TEST = Position(Kind.TEST, 1)
EPOCH = Position(Kind.EPOCH, 1)
DECISION = Position(Kind.DECISION, 1)
END = Position(Kind.END, 1)


@pytest.mark.parametrize("position", [STEP, EVALUATION, VALIDATION, TEST, EPOCH, DECISION, END])
def test_the_same_point_completes_on_all(position):
    """However many ranks there are, and as numbers too."""
    assert completed([position] * 3) == [0, 1, 2]
    assert Position.of(np.array(position.to_list())) == position


@pytest.mark.parametrize("waiting", [EPOCH, VALIDATION])
@pytest.mark.parametrize("busy", [STEP, EVALUATION])
def test_a_rank_that_has_trained_its_batches_waits(waiting, busy):
    """It takes part in the exchanges of those that have not."""
    assert completed([waiting, busy, busy]) == [1, 2]


def test_those_at_the_end_wait_for_evaluations():
    """One rank may evaluate alone where no batch waits for it: after the epoch's batches, and after the last epoch."""
    assert completed([EPOCH, VALIDATION]) == [1]
    assert completed([EPOCH, VALIDATION, STEP]) == [2]
    assert completed([TEST, END]) == [0]


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([STEP, Position(Kind.STEP, 1, 200)], "rank 0 at step 100 of epoch 2, rank 1 at step 200 of epoch 2"),
        ([STEP, EVALUATION], "rank 1 at an evaluation after step 50 of epoch 2"),
        ([Position(Kind.EPOCH, 0), STEP], "rank 0 at the end of epoch 1, rank 1 at step 100 of epoch 2"),
        ([EPOCH, END], "rank 0 at the end of epoch 2, rank 1 at the end of the run, after epoch 2"),
        ([END, STEP, STEP], "rank 0 at the end of the run, after epoch 2, ranks 1, 2 at step 100 of epoch 2"),
        ([TEST, Position(Kind.STEP, 2, 100)], "rank 0 at an evaluation after epoch 2"),
        ([DECISION, EPOCH], "run the same epochs and evaluations on every rank"),
        ([VALIDATION, Position(Kind.VALIDATION, 1, label=8)], "the ranks differ at an evaluation after the batches"),
        ([Position(Kind.BEGIN, -1, 0, 1), Position(Kind.BEGIN, -1, 0, 2)], "the ranks differ at the begin of the run"),
    ],
)
def test_other_differences_are_errors_that_name_the_ranks(positions, message):
    """In either order."""
    with pytest.raises(RankError, match=message):
        completed(positions)
    with pytest.raises(RankError):
        completed(positions[::-1])


def test_of_many_ranks_the_first_are_named():
    """A message of a thousand ranks can be read."""
    assert named([3]) == "rank 3"
    assert named(range(1000)) == "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 992 more"
