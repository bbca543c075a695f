"""Csv logger: going back, and state, arguments, faults, for real."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csv_logger_support import (
    EXAMPLES,
    folder,  # noqa: F401 (fixtures)
    record,
    rows,
    run,
)
from monitor_core import Bus, SetupError
from monitor_core.sinks.csv_logger import CSVLogger
from recorders import train


def test_a_rewind_drops_the_rows_of_this_run_from_that_epoch_on(tmp_path):
    """Rows of earlier runs stay, whatever their numbers; numbering continues from the next epoch."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 0.0}, {"a": 1.0})
    record(sink, {"a": 2.0}, {"a": 3.0}, {"a": 4.0}, end=False, bus=bus)
    bus.rewind(1, 0)
    bus.epoch_begin(1)
    bus.epoch_end(1, {"a": 5.0})
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,a\r\n0,0.0\r\n1,1.0\r\n2,2.0\r\n3,5.0\r\n"


def test_a_rewind_leaves_a_run_before_of_the_same_numbers_alone(tmp_path):
    """Only what this run wrote is dropped, and the state counts what is left."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 0.0}, {"a": 1.0}, {"a": 2.0})
    record(sink, {"a": 3.0}, {"a": 4.0}, first=1, end=False, bus=bus)
    bus.rewind(2, 0)
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,a\r\n0,0.0\r\n1,1.0\r\n2,2.0\r\n1,3.0\r\n"
    assert sink.state_dict() == {"rows": 4, "first_row": 3, "shift": [0, 0]}


def test_a_rewind_of_batches_goes_back_to_a_step(tmp_path):
    """Rows after it go."""
    bus = Bus(CSVLogger(tmp_path / "a.csv", per_batch=True))
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        for _ in range(2):
            bus.batch_end(bus.run.step + 1, {"a": 0.5})
        bus.epoch_end(epoch, {})
    bus.rewind(1, 2)
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,step,a\r\n0,1,0.5\r\n0,2,0.5\r\n"


def test_a_rewind_to_before_the_first_epoch_of_a_run_keeps_the_runs_before(tmp_path):
    """There is nothing of this run to drop."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"a": 0.0})
    bus.train_begin()
    bus.rewind(0, 0)
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,a\r\n0,0.0\r\n"


@EXAMPLES
@given(st.lists(st.floats(), min_size=1, max_size=5), st.data(), st.booleans(), st.integers(0, 2))
def test_a_run_continued_from_its_state_gives_the_file_of_the_whole(folder, values, data, per_batch, before):
    """Wherever the state was saved and the run was cut after it, and with a run in the file before; not replaced."""
    saved = data.draw(st.integers(0, len(values)))
    lost = data.draw(st.integers(saved, len(values)))

    def epochs(bus, first, last):
        for epoch in range(first, last):
            bus.epoch_begin(epoch)
            for _ in range(2):
                bus.batch_end(bus.run.step + 1, {"a": values[epoch]})
            bus.epoch_end(epoch, {"a": values[epoch]})

    def begun(name):
        bus = Bus(CSVLogger(folder / name, per_batch=per_batch))
        bus.train_begin()
        epochs(bus, 0, min(before, len(values)))
        bus.train_begin()
        return bus

    epochs(begun("whole.csv"), 0, len(values))
    bus = begun("cut.csv")
    epochs(bus, 0, saved)
    state = bus.state_dict()
    epochs(bus, saved, lost)
    bus = Bus(CSVLogger(folder / "cut.csv", per_batch=per_batch))
    bus.load_state_dict(state)
    bus.train_begin()
    epochs(bus, saved, len(values))
    assert (folder / "cut.csv").read_bytes() == (folder / "whole.csv").read_bytes()


def test_the_state_is_of_json_values(tmp_path):
    """How many rows there are, not the rows."""
    sink = CSVLogger(tmp_path / "a.csv")
    assert sink.state_dict() == {}
    record(sink, {"a": 0.0}, {"a": 0.0})
    assert sink.state_dict() == {"rows": 2, "first_row": 0, "shift": [0, 0]}


@pytest.mark.parametrize("separator", ["", ",,", '"', "\n", "\r", "\0", 1])
def test_a_separator_that_no_file_can_have_is_refused(separator):
    """At construction."""
    with pytest.raises(ValueError, match="separator must be one character, not a quote or a line end"):
        CSVLogger("a.csv", separator=separator)


def test_a_place_that_cannot_be_written_fails_at_train_begin(tmp_path):
    """With the path and the reason."""
    with pytest.raises(SetupError, match=r"cannot be written: it is not a regular file"):
        Bus(CSVLogger(tmp_path)).train_begin()


