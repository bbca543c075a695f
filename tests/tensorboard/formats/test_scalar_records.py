"""Scalars as records: a block at once equals the protos one by one."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorboard.compat.proto.event_pb2 import Event

from monitor_core.tensorboard.formats import checksums
from monitor_core.tensorboard.formats import scalar_records as scalar_records_module
from monitor_core.tensorboard.formats.axes import axis_of
from monitor_core.tensorboard.formats.records import read_records
from monitor_core.tensorboard.formats.scalar_records import opening_records, scalar_records

TAGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def events(content):
    """Return the events of records, each of which must be sound."""
    found = list(read_records(io.BytesIO(content), "a.tfevents"))
    assert all(record.is_sound for record in found)
    return [Event.FromString(record.message) for record in found]


def bits(value):
    """Return a float32's bits, so that NaN equals NaN."""
    return np.float32(value).tobytes()


@given(st.data(), st.lists(TAGS, min_size=1, max_size=5), st.integers(1, 20))
def test_any_block_is_read_as_it_was(data, tags, rows):
    """Steps of 64 bits, times of 64 and values of 32 are exact, for any tags."""
    steps = data.draw(hnp.arrays(np.int64, rows))
    times = data.draw(hnp.arrays(np.float64, rows, elements=st.floats(allow_nan=False)))
    columns = [data.draw(hnp.arrays(np.float64, rows)) for _ in tags]
    axis = data.draw(st.sampled_from(["step", "epoch"]))
    found = events(scalar_records(tags, steps, times, columns, axis))
    assert {axis_of(event) for event in found} == {axis}
    assert [event.step for event in found] == steps.tolist()
    assert [event.wall_time for event in found] == times.tolist()
    with np.errstate(over="ignore"):
        expected = [
            [(tag, bits(column[row])) for tag, column in zip(tags, columns, strict=True)] for row in range(rows)
        ]
    assert [[(each.tag, bits(each.simple_value)) for each in event.summary.value] for event in found] == expected


@pytest.mark.parametrize(
    ("value", "shown"), [(1e300, np.inf), (-1e300, -np.inf), (1e-300, 0.0), (0.1, np.float32(0.1))]
)
def test_values_are_rounded_to_float32(value, shown):
    """A value beyond float32 becomes infinite, without a warning."""
    one = np.array([1])
    (event,) = events(scalar_records(["a"], one, one, [np.array([value])]))
    assert event.summary.value[0].simple_value == shown


def test_the_opening_is_what_the_protos_make():
    """Version and start are the messages that the protos would write."""
    from tensorboard.compat.proto.event_pb2 import SessionLog

    assert events(opening_records(1.5, 300)) == [
        Event(wall_time=1.5, file_version="brain.Event:2"),
        Event(wall_time=1.5, step=300, session_log=SessionLog(status=SessionLog.START)),
    ]


def test_many_tags_are_laid_out_once(monkeypatch):
    """Where there are 100,000 metrics, each block's records are filled in, not made again."""
    one = np.array([1])
    groups = [tuple(f"m{number}" for number in range(first, first + 32)) for first in range(0, 100_000, 32)]
    columns = [np.array([0.5])] * 32
    scalar_records_module._layout.cache_clear()
    for _ in range(2):
        for tags in groups:
            scalar_records(tags, one, one, columns)
    assert scalar_records_module._layout.cache_info().misses == len(groups)
    scalar_records_module._layout.cache_clear()
    scalar_records_module._row_checksums.cache_clear()


@pytest.mark.parametrize("rows", [1, 16, 17, 100])
def test_records_without_the_c_extension_are_the_same(monkeypatch, rows):
    """Whether few or many: checksums are checksums."""
    steps = np.arange(rows)
    expected = scalar_records(["a", "b"], steps, steps * 0.5, [steps / 3, steps / 7])
    monkeypatch.setattr(checksums, "crc32c", lambda: checksums.crc32c_by_numpy)
    assert scalar_records(["a", "b"], steps, steps * 0.5, [steps / 3, steps / 7]) == expected
