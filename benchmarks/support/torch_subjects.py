"""Peers of PyTorch that record, or that call the hooks of others; see `support.subjects`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from support.subjects import OnScalar, Subject, Value, csv_rows, fail, scalars_in


class Writer(Subject):
    """A writer that is called in a plain loop."""

    family = "torch"

    def make(self, folder: Path) -> Any:
        raise NotImplementedError

    def add(self, writer: Any, step: int, value: Any) -> None:
        writer.add_scalar("loss", value, step)

    def close(self, writer: Any) -> None:
        writer.close()

    def train(self, folder: Path, count: int, on_scalar: OnScalar, value: Value) -> None:
        writer = self.make(folder)
        for step in range(1, count + 1):
            self.add(writer, step, value(step))
            on_scalar(step)
        self.close(writer)

    def recorded(self, folder: Path) -> int:
        return scalars_in(folder, "loss")


class TorchWriter(Writer):
    name, needs = "torch SummaryWriter", "torch"

    def load(self) -> None:
        from support.loops import without_tensorflow

        without_tensorflow()
        from torch.utils import tensorboard  # noqa: F401

    def make(self, folder: Path) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder))


class TorchWriterOnTensorFlow(TorchWriter):
    """The same with TensorFlow installed, through which it then writes."""

    name, family = "torch SummaryWriter on TensorFlow", "keras"

    @classmethod
    def is_installed(cls) -> bool:
        return super().is_installed() and importlib.util.find_spec("tensorflow") is not None

    def load(self) -> None:
        from torch.utils import tensorboard  # noqa: F401


class XWriter(Writer):
    name, needs = "tensorboardX SummaryWriter", "tensorboardX"

    def load(self) -> None:
        import tensorboardX  # noqa: F401

    def make(self, folder: Path) -> Any:
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(folder))


class LightningCSV(Writer):
    """Lightning's logger; for faults of hooks, its trainer drives a loop."""

    name, needs = "lightning CSVLogger", "lightning"

    def load(self) -> None:
        import lightning.pytorch
        import lightning.pytorch.loggers  # noqa: F401

    def make(self, folder: Path) -> Any:
        from lightning.pytorch.loggers import CSVLogger

        return CSVLogger(str(folder), name="", version="")

    def add(self, writer: Any, step: int, value: Any) -> None:
        writer.log_metrics({"loss": value}, step)

    def close(self, writer: Any) -> None:
        writer.finalize("success")

    def recorded(self, folder: Path) -> int:
        return csv_rows(folder / "metrics.csv")

    def raising(self, folder: Path, count: int, served: list[int]) -> None:
        from lightning.pytorch import Callback

        class Broken(Callback):
            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
                if index == 2:
                    raise ValueError("broken")

        class Other(Callback):
            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
                served.append(index)

        self._fit(folder, count, [Broken(), Other()])

    def ending(self, folder: Path, called: list[str]) -> None:
        from lightning.pytorch import Callback

        class End(Callback):
            def on_train_end(self, trainer: Any, module: Any) -> None:
                called.append("on_train_end")

            def on_exception(self, trainer: Any, module: Any, error: BaseException) -> None:
                called.append("on_exception")

        self._fit(folder, 9, [End()], fail)

    def _fit(self, folder: Path, count: int, callbacks: list[Any], on_scalar: OnScalar = bool) -> None:
        import logging

        import torch
        from lightning.pytorch import LightningModule, Trainer

        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

        class Module(LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(1, 1)

            def training_step(self, batch: Any, index: int) -> Any:
                on_scalar(index + 1)
                loss = self.layer(batch).mean()
                self.log("loss", loss)
                return loss

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), 0.1)

        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        self.kept = callbacks
        trainer = Trainer(max_epochs=1, logger=self.make(folder), callbacks=callbacks, accelerator="cpu", **quiet)
        trainer.fit(Module(), torch.utils.data.DataLoader(torch.ones(count, 1)))


class Ignite(Subject):
    """Ignite's engine, which records nothing by itself: tests its handlers."""

    name, family, needs = "pytorch-ignite Engine", "torch", "ignite"

    def load(self) -> None:
        import ignite.engine  # noqa: F401

    def raising(self, folder: Path, count: int, served: list[int]) -> None:
        from ignite.engine import Engine, Events

        engine = Engine(lambda *_: None)

        @engine.on(Events.ITERATION_COMPLETED)
        def broken(engine: Any) -> None:
            if engine.state.iteration == 3:
                raise ValueError("broken")

        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: served.append(engine.state.iteration))
        engine.logger.disabled = True
        engine.run(range(count))

    def ending(self, folder: Path, called: list[str]) -> None:
        from ignite.engine import Engine, Events

        engine = Engine(lambda _, batch: fail(batch))
        engine.add_event_handler(Events.COMPLETED, lambda _: called.append("COMPLETED"))
        engine.logger.disabled = True
        engine.run(range(9))
