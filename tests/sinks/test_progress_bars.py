"""Progress: bars in a terminal, setting up."""

import io
import re
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core import Bus, Loop
from monitor_core.sinks.progress import Progress
from monitor_core.sinks.progress_bars import fitting
from monitor_core.sinks.progress_lines import format_duration
from monitor_core.values.text import format_value
from progress_support import Terminal, abort, clock, open_bars, terminal, train  # noqa: F401 (fixtures)


def screen(output):
    """Return the lines that remain on a screen: carriage returns, newlines and cursor-up carried out."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[A|\r|\n|[^\r\n\x1b]+", output):
        if piece == "\x1b[A":
            row -= 1
        elif piece == "\r":
            column = 0
        elif piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        else:
            lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
            column += len(piece)
    return [line.rstrip() for line in lines if line.strip()]


def test_a_short_run_leaves_a_line_for_each_epoch(terminal, clock):
    """After a run of a few epochs, the screen shows a line for each, and no bar."""
    with Loop(Progress(file=terminal.stream)) as loop:
        train(loop, clock=clock)
    assert screen(terminal.read()) == [
        "epoch 1/3 · 0.8 s left   · 2 batches · 0.4 s · loss 0.75   · val_loss 2.56",
        "epoch 2/3 · 0.4 s left   · 2 batches · 0.4 s · loss 0.75   · val_loss 3.56",
        "epoch 3/3 · 1.2 s in all · 2 batches · 0.4 s · loss 0.75   · val_loss 4.56",
    ]


def test_a_long_run_leaves_its_last_line(terminal, clock):
    """After a run of many epochs, the screen shows the last one's results and why it ended."""
    with Loop(Progress(file=terminal.stream)) as loop:
        for epoch in loop.epochs(1000):
            loop.log(loss=1 / (epoch + 1))
            if epoch == 99:
                loop.run.stop("enough")
    assert screen(terminal.read()) == ["epoch  100/1000 · 0 ms in all  · 0 ms  · loss 0.01", "stopped: enough"]


def by_steps(progress, clock):
    """Train for ten steps of a second each in one epoch, with an evaluation after every second step."""
    with Loop(progress) as loop:
        for _ in loop.epochs(1, steps_per_epoch=10):
            for step in loop.batches(range(1, 11)):
                clock.now += 1.0
                loop.log(loss=0.5)
                if step % 2 == 0:
                    with loop.evaluation():
                        loop.log(loss=step)


def test_the_bar_of_the_batches_shows_each_evaluation(terminal, clock):
    """At once, and nothing of it is left on the screen."""
    by_steps(Progress(file=terminal.stream), clock)
    output = terminal.read()
    shown = re.findall(r"(\d+)/10, [^\r\n]*loss 0\.5, val_loss (\d+)", output)
    assert list(dict.fromkeys(value for _, value in shown)) == ["2", "4", "6", "8"]
    assert screen(output) == ["epoch 1/1 · 10 batches · 10 s  · loss 0.5    · val_loss 10"]


def test_without_a_bar_of_batches_an_evaluation_leaves_a_line(terminal, clock):
    """Above the bar of the epochs."""
    by_steps(Progress(file=terminal.stream, batches=False), clock)
    assert screen(terminal.read()) == [
        *[f"epoch 1/1 · step  {step}/10 · {step}.0 s · val_loss {step}" for step in (2, 4, 6, 8)],
        "epoch 1/1 · 10 batches · 10 s  · loss 0.5    · val_loss 10",
    ]


def test_the_run_bar_shows_the_last_results(terminal, clock):
    """During a long run, a bar counts the epochs and shows the last one's metrics with the time left."""
    with Loop(Progress(file=terminal.stream)) as loop:
        train(loop, 21, clock=clock)
    assert re.search(r"Epochs 2/21 \|.*\| \d\d:\d\d left, loss 0\.75, val_loss 3\.56", terminal.read())


