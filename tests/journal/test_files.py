"""The journal's file: what is written is read, whatever is done to the file; exhaustively on a small one."""

import json
import os
import struct
from zlib import crc32

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Block
from monitor_core.journal import facts as journal_facts
from monitor_core.journal.arrays import Arrays, encode_arrays
from monitor_core.journal.facts import (
    Asked,
    Begin,
    Checkpoint,
    End,
    Found,
    Interval,
    MidepochEvaluation,
    Partial,
    Plan,
    Raised,
    RateChange,
    Rewind,
    SinkFailure,
    Stop,
    encode_fact,
)
from monitor_core.journal.files import FILE_HEAD, Kind, frame, read_journal
from monitor_core.journal.rows import Rows, encode_evaluation, encode_rows, extend_table
from monitor_core.records.columns import Table
from monitor_core.values.labels import EvaluationLabel

EXAMPLES = settings(max_examples=3000 if os.environ.get("MONITOR_CORE_LONG") else 100)

BEGIN = Begin(
    id="a", index=0, continues=None, epoch=-1, step=0, config={"width": 8}, versions={}, git_commit=None,
    platform="", argv=["train.py"], process={"pid": 1}, time=1.5,
)  # fmt: skip
FACTS = [
    BEGIN,
    Plan(epochs=3, steps_per_epoch=None, learning_rates=[0.1, float("inf")], directions={"loss": "min"}),
    Stop(reason="the loss is\nnan", failed=True, epoch=1, step=7, time=2.0),
    RateChange(reason="lower", before=[0.1], after=[0.05], epoch=1, step=7, time=2.0),
    Asked(reason="a@b: noted", verb="note", who="a@b", asked=1.5, epoch=1, step=7, time=2.0),
    SinkFailure(sink="Own", hook="on_block", error="E", traceback="…", step=3, time=2.0),
    Checkpoint(file="best.keras", value=0.5, epoch=1, step=7, time=2.0),
    Raised(error="E", traceback="", epoch=1, step=7, time=2.0),
    Rewind(epoch=1, step=4, time=2.0),
    Partial(epoch=1, step=4, time=2.0),
    MidepochEvaluation(name="test", epoch=1, step=5, time=2.0),
    Interval(means={"loss": 0.5}, epoch=1, step=5, time=2.0),
    Found(
        symptom="diverging", severity="problem", message="It grows.", evidence={"slope": 2.0}, advice="Lower the rate.",
        source="a rule", epoch=1, step=6, layer=None, time=2.0,
    ),
    End(status="failed", epoch=1, step=7, time=2.0),
]  # fmt: skip
MASKS = {"loss": None, "é\n": np.array([True, False])}
ARRAYS = Arrays(
    "layers", 0, 2, 2.5, {"layers": ["é"]}, {"norm": np.array([[0.5, np.nan]]), "none": np.zeros((0, 3), np.float32)}
)
ROWS = [
    (Kind.BATCHES, encode_rows(0, [1, 2], [1.0, 2.0], {"loss": [0.5, np.nan], "é\n": [1, 2]}, MASKS)),
    (Kind.EPOCH, encode_rows(0, [2], [2.5], {"loss": [0.5]})),
    (Kind.EVALUATION, encode_rows(0, [2], [2.5], {})),
    (
        Kind.LABELLED_EVALUATION,
        encode_evaluation(EvaluationLabel("test", "test_"), encode_rows(0, [2], [2.5], {"loss": [0.5]})),
    ),
    (Kind.ARRAYS, encode_arrays(ARRAYS)),
]


def whole_file():
    """Return the frames of a small journal that has one record of each kind."""
    payloads = [(Kind.FACT, encode_fact(fact)) for fact in FACTS[:2]] + ROWS
    payloads += [(Kind.FACT, encode_fact(fact)) for fact in FACTS[2:]]
    return [FILE_HEAD, *(frame(kind, 0, number, payload) for number, (kind, payload) in enumerate(payloads))]


