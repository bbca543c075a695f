"""Ctrl-C, exits and exceptions, wherever they come from: all that had ended is recorded, and they propagate."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from faults import support
from faults.support import Recording, csv_steps, exact, read_run
from monitor_core import EarlyStopping, Loop
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.bus.finding import Finding
from monitor_core.bus.hooks import HOOKS
from monitor_core.model.probe import Probe
from monitor_core.model.snapshot import Snapshot
from recorders import Recorder

SIGNALS = [KeyboardInterrupt, SystemExit]
ERRORS = [*SIGNALS, ArithmeticError]
STATUS = {KeyboardInterrupt: "interrupted", SystemExit: "interrupted", ArithmeticError: "failed"}
LOSSES = [1.0, 0.5, 2.0, 3.0]
BEST_WEIGHT = 6.0
"""The weight after the second epoch: each batch adds one."""


@pytest.fixture(autouse=True)
def _unflushed(monkeypatch):
    """The files of these tests need not survive a power cut."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


class Interrupting(Recorder):
    """Raise once: at a hook in the third epoch, or at one that comes once a run."""

    def __init__(self, hook, error):
        super().__init__(hook)
        self.error = error
        self.is_rare = hook in {"on_train_begin", "on_train_end", "on_exception", "on_rewind"}

    def record(self, run, hook, *args):
        """Raise what is to be raised."""
        super().record(run, hook, *args)
        if self.error is not None and (self.is_rare or run.epoch == 2):
            error, self.error = self.error, None
            raise error


def train(folder, *sinks, fail=lambda place, loop: None):
    """Train a weight in a loop with all sinks; `fail` is asked at each place of the training. Return what there is."""
    state = {"weight": np.array(0.0)}
    recording = Recording(folder)
    stop = EarlyStopping("loss", patience=9, restore_best_weights=True)
    loop = Loop(*sinks, *recording.sinks, stop, model=PytreeModel(lambda: state, state.update))
    raised = None
    try:
        with loop:
            for epoch in loop.epochs(len(LOSSES)):
                for batch in loop.batches(range(3)):
                    state["weight"] = state["weight"] + 1
                    loop.log(loss=LOSSES[epoch])
                    if batch == 0:
                        loop.run.report(Finding(symptom="odd", severity="note", message="Odd.", epoch=epoch))
                        loop.run.show(Probe(epoch=epoch, step=loop.run.step, samples=0))
                        loop.run.show(Snapshot(epoch=epoch, step=loop.run.step))
                        with loop.evaluation(name="early"):
                            loop.log(loss=LOSSES[epoch])
                    fail("batch", loop)
                with loop.evaluation():
                    for batch in loop.batches(range(2)):
                        loop.log(loss=batch)
                        fail("evaluation", loop)
                with loop.prediction():
                    for batch in loop.batches(range(2)):
                        loop.log(outputs=[batch])
                fail("epoch", loop)
            fail("end", loop)
            loop.bus.rewind(loop.next_epoch, loop.run.step)
            if any(sink.hooks == ("on_exception",) for sink in sinks):
                raise RuntimeError("something for on_exception")
    except BaseException as error:
        raised = error
    return loop, recording, state["weight"], raised


def assert_whole(run, recording, status):
    """Check that every batch that ended is in every record, that these say how the run ended, and are closed."""
    steps = list(range(1, run.step + 1))
    assert run.status == status
    files = recording.files()
    assert recording.history.batches.steps.tolist() == steps
    assert csv_steps(recording.folder) == steps
    assert [step for step, tag, _ in files["board"]["train"] if tag == "batch_loss"] == steps
    assert files["journal"]["steps"][1] == steps
    assert files["journal"]["status"] == status
    epochs = list(range(len(recording.history)))
    header, *rows = files["epochs.csv"]
    evaluation = header.index("evaluation") if "evaluation" in header else None
    assert [int(row[0]) for row in rows if evaluation is None or not row[evaluation]] == epochs
    assert files["journal"]["epochs"] == {name: exact(recording.history[name]) for name in recording.history}
    assert open_files(recording.folder) == []


def open_files(folder):
    """Return the files of a folder that this process has open, as far as the system says."""
    with contextlib.suppress(FileNotFoundError):
        paths = [os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")]  # noqa: PTH208
        return [path for path in paths if path.startswith(f"{folder}{os.sep}")]
    return []


@pytest.mark.parametrize("error", SIGNALS)
@pytest.mark.parametrize("hook", HOOKS)
def test_an_interrupt_in_any_hook_goes_on_with_all_recorded(tmp_path, hook, error):
    """The sinks after it have every batch that ended, their files are closed, and the error is the one raised."""
    given = error("now")
    loop, recording, _, raised = train(tmp_path, Interrupting(hook, given))
    assert raised is given
    if hook == "on_train_begin":  # the others had not begun
        assert (loop.run.status, list(tmp_path.iterdir())) == ("interrupted", [])
    elif hook == "on_train_end":
        assert_whole(loop.run, recording, "completed")
    else:
        assert_whole(loop.run, recording, "failed" if hook == "on_exception" else "interrupted")


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook != "on_train_begin"])
def test_the_best_weights_are_there_after_an_interrupt_in_any_hook(tmp_path, hook):
    """As `EarlyStopping` promises for an aborted run: the best of the epochs that it received."""
    _, _, weight, raised = train(tmp_path, Interrupting(hook, KeyboardInterrupt()))
    assert isinstance(raised, KeyboardInterrupt)
    assert weight == BEST_WEIGHT


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("place", ["batch", "evaluation", "epoch", "end"])
def test_what_the_training_raises_goes_on_with_all_recorded(tmp_path, place, error):
    """In a batch, in an evaluation, between two epochs: records whole, files closed, best weights back."""
    given = error("now")

    def fail(at, loop):
        if at == place and loop.run.epoch >= 2:
            raise given

    loop, recording, weight, raised = train(tmp_path, fail=fail)
    assert raised is given
    assert_whole(loop.run, recording, STATUS[error])
    assert weight == BEST_WEIGHT


