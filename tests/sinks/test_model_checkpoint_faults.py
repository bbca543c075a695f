"""Model checkpoint: kills and full disks."""

import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

from model_checkpoint_support import Model, drive, losses, names, run
from monitor_core import Bus, Loop
from monitor_core.adapters.keras import KerasModel
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.files.checkpoint_index import Keep
from monitor_core.sinks.model_checkpoint import ModelCheckpoint

SAVER = """
    import itertools, os, random, signal, sys, time
    from pathlib import Path
    import numpy as np
    from monitor_core import Bus
    from monitor_core.sinks.model_checkpoint import ModelCheckpoint
    from monitor_core.files.state import load_state

    class Model:
        pause = pipe = None

        def save(self, path, *, weights_only=False):
            with open(path, "wb") as file:
                for piece in range(20):
                    file.write(np.full(1000, self.number).tobytes())
                    file.flush()
                    if (self.number, piece) == self.pause:
                        os.write(self.pipe, b"in the middle")
                        signal.pause()

    def checkpoint(folder, state):
        name = "{step}.npy" if state else "model.npy"
        return ModelCheckpoint(Path(folder) / name, save_freq=1, save_state=state)

    def save_on(folder, first, state, model):
        sink = checkpoint(folder, state)
        bus = Bus(sink, model=model)
        bus.run.step = first
        bus.train_begin()
        bus.epoch_begin(0)
        for step in itertools.count(first + 1):
            model.number = float(step)
            bus.batch_end(step, {})

    def number_in(path):
        values = np.frombuffer(path.read_bytes())
        assert len(values) == 20_000 and len(set(values.tolist())) == 1, (len(values), set(values.tolist()))
        return int(values[0])
"""


KILLS = (
    SAVER
    + """
    def strays(folder):
        return [each for each in os.listdir(folder) if each.startswith(".monitor_core") and "-lock-" not in each]

    folder, kills, state = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "state"
    draw = random.Random(3)
    number = in_the_middle = 0
    for kill in range(kills):
        model = Model()
        ear, model.pipe = os.pipe()
        paused = kill % 2 == 0
        if paused:
            model.pause = (float(number + 2), draw.randrange(20))
        child = os.fork()
        if child == 0:
            try:
                save_on(folder, number, state, model)
            finally:
                os._exit(1)
        sink = checkpoint(folder, state)
        if paused:
            os.read(ear, 100)
        else:
            while number_in(sink.latest_path) <= number if sink.latest_path else True:
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ear)
        os.close(model.pipe)
        in_the_middle += bool(strays(folder))
        now = number_in(sink.latest_path)
        assert now == number + 1 if paused else now > number, (now, number)
        if state:
            index = load_state(sink.index_path)
            saved = load_state(folder / index["latest"]["state"])
            assert index["latest"]["step"] == saved["state"]["run"]["step"] == now
            for each in folder.glob("*.npy"):
                if each.name[0] != ".":
                    assert number_in(each) == int(each.stem)
                    if int(each.stem) < now:
                        each.unlink()
        number = now
    Bus(checkpoint(folder, state), model=Model()).train_begin()
    print(kills, in_the_middle >= kills // 2, strays(folder))
"""
)


def in_fresh_process(code, *args):
    """Run code in a fresh process and return what it prints."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are those of POSIX")
@pytest.mark.parametrize(("kills", "state"), [(100, "model"), (30, "state")])
def test_a_kill_in_the_middle_of_a_save_leaves_the_last_good_file(tmp_path, kills, state):
    """After many SIGKILLs, half of them within the model's own writing, half anywhere, the newest file is whole."""
    assert in_fresh_process(KILLS, tmp_path, kills, state) == f"{kills} True []"


KERAS_SAVER = """
    import itertools, sys
    import keras
    from monitor_core import Bus
    from monitor_core.adapters.keras import KerasModel
    from monitor_core.sinks.model_checkpoint import ModelCheckpoint
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300)])
    bus = Bus(ModelCheckpoint(sys.argv[1], save_freq=1), model=KerasModel(model))
    print("ready", flush=True)
    first = int(input())
    bus.train_begin()
    bus.epoch_begin(0)
    for number in itertools.count(first):
        model.set_weights([0 * each + number for each in model.get_weights()])
        bus.batch_end(number, {})
        print(number, flush=True)
"""


