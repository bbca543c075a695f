"""Progress: one line for each epoch, how a run ended, streams that fail."""

import io
import re
import sys
from types import SimpleNamespace

import pytest

from monitor_core import Bus, Loop
from monitor_core.sinks.progress import Progress
from progress_support import abort, clock, open_bars, terminal, train  # noqa: F401 (fixtures)


def test_a_file_gets_one_line_for_each_epoch(clock):
    """A stream that is not a terminal gets the epoch, its batches, duration, metrics and the time left."""
    file = io.StringIO()
    with Loop(Progress(file=file)) as loop:
        train(loop, clock=clock)
    assert file.getvalue() == (
        "epoch 1/3 · 0.8 s left   · 2 batches · 0.4 s · loss 0.75   · val_loss 2.56\n"
        "epoch 2/3 · 0.4 s left   · 2 batches · 0.4 s · loss 0.75   · val_loss 3.56\n"
        "epoch 3/3 · 1.2 s in all · 2 batches · 0.4 s · loss 0.75   · val_loss 4.56\n"
    )


def by_steps(progress, clock, steps=1000, **options):
    """Train by steps of 0.01 seconds in one epoch, with an evaluation every 100."""
    with Loop(progress) as loop:
        for _ in loop.epochs(1, **options):
            for step in loop.batches(iter(range(1, steps + 1))):
                clock.now += 0.01
                loop.log(loss=0.5)
                if step % 100 == 0:
                    with loop.evaluation():
                        loop.log(loss=step / 300)


def test_evaluations_within_an_epoch_have_a_line(clock):
    """With the step in the epoch, the time since its begin, and the results; the last one is in the epoch's line."""
    file = io.StringIO()
    by_steps(Progress(file=file), clock, steps_per_epoch=1000)
    lines = file.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "epoch 1/1 · step  100/1000 · 1.0 s · val_loss 0.3333"
    assert lines[8:] == [
        "epoch 1/1 · step  900/1000 · 9.0 s · val_loss 3",
        "epoch 1/1 · 1000 batches · 10 s  · loss 0.5    · val_loss 3.333",
    ]


def test_without_a_number_of_steps_the_step_stands_alone(clock):
    """The line is written just before the next batch, when it is known that one follows."""
    file = io.StringIO()
    by_steps(Progress(file=file), clock, steps=200)
    assert file.getvalue().splitlines()[0] == "epoch 1/1 · step 100 · 1.0 s · val_loss 0.3333"


def test_evaluations_without_a_chosen_metric_have_no_line(clock):
    """``metrics`` chooses what is shown of them too."""
    file = io.StringIO()
    by_steps(Progress(file=file, metrics=["loss"]), clock, steps_per_epoch=1000)
    assert file.getvalue() == "epoch 1/1 · 1000 batches · 10 s  · loss 0.5\n"


def test_an_unknown_number_of_epochs_is_left_out(clock):
    """If the number of epochs is unknown, a line has neither a total nor a time left."""
    file = io.StringIO()
    bus = Bus(Progress(file=file))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.batch_end(1, {"loss": 0.5})
    bus.epoch_end(0, {"loss": 0.5})
    bus.train_end()
    assert file.getvalue() == "epoch 1 · 1 batch · 0 ms  · loss 0.5\n"


def test_the_time_left_follows_the_last_epochs(clock):
    """The time left is extrapolated from end to end of the last epochs, so a slow first one is soon forgotten."""
    file = io.StringIO()
    with Loop(Progress(file=file)) as loop:
        for epoch in loop.epochs(5):
            clock.now += 60 if epoch == 0 else 1
            if epoch == 2:
                break
    assert re.findall(r"· (\d.*) left", file.getvalue()) == ["4 min 00 s", "3.0 s"]


def test_validation_metrics_follow_their_counterparts(clock):
    """A validation metric follows its training metric, in the order of the latter."""
    file = io.StringIO()
    with Loop(Progress(file=file)) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1, accuracy=0.5, val_loss=2, val_accuracy=0.25, val_extra=7)
    assert file.getvalue() == (
        "epoch 1/1 · 0 ms  · loss 1      · val_loss 2      · accuracy 0.5    · val_accuracy 0.25   · val_extra 7\n"
    )


def test_only_the_chosen_metrics_are_shown(clock):
    """``metrics`` chooses what is shown and its order, and knows both spellings of accuracy."""
    file = io.StringIO()
    with Loop(Progress(file=file, metrics=["val_acc", "loss", "missing"])) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1, accuracy=0.5, val_accuracy=0.25)
    assert file.getvalue() == "epoch 1/1 · 0 ms  · val_accuracy 0.25   · loss 1\n"


