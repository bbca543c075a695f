"""What the fault tests share: every sink that records, and what its files hold, read by other readers than ours."""

import csv
import io
import math
import sys
import textwrap
from pathlib import Path
from subprocess import run

from monitor_core import CSVLogger, History, Journal, Progress, TensorBoard
from monitor_core.journal.recorded import open_run

TESTS = Path(__file__).parents[1]


class Recording:
    """All sinks that record, into one folder.

    Args:
        folder: Where their files go.
        **options: For the `TensorBoard`.

    Attributes:
        sinks: The sinks.
        history: That of them which keeps all in memory.
        progress: What the `Progress` has written, as a file.
    """

    def __init__(self, folder, **options):
        self.folder = Path(folder)
        self.history = History(per_batch=True)
        self.progress = io.StringIO()
        self.sinks = (
            self.history,
            CSVLogger(self.folder / "epochs.csv"),
            CSVLogger(self.folder / "batches.csv", per_batch=True),
            TensorBoard(
                self.folder / "board",
                **{"update_freq": "batch", "write_graph": False, "write_steps_per_second": False, **options},
            ),
            Journal(self.folder / "journal"),
            Progress(file=self.progress),
        )

    def records(self):
        """Return all that was recorded, without times, as values that can be compared."""
        batches = self.history.batches
        kept = {name: exact(batches[name]) for name in batches}
        return {
            "epochs": {name: exact(values) for name, values in self.history.history.items()},
            "batches": kept,
            "labels": (self.history.epoch, batches.epochs.tolist(), batches.steps.tolist()),
            **self.files(),
        }

    def files(self):
        """Return what is in the files now."""
        return {
            "epochs.csv": read_csv(self.folder / "epochs.csv"),
            "batches.csv": read_csv(self.folder / "batches.csv"),
            "board": read_board(self.folder / "board"),
            "journal": read_run(self.folder / "journal"),
        }


def exact(values):
    """Return floats as texts, so that NaN equals NaN and -0.0 differs from 0.0."""
    return [float(value).hex() for value in values]


def read_csv(path):
    """Return a file's rows as the ``csv`` module reads them; each has a field for every column."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} <= {len(rows[0])} if rows else True
    return rows


def csv_steps(folder):
    """Return the steps in a folder's ``batches.csv``, without whose metrics no other record is of use."""
    return [int(row[1]) for row in read_csv(Path(folder) / "batches.csv")[1:]]


def event_records(path):
    """Return a file's records as TensorBoard's own reader gives them, and whether it found the rest damaged."""
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    reader, records = PyRecordReader_New(str(path)), []
    try:
        while True:
            reader.GetNext()
            records.append(reader.record())
    except errors.OutOfRangeError:
        return records, False
    except errors.DataLossError:
        return records, True


def read_events(path):
    """Return every scalar of an undamaged event file as TensorBoard's reader gives it: step, tag and value."""
    from tensorboard.compat.proto.event_pb2 import Event

    records, is_damaged = event_records(path)
    assert not is_damaged
    events = [Event.FromString(record) for record in records]
    return [(event.step, each.tag, plain(each.simple_value)) for event in events for each in event.summary.value]


def plain(value):
    """Return a float, or the text ``nan``, which equals itself."""
    return "nan" if math.isnan(value) else value


def read_board(folder):
    """Return every scalar of a log folder, by its run."""
    runs = sorted({path.parent for path in Path(folder).rglob("*tfevents*")})
    return {
        each.name: sorted(
            (scalar for path in sorted(each.glob("*tfevents*")) for scalar in read_events(path)),
            key=lambda scalar: (scalar[1], scalar[0]),
        )
        for each in runs
    }


def read_run(folder):
    """Return what a journal holds; nothing in it is damaged."""
    recorded = open_run(folder)
    assert recorded.damage == ()
    parts = {"epochs": recorded.history, "batches": recorded.batches, "evaluations": recorded.evaluations}
    return {
        "status": recorded.status,
        **{part: {name: exact(rows._table[name]) for name in rows} for part, rows in parts.items()},
        "steps": [rows.steps.tolist() for rows in parts.values()],
    }


def script(code, *args, expect=0, timeout=60, path=None):
    """Run code that may import this module and the recorders in a process of its own; return what it printed.

    With a path it is put there first, and run as a file, which processes that are spawned need.
    """
    code = f"import sys; sys.path[:0] = [{str(TESTS)!r}]\n" + textwrap.dedent(code)
    if path is not None:
        path.write_text(code)
    begin = ["-c", code] if path is None else [str(path)]
    command = [sys.executable, "-W", "ignore::DeprecationWarning", *begin, *map(str, args)]
    done = run(command, check=False, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == expect, done.stderr
    return done.stdout