def test_killed_keras_saves_leave_the_last_good_file(tmp_path):
    """Three times killed in the middle of saving a Keras model over its predecessor, the file is whole."""
    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300)])
    command = [sys.executable, "-c", textwrap.dedent(KERAS_SAVER), str(path)]
    with contextlib.ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        children = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(3)]
        stack.callback(lambda: [child.kill() for child in children])
        number = 0
        for child in children:
            assert child.stdout.readline() == "ready\n"
            child.stdin.write(f"{number + 1}\n")
            child.stdin.flush()
            saved = [int(child.stdout.readline()) for _ in range(3)]
            os.kill(child.pid, signal.SIGKILL)  # while it continues with the next
            KerasModel(model).load(path)
            (number,) = {int(value) for each in model.get_weights() for value in np.unique(each)}
            assert number >= saved[-1]
            child.wait()


@contextlib.contextmanager
def full_disk(size):
    """Let no file grow beyond a number of bytes, as if the disk was full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def fill_and_free(checkpoint, handle, warned):
    """Save, fail four times on a full disk, save again; return what was there after each part."""
    bus = Bus(checkpoint, model=handle)
    bus.train_begin()
    found = []
    for epoch in range(6):
        handle.number = epoch
        bus.epoch_begin(epoch)
        with full_disk(4096) if 1 <= epoch <= 4 else contextlib.nullcontext():
            bus.epoch_end(epoch, {"val_loss": 9.0 - epoch})
        if epoch in {0, 4, 5}:
            found.append((names(checkpoint.index_path.parent), checkpoint.best, checkpoint.latest_path.read_bytes()))
    assert [type(each.error) for each in bus.failures] == [OSError] * 4
    assert len([each for each in warned() if "disabled" in each]) == 0
    return found


def test_a_full_disk_leaves_the_last_good_file(tmp_path, warned):
    """Failed saves leave no trace and are never the end: the old file stays until one succeeds."""
    state = {"x": np.zeros(10_000)}
    checkpoint = ModelCheckpoint(tmp_path / "best.npz", save_best_only=True)
    first, full, last = fill_and_free(checkpoint, PytreeModel(lambda: state, state.update), warned)
    assert first == full
    assert (first[0], first[1], last[0], last[1]) == (["best.npz"], 9.0, ["best.npz"], 4.0)


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5"])
def test_a_full_disk_leaves_the_last_good_keras_file(tmp_path, warned, ending):
    """However Keras and HDF5 say that the disk is full, the old file stays, and no save is the last."""
    model = keras.Sequential([keras.Input((60,)), keras.layers.Dense(60)])
    checkpoint = ModelCheckpoint(tmp_path / f"m{ending}", save_best_only=True, save_weights_only="weights" in ending)
    first, full, last = fill_and_free(checkpoint, KerasModel(model), warned)
    assert first == full
    assert (first[1], last[1]) == (9.0, 4.0)


@pytest.mark.parametrize(
    "message",
    [
        "Can't decrement id ref count (file write failed: errno = 28, error message = 'No space left on device')",
        "[enforce fail at inline_container.cc:783] . PytorchStreamWriter failed writing file data/0: file write failed",
    ],
)
def test_a_failed_write_under_another_type_does_not_disable_the_sink(tmp_path, message):
    """What h5py and PyTorch raise on a full disk is reported as the OSError that it is."""
    model = Model()
    model.error = RuntimeError(message)
    bus = drive(Bus(ModelCheckpoint(tmp_path / "{epoch}.npy"), model=model), losses(4.0, 3.0, 2.0, 1.0))
    assert [type(each.error) for each in bus.failures] == [OSError] * 4
    assert model.saves == 4
    assert names(tmp_path) == []


def test_a_pytorch_module_in_a_loop_is_saved_and_continues(tmp_path, warned):
    """In a PyTorch loop the best is loaded back, a killed run continues, and a full disk leaves the old file."""
    torch = pytest.importorskip("torch")
    from monitor_core.adapters.torch import TorchModel

    def train(epochs):
        torch.manual_seed(7)
        module = torch.nn.Linear(60, 60)
        model = TorchModel(module, optimizer := torch.optim.Adam(module.parameters()))
        checkpoint = ModelCheckpoint(tmp_path / "{epoch}.pt", "loss", keep=Keep(best=1, last=2), save_state=True)
        loop = Loop(checkpoint, model=model)
        checkpoint.resume(loop.bus)
        with loop:
            for epoch in loop.epochs(epochs):
                for x in loop.batches(torch.ones(2, 60)):
                    optimizer.zero_grad()
                    loss = (module(x) ** 2).mean() * (1 if epoch != 2 else 9)
                    loss.backward()
                    optimizer.step()
                    loop.log(loss=loss)
        return checkpoint, model

    train(2)
    checkpoint, model = train(4)
    cut = model.get_weights()
    assert names(tmp_path) == ["3.pt", "4.pt"]
    for each in tmp_path.iterdir():
        each.unlink()
    checkpoint, model = train(4)
    assert all(map(np.array_equal, cut, model.get_weights()))
    checkpoint.load_best(model)
    (tmp_path / "disk").mkdir()
    first, full, _ = fill_and_free(ModelCheckpoint(tmp_path / "disk" / "m.pt", save_best_only=True), model, warned)
    assert first == full


READ_ONLY = (
    SAVER
    + """
    from monitor_core import SetupError
    from monitor_core.metrics.decisions import Best
    folder = Path(sys.argv[1])
    sink, model = checkpoint(folder, False), Model()
    model.number = 1.0
    first, second = Bus(sink, model=model), Bus(checkpoint(folder, False), model=model)
    first.train_begin()
    first.epoch_begin(0)
    folder.chmod(0o555)
    if os.getuid() == 0:
        os.setuid(65534)
    first.batch_end(1, {})
    print([type(each.error).__name__ for each in first.failures], list(folder.glob("[!.]*")))
    try:
        second.train_begin()
    except SetupError as error:
        print("cannot write into" in str(error))
