"""Records: framed as TensorBoard frames them, and read even if damaged."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.summary.writer.record_writer import RecordWriter

from monitor_core.tensorboard.formats.records import Record, frame, read_records


def records(content):
    """Return the records read from bytes."""
    return list(read_records(io.BytesIO(content), "a.tfevents"))


@given(st.binary(max_size=100))
def test_a_record_is_tensorboards(message):
    """The bytes are those that TensorBoard's own writer makes."""
    file = io.BytesIO()
    RecordWriter(file).write(message)
    assert frame(message) == file.getvalue()


@given(st.lists(st.binary(max_size=50)), st.binary(max_size=50), st.data())
def test_whole_records_before_a_torn_one_are_read(messages, last, data):
    """Wherever the last record is truncated, the earlier ones are read without an error."""
    torn = frame(last)
    cut = data.draw(st.integers(0, len(torn) - 1))
    content = b"".join(map(frame, messages)) + torn[:cut]
    assert records(content) == [Record(message, is_sound=True) for message in messages]


def test_a_damaged_message_is_marked_and_passed_over():
    """The length of a damaged message is known, so the records after it can be read."""
    damaged = frame(b"two").replace(b"two", b"tow")
    assert records(frame(b"one") + damaged + frame(b"three")) == [
        Record(b"one", is_sound=True),
        Record(b"tow", is_sound=False),
        Record(b"three", is_sound=True),
    ]


@pytest.mark.parametrize("junk", [bytes(100), b"\xff" * 100, b"not an event file at all"])
def test_reading_ends_where_a_length_is_damaged(junk, warned):
    """Zeros, as after a power failure, or other junk end the reading with a warning."""
    assert records(frame(b"one") + junk) == [Record(b"one", is_sound=True)]
    assert warned() == ["a.tfevents is damaged in a record's length; the rest of the file cannot be read"]
