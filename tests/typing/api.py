"""What users write, for mypy and pyright: it is checked, not run. What must be an error says so at its line's end.

Both checkers warn where such an ignore is not needed, so an error that went missing is found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import monitor_core
from monitor_core import (
    Block,
    Bus,
    CSVLogger,
    Diagnosis,
    EarlyStopping,
    Failure,
    Finding,
    History,
    Inside,
    Journal,
    Keep,
    LayerGraph,
    LearningRateScheduler,
    Loop,
    ModelCheckpoint,
    NetworkSink,
    Progress,
    ReduceLROnPlateau,
    Run,
    Sink,
    Snapshots,
    SystemMetrics,
    TensorBoard,
    TerminateOnNaN,
    Webhook,
    diagnose,
    on,
    open_run,
    scalar,
)
from monitor_core.adapters.pytree import PytreeModel
from monitor_core.bus.hooks import FunctionSink
from monitor_core.model.layer_graph import LayerNode
from monitor_core.model.snapshot import Snapshot
from monitor_core.replay import replay
from monitor_core.schedules import CosineDecay, LinearWarmup
from monitor_core.testing import Epoch, NumpyModel, Played, Recorder, play

# --- the overloads of `on` ---


@on("epoch_end")
def show(run: Run, epoch: int, logs: Mapping[str, float]) -> None:
    """Show the loss."""
    assert_type(logs["loss"], float)


assert_type(show, FunctionSink)
assert_type(on("epoch_end", print), FunctionSink)
assert_type(on("epoch_end"), Callable[[Callable[..., Any]], FunctionSink])
on()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


# --- custom sinks ---


class Mine(Sink):
    """Override some hooks, and switches."""

    read_only = True
    background = True
    needs = ("get_weights",)

    def on_epoch_end(self, run: Run, epoch: int, logs: Mapping[str, Any]) -> None:
        """Act on the run."""
        run.stop("done", failed=True)
        run.learning_rate = run.learning_rate / 2

    def on_block(self, run: Run, block: Block) -> None:
        """Read columns."""
        assert_type(block.columns["loss"], NDArray[np.float64])
        assert_type(block.steps, NDArray[np.int64])


class WrongHook(Sink):
    """Take other parameters than the bus passes."""

    def on_epoch_end(self, epoch: int) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take no run."""


class Messages(NetworkSink):
    """Deliver messages."""

    def deliver(self, message: Any) -> None:
        """Deliver one."""


# --- attrs classes: arguments by position and by name ---


EarlyStopping("val_loss", patience=3, min_delta=1, restore_best_weights=True)
# Options are keyword-only.
EarlyStopping("val_loss", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ReduceLROnPlateau("val_loss", 0.5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
LearningRateScheduler(abs, "step")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ModelCheckpoint("{epoch}.keras", "loss", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
CSVLogger("log.csv", ";")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Journal("runs/a", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
TensorBoard("logs", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
TerminateOnNaN("loss", "block")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Webhook("https://example.org", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
History(True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Progress(None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
EarlyStopping(patience="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
EarlyStopping(moniter="val_loss")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
ReduceLROnPlateau("val_loss", factor=0.5, rule="pytorch")
LearningRateScheduler(LinearWarmup(0.0, 0.1, 5, then=CosineDecay(0.1, 10)))
LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1), unit="step")
ModelCheckpoint(Path("{epoch}.keras"), keep=Keep(best=2, last=1), save_freq=100)
CSVLogger("log.csv", per_batch=True)
CSVLogger(Path("log.csv"), append=True)
Journal("runs/a", config={"units": 4})
TensorBoard("logs", histogram_freq=1)
TerminateOnNaN(None, every="block")
LayerGraph("model", (LayerNode("dense", "Dense"),), ())
Webhook("https://example.org", format=lambda event: {"text": event["event"]})


# --- loops ---


history = History(per_batch=True)
tree: dict[str, Any] = {"weights": np.zeros(2)}
with Loop(history, show, Mine(), model=PytreeModel(lambda: tree, tree.update), initial_epoch=1, strict=True) as loop:
    assert_type(loop, Loop)
    for epoch in loop.epochs(3):
        assert_type(epoch, int)
        for x, y in loop.batches([(1.0, "a"), (2.0, "b")]):
            assert_type(x, float)
            assert_type(y, str)
            loop.log(loss=x, weight=np.float32(2))
            loop.log({"train/loss": x}, accuracy=1)
        with loop.evaluation("test_") as results:
            assert_type(results, dict[str, float])
    loop.log("loss", 0.5)  # type: ignore[arg-type,call-arg]  # pyright: ignore[reportCallIssue]

assert_type(loop.run, Run)
assert_type(loop.run.stop_reason, str | None)
assert_type(loop.bus.failures, list[Failure])
assert_type(history["loss"], NDArray[np.float64])
assert_type(history.epoch, list[int])
assert_type(scalar(np.float32(1)), float)
assert_type(replay(open_run("runs/a"), EarlyStopping("loss")), Run)

bus = Bus(history, strict=True)
bus.train_begin(epochs=1)
bus.epoch_begin(0)
bus.batch_begin(1)
bus.batch_end(1, {"loss": 0.5})
bus.epoch_end(0, {"loss": 0.5})
bus.train_end()


# --- lazy names ---


assert_type(monitor_core.Progress(), Progress)
monitor_core.Progres()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


# --- testing ---


assert_type(play(Recorder(), [{"loss": 1.0}, [{"loss": 1.0}], Epoch(logs={"loss": 1.0})], model=NumpyModel()), Played)
play(Recorder("on_epoch_end"), [KeyboardInterrupt()])

# --- what is wrong with a training ---

assert_type(loop.run.findings, list[Finding])
assert_type(diagnose("runs/a")[0], Finding)
assert_type(diagnose({"loss": [1.0, 0.5]})[0].evidence, dict[str, Any])
Diagnosis(on_problem="stop", stall_seconds=None)
Diagnosis(on_problem=lambda run, finding: run.stop(finding.message))
Diagnosis(on_problem="halt")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Inside(every=5, samples=16, data=(np.zeros((4, 2)), np.zeros(4)))
assert_type(open_run("runs/a").layers["dead"], NDArray[np.float64])
assert_type(open_run("runs/a").histograms["weights"]["dense/kernel"].counts, NDArray[np.int64])
Snapshots(every=5, class_names=["a", "b"], image_shape=(28, 28))
assert_type(open_run("runs/a").snapshot, Snapshot | None)
assert_type(open_run("runs/a").report("a.html", baseline="runs/b"), Path)
assert_type(SystemMetrics(every=1.0)["memory"], NDArray[np.float64])