def test_a_killed_process_leaves_every_ended_epoch(tmp_path):
    """SIGKILL in the middle of an epoch; the metric that came late is there too."""
    run(
        """
        import os, signal, sys
        from monitor_core import Loop
        from monitor_core.sinks.csv_logger import CSVLogger
        with Loop(CSVLogger(sys.argv[1])) as loop:
            for epoch in loop.epochs(10):
                for batch in loop.batches(range(4)):
                    loop.log(loss=0.5 * epoch)
                    if epoch == 3 and batch == 2:
                        os.kill(os.getpid(), signal.SIGKILL)
                if epoch == 2:
                    loop.log(late=1.0)
        """,
        tmp_path / "a.csv",
        expect=-signal.SIGKILL,
    )
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,loss,late\r\n0,0.0,\r\n1,0.5,\r\n2,1.0,1.0\r\n"


def test_a_process_that_ends_without_a_train_end_leaves_every_row(tmp_path):
    """And it ends in silence."""
    output = run(
        """
        import sys
        from monitor_core import Bus
        from monitor_core.sinks.csv_logger import CSVLogger
        bus = Bus(CSVLogger(sys.argv[1]))
        bus.train_begin()
        bus.epoch_begin(0)
        bus.epoch_end(0, {"loss": 0.5})
        """,
        tmp_path / "a.csv",
    )
    assert ((tmp_path / "a.csv").read_bytes(), output) == (b"epoch,loss\r\n0,0.5\r\n", "")


def test_a_forked_process_writes_nothing(tmp_path):
    """Even if it continues the training and ends it."""
    run(
        """
        import os, sys
        from monitor_core import Bus
        from monitor_core.sinks.csv_logger import CSVLogger
        bus = Bus(CSVLogger(sys.argv[1]))
        bus.train_begin()
        child = not os.fork()
        if not child:
            os.wait()
        bus.epoch_begin(0)
        bus.epoch_end(0, {"child" if child else "parent": 0.5})
        bus.train_end()
        """,
        tmp_path / "a.csv",
    )
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,parent\r\n0,0.5\r\n"


@pytest.mark.parametrize("per_batch", [False, True])
def test_a_full_disk_ends_no_training_and_nothing_is_lost_in_the_end(tmp_path, per_batch):
    """A limit on the file's size, lifted in the middle; a metric comes, and a rewind goes back, while it is full."""
    script = """
        import resource, signal, sys
        from monitor_core import Bus
        from monitor_core.files import writing
        from monitor_core.sinks.csv_logger import CSVLogger
        writing.FIRST_DELAY = 0.0
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sink = CSVLogger(sys.argv[1], per_batch=bool(int(sys.argv[2])))
        bus = Bus(sink)
        bus.train_begin()
        def epochs(first, last, **late):
            for epoch in range(first, last):
                bus.epoch_begin(epoch)
                bus.batch_begin(epoch + 1)
                bus.batch_end(epoch + 1, {"loss": epoch / 3, **late})
                bus.epoch_end(epoch, {"loss": epoch / 3, **late})
        epochs(0, 20)
        limit = int(sys.argv[3])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        epochs(20, 40)
        epochs(40, 60, late=1.0)
        bus.rewind(50, 50)
        epochs(50, 55, late=2.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        epochs(55, 60)
        bus.train_end()
        if bus.failures or sink.dropped:
            sys.exit(f"{bus.failures} {sink.dropped}")
        """
    output = run(script, tmp_path / "full.csv", int(per_batch), 500)
    assert run(script, tmp_path / "free.csv", int(per_batch), 1 << 30) == ""
    assert (tmp_path / "full.csv").read_bytes() == (tmp_path / "free.csv").read_bytes()
    assert len(rows(tmp_path / "full.csv")) == 61
    assert [line.count("full.csv cannot be written") for line in output.splitlines()] == [1]


def test_a_file_removed_after_a_late_metric_is_created_again_with_all_columns(tmp_path):
    """The header is that of the rows that follow."""
    sink = CSVLogger(tmp_path / "a.csv")
    bus = record(sink, {"b": 1.0}, {"a": 2.0}, end=False)
    (tmp_path / "a.csv").unlink()
    bus.epoch_begin(2)
    bus.epoch_end(2, {"a": 3.0, "b": 4.0})
    bus.train_end()
    assert (tmp_path / "a.csv").read_bytes() == b"epoch,b,a\r\n2,4.0,3.0\r\n"


def test_two_loggers_give_epochs_and_batches(tmp_path):
    """Each its own file."""
    epochs, batches = CSVLogger(tmp_path / "epochs.csv"), CSVLogger(tmp_path / "batches.csv", per_batch=True)
    train(Bus(epochs, batches), [{"a": 1.0}, {"a": 2.0}])
    assert (tmp_path / "epochs.csv").read_bytes() == b"epoch,a\r\n0,2.0\r\n"
    assert (tmp_path / "batches.csv").read_bytes() == b"epoch,step,a\r\n0,1,1.0\r\n0,2,2.0\r\n"