def contents(path):
    """Return what is read from a file, as values that can be compared, and the damage."""
    found = read_journal(path)
    return [plain(record) for record in found.records], found.damage


def plain(record):
    """Return a record as a value."""
    content = record.content
    if isinstance(content, Rows):
        return record.kind, content.epoch, content.names, bytes(content.data), content.evaluation
    if isinstance(content, Arrays):
        arrays = {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in content.arrays.items()}
        return record.kind, content.what, content.epoch, content.step, content.time, content.about, arrays
    return record.kind, content


@pytest.fixture
def file(tmp_path):
    """Return a function that writes bytes to a file and returns what is read from it."""
    path = tmp_path / "journal-0000.mcj"

    def read(*pieces):
        path.write_bytes(b"".join(pieces))
        return contents(path)

    return read


def test_every_record_is_read_as_it_was_written(file):
    """Facts are equal, rows have the same epoch, names and bytes, all in their order, and nothing is damaged."""
    records, damage = file(*whole_file())
    assert [record[1] for record in records if record[0] is Kind.FACT] == FACTS
    assert [record[:3] for record in records if record[0] is not Kind.FACT] == [
        (Kind.BATCHES, 0, ("loss", "é\n")),
        (Kind.EPOCH, 0, ("loss",)),
        (Kind.EVALUATION, 0, ()),
        (Kind.EVALUATION, 0, ("loss",)),
        (Kind.ARRAYS, "layers", 0),
    ]
    assert [record[4] for record in records if record[0] is Kind.EVALUATION] == [None, EvaluationLabel("test", "test_")]
    assert damage == []


def test_every_type_of_fact_is_there():
    """The examples above leave out none of the types."""
    assert {type(fact) for fact in FACTS} == set(journal_facts._NAMES)


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_file_cut_at_any_byte_is_read_up_to_there(file):
    """All whole records are read; a cut within a record is reported as unfinished, one between two is not damage."""
    frames = whole_file()
    expected, _ = file(*frames)
    ends = np.cumsum([len(each) for each in frames])
    for cut in range(ends[-1] + 1):
        records, damage = file(b"".join(frames)[:cut])
        assert records == expected[: max(int(np.count_nonzero(ends <= cut)) - 1, 0)]
        begin = max([0, *ends[ends <= cut]])
        torn = [(begin, cut - begin, True)] if cut > begin else []
        assert [(each.offset, each.length, each.unfinished) for each in damage] == torn


def test_a_flipped_bit_costs_its_record_alone(file):
    """Whichever bit of the file it is: all other records are read, and the damage is reported where it is."""
    payloads = [*ROWS, (Kind.FACT, encode_fact(FACTS[-2]))]
    frames = [FILE_HEAD, *(frame(kind, 0, number, payload) for number, (kind, payload) in enumerate(payloads))]
    expected, _ = file(*frames)
    data = b"".join(frames)
    ends = np.cumsum([len(each) for each in frames])
    for bit in range(8 * len(data)):
        byte = bit // 8
        hit = int(np.count_nonzero(ends <= byte))
        flipped = bytearray(data)
        flipped[byte] ^= 1 << bit % 8
        records, damage = file(flipped)
        assert records == [record for number, record in enumerate(expected, start=1) if number != hit]
        assert damage[0].offset <= byte < damage[0].offset + damage[0].length


@EXAMPLES
@given(data=st.data())
def test_whatever_is_done_to_a_file_no_record_is_invented_and_every_loss_is_reported(tmp_path_factory, data):
    """Pieces removed, overwritten, duplicated and moved: what is read is a part of what was written."""
    frames = whole_file()
    path = tmp_path_factory.getbasetemp() / "journal-0001.mcj"
    path.write_bytes(b"".join(frames))
    expected, _ = contents(path)
    changed = bytearray(b"".join(frames))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed)))
        cut = data.draw(st.sampled_from([0, 1, 7, 300]))
        piece = data.draw(st.sampled_from([b"", b"\0", b"\xf5\xfbMJ", *frames]) | st.binary(max_size=40))
        changed[place : place + cut] = piece
    path.write_bytes(changed)
    records, damage = contents(path)
    rest = iter(expected)
    assert all(record in rest for record in records)  # in this order
    assert damage or records == expected[: len(records)]


