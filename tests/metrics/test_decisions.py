"""What is better, and when patience has run out."""

import json
import math
import operator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor_core.metrics.decisions import Best, Patience, restore, state_of

FLOATS = st.floats() | st.sampled_from([0.0, 0.5, 1.0, 1.1, -1.0, math.inf, math.nan, 5e-324])
DELTAS = st.floats(0, 1e300) | st.sampled_from([0.0, 0.1, 0.5])
MODES = st.sampled_from(["min", "max"])


@given(mode=MODES, min_delta=DELTAS, value=FLOATS, reference=FLOATS)
@example(mode="min", min_delta=0.5, value=0.5, reference=1.0)
def test_better_by_a_difference(mode, min_delta, value, reference):
    """A value must beat the reference by more than min_delta, in float64; NaN never does and is never beaten."""
    better = value + min_delta < reference if mode == "min" else value - min_delta > reference
    assert Best(mode, min_delta).beats(value, reference) is better


@given(mode=MODES, min_delta=st.floats(0, 0.9), value=FLOATS, reference=FLOATS)
def test_better_by_a_fraction(mode, min_delta, value, reference):
    """The relative rule is PyTorch's; by magnitude it differs below zero only, and never takes a worse value."""
    sign = 1 if mode == "min" else -1
    better = operator.lt if mode == "min" else operator.gt
    assert Best(mode, min_delta, relative=True).beats(value, reference) is better(
        value, reference * (1.0 - sign * min_delta)
    )
    by_magnitude = Best(mode, min_delta, relative=True, by_magnitude=True).beats(value, reference)
    if reference > 0:
        assert by_magnitude is Best(mode, min_delta, relative=True).beats(value, reference)
    assert not by_magnitude or better(value, reference)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_fraction_of_a_negative_best(mode):
    """A tenth of -10 is 1 by magnitude, whichever way is better."""
    best = Best(mode, 0.1, relative=True, value=-10.0, by_magnitude=True)
    sign = -1 if mode == "min" else 1
    assert [best.beats(-10 + sign * step, -10.0) for step in (0.0, 0.5, 1.5, -1.5)] == [False, False, True, False]


def test_the_first_number_is_the_best():
    """NaN is never stored; the first other value is, even if infinite."""
    best = Best("min")
    assert [best.update(value) for value in (math.nan, math.inf, math.nan, 1.0, 1.0, -math.inf)] == [
        False,
        True,
        False,
        True,
        False,
        True,
    ]
    assert best.value == -math.inf


@pytest.mark.parametrize(
    ("mode", "reached"), [("min", [True, True, False, False]), ("max", [False, True, True, False])]
)
def test_reaches(mode, reached):
    """A threshold is reached by its own value and better ones, regardless of min_delta, but not by NaN."""
    assert [Best(mode, 9.0).reaches(value, 1.0) for value in (0.5, 1.0, 1.5, math.nan)] == reached


def test_a_mode_is_one_of_two():
    """A mode other than min and max is refused."""
    with pytest.raises(ValueError, match="'mode' must be in"):
        Best("auto")


@pytest.mark.parametrize(("limit", "answers"), [(0, [True]), (1, [True]), (3, [False, False, True])])
def test_patience(limit, answers):
    """Patience runs out at its limit, 0 acts as 1, and after a reset it counts from 0."""
    patience = Patience(limit)
    assert [patience.wait() for _ in answers] == answers
    assert patience.waited == len(answers)
    patience.reset()
    assert [patience.wait() for _ in answers] == answers


@pytest.mark.parametrize("value", [None, 0.1, 0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324])
def test_state_goes_through_json(value):
    """A state is strict JSON, and is restored exactly."""
    state = json.loads(json.dumps(state_of(Best("max", value=value), "value"), allow_nan=False))
    best = Best("max")
    restore(best, state)
    assert repr(best.value) == repr(value)
