"""Trainings of frameworks whose callbacks are timed: an empty one, ours, and what the framework logs by itself.

Each function here trains once, with callbacks in the order that it is given, and returns the seconds of each step by
the callback's name. To add a framework, write such a function and add it to `TRAININGS`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

EMPTY = "an empty callback"  # or a plain loop
CONTROL = "A/A control"
OURS = "the adapter, full stack"
THEIRS = "the framework's own logging to TensorBoard"

WIDTH, SAMPLES = 64, 32


class Timer:
    """Adds up the time of functions in each step; calls while one of them runs count once."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._now = 0.0
        self._is_running = False

    def timed(self, function: Callable[..., Any], *, ends: bool = False) -> Callable[..., Any]:
        """Return a function that is timed, and that ends a step if it ``ends`` one."""
        clock = time.perf_counter

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._is_running:
                return function(*args, **kwargs)
            self._is_running = True
            begin = clock()
            try:
                return function(*args, **kwargs)
            finally:
                self._now += clock() - begin
                self._is_running = False
                if ends:
                    self.end_step()

        return call

    def end_step(self) -> None:
        """End a step."""
        self.steps.append(self._now)
        self._now = 0.0

    def watch(self, target: Any, *names: str, last: str) -> None:
        """Time methods of an object; ``last`` is the last one that is called in a step."""
        for name in (*names, last):
            setattr(target, name, self.timed(getattr(target, name), ends=name == last))


def transformers(
    order: Sequence[str], sinks: list[object], folder: Path, steps: int, *, logs: bool
) -> dict[str, list[float]]:
    """Train with Hugging Face's ``Trainer``; if it ``logs``, at each step, and to TensorBoard."""
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

    from monitor_core.adapters.transformers import TransformersAdapter

    class Model(PreTrainedModel):
        config_class = PretrainedConfig
        accepts_loss_kwargs = False

        def __init__(self) -> None:
            super().__init__(PretrainedConfig())
            self.net = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1))
            self.post_init()

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            return {"loss": torch.nn.functional.mse_loss(self.net(x), labels)}

    made = {EMPTY: TrainerCallback(), CONTROL: TrainerCallback(), OURS: TransformersAdapter(*sinks)}
    if logs:
        from transformers.integrations import TensorBoardCallback

        made[THEIRS] = TensorBoardCallback()
    timers = {name: Timer() for name in made}
    for name, timer in timers.items():
        timer.watch(made[name], "on_step_begin", "on_step_end", last="on_log" if logs else "on_step_end")
    arguments = TrainingArguments(
        str(folder / "trainer"),
        max_steps=steps,
        per_device_train_batch_size=SAMPLES,
        logging_steps=1 if logs else 500,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        save_strategy="no",
    )
    data = [{"x": torch.randn(WIDTH), "labels": torch.randn(1)} for _ in range(SAMPLES * 100)]
    trainer = Trainer(Model(), arguments, train_dataset=data, callbacks=[made[name] for name in order if name in made])
    trainer.train()
    made[OURS].bus.flush()
    return {name: timer.steps[:steps] for name, timer in timers.items()}


def lightning(
    order: Sequence[str], sinks: list[object], folder: Path, steps: int, *, logs: bool
) -> dict[str, list[float]]:
    """Train with Lightning's ``Trainer``; if it ``logs``, at each step, and to TensorBoard."""
    import lightning.pytorch as pl
    import torch

    from monitor_core.adapters.lightning import LightningAdapter

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    made = {EMPTY: pl.Callback(), CONTROL: pl.Callback(), OURS: LightningAdapter(*sinks)}
    timers = {name: Timer() for name in made}
    for name, timer in timers.items():
        more = ["_note_step"] if name == OURS else []  # the hook on the optimizer's step
        timer.watch(made[name], *more, "on_train_batch_start", last="on_train_batch_end")
    logger: Any = False
    if logs:
        logger = pl.loggers.TensorBoardLogger(folder / "board")
        timers[THEIRS] = Timer()
        timers[THEIRS].watch(logger, "save", last="log_metrics")
    batches = [(torch.randn(SAMPLES, WIDTH), torch.randn(SAMPLES, 1)) for _ in range(100)]
    trainer = pl.Trainer(
        max_steps=steps,
        callbacks=[made[name] for name in order if name in made],
        logger=logger,
        log_every_n_steps=1 if logs else 50,
        default_root_dir=folder,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Module(), torch.utils.data.DataLoader(batches, batch_size=None))
    made[OURS].bus.flush()
    return {name: timer.steps[:steps] for name, timer in timers.items()}


class Empty:
    """Two hooks that do nothing, for custom loops and for engines."""

    def begin(self, *_: Any) -> None:
        pass

    def end(self, *_: Any) -> None:
        pass


def _net() -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1))


def _batches() -> list[Any]:
    import torch

    return [(torch.randn(SAMPLES, WIDTH), torch.randn(SAMPLES, 1)) for _ in range(100)]


