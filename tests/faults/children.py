"""Processes to be killed, starved and set against each other: each plays a part, and reports what it did.

A part is a function of this module. A report is a line of JSON on its standard output, which is with the operating
system when `tell` returns, and so outlives a kill. Some parts wait for a line on their standard input.
"""

import contextlib
import gc
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from monitor_core import (
    ActivationDump,
    Bus,
    CSVLogger,
    Journal,
    Loop,
    ModelCheckpoint,
    SetupError,
    Sink,
    TensorBoard,
)
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.files.checkpoint_index import Keep

SECONDS = 60
"""How long a part may take."""
METRICS = 50
"""How many metrics fill what may wait while a disk is full."""


# --- for the tests ---------------------------------------------------------------------------------------------------


def start(part, *arguments):
    """Start a process that plays a part; its arguments are texts and numbers."""
    command = [sys.executable, __file__, part, *map(str, arguments)]
    return subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextlib.contextmanager
def playing(part, *arguments):
    """Start a process that plays a part, and end it after the test."""
    with start(part, *arguments) as child:
        try:
            yield child
        finally:
            child.kill()


def answer_of(child):
    """Wait for the next report of a process; None if it has ended."""
    line = child.stdout.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def proceed(child):
    """Let a waiting process continue."""
    child.stdin.write(b"\n")


def played(part, *arguments):
    """Let a process play a part to its end, in time; return all its reports."""
    with playing(part, *arguments) as child:
        output, errors = child.communicate(timeout=SECONDS)
        assert child.returncode == 0, errors.decode()
    return [json.loads(line) for line in output.splitlines()]


# --- for the parts ---------------------------------------------------------------------------------------------------


def tell(*facts):
    """Report facts that JSON can hold."""
    os.write(1, json.dumps(facts).encode() + b"\n")


class Teller(Sink):
    """Reports every batch and epoch that has ended, after all other sinks have received it."""

    saves = True

    def on_batch_end(self, run, step, logs):
        """Report the step, and when it ended."""
        tell("batch", step, time.monotonic())

    def on_epoch_end(self, run, epoch, logs):
        """Report the epoch."""
        tell("epoch", epoch)


class Warned(logging.Handler):
    """Keeps the package's warnings."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []
        logging.getLogger("monitor_core").addHandler(self)

    def emit(self, record):
        """Keep a message."""
        self.messages.append(record.getMessage())


class Model(PytreeModel):
    """A model of 2,000 numbers with one layer."""

    def __init__(self):
        state = {"layer": np.zeros(2000)}
        super().__init__(lambda: state, state.update)

    def activations(self, x, layers=None):
        """Yield what the layer puts out."""
        yield "layer", np.zeros((len(x), 1000))


def recorders(folder):
    """Return the sinks that append to files, by name; the CSV file of batches and that of epochs are two."""
    board = {"update_freq": "batch", "write_graph": False, "write_steps_per_second": False}
    return {
        "epochs": CSVLogger(folder / "epochs.csv"),
        "batches": CSVLogger(folder / "batches.csv", per_batch=True),
        "board": TensorBoard(folder / "board", **board),
        "journal": Journal(folder / "journal"),
    }


def file_sinks(folder):
    """Return all sinks that write files, by name."""
    return {
        **recorders(folder),
        "checkpoint": ModelCheckpoint(folder / "{epoch}.npz", "loss", keep=Keep(last=3)),
        "dump": ActivationDump(folder / "activations" / "{epoch}.npz", data=np.zeros((1, 1)), keep=3),
    }


def unhurried(*sinks, **options):
    """Return a loop that reports no slow sink, since every sink is slow compared with batches that take no time."""
    loop = Loop(*sinks, **options)
    loop.bus.slow_share = np.inf
    return loop


def train_epoch(loop, batches):
    """Train the loop's next epoch."""
    for epoch in loop.epochs(loop.next_epoch + 1):
        for batch in loop.batches(range(batches)):
            loop.log(loss=epoch + batch / batches)


# --- the parts -------------------------------------------------------------------------------------------------------


def record(folder, rate, seconds):
    """Record batches at a rate, in epochs of some seconds, until the test ends the process."""
    rate, batches = float(rate), round(float(rate) * float(seconds))
    with Loop(*recorders(Path(folder)).values(), Teller()) as loop:
        tell("ready")
        begin = time.monotonic()
        for _ in loop.epochs(1000):
            for _ in loop.batches(range(batches)):
                time.sleep(max(0.0, begin + (loop.run.step + 1) / rate - time.monotonic()))
                loop.log(loss=1 / (loop.run.step + 1))


def record_to_store(address, state):
    """Record batches to a store, with a spool in a folder, until the test ends the process."""
    from monitor_core.store import mirror

    os.environ["XDG_STATE_HOME"] = state
    mirror.SECONDS = 0.1
    with unhurried(Journal(address)) as loop:
        tell("ready")
        for epoch in loop.epochs(1000):
            for batch in loop.batches(range(100)):
                time.sleep(0.001)
                loop.log(loss=epoch + batch / 100)


