"""The ranks agree: on results, stops and rates, or that they cannot."""

import math

import numpy as np
import pytest
from ranks_support import Member, in_threads

from monitor_core import RankError
from monitor_core.ranks.positions import Kind, Position

EPOCH = Position(Kind.EPOCH, 0)


def step(number):
    """Return a step's position."""
    return Position(Kind.STEP, 0, number)


def test_means_of_random_uneven_splits_are_numpys():
    """Over 200 of them, on 3 ranks, to 1e-12 relative; and every rank has the same to the last bit."""
    random = np.random.default_rng(0)
    splits = [[random.normal(3, 1, random.integers(0, 40)) for _ in range(3)] for _ in range(200)]
    expected = [np.concatenate(split).mean() for split in splits]

    def train(collective):
        member, found = Member(collective), []
        for epoch, split in enumerate(splits):
            own = split[collective.rank]
            mean = float(own.mean()) if len(own) else math.nan
            position = Position(Kind.EPOCH, epoch)
            found.append(member.exchange(position, {"loss": mean}, {"loss": float(len(own))})["loss"])
        return found

    found = in_threads(3, train)
    assert found[0] == found[1] == found[2]
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)


def test_each_exchange_takes_one_collective():
    """Two more where a rank reports a metric that is new to all, and none for one that another rank knows."""

    def train(collective):
        member, counts = Member(collective), []
        logs = [{"loss": 1.0}, {"loss": 1.0}, {"acc": 1.0}, {"acc": 1.0}] if collective.rank else [{"loss": 2.0}] * 4
        for epoch, own in enumerate(logs):
            before = member.agreement.collectives
            member.exchange(Position(Kind.EPOCH, epoch), own)
            counts.append(member.agreement.collectives - before)
        return counts

    assert in_threads(2, train) == [[4, 1, 4, 1]] * 2  # the exchange that finds the new name is repeated


def test_a_rank_whose_epoch_is_over_takes_part_without_results():
    """Until all have come to its end, whose means are weighted by what each has trained."""

    def train(collective):
        member = Member(collective)
        if collective.rank:
            for number in (10, 20, 30):
                assert member.exchange(step(number)) == {}
        return member.exchange(EPOCH, {"loss": float(collective.rank)}, {"loss": 1.0 + 2 * collective.rank})

    assert in_threads(2, train) == [{"loss": 0.75}] * 2


def test_a_metric_of_one_rank_is_a_result_of_all():
    """Each rank's own metrics come first."""

    def train(collective):
        own = {"loss": 1.0, "only": 5.0} if collective.rank else {"more": 2.0, "loss": 3.0}
        return list(Member(collective).exchange(EPOCH, own).items())

    assert in_threads(2, train) == [
        [("more", 2.0), ("loss", 2.0), ("only", 5.0)],
        [("loss", 2.0), ("only", 5.0), ("more", 2.0)],
    ]


def test_a_metric_may_ask_for_another_reduction():
    """By its name, on every rank."""

    def train(collective):
        member = Member(collective, reductions={"samples": "sum", "norm": "max"})
        value = 1.0 + collective.rank
        return member.exchange(EPOCH, {"loss": value, "samples": value, "norm": value})

    assert in_threads(2, train) == [{"loss": 1.5, "samples": 3.0, "norm": 2.0}] * 2


def test_a_stop_of_one_rank_is_a_stop_of_all():
    """At the same exchange, with its reason and who asked; a request is not repeated."""

    def train(collective):
        member = Member(collective)
        if collective.rank == 1:
            member.requests.stop("the loss is NaN: ü", failed=True)
        member.exchange(step(10))
        member.exchange(step(20))
        return member.agreed

    assert in_threads(3, train) == [[("stop", "the loss is NaN: ü (rank 1)", True)]] * 3


def test_a_stop_of_all_ranks_has_the_reason_of_the_first():
    """Without saying who."""

    def train(collective):
        member = Member(collective)
        member.requests.stop(f"no better on {collective.rank}", failed=False)
        member.exchange(step(10))
        return member.agreed

    assert in_threads(2, train) == [[("stop", "no better on 0", False)]] * 2


def test_a_rate_set_on_one_rank_is_set_on_all():
    """Those that have set the same are left as they are; of several, the first rank's counts."""

    def train(collective):
        member = Member(collective)
        for rates in ([None, 0.5, None], [0.1, 0.1, 0.2], [None] * 3):
            member.requests.rate = rates[collective.rank]
            member.exchange(step(10))
        return member.agreed

    assert in_threads(3, train) == [[("rate", 0.5)], [], [("rate", 0.5), ("rate", 0.1)]]


def test_a_mismatch_is_an_error_on_every_rank():
    """Which says where each of them is."""

    def train(collective):
        return Member(collective).exchange(step(10 * collective.rank))

    found = in_threads(2, train)
    assert [type(each) for each in found] == [RankError] * 2
    assert len(set(map(str, found))) == 1


def test_a_rank_that_leaves_ends_the_wait_of_the_others():
    """They get an error that says why it left, whether it left before or while they wait."""

    def train(collective):
        member = Member(collective, lost_after=8.0)
        member.exchange(step(10))
        if collective.rank == 1:
            member.watch.leave("ValueError: bad batch")
            return None
        return member.exchange(step(20))

    found = in_threads(3, train)
    for rank in (0, 2):
        with pytest.raises(RankError, match=r"at step 20 of epoch 1 without rank 1 \(rank 1: ValueError: bad batch\)"):
            raise found[rank]


def test_a_rank_that_is_elsewhere_for_good_is_found():
    """One that trains past an evaluation of another rank never comes to it: both end, however long the batch takes."""

    def train(collective):
        member = Member(collective, lost_after=8.0)
        member.exchange(Position(Kind.BEGIN, -1))
        member.watch.epoch, member.watch.begun = 0, 50 + collective.rank
        if collective.rank:
            while not member.watch.left:
                member.watch._stopped.wait(0.01)
            return member.watch.left
        try:
            return member.exchange(Position(Kind.EVALUATION, 0, 50))
        except RankError as error:
            member.watch.leave(str(error))
            return error

    found = in_threads(2, train)
    message = "rank 0 is at an evaluation after step 50 of epoch 1, which rank 1 trained past"
    assert str(found[0]).startswith(message)
    assert found[1][0].startswith(message)


def test_ranks_wait_as_long_as_the_framework_does():
    """Then the one that has not come is named."""

    def train(collective):
        collective.patience = 0.5
        member = Member(collective, lost_after=0.2)
        member.exchange(step(10))
        if collective.rank:
            member.watch._stopped.wait(2)
            return None
        return member.exchange(step(20))

    with pytest.raises(RankError, match=r"rank 0 has waited \d s at step 20 of epoch 1 for rank 1"):
        raise in_threads(2, train)[0]


def test_names_of_any_kind_are_exchanged():
    """Long ones, and those of other alphabets."""
    names = ["损失", "a/b c\n", "x" * 1000, ""]

    def train(collective):
        return Member(collective).exchange(EPOCH, dict.fromkeys(names[collective.rank :: 2], 1.0))

    assert [set(each) for each in in_threads(2, train)] == [set(names)] * 2