def accelerate(
    order: Sequence[str], sinks: list[object], folder: Path, steps: int, *, logs: bool
) -> dict[str, list[float]]:
    """Train with Accelerate in a loop; if it ``logs``, at each step, and to TensorBoard."""
    import torch
    from accelerate import Accelerator

    from monitor_core.adapters.accelerate import AccelerateLoop

    accelerator = Accelerator(cpu=True, log_with="tensorboard" if logs else None, project_dir=folder)
    if logs:
        accelerator.init_trackers("board")
    net, empty = _net(), Empty()
    model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.01))
    loop = AccelerateLoop(accelerator, *sinks, model=model, optimizer=optimizer)
    timers = {name: Timer() for name in order if logs or name != THEIRS}
    begins = [timers[name].timed(empty.begin) for name in (EMPTY, CONTROL)]
    ends: dict[str, Callable[[Any], Any]] = {
        name: timers[name].timed(empty.end, ends=True) for name in (EMPTY, CONTROL)
    }
    log = timers[OURS].timed(loop.log)
    ends[OURS] = lambda loss: log(loss=loss)
    if logs:
        log_theirs = timers[THEIRS].timed(accelerator.log, ends=True)
        ends[THEIRS] = lambda loss: log_theirs({"loss": loss.item()}, step=loop.run.step)
    make_epoch = loop._new_epoch

    def new_epoch(count: int | None) -> Any:
        epoch = make_epoch(count)
        timers[OURS].watch(epoch, "_begin_batch", last="_end_batch")
        return epoch

    loop._new_epoch = new_epoch  # type: ignore[method-assign]
    data = _batches()
    with loop:
        for _ in loop.epochs(1, steps_per_epoch=steps):
            for x, y in loop.batches(data):
                for begin in begins:
                    begin()
                with accelerator.accumulate(model):
                    loss = torch.nn.functional.mse_loss(model(x), y)
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
                for name in order:
                    if name in ends:
                        ends[name](loss)
    accelerator.end_training()
    return {name: timer.steps[:steps] for name, timer in timers.items()}


def ignite(
    order: Sequence[str], sinks: list[object], folder: Path, steps: int, *, logs: bool
) -> dict[str, list[float]]:
    """Train with Ignite's supervised trainer; if it ``logs``, at each step, and to TensorBoard."""
    import torch
    from ignite.engine import Events, create_supervised_trainer

    from monitor_core.adapters.ignite import IgniteAdapter

    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    criterion = torch.nn.MSELoss()
    trainer = create_supervised_trainer(net, optimizer, criterion, output_transform=lambda *outputs: outputs[-1])
    adapter = IgniteAdapter(*sinks, model=net, optimizer=optimizer)
    timers = {name: Timer() for name in order if logs or name != THEIRS}
    timers[OURS].watch(adapter, "_begin_iteration", "_note_step", last="_end_iteration")
    for name in order:
        if name == OURS:
            adapter.attach(trainer)
        elif name in (EMPTY, CONTROL):
            empty = Empty()
            trainer.add_event_handler(Events.ITERATION_STARTED, timers[name].timed(empty.begin))
            trainer.add_event_handler(Events.ITERATION_COMPLETED, timers[name].timed(empty.end, ends=True))
        elif logs:
            from ignite.handlers.tensorboard_logger import OutputHandler, TensorboardLogger

            handler = OutputHandler("training", output_transform=lambda loss: {"loss": loss})
            board, event = TensorboardLogger(log_dir=folder / "board"), Events.ITERATION_COMPLETED
            own = timers[name].timed(handler, ends=True)
            trainer.add_event_handler(
                event, lambda engine, own=own, board=board, event=event: own(engine, board, event)
            )
    trainer.run(_batches(), max_iters=steps)
    adapter.bus.flush()
    return {name: timer.steps[:steps] for name, timer in timers.items()}


def skorch(
    order: Sequence[str], sinks: list[object], folder: Path, steps: int, *, logs: bool
) -> dict[str, list[float]]:
    """Train a net of skorch, whose own callback for TensorBoard logs by epochs only."""
    import torch
    from skorch import NeuralNetRegressor
    from skorch.callbacks import Callback

    from monitor_core.adapters.skorch import SkorchAdapter

    made = {EMPTY: Callback(), CONTROL: Callback(), OURS: SkorchAdapter(*sinks)}
    timers = {name: Timer() for name in made}
    for name, timer in timers.items():
        more = ["_note_step"] if name == OURS else []
        timer.watch(made[name], *more, "on_batch_begin", last="on_batch_end")
    net = NeuralNetRegressor(
        _net(),
        max_epochs=1,
        batch_size=SAMPLES,
        train_split=None,
        verbose=0,
        callbacks=[made[name] for name in order if name in made],
    )
    net.fit(torch.randn(SAMPLES * steps, WIDTH), torch.randn(SAMPLES * steps, 1))
    made[OURS].bus.flush()
    return {name: timer.steps[:steps] for name, timer in timers.items()}


TRAININGS = {
    "transformers": transformers,
    "lightning": lightning,
    "accelerate": accelerate,
    "ignite": ignite,
    "skorch": skorch,
}
"""Each framework by the package that it needs."""