def test_epoch_lines_are_available_in_a_long_run(terminal, clock):
    """``epoch_lines`` decides whether each epoch leaves a line, whatever the run's length."""
    with Loop(Progress(file=terminal.stream, epoch_lines=True)) as loop:
        train(loop, 22)
    assert len(screen(terminal.read())) == 22


def test_epoch_lines_can_be_done_without_in_a_short_run(terminal, clock):
    """``epoch_lines=False`` leaves the last line alone in a short run too."""
    with Loop(Progress(file=terminal.stream, epoch_lines=False)) as loop:
        train(loop, 3)
    assert screen(terminal.read()) == ["epoch 3/3 · 0 ms in all  · 2 batches · 0 ms  · loss 0.75   · val_loss 4.56"]


def test_a_long_epoch_shows_its_batches(terminal, clock):
    """In an epoch that takes a while, a bar counts its batches and shows their latest values."""
    clock.step = 0.5
    with Loop(Progress(file=terminal.stream)) as loop:
        train(loop, 2, 512)
    output = terminal.read()
    assert re.search(r"Epoch 1/2 \|█+[^|]*\| 256/512, \d\d:\d\d left, loss 0\.003906", output)
    assert re.search(r"Epoch 2/2 \|█+\| 512/512, \d\d:\d\d left, loss 0\.001953", output)


def test_a_short_epoch_shows_no_batches(terminal, clock):
    """Epochs shorter than half a second get no bar of their own, which would only flicker."""
    with Loop(Progress(file=terminal.stream)) as loop:
        train(loop, 2, 512)
    assert "Epoch 1/2" not in terminal.read()


def test_an_unknown_number_of_batches_is_known_from_the_second_epoch_on(terminal, clock):
    """Without a length of the data, the first epoch counts, and later ones expect as many batches."""
    clock.step = 0.5
    with Loop(Progress(file=terminal.stream)) as loop:
        for _ in loop.epochs(2):
            for _ in loop.batches(iter(range(300))):
                loop.log(loss=1)
    output = terminal.read()
    assert re.search(r"Epoch 1/2, 256 batches, \d\d:\d\d, loss 1", output)
    assert re.search(r"Epoch 2/2 \|.*\| 256/300, \d\d:\d\d left, loss 1", output)


def test_more_batches_than_expected_count_on(terminal, clock):
    """If an epoch has more batches than announced, the bar drops its total."""
    clock.step = 0.5
    with Loop(Progress(file=terminal.stream)) as loop:
        for _ in loop.epochs(1):
            for length in (200, 150):
                for _ in loop.batches(range(length)):
                    loop.log(loss=1)
    assert re.search(r"Epoch 1/1, 350 batches, ", terminal.read())


def test_a_missing_value_leaves_the_one_before(terminal, clock):
    """A metric that the last batches lack keeps its latest value."""
    clock.step = 0.5
    with Loop(Progress(file=terminal.stream)) as loop:
        for _ in loop.epochs(1):
            for batch in loop.batches(range(10)):
                loop.log({"loss": batch, "norm": 7} if batch == 3 else {"loss": batch})
    assert "10/10, 00:00 left, loss 9, norm 7" in terminal.read()


def test_an_evaluation_is_announced(terminal, clock):
    """While the batches wait for an evaluation, their bar says so."""
    clock.step = 0.5
    with Loop(Progress(file=terminal.stream)) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches(range(300)):
                loop.log(loss=1)
            with loop.evaluation():
                loop.log(loss=2)
    assert "Epoch 1/1, evaluating |" in terminal.read()


def test_an_evaluation_outside_of_a_run_shows_nothing(terminal):
    """Evaluations on their own are legal and show nothing."""
    bus = Bus(Progress(file=terminal.stream), strict=True)
    bus.evaluation_begin()
    bus.evaluation_end({"loss": 1.0})
    assert terminal.read() == ""