def test_records_after_a_torn_one_are_found(file):
    """As after a write that failed midway and could not be undone."""
    frames = whole_file()
    expected, _ = file(*frames)
    records, damage = file(*frames[:4], frames[4][:50], *frames[5:])
    assert records == expected[:3] + expected[4:]
    assert [each.reason for each in damage] == ["these bytes are not a record", "1 record is missing before this"]


def test_records_that_are_missing_without_a_trace_are_reported(file):
    """Such as those that were dropped because the disk was full for too long."""
    frames = whole_file()
    expected, _ = file(*frames)
    records, damage = file(*frames[:3], *frames[5:])
    assert records == expected[:2] + expected[4:]
    assert [(each.length, each.reason) for each in damage] == [(0, "2 records are missing before this")]


def test_a_record_that_is_there_twice_counts_once(file):
    """As on network file systems that repeat a write of which they lost the answer."""
    frames = whole_file()
    expected, _ = file(*frames)
    records, damage = file(*frames[:4], frames[3], *frames[4:])
    assert records == expected
    assert [each.reason for each in damage] == ["record 2 is a duplicate; it is left out"]


def test_a_file_of_a_later_format_is_reported_as_such(file):
    """It is not read at all: its records may mean something else."""
    head = FILE_HEAD[:8] + struct.pack("<I", 3)
    records, damage = file(head, struct.pack("<I", crc32(head)), *whole_file()[1:])
    assert records == []
    assert damage[0].reason == "its format is 3, and this release reads up to format 2"


@pytest.mark.parametrize("data", [b"epoch,loss\n0,0.5\n", b"\x89MCJ", b"x" * 100, b"\xf5\xfbMJ" * 30])
def test_a_file_of_another_kind_is_reported_as_damage(file, data):
    """Nothing is read, and nothing raised."""
    records, damage = file(data)
    assert records == []
    assert sum(each.length for each in damage) == len(data)


def test_an_empty_file_holds_nothing_yet(file):
    """A writer has taken its name, and has not written."""
    assert file() == ([], [])


# --- hostile files ---------------------------------------------------------------------------------------------------


def arrays_of(shapes, extra=0):
    """Return the payload of arrays with these shapes, and bytes that belong to none of them."""
    head = {"what": "layers", "epoch": 0, "step": 1, "time": 1.0, "about": {}, "arrays": shapes}
    text = json.dumps(head).encode("ascii")
    return struct.pack("<I", len(text)) + text + bytes(extra)


@pytest.mark.parametrize(("kind", "payload"), [(77, b"new"), (Kind.FACT, b'{"type":"of a later release","x":1}')])
def test_records_of_a_later_release_are_skipped(file, kind, payload):
    """What is new is not damage, and what follows is read."""
    begin = encode_fact(BEGIN)
    frames = [
        frame(each, 0, number, data)
        for number, (each, data) in enumerate([(Kind.FACT, begin), (kind, payload), (Kind.FACT, begin)])
    ]
    assert file(FILE_HEAD, *frames) == ([(Kind.FACT, BEGIN)] * 2, [])


