"""Growing columns and tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.records.columns import Column, Table
from recorders import exact


def lists(table):
    """Return a table as a dict of lists of strings, so that NaN equals NaN."""
    return {name: [float(value).hex() for value in table[name]] for name in table}


def test_column_grows():
    """Values come back in order, as float64."""
    column = Column()
    for value in range(100):
        column.extend([value])
    column.extend(np.arange(100, 300))
    assert column.array().tolist() == list(map(float, range(300)))
    assert (len(column), column.array().dtype) == (300, np.float64)


def test_column_hands_out_no_copy_and_nothing_writable():
    """The array is a view of the column's memory that cannot be written to."""
    column = Column()
    column.extend([1.0, 2.0])
    assert np.shares_memory(column.array(), column.array())
    with pytest.raises(ValueError, match="read-only"):
        column.array()[0] = 3.0


def test_arrays_handed_out_stay_as_they_were():
    """Neither growing nor truncating changes an array that was handed out."""
    column = Column()
    column.extend([1.0, 2.0, 3.0])
    before = column.array()
    column.truncate(1)
    column.extend([9.0] * 50)
    assert before.tolist() == [1.0, 2.0, 3.0]
    assert column.array().tolist() == [1.0] + [9.0] * 50


def test_truncating_a_column_beyond_its_end_changes_nothing():
    """A column that is shorter already stays as it is."""
    column = Column()
    column.extend([1.0, 2.0])
    column.truncate(5)
    assert column.array().tolist() == [1.0, 2.0]


def test_column_memory():
    """A long column takes less than 9.1 bytes a value, however it grew."""
    column = Column()
    for _ in range(1000):
        column.extend(np.zeros(100))
    assert column._data.nbytes < 9.1 * 100_000


def test_late_and_missing_columns_are_nan():
    """All columns have one length; a row without a value has NaN."""
    table = Table()
    table.append({"a": 1.0})
    table.append({"b": 2.0})
    table.append({})
    assert lists(table) == {"a": ["0x1.0000000000000p+0", "nan", "nan"], "b": ["nan", "0x1.0000000000000p+1", "nan"]}
    assert (len(table), list(table), "a" in table, "c" in table) == (3, ["a", "b"], True, False)


def test_table_truncates():
    """Dropping rows drops the columns that have nothing left."""
    table = Table()
    table.extend(2, {"a": [1.0, 2.0]})
    table.append({"b": 3.0})
    table.truncate(1)
    assert (len(table), lists(table)) == (1, {"a": ["0x1.0000000000000p+0"]})


def test_truncating_a_table_beyond_its_end_changes_nothing():
    """A table that is shorter already stays as it is, and so do its columns."""
    table = Table()
    table.append({"a": 1.0})
    table.truncate(3)
    assert (len(table), table["a"].tolist()) == (1, [1.0])


rows = st.lists(st.dictionaries(st.sampled_from("abc"), st.floats()), max_size=20)


@given(rows, st.integers(0, 25))
def test_table_against_a_list_of_rows(rows, length):
    """A table holds what a list of rows would, also after truncating and appending again."""
    table = Table()
    for row in rows:
        table.append(row)
    table.truncate(min(length, len(rows)))
    table.append({"a": 7.0})
    expected = [*rows[:length], {"a": 7.0}]
    assert len(table) == len(expected)
    assert [exact({name: table[name][index] for name in table}) for index in range(len(expected))] == [
        exact({name: row.get(name, np.nan) for name in table}) for row in expected
    ]