def test_metrics_that_do_not_fit_are_left_out_whole(monkeypatch):
    """No line is wider than the terminal, and no metric is cut in two."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(columns=60)
    with Loop(Progress(file=terminal.stream)) as loop:
        for _ in loop.epochs(30):
            loop.log({f"metric_{number}": 0.25 for number in range(9)})
    lines = [line for line in re.split(r"[\r\n]+", terminal.read()) if line.startswith("Epochs ") and "metric" in line]
    assert max(map(len, lines)) <= 60
    assert re.search(r"left, metric_0 0\.25, \.\.\.$", lines[0])


def test_a_terminal_without_a_size_gets_bars(monkeypatch, clock):
    """A terminal that reports no size, as in containers, is taken for one of 80 columns."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(columns=0, rows=0)
    with Loop(Progress(file=terminal.stream)) as loop:
        train(loop, 2)
    bars = re.findall(r"Epochs [^\r\n]*", terminal.read())
    assert {len(bar) for bar in bars} == {80}


def test_an_exception_leaves_no_bar(terminal, clock):
    """After an exception in mid-epoch the bars are gone, and the screen says what happened."""
    clock.step = 0.5
    with pytest.raises(ValueError, match="boom"):
        abort(Loop(Progress(file=terminal.stream)), ValueError("boom"), batches=400)
    output = terminal.read()
    assert "Epoch 1/2 |" in output
    assert (screen(output), open_bars()) == (["failed: ValueError: boom"], [])


def test_a_run_that_begins_closes_the_bars_of_the_one_before(terminal, clock):
    """Keras does not report exceptions: the bars of an aborted run are closed when the next begins."""
    sink = Progress(file=terminal.stream)
    bus = Bus(sink)
    bus.train_begin()
    bus.epoch_begin(0)
    del bus
    Bus(sink).train_begin()
    assert open_bars() == []


def test_an_abandoned_epoch_leaves_no_bar(terminal, clock):
    """An epoch left by an exception takes its bar away, and counts for nothing."""
    clock.step = 0.5
    with Loop(Progress(file=terminal.stream)) as loop:
        with suppress(RuntimeError):
            for _ in loop.epochs(3):
                for _ in loop.batches(range(300)):
                    loop.log(loss=1)
                raise RuntimeError
        for _ in loop.epochs(2):
            pass
    assert [line.split(" · ")[0] for line in screen(terminal.read())] == ["epoch 2/2"]
    assert open_bars() == []


def test_a_rewind_sets_the_epochs_back(terminal, clock):
    """After a rewind the bar counts from the epoch that is next."""
    clock.step = 0.5
    bus = Bus(Progress(file=terminal.stream, epoch_lines=False))
    bus.train_begin()
    bus.run.epochs = 50
    for epoch in range(3):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch)
    bus.rewind(1, 0)
    bus.epoch_begin(1)
    bus.exception(KeyboardInterrupt())
    counts = [int(count) for count in re.findall(r"Epochs (\d+)/50", terminal.read())]
    assert counts == [0, 1, 2, 3, 1]