# --- signals within the library --------------------------------------------------------------------------------------


def interrupted_at(folder, number):
    """Train, and get a SIGINT at that line of the package's code; return what `train` does, and the reported steps."""
    lines, ended = 0, []
    package = str(Path(support.TESTS.parent, "monitor_core"))

    def trace(frame, event, _):
        nonlocal lines
        if not frame.f_code.co_filename.startswith(package):
            return None
        if event == "line":
            lines += 1
            if lines == number:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return trace

    def note(place, loop):
        ended.append(loop.bus.run.step)  # with no code of the package's
        if ended[-1] == 1 and not lines:
            sys.settrace(trace)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = train(folder, fail=note)
    finally:
        sys.settrace(None)
        signal.signal(signal.SIGINT, before)
    return *result, ended


def test_a_ctrl_c_within_the_package_loses_and_doubles_nothing(tmp_path):
    """Wherever in its own code the signal comes: all batches that had ended are recorded once, and files are closed."""
    number, found = 1, {}
    while True:
        folder = tmp_path / str(number)
        loop, recording, weight, raised, ended = interrupted_at(folder, number)
        if raised is None:  # the training ended before
            break
        assert isinstance(raised, KeyboardInterrupt)
        if problems := "; ".join(what_is_wrong(loop, recording, weight, ended)):
            found[number] = problems
        number += 211
    assert number > 20 * 211
    assert found == {}


def what_is_wrong(loop, recording, weight, ended):
    """Describe what the records of an interrupted run lack; the last batch may count or not."""
    allowed = [list(range(1, ended[-1] + more)) for more in (1, 2)]
    journal = support.open_run(recording.folder / "journal")
    for name, steps in {
        "history": recording.history.batches.steps.tolist(),
        "journal": journal.batches.steps.tolist(),
        "csv": csv_steps(recording.folder),
        "board": [
            step for step, tag, _ in support.read_board(recording.folder / "board")["train"] if tag == "batch_loss"
        ],
    }.items():
        if steps not in allowed:
            yield f"{name} has {len(steps)} of {len(allowed[0])} batches"
    if (loop.run.status, journal.status) not in {("interrupted",) * 2, ("completed",) * 2}:
        yield f"the run is {loop.run.status}, in the journal {journal.status}"
    if journal.damage:
        yield f"the journal is damaged: {journal.damage[0].reason}"
    if open_files(recording.folder):
        yield "files are open"
    if len(recording.history) > 1 and weight != BEST_WEIGHT:
        yield "the best weights are not restored"


# --- Keras -----------------------------------------------------------------------------------------------------------