@pytest.mark.parametrize(
    ("kind", "payload", "match"),
    [
        (Kind.FACT, b"[" * 100_000, "RecursionError"),
        (Kind.FACT, b'{"type":"stop"' + b',"x":' + b'{"y":' * 100_000, "RecursionError"),
        (Kind.FACT, b"[1]", "TypeError"),
        (Kind.FACT, b'{"type":7}', "KeyError"),
        (Kind.LABELLED_EVALUATION, b"", "label of the evaluation is incomplete"),
        (Kind.LABELLED_EVALUATION, struct.pack("<I", 7) + b'[1,"v"]', "label of the evaluation is damaged"),
        (Kind.LABELLED_EVALUATION, struct.pack("<I", 1) + b"1", "label of the evaluation is damaged"),
        (Kind.ARRAYS, b"", "the arrays cannot be read"),
        (Kind.ARRAYS, struct.pack("<I", 2) + b"{}", "the arrays cannot be read"),
        (Kind.ARRAYS, arrays_of([["a", "<f8", [2**40]]]), "incomplete"),
        (Kind.ARRAYS, arrays_of([["a", "|O", [1]]]), "of type '|O'"),
        (Kind.ARRAYS, arrays_of([["a", "<f8", [-1]]]), "shape"),
        (Kind.ARRAYS, arrays_of([], 1), "1 bytes are left"),
        (Kind.FACT, b'{"type":"rewind","epoch":' + b"9" * 30 + b',"step":1,"time":1}', "64 bits"),
        (Kind.FACT, b'{"type":"rewind","epoch":' + b"9" * 9999 + b',"step":1,"time":1}', "ValueError"),
        (Kind.FACT, b'{"type":"rewind","epoch":true,"step":1,"time":1}', "64 bits"),
        (Kind.FACT, b'{"type":"rewind","epoch":1,"time":1}', "step"),
        (Kind.FACT, b"\xff\xfe", "Decode"),
        (Kind.BATCHES, b"", "the head of the rows is incomplete"),
        (Kind.BATCHES, struct.pack("<qII", 0, 2**32 - 1, 2) + b"[]", "do not fit 0 bytes"),
        (Kind.BATCHES, struct.pack("<qII", 0, 0, 2) + b"[]", "no rows"),
        (Kind.BATCHES, struct.pack("<qII", 0, 1, 2**32 - 1) + b"[]", "do not fit"),
        (Kind.BATCHES, struct.pack("<qII", 0, 1, 9) + b'["a","a"]' + bytes(32), "duplicate"),
        (Kind.BATCHES, struct.pack("<qII", 0, 1, 3) + b"[1]" + bytes(24), "not a list of strings"),
        (Kind.BATCHES, struct.pack("<qII", 0, 1, 10**5) + b"[" * 10**5, "not a list of strings"),
    ],
)  # fmt: skip
def test_a_record_that_holds_something_else_is_reported_as_damage(file, kind, payload, match):
    """Its checksums are right, its content is not: the records around it are read."""
    hostile = frame(kind, 0, 1, payload)
    records, damage = file(FILE_HEAD, frame(Kind.FACT, 0, 0, encode_fact(BEGIN)), hostile)
    assert records == [(Kind.FACT, BEGIN)]
    assert [(each.offset, each.length) for each in damage] == [
        (len(FILE_HEAD) + 28 + len(encode_fact(BEGIN)), len(hostile))
    ]
    with pytest.raises(ValueError, match=match):
        raise ValueError(damage[0].reason)


def test_a_file_of_heads_that_claim_the_rest_of_it_is_read_in_linear_time(file):
    """Summing up what each of them claims would take long, and allocating it would fail."""
    size = 400_000

    def head(position):
        fields = struct.pack("<4sIIIII", b"\xf5\xfbMJ", 1, 0, 0, max(size - position - 57, 0), 0)
        return fields + struct.pack("<I", crc32(fields))

    pieces = [head(position) for position in range(16, size, 28)]
    records, damage = file(FILE_HEAD, *pieces, b"\0" * 40)
    assert records == []
    assert damage


def test_fields_of_a_later_release_are_passed_over(file):
    """A fact that says more than is known here is read for the rest."""
    fact = {"type": "rewind", "epoch": 1, "step": 4, "time": 2.0, "why": "because"}
    records, damage = file(FILE_HEAD, frame(Kind.FACT, 0, 0, json.dumps(fact).encode()))
    assert (records, damage) == ([(Kind.FACT, Rewind(epoch=1, step=4, time=2.0))], [])


# --- rows ------------------------------------------------------------------------------------------------------------

VALUES = st.floats() | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308])
NAMES = st.text(max_size=5) | st.sampled_from(["loss", "two\nlines", "train/loss", "\udc80", '"', "<b>", ""])


