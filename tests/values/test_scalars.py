"""Log values of Python and NumPy: what they convert to, and how they are kept until a block is closed."""

import collections
import decimal
import fractions
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import scalar
from monitor_core.values.blocks import BlockBuffer
from monitor_core.values.scalars import Unusable, fetch, keep, to_floats
from recorders import exact


class Fails:
    """A number that cannot be converted."""

    def __init__(self, error):
        self.error = error

    def __float__(self):
        raise self.error

    def __repr__(self):
        return "Fails()"


class Skips(list):
    """Record the reasons of skipped values."""

    def __call__(self, name, reason):
        self.append((name, reason))


def fetched(*values):
    """Return the column and the mask of values that were kept, as lists, and what was skipped."""
    column, mask = fetch("loss", [keep(value) for value in values], skips := Skips())
    return column.tolist(), None if mask is None else mask.tolist(), skips


NUMBERS = [
    (1.5, 1.5),
    (3, 3.0),
    (True, 1.0),
    (2**70, float(2**70)),
    (float("inf"), float("inf")),
    (np.float64(0.1), 0.1),
    (np.float32(0.1), float(np.float32(0.1))),
    (np.float16(0.5), 0.5),
    (np.longdouble(0.5), 0.5),
    (np.int64(-3), -3.0),
    (np.uint8(255), 255.0),
    (np.bool_(True), 1.0),
    (np.array(2.5), 2.5),
    (np.array([2.5]), 2.5),
    (np.array([[7]], dtype=np.int8), 7.0),
    (np.array(2**70, dtype=object), float(2**70)),
    (decimal.Decimal("0.25"), 0.25),
    (fractions.Fraction(1, 4), 0.25),
]


@pytest.mark.parametrize(("value", "expected"), NUMBERS, ids=lambda value: repr(value).partition(" at 0x")[0][:30])
def test_scalar(value, expected):
    """Numbers of Python and NumPy become floats, alone, in a column and in an epoch's logs."""
    result = scalar(value)
    assert (type(result), result) == (float, expected)
    assert fetched(value, value) == ([expected, expected], None, [])
    assert to_floats({"loss": value}, Skips()) == {"loss": expected}


@pytest.mark.parametrize("value", [float("nan"), np.float32("nan"), np.array(np.nan), decimal.Decimal("NaN")])
def test_nan_is_a_value(value):
    """NaN is present, not missing."""
    assert exact({"loss": scalar(value)}) == {"loss": "nan"}
    column, mask, skips = fetched(value)
    assert (str(column), mask, skips) == ("[nan]", None, [])


REFUSED = [
    ("text", TypeError, "it is 'text', and a metric is a number"),
    ("1.5", TypeError, "it is '1.5', and a metric is a number"),
    (b"1", TypeError, "it is b'1', and a metric is a number"),
    (None, TypeError, "it is None, and a metric is a number"),
    (1j, TypeError, "it is 1j, and a metric is a number"),
    ([1.0], TypeError, r"it is \[1.0\], and a metric is a number"),
    ({"a": 1.0}, TypeError, "it is {'a': 1.0}, and a metric is a number"),
    (list(range(1000)), TypeError, "it is a list, and a metric is a number"),
    (float, TypeError, "."),
    (object(), TypeError, "and a metric is a number"),
    (np.complex64(1), TypeError, "and a metric is a number"),
    (np.array("text"), TypeError, "and a metric is a number"),
    (np.ones(2), TypeError, r"it has the shape \(2,\), and a metric has one element"),
    (np.ones((0, 3)), TypeError, r"it has the shape \(0, 3\), and a metric has one element"),
    (10**400, ValueError, "it is an integer of 1329 bits, too large for a float64"),
    (np.array(10**400, dtype=object), ValueError, "it is an integer of 1329 bits, too large for a float64"),
    (fractions.Fraction(10**400), ValueError, "too large"),
    (Fails(ZeroDivisionError("division by zero")), (TypeError, ValueError), "division by zero"),
    (Fails(KeyError("gone")), (TypeError, ValueError), "gone"),
    (np.timedelta64(3, "ns"), TypeError, "and a metric is a number"),
    (np.ma.masked, TypeError, "."),
]


@pytest.mark.parametrize(
    ("value", "error", "message"), REFUSED, ids=lambda value: repr(value).partition(" at 0x")[0][:30]
)
def test_scalar_refuses_values_that_are_not_numbers(value, error, message):
    """A value that cannot be a metric raises a TypeError or ValueError that says what it is."""
    with pytest.raises(error, match=message):
        scalar(value)