def test_ascii_streams_get_ascii(clock):
    """A stream that cannot encode the separator gets another, and escapes for names beyond its encoding."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii", newline="\n") as file, Loop(Progress(file=file)) as loop:
        for _ in loop.epochs(1):
            loop.log({"größe": 1})
        file.flush()
        written = raw.getvalue()
    assert written == b"epoch 1/1 | 0 ms  | gr\\xf6\\xdfe 1\n"


def test_logs_have_no_control_characters(clock):
    """Neither metric names nor reasons can bring control characters into a log."""
    file = io.StringIO()
    with Loop(Progress(file=file)) as loop:
        for _ in loop.epochs(2):
            loop.log({"a\tb\x1b[1m": 1})
            loop.run.stop("two\r\nlines\b")
    assert file.getvalue() == "epoch 1/2 · 0 ms in all  · 0 ms  · a b [1m 1\nstopped: two  lines\n"


def test_blocks_are_asked_for_only_where_bars_are_shown(terminal):
    """A log needs no values of batches, so nothing is gathered for it; a terminal without `batches` neither."""
    wanted = [
        Bus(sink).has_listeners("on_block")
        for sink in (
            Progress(file=io.StringIO()),
            Progress(file=terminal.stream, batches=False),
            Progress(file=terminal.stream),
        )
    ]
    assert wanted == [False, False, True]


def test_no_batch_hook_is_overridden():
    """Whatever the stream, a batch costs nothing: only blocks are received."""
    bus = Bus(Progress(file=io.StringIO()))
    assert not bus.has_listeners(
        "on_batch_begin", "on_batch_end", "on_evaluation_batch_begin", "on_evaluation_batch_end"
    )


def test_standard_error_is_looked_up_at_train_begin(monkeypatch, clock):
    """Without a file, the line goes to the standard error of the moment when the run begins."""
    sink = Progress()
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with Loop(sink) as loop:
        train(loop, 1, 1)
    assert file.getvalue() == "epoch 1/1 · 1 batch · 0 ms  · loss 1      · val_loss 2.56\n"


def test_a_process_without_standard_error_is_served(monkeypatch):
    """Without standard error, as under pythonw, nothing is written and nothing fails."""
    monkeypatch.setattr(sys, "stderr", None)
    with Loop(Progress(), strict=True) as loop:
        train(loop)
    assert loop.bus.failures == []


def test_a_dumb_terminal_gets_lines(monkeypatch, terminal):
    """A terminal that cannot move its cursor gets plain lines."""
    monkeypatch.setenv("TERM", "dumb")
    with Loop(Progress(file=terminal.stream)) as loop:
        train(loop, 2)
    output = terminal.read()
    assert len(output.splitlines()) == 2
    assert "\x1b" not in output
    assert "|" not in output


def test_a_stopped_run_says_why(clock):
    """A run that a sink stopped ends with a line that gives the reason, and promises no time left."""
    file = io.StringIO()
    with Loop(Progress(file=file)) as loop:
        for epoch in loop.epochs(9):
            if epoch == 1:
                loop.run.stop("val_loss has not improved for 5 epochs")
    assert file.getvalue() == (
        "epoch 1/9 · 0 ms left    · 0 ms\n"
        "epoch 2/9 · 0 ms in all  · 0 ms\n"
        "stopped: val_loss has not improved for 5 epochs\n"
    )


def test_a_run_stopped_as_failed_says_so(clock):
    """A stop that reports a failure is called one."""
    file = io.StringIO()
    with Loop(Progress(file=file)) as loop:
        loop.run.stop("loss is not finite at step 3", failed=True)
    assert file.getvalue() == "failed: loss is not finite at step 3\n"


def test_a_failed_run_names_the_error():
    """A run that raised ends with a line that names the exception."""
    file = io.StringIO()
    with pytest.raises(ValueError, match="boom"):
        abort(Loop(Progress(file=file)), ValueError("boom"))
    assert file.getvalue() == "failed: ValueError: boom\n"


def test_an_interrupted_run_says_so():
    """A run that was ended by Ctrl-C ends with a line of one word."""
    file = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        abort(Loop(Progress(file=file)), KeyboardInterrupt())
    assert file.getvalue() == "interrupted\n"


def test_ending_twice_ends_once():
    """A second exception or train end adds nothing."""
    file = io.StringIO()
    sink = Progress(file=file)
    bus = Bus(sink)
    bus.train_begin()
    bus.run.stop("enough")
    bus.train_end()
    sink.on_exception(bus.run, ValueError("late"))
    sink.on_train_end(bus.run, {})
    assert file.getvalue() == "stopped: enough\n"


def test_a_run_after_a_failed_one_is_unaffected_by_it(clock):
    """What ended one run is forgotten when the next begins."""
    file = io.StringIO()
    sink = Progress(file=file)
    bus = Bus(sink)
    bus.train_begin()
    bus.exception(ValueError("boom"))
    bus.train_begin()
    bus.run.stop("enough")
    bus.train_end()
    assert file.getvalue() == "failed: ValueError: boom\nstopped: enough\n"


class BrokenPipe(io.StringIO):
    """A pipe without a reader."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [closed_stream(), BrokenPipe(), SimpleNamespace(write=BrokenPipe().write)])
def test_a_stream_that_cannot_be_written_hurts_nothing(stream):
    """A closed stream, a broken pipe and an object that can only write do not fail."""
    with Loop(Progress(file=stream), strict=True) as loop:
        train(loop)
    assert (loop.run.status, loop.bus.failures) == ("completed", [])


def test_a_terminal_that_goes_away_hurts_nothing(terminal, clock):
    """A terminal that is closed in mid-run does not fail, and no bar is left."""
    clock.step = 1.0
    with Loop(Progress(file=terminal.stream), strict=True) as loop:
        for epoch in loop.epochs(3):
            for _ in loop.batches(range(300)):
                loop.log(loss=1.0)
            if epoch == 0:
                terminal.stream.close()
    assert (loop.run.status, loop.bus.failures, open_bars()) == ("completed", [], [])