def test_runs_in_threads_do_not_disturb_each_other(terminal):
    """Several at once, on one terminal, all end with their own lines and without a failure."""
    loops = [Loop(Progress(file=terminal.stream), strict=True) for _ in range(4)]

    def run(loop, number):
        with loop:
            for _ in loop.epochs(5):
                for _ in loop.batches(range(300)):
                    loop.log({f"loss_{number}": number})

    threads = [threading.Thread(target=run, args=(loop, number)) for number, loop in enumerate(loops)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    output = terminal.read()
    ends = [
        len(re.findall(rf"epoch \d/5 · [^·]+ · 300 batches · [^·]+ · loss_{number} {number}", output))
        for number in range(4)
    ]
    assert ([loop.run.status for loop in loops], ends, open_bars()) == (["completed"] * 4, [5] * 4, [])


def test_bars_start_no_thread(terminal, clock):
    """tqdm's monitor thread, which these bars do not need, is not started."""
    before = threading.active_count()
    with Loop(Progress(file=terminal.stream)) as loop:
        for _ in loop.epochs(1):
            assert threading.active_count() == before


def test_without_tqdm_there_are_lines(monkeypatch, terminal):
    """Where tqdm is missing, a terminal gets a line for each epoch and no bar."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with Loop(Progress(file=terminal.stream)) as loop:
        train(loop, 30)
    output = terminal.read()
    assert (len(output.splitlines()), "\x1b" in output) == (30, False)


def test_bars_can_be_done_without(terminal):
    """With ``bars=False`` a terminal gets a line for each epoch, and no values of batches are gathered."""
    sink = Progress(file=terminal.stream, bars=False)
    with Loop(sink) as loop:
        assert not loop.bus.has_listeners("on_block", "on_batch_end")
        train(loop, 30)
    output = terminal.read()
    assert (len(output.splitlines()), "\x1b" in output) == (30, False)


def test_columns_align(clock):
    """Epochs' numbers, times and metrics of any length stay below each other, those that are missing too."""
    file = io.StringIO()
    with Loop(Progress(file=file)) as loop:
        for epoch in loop.epochs(10):
            clock.now += 0.05 if epoch % 2 else 2.0
            loop.log(loss=10.0 ** -(2 * epoch), accuracy=epoch)
            if epoch % 3 == 0:
                loop.log(val_loss=1.5)
    lines = file.getvalue().splitlines()
    places = [[match.start() for match in re.finditer("·", line)] for line in lines[4:]]
    assert (len(lines), places) == (10, [places[0]] * 6)


def test_tqdm_is_imported_when_a_run_begins():
    """Importing and making the sink imports no tqdm."""
    code = "import sys; from monitor_core.sinks.progress import Progress; Progress(); sys.exit('tqdm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("metrics", ["loss", [], [1], 3])
def test_metrics_must_be_names(metrics):
    """A string, which has letters instead of names, and other mistakes are refused."""
    with pytest.raises(ValueError, match=re.escape(f"metrics must be a list of names (got {metrics!r})")):
        Progress(metrics=metrics)


def test_file_must_be_writable():
    """A path is refused as a file."""
    with pytest.raises(TypeError, match=re.escape("file must have a method write (got 'log.txt')")):
        Progress(file="log.txt")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.43981, "0.4398"),
        (2.5601, "2.56"),
        (0.0, "0"),
        (1.0, "1"),
        (128.0, "128"),
        (9999.9, "10000"),
        (123456.7, "123457"),
        (2.5e9, "2.5e+09"),
        (0.001, "0.001"),
        (1e-5, "1e-05"),
        (-0.5, "-0.5"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_values_are_readable(value, text):
    """Values have four significant digits, and an exponent only where they are tiny or huge."""
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.035, "35 ms"),
        (0.4, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7530, "2 h 05 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_durations_are_readable(seconds, text):
    """Durations are given in the units that people would use."""
    assert format_duration(seconds) == text


@given(st.lists(st.text("abc", max_size=6), max_size=8), st.integers(-3, 60))
def test_as_many_parts_are_shown_as_fit(parts, room):
    """As dropping the last one until the rest fits would have it."""
    kept, expected = list(parts), ", ".join(parts)
    while kept and len(expected) > room:
        kept.pop()
        expected = ", ".join([*kept, "..."])
    assert fitting(parts, room) == (expected if kept else "")


def test_what_has_no_room_is_not_read():
    """Of 100,000 metrics a bar formats those it shows."""
    read = []
    metrics = (read.append(number) or f"m{number} 0.5" for number in range(100_000))
    assert fitting(metrics, 40) == "m0 0.5, m1 0.5, m2 0.5, m3 0.5, ..."
    assert len(read) < 10