@pytest.mark.parametrize(
    "value",
    [value for value, *_ in REFUSED if value is not None and type(value) is not dict],
    ids=lambda value: repr(value).partition(" at 0x")[0][:30],
)
def test_value_that_is_not_a_number_is_missing_in_a_column(value):
    """Such a value is skipped with a reason and counts as missing; values around it are kept."""
    column, mask, skips = fetched(1.0, value, 3.0)
    assert (exact(dict(enumerate(column))), mask) == (exact({0: 1.0, 1: np.nan, 2: 3.0}), [True, False, True])
    assert [name for name, _ in skips] == ["loss"]
    assert list(to_floats({"a": 1, "loss": value, "b": 2}, epoch_skips := Skips())) == ["a", "b"]
    assert epoch_skips == skips


def test_none_is_missing_and_not_skipped():
    """None means missing, without a warning."""
    column, mask, skips = fetched(None, 2.0)
    assert (str(column), mask, skips) == ("[nan, 2.0]", [False, True], [])
    assert to_floats({"a": None}, skips) == {}
    assert skips == []


@pytest.mark.parametrize("make", [lambda: np.array(1.0), lambda: np.array([1.0]), lambda: np.array([[1.0]])])
def test_array_changed_after_logging_keeps_its_value(make):
    """An array that the caller later changes in place is recorded as it was when logged."""
    array = make()
    kept = keep(array)
    array += 1
    assert scalar(kept) == 1.0


def test_nothing_of_an_unusable_value_is_kept():
    """A large array that was logged by mistake is not kept until the block is closed."""
    assert type(keep(np.ones(1000))) is Unusable
    assert keep("text").reason == "it is 'text', and a metric is a number"


def test_unusable_values_give_their_reason_again():
    """A value found unusable when logged is refused with the same reason later."""
    with pytest.raises(TypeError, match="it is 'text', and a metric is a number"):
        scalar(keep("text"))


@pytest.mark.parametrize("make", [dict, collections.OrderedDict, types.MappingProxyType, collections.ChainMap])
def test_metrics_within_a_metric(make):
    """Any mapping within the logs adds its own metrics, in an epoch's logs and in a batch's kept values."""
    nested = make({"a": 1, "b": make({"c": np.float32(2)})})
    assert to_floats({"x": 0, "all": nested, "y": 3}, Skips()) == {"x": 0.0, "a": 1.0, "c": 2.0, "y": 3.0}
    assert keep(nested) == {"a": 1, "b": {"c": 2.0}}


def test_names_are_strings():
    """A metric whose name is not a string is skipped with a reason."""
    assert to_floats({1: 2.0, "loss": 3.0}, skips := Skips()) == {"loss": 3.0}
    assert skips == [("1", "its name is not a string")]


def test_to_floats_of_nothing():
    """None and empty logs convert to an empty dict."""
    assert to_floats(None, Skips()) == {}


class Loss(float):
    """A user's own float class."""


numbers = st.one_of(
    st.floats(),
    st.integers(-(2**80), 2**80),
    st.booleans(),
    st.floats(width=32).map(np.float32),
    st.floats().map(np.array),
    st.floats().map(Loss),
    st.integers(-(2**62), 2**62).map(np.int64),
)


@given(st.lists(st.one_of(numbers, st.none()), min_size=1, max_size=30))
def test_column_against_a_loop(values):
    """A column equals the conversion of each value on its own, for any mix of kinds."""
    column, mask, skips = fetched(*values)
    expected = [np.nan if value is None else float(value) for value in values]
    assert exact(dict(enumerate(column))) == exact(dict(enumerate(expected)))
    assert mask == (None if None not in values else [value is not None for value in values])
    assert skips == []


def test_metrics_of_one_name_in_two_mappings_are_reported():
    """Two metrics of one name in nested logs are reported, and the last one counts."""
    skipped = []
    logs = {"train": {"loss": 1.0}, "valid": {"loss": 2.0}}
    assert to_floats(logs, lambda name, reason: skipped.append(name)) == {"loss": 2.0}
    buffer = BlockBuffer(lambda name, reason: skipped.append(name))
    buffer.append(1, logs)
    assert list(buffer.take(0).rows()) == [(1, {"loss": 2.0})]
    assert skipped == ["loss", "loss"]
