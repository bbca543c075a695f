"""What `Ranks` refuses."""

import pytest

from monitor_core import Bus, Loop, Ranks


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ValueError, r"every must be >= 1 \(got 0\)"),
        ({"every": 1.5}, TypeError, r"every must be an integer \(got 1.5\)"),
        ({"lost_after": 0}, ValueError, r"lost_after must be > 0 \(got 0\)"),
        ({"lost_after": float("inf")}, ValueError, r"lost_after must be finite \(got inf\)"),
        ({"on_lost_rank": "die"}, ValueError, r"on_lost_rank must be 'wait' or 'exit' \(got 'die'\)"),
        ({"together": 1}, TypeError, r"together must be True or False \(got 1\)"),
        ({"reductions": ["loss"]}, TypeError, r"reductions must be a dict .* \(got \['loss'\]\)"),
        ({"reductions": {"loss": "avg"}}, ValueError, r"to mean, sum, min, max \(got 'loss': 'avg'\)"),
    ],
)
def test_bad_options(options, error, message):
    """Each error names the argument, the rule and the value."""
    with pytest.raises(error, match=message):
        Ranks(**options)


@pytest.mark.parametrize("kind", [Bus, Loop])
def test_ranks_must_be_ranks(kind):
    """A number of processes is not a choice of the user's."""
    with pytest.raises(TypeError, match=r"ranks must be Ranks\(...\) or None \(got 2\)"):
        kind(ranks=2)


def test_one_process_has_no_part_in_it():
    """No thread, no hook in the batch path, no request that waits."""
    with Loop(ranks=Ranks(every=1)) as loop:
        assert loop.bus._shared is None
        assert not loop.bus.has_listeners("on_batch_begin", "on_batch_end")
        for _ in loop.epochs(2):
            loop.log(loss=1.0)
            loop.run.stop("enough")
            assert loop.run.stopped