def record_until_told(folder, rate, seconds):
    """Record likewise; SIGTERM raises SystemExit."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    record(folder, rate, seconds)


def fill(folder, how):
    """Train with room on the disk, without, and with room again; report what there is each time, and what was said."""
    folder, warned = Path(folder), Warned()
    sinks = file_sinks(folder)
    with unhurried(*sinks.values(), model=Model()) as loop:
        for each in (contextlib.nullcontext(), FULL[how](folder), contextlib.nullcontext()):
            with each:
                for _ in range(3):
                    train_epoch(loop, 400)
                tell(*contents(folder))
            time.sleep(0.5)  # for longer than an attempt to write is put off by now
    tell(*contents(folder))
    tell(loop.run.status, [each.dropped for each in (sinks["batches"], sinks["epochs"], sinks["journal"])])
    tell(*warned.messages)
    tell(*((each.sink, type(each.error).__name__, each.step) for each in loop.bus.failures))


def overfill(folder, batches):
    """Train with so much to record on a full disk that some of it must be dropped; report what was said."""
    folder, warned = Path(folder), Warned()
    logs = {f"m{number}": number / 3 for number in range(METRICS)}
    with unhurried(*recorders(folder).values()) as loop, limit_of_size(folder):
        for _ in loop.epochs(1):
            for _ in loop.batches(range(int(batches))):
                loop.log(logs)
    tell(*(each.dropped for each in loop.bus.sinks))
    del loop
    gc.collect()  # and with it the files, which tell then what they lack
    tell(*warned.messages)


def own(folder, *names):
    """Record an epoch with some of the sinks, wait, record another and end; report each time what has happened."""
    sinks = file_sinks(Path(folder))
    try:
        with Loop(*[sinks[name] for name in names], model=Model()) as loop:
            train_epoch(loop, 100)
            tell("recorded", os.getpid())
            sys.stdin.readline()
            train_epoch(loop, 100)
    except SetupError as error:
        tell("refused", str(error))
    else:
        tell("ended", len(loop.bus.failures))


def own_and_fork(folder):
    """Record an epoch, fork a worker that outlives this process, and wait to be killed."""
    with Loop(*recorders(Path(folder)).values()) as loop:
        train_epoch(loop, 10)
        worker = os.fork()
        if not worker:
            time.sleep(SECONDS)
            os._exit(0)
        tell("forked", worker)
        sys.stdin.readline()


def begin(folder, fault):
    """Begin a run for each sink alone, under a fault; report what each raised, and whether it did within a second."""
    sinks = file_sinks(Path(folder))
    for name, sink in sinks.items():
        with FAULTS[fault](Path(folder)):
            begin = time.monotonic()
            raised = raised_by(Bus(sink, model=Model()).train_begin)
            seconds = time.monotonic() - begin
        tell(name, *raised, seconds < 1)


def raised_by(call):
    """Return the type and the text of what a call raises."""
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)
    return "nothing", ""


def suffer(folder, fault):
    """Train through a fault that comes and goes; report the files' contents, what was said, and what was raised."""
    folder, warned = Path(folder), Warned()
    with unhurried(*file_sinks(folder).values(), model=Model()) as loop:
        train_epoch(loop, 10)
        with FAULTS[fault](folder):
            train_epoch(loop, 10)
            train_epoch(loop, 10)
        time.sleep(0.5)  # for longer than an attempt to write is put off by now
        train_epoch(loop, 10)
    tell(loop.run.status, *contents(folder))
    tell(*warned.messages)
    tell(*((each.sink, each.hook, each.step) for each in loop.bus.failures))


def contents(folder):
    """Return how many lines the CSV files have, the journal's and the event files' bytes, and the other files."""
    lines = [path.read_bytes().count(b"\n") if path.exists() else 0 for path in map(folder.joinpath, CSV)]
    sizes = [sum(path.stat().st_size for path in (folder / each).rglob("*.*")) for each in ("journal", "board")]
    return lines, sizes, sorted(path.relative_to(folder).as_posix() for path in folder.rglob("[0-9]*.npz"))


CSV = ("epochs.csv", "batches.csv")


# --- the faults ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def ballast(folder):
    """Fill the file system to the last byte."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    try:
        yield
    finally:
        path.unlink()


@contextlib.contextmanager
def limit_of_size(folder):
    """Let no file grow, as if the disk was full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


FULL = {"disk": ballast, "limit": limit_of_size}


@contextlib.contextmanager
def crowded(folder):
    """Let no further file be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    descriptors = []
    with contextlib.suppress(OSError):
        while True:
            descriptors.append(os.open(os.devnull, os.O_RDONLY))
    try:
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@contextlib.contextmanager
def read_only(folder):
    """Forbid creating anything in the folder and those within; root, who always may, becomes another user meanwhile."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    user = os.geteuid()
    for each in folders:
        each.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for each in folders:
            each.chmod(0o755)


@contextlib.contextmanager
def vanished(folder):
    """Remove the folder with all that is in it, once."""
    shutil.rmtree(folder)
    yield


@contextlib.contextmanager
def blocked(folder):
    """Put a file in the folder's place."""
    shutil.rmtree(folder)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        folder.mkdir()


FAULTS = {"read-only": read_only, "vanished": vanished, "blocked": blocked, "crowded": crowded}

if __name__ == "__main__":
    signal.alarm(SECONDS)
    globals()[sys.argv[1]](*sys.argv[2:])