"""
)


def test_a_read_only_folder_is_an_error_at_train_begin():
    """A folder that cannot be written fails at train begin; one that turns so later fails the save alone."""
    with tempfile.TemporaryDirectory() as home:  # pytest's own are closed to the user that root becomes
        folder = Path(home) / "folder"
        folder.mkdir()
        Path(home).chmod(0o755)
        assert in_fresh_process(READ_ONLY, folder).split("\n") == ["['PermissionError'] []", "True"]


def test_strays_in_folders_of_the_template_are_removed(tmp_path):
    """What a kill has left is removed at train begin, in folders that a field named too; other files are not."""
    (tmp_path / "1").mkdir()
    strays = [tmp_path / ".monitor_core-999999999-0-a.npy", tmp_path / "1" / ".monitor_core-999999999-1-a.npy"]
    for each in [*strays, tmp_path / "1" / "other.npy"]:
        each.touch()
    Bus(ModelCheckpoint(tmp_path / "{epoch}" / "a.npy"), model=Model()).train_begin()
    assert names(tmp_path) == ["1/other.npy"]


def test_a_save_is_logged(tmp_path, caplog):
    """Each save is logged at INFO."""
    caplog.set_level(logging.INFO, "monitor_core")
    run(ModelCheckpoint(tmp_path / "{epoch}.npy"), 1.0)
    assert f"ModelCheckpoint saved {tmp_path / '1.npy'}" in caplog.messages


def test_batch_hooks_are_not_called_without_need(tmp_path):
    """Only a number of steps makes it listen to batches, which keeps Keras's dispatch asynchronous otherwise."""
    assert not Bus(ModelCheckpoint(tmp_path / "a.npy"), model=Model()).has_listeners("on_batch_end", "on_block")
    assert Bus(ModelCheckpoint(tmp_path / "a.npy", save_freq=9), model=Model()).has_listeners("on_batch_end")
