"""Variants of a training loop around a step: bare, ours, by hand, and those of the installed peers.

Each takes a number of batches and trains on them. The setup of a run (Lightning's trainer, Ignite's
engine) is not part of the reported time. Peers that are not installed are skipped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import logging
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs

from monitor_core import Loop
from support.stack import alone, check
from support.steps import TorchStep

FLOOR = "bare loop"

Variant = Callable[[int], object]


def bare(step: Any) -> Variant:
    """Return the loop without monitoring."""

    def work(batches: int) -> None:
        for _ in range(batches):
            step()

    return work


def floats(step: Any) -> Variant:
    """Return the loop that reads both values immediately, into lists."""
    losses: list[float] = []
    accuracies: list[float] = []

    def work(batches: int) -> None:
        for _ in range(batches):
            loss, accuracy = step()
            losses.append(loss.item())
            accuracies.append(accuracy.item())

    return work


def ours(step: Any, sinks: list[object], stack: ExitStack) -> Variant:
    """Return our loop; a call is an epoch, so that everything is delivered at its end."""
    loop = Loop(*sinks, model=step.handle)
    stack.callback(check, loop.bus)
    stack.enter_context(loop)

    def work(batches: int) -> None:
        for _ in loop.epochs(loop.next_epoch + 1):
            for _ in loop.batches(range(batches)):
                loss, accuracy = step()
                loop.log(loss=loss, accuracy=accuracy)

    return work


def variants(step: Any, folder: Path, stack: ExitStack) -> dict[str, Variant]:
    """Return the variants of any framework: the bare loop, ours, and reading by hand."""
    made = {FLOOR: bare(step)}
    for name, sinks in alone(folder / "ours").items():
        made[f"Loop, {name}"] = ours(step, sinks, stack)
    return {**made, ".item() of each value, to a list": floats(step)}


# --- peers of PyTorch ----------------------------------------------------------------------------------------------


def without_tensorflow() -> None:
    """Make tensorboard's writers work without TensorFlow, as if it was not installed; its import takes seconds."""
    sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))


def writer(step: Any, kind: type, folder: Path, stack: ExitStack) -> Variant:
    """Return the loop with a ``SummaryWriter``, two scalars per batch."""
    board = kind(str(folder))
    stack.callback(board.close)
    numbers = itertools.count()

    def work(batches: int) -> None:
        for _, number in zip(range(batches), numbers, strict=False):
            loss, accuracy = step()
            board.add_scalar("loss", loss, number)
            board.add_scalar("accuracy", accuracy, number)
        board.flush()

    return work


def writers(step: Any, folder: Path, stack: ExitStack) -> Iterator[tuple[str, Variant]]:
    """Yield the loop with each ``SummaryWriter`` that is installed."""
    without_tensorflow()
    with contextlib.suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter

        yield "torch SummaryWriter, every batch", writer(step, SummaryWriter, folder / "torch", stack)
    with contextlib.suppress(ImportError):
        from tensorboardX import SummaryWriter as SummaryWriterX

        yield "tensorboardX, every batch", writer(step, SummaryWriterX, folder / "tensorboardX", stack)


def ignite(step: Any, folder: Path | None, stack: ExitStack) -> Variant:
    """Return Ignite's engine with running averages of both values; with a folder, its TensorBoard logger too."""
    from ignite.engine import Engine, Events
    from ignite.handlers.tensorboard_logger import TensorboardLogger
    from ignite.metrics import Average

    engine = Engine(lambda *_: step())
    for position, name in enumerate(("loss", "accuracy")):
        average = Average(lambda output, position=position: output[position].detach(), device=step.device)
        average.attach(engine, name)
    if folder is not None:
        logger = TensorboardLogger(log_dir=str(folder))
        stack.callback(logger.close)
        engine.add_event_handler(Events.COMPLETED, lambda _: logger.writer.flush())
        logger.attach_output_handler(
            engine,
            event_name=Events.ITERATION_COMPLETED,
            tag="training",
            output_transform=lambda output: {"loss": output[0].item(), "accuracy": output[1].item()},
        )

    def work(batches: int) -> None:
        engine.run(itertools.repeat(None), max_epochs=1, epoch_length=batches)

    return work


@attrs.frozen
class Repeated:
    """A dataset that repeats one batch; a list would be taken for several datasets."""

    batch: Any
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(self.batch, self.count)


def lightning(step: TorchStep, folder: Path | None) -> Variant:
    """Return Lightning's trainer with both values logged, at every batch to TensorBoard if there is a folder."""
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import TensorBoardLogger

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.module = step.module

        def training_step(self, batch, _):
            loss, accuracy = step.measure(*batch)
            self.log("loss", loss)
            self.log("accuracy", accuracy)
            return loss

        def configure_optimizers(self):
            return step.optimizer

    class Clock(Callback):
        def on_train_epoch_start(self, trainer, module):
            self.begin = time.perf_counter()

        def on_train_epoch_end(self, trainer, module):
            step.settle()
            self.seconds = time.perf_counter() - self.begin

    module = Module()
    quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)

    def work(batches: int) -> float:
        clock = Clock()
        trainer = Trainer(
            max_epochs=1,
            logger=False if folder is None else TensorBoardLogger(str(folder)),
            log_every_n_steps=1,
            callbacks=[clock],
            accelerator="gpu" if step.device.type == "cuda" else "cpu",
            devices=1,
            **quiet,
        )
        trainer.fit(module, Repeated((step.x, step.y), batches))
        return clock.seconds

    return work


def peers(step: Any, folder: Path, stack: ExitStack) -> dict[str, Variant]:
    """Return the installed peers of PyTorch; Lightning is only included if the step does work."""
    made = dict(writers(step, folder, stack))
    if importlib.util.find_spec("ignite"):
        made["Ignite, metrics"] = ignite(step, None, stack)
        with contextlib.suppress(ModuleNotFoundError):  # its logger needs a writer
            made["Ignite, metrics and TensorBoard"] = ignite(step, folder / "ignite", stack)
    if importlib.util.find_spec("lightning") and isinstance(step, TorchStep):
        made["Lightning, logged values"] = lightning(step, None)
        with contextlib.suppress(ModuleNotFoundError):
            made["Lightning, logged values to TensorBoard"] = lightning(step, folder / "lightning")
    return made