def keras_model():
    """Return a small compiled model and its data."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    return model, x, x[:, :1]


@pytest.mark.parametrize("error", ERRORS)
def test_adapter_fit_ends_the_run_at_once(tmp_path, error):
    """Whatever aborts a fit: records are complete, files closed, the best weights restored; the error propagates."""
    from monitor_core.adapters.keras import KerasAdapter

    model, x, y = keras_model()

    class Breaking(Interrupting):
        critical = True

    recording = Recording(tmp_path)
    stop = EarlyStopping("loss", mode="max", patience=9, restore_best_weights=True)  # the first is the best
    adapter = KerasAdapter(Breaking("on_batch_end", given := error("now")), *recording.sinks, stop)
    adapter.bus.add(keeper := KeepWeights())
    with pytest.raises(error) as raised:
        adapter.fit(model, x, y, epochs=4, batch_size=8, verbose=0)
    assert raised.value is given
    assert adapter.bus.run.step == 11
    assert_whole(adapter.bus.run, recording, STATUS[error])
    assert [each.tolist() for each in model.get_weights()] == keeper.weights


class KeepWeights(Recorder):
    """Keep the weights as they are after the first epoch."""

    def __init__(self):
        super().__init__("on_epoch_end")
        self.weights = None

    def record(self, run, hook, *args):
        """Keep them."""
        self.weights = self.weights or [each.tolist() for each in run.model.get_weights()]


@pytest.mark.parametrize("error", ERRORS)
def test_a_plain_fit_has_all_on_disk_at_once_and_ends_with_the_next(tmp_path, error):
    """`fit` calls no end hook: what had ended is in the files nevertheless, and the next fit closes the run."""
    from monitor_core.adapters.keras import KerasAdapter

    model, x, y = keras_model()

    class Breaking(Interrupting):
        critical = True

    recording = Recording(tmp_path)
    adapter = KerasAdapter(Breaking("on_batch_end", given := error("now")), *recording.sinks, model=model, epochs=4)
    with pytest.raises(error) as raised:
        model.fit(x, y, epochs=4, batch_size=8, verbose=0, callbacks=adapter)
    assert raised.value is given
    assert csv_steps(tmp_path) == recording.history.batches.steps.tolist() == list(range(1, 12))
    assert read_run(tmp_path / "journal")["steps"][1] == list(range(1, 12))
    assert read_run(tmp_path / "journal")["status"] == "running"
    model.fit(x, y, epochs=1, batch_size=8, verbose=0, callbacks=adapter)
    assert csv_steps(tmp_path) == list(range(1, 17))
    first = support.open_run(tmp_path / "journal", run=0)
    assert (first.status, first.batches.steps.tolist()) == ("interrupted", list(range(1, 12)))


# --- a real signal ---------------------------------------------------------------------------------------------------

TRAINED = """
    import os, signal, sys, time, traceback
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import numpy as np
    from faults.support import Recording
    from monitor_core import EarlyStopping, Loop
    from monitor_core.adapters.pytree import PytreeModel

    state = {"weight": np.array(0.0)}
    recording = Recording(sys.argv[1])
    stop = EarlyStopping("loss", mode="max", patience=10**6, restore_best_weights=True)
    loop = Loop(*recording.sinks, stop, model=PytreeModel(lambda: state, state.update))
    try:
        with loop:
            for epoch in loop.epochs(10**6):
                for _ in loop.batches(range(20)):
                    state["weight"] = state["weight"] + 1
                    loop.log(loss=-epoch)
                    time.sleep(0.01)
                    os.write(1, b"%d\\n" % loop.run.step)
    except KeyboardInterrupt as error:
        innermost = traceback.extract_tb(error.__traceback__)[-1].filename
        print("raised in", innermost, flush=True)
        print("history", len(recording.history.batches), flush=True)
        print("weight", state["weight"], "of", stop.best_step, flush=True)
        raise
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals are those of POSIX")
def test_a_real_ctrl_c_at_any_moment_leaves_whole_records(tmp_path):
    """Processes that train are sent SIGINT at random: all that ended is on record, and they die of the signal."""
    paths = f"import sys; sys.path[:0] = [{str(support.TESTS)!r}]\n"
    command = [sys.executable, "-c", paths + textwrap.dedent(TRAINED)]
    folders = [tmp_path / str(number) for number in range(4)]
    with contextlib.ExitStack() as stack:
        children, outputs = [], [tmp_path / f"{folder.name}.txt" for folder in folders]
        for folder, output in zip(folders, outputs, strict=True):
            file = stack.enter_context(output.open("w"))
            child = stack.enter_context(subprocess.Popen([*command, folder], stdout=file, stderr=subprocess.DEVNULL))
            stack.callback(child.kill)
            children.append(child)
        for child, output in zip(children, outputs, strict=True):
            while not output.stat().st_size and child.poll() is None:
                time.sleep(0.01)
            time.sleep(random.uniform(0.05, 0.4))
            child.send_signal(signal.SIGINT)
            child.wait(timeout=60)
    told = [output.read_text() for output in outputs]
    for folder, child, lines in zip(folders, children, told, strict=True):
        assert child.returncode == -signal.SIGINT
        *steps, _, history, weight = lines.splitlines()
        recorded = read_run(folder / "journal")["steps"][1]
        assert recorded == list(range(1, len(recorded) + 1)) == csv_steps(folder)
        assert len(recorded) - len(steps) in (0, 1)
        assert history == f"history {len(recorded)}"
        assert read_run(folder / "journal")["status"] == "interrupted"
        if len(recorded) > 20:
            assert weight == "weight 20.0 of 20"


FITTED = """
    import os, signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import keras, numpy as np
    from faults.support import Recording
    from monitor_core import on
    from monitor_core.adapters.keras import KerasAdapter

    x = np.zeros((64, 3), "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    @on("batch_end")
    def tell(run, step, logs):
        os.write(1, b"%d\\n" % step)
        if step == 100:
            os.kill(os.getpid(), signal.SIGINT)

    adapter = KerasAdapter(tell, *Recording(sys.argv[1]).sinks, model=model, epochs=10**6)
    model.fit(x, x[:, :1], epochs=10**6, batch_size=1, verbose=0, callbacks=adapter)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals are those of POSIX")
def test_a_real_ctrl_c_in_a_plain_fit_leaves_whole_records(tmp_path):
    """No end hook comes, the interpreter exits: all that ended is on record, and the process dies of the signal."""
    pytest.importorskip("keras")
    steps = support.script(FITTED, tmp_path, expect=-signal.SIGINT).split()
    recorded = read_run(tmp_path / "journal")
    assert recorded["steps"][1] == csv_steps(tmp_path) == [int(step) for step in steps]
    assert recorded["status"] == "killed"