@st.composite
def blocks(draw):
    """Draw a block of any shape."""
    rows = draw(st.integers(1, 5))
    columns, present = {}, {}
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        values = draw(st.lists(VALUES | st.none(), min_size=rows, max_size=rows))
        columns[name] = np.array([np.nan if value is None else value for value in values])
        there = np.array([value is not None for value in values])
        present[name] = None if there.all() else there
    steps = np.cumsum(draw(st.lists(st.integers(1, 2**40), min_size=rows, max_size=rows))).astype(np.int64)
    times = np.array(draw(st.lists(st.floats(0, 1e10), min_size=rows, max_size=rows)))
    return Block(draw(st.integers(-1, 2**62)), steps, times, columns, present)


def in_full(block):
    """Return all that a block holds, as values that can be compared."""
    return (
        block.epoch,
        block.steps.tolist(),
        block.times.tolist(),
        {name: [value.hex() for value in column.tolist()] for name, column in block.columns.items()},
        {name: None if mask is None else mask.tolist() for name, mask in block.present.items()},
    )


@EXAMPLES
@given(st.lists(blocks(), min_size=1, max_size=4))
def test_blocks_come_back_exactly(tmp_path_factory, given_blocks):
    """Steps, times, values to the bit, NaN apart from missing values, any names, masks only where needed."""
    path = tmp_path_factory.getbasetemp() / "journal-0002.mcj"
    payloads = [encode_rows(each.epoch, each.steps, each.times, each.columns, each.present) for each in given_blocks]
    frames = [frame(Kind.BATCHES, 0, number, payload) for number, payload in enumerate(payloads)]
    path.write_bytes(FILE_HEAD + b"".join(frames))
    found = read_journal(path)
    assert [in_full(record.content.block()) for record in found.records] == [in_full(each) for each in given_blocks]
    assert found.damage == []


@EXAMPLES
@given(st.lists(blocks(), max_size=5))
def test_many_rows_become_one_table(given_blocks):
    """The same columns as block by block, also where names come and go."""
    table, expected = Table(), Table()
    parts = []
    for each in given_blocks:
        expected.extend(len(each), each.columns)
        payload = memoryview(encode_rows(each.epoch, each.steps, each.times, each.columns, each.present))
        size = 8 * len(each) * (2 + len(each.columns))
        parts.append(Rows(each.epoch, tuple(each.columns), payload[len(payload) - size :]))
    steps, times = extend_table(table, parts)
    assert {name: list(map(float.hex, table[name])) for name in table} == {
        name: list(map(float.hex, expected[name])) for name in expected
    }
    assert steps.tolist() == [step for each in given_blocks for step in each.steps.tolist()]
    assert times.tolist() == [time for each in given_blocks for time in each.times.tolist()]


def test_ten_thousand_metrics_fit_into_a_record(file):
    """Names with line ends among them."""
    columns = {f"metric\n{number}": [float(number)] for number in range(10_000)}
    records, damage = file(FILE_HEAD, frame(Kind.BATCHES, 0, 0, encode_rows(3, [7], [1.0], columns)))
    assert damage == []
    assert Rows(*records[0][1:]).logs() == {name: values[0] for name, values in columns.items()}


def test_rows_are_taken_up_to_a_step():
    """Those whose step is later are left out; of none there are none."""
    rows = Rows(0, ("a",), encode_rows(0, [3, 4, 5], [0.0] * 3, {"a": [0.3, 0.4, 0.5]})[16 + len('["a"]') :])
    assert [rows.up_to(step).steps().tolist() for step in (2, 4, 9)] == [[], [3, 4], [3, 4, 5]]
    assert rows.up_to(4).block().columns["a"].tolist() == [0.3, 0.4]


def test_facts_are_checked_when_they_are_made():
    """What could not be read back is not written."""
    with pytest.raises(TypeError, match="step must be an integer of 64 bits"):
        attrs.evolve(FACTS[2], step=2**70)
    with pytest.raises(TypeError, match="reason"):
        attrs.evolve(FACTS[2], reason=None)
