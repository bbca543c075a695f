"""The adapter of Lightning's ``Trainer``: a callback that feeds a bus.

Contract. A step is a batch, or a group of accumulated batches, in which an optimizer made its step; several optimizers
make one step in a batch. Values are kept as tensors. Sanity checks give no event. An epoch ends after the module's own
``on_train_epoch_end``, so that what is logged there belongs to it, and before checkpoints are saved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import Any

try:
    from lightning.pytorch import Callback
except ImportError:
    from pytorch_lightning import Callback

from monitor_core.adapters.attached import Attached
from monitor_core.adapters.epochs import Epochs
from monitor_core.adapters.lightning.metrics import StepValues, epoch_values
from monitor_core.adapters.torch.scheduled import ScheduledModel
from monitor_core.adapters.torch.values import with_arrays, with_tensors
from monitor_core.adapters.versions import require
from monitor_core.bus.bus import Bus
from monitor_core.loop.recording import attach

__all__ = ["LightningAdapter"]


class LightningAdapter(Attached, Callback):
    """Attach sinks to a ``Trainer``: ``Trainer(callbacks=[LightningAdapter(History(), ...)])``.

    Each `fit` is a run of its own; one that continues from a checkpoint continues the run, with the states of all sinks
    as they were. Metrics have the names that the module logs them by, and ``loss`` is what ``training_step`` returns; a
    metric of the validation that bears the name of one of the training gets the prefix ``val_``.

    Args:
        *sinks: Sinks, in the order in which they are to be called.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``.
        record: The run's folder, in which a `Journal` records each `fit` after the last, as with `Loop`.
        strict: Whether to check the order of batches, and to let every exception of a sink propagate.

    Attributes:
        bus: The bus that carries the events.

    Raises:
        HookError: An object is not a sink.
        SetupError: Lightning is older than 2.6.

    Example:
        >>> adapter = LightningAdapter(History(), EarlyStopping("val_loss", patience=3), record="runs/a")
        >>> Trainer(max_epochs=20, callbacks=[adapter]).fit(module, loader, validation_loader)
    """

    def __init__(
        self,
        *sinks: object,
        validation_data: Any = None,
        record: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        package = Callback.__module__.partition(".")[0]
        require(package.replace("_", "-"), "2.6", "lightning")
        self._options = {"validation_data": validation_data, "strict": strict}
        self._record = record
        self._hooks: list[Any] = []
        self._loaded: Mapping[str, Any] | None = None
        self._begin_bus(*sinks)

    def _begin_bus(self, *sinks: object) -> None:
        self.bus = Bus(*sinks, **self._options)
        attach(self.bus, record=self._record, resume=None)
        self._epochs = Epochs(self.bus)
        self._values = StepValues({}, 1)
        self._in_batch = self._has_stepped = False
        self._is_automatic, self._accumulated = True, 1
        self._evaluation_batch = 0

    # --- the run -----------------------------------------------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Forget a state that an earlier call loaded: that of the checkpoint, if any, comes next."""
        self._loaded = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin a run, or continue the one of a checkpoint."""
        self._release(pl_module)
        self.bus.interrupt()
        if self._loaded is not None and self.run.status != "pending":
            self._begin_bus(*self.bus.sinks)
        schedulers = {f"scheduler_{i}": each.scheduler for i, each in enumerate(trainer.lr_scheduler_configs)}
        optimizers = {f"optimizer_{i}": each for i, each in enumerate(trainer.optimizers)}
        self.run.model = ScheduledModel(pl_module, optimizers or None, schedulers or None)
        if self._loaded is not None:
            self._epochs.load_state_dict(with_arrays(self._loaded))
            self._loaded = None
        batches = trainer.num_training_batches / trainer.accumulate_grad_batches
        epochs = trainer.max_epochs
        self.bus.train_begin(
            epochs=epochs if epochs is not None and epochs > 0 else None,
            steps_per_epoch=math.ceil(batches) if math.isfinite(batches) else None,
        )
        self._is_automatic = pl_module.automatic_optimization
        self._accumulated = trainer.accumulate_grad_batches if self._is_automatic else 1
        self._values = StepValues(trainer.fit_loop.epoch_loop._results, self._accumulated)
        if trainer.strategy.handles_gradient_accumulation:  # DeepSpeed's engine calls no step of an optimizer
            self._global_step: int | None = trainer.global_step
        else:
            self._global_step = None
            self._hooks = [each.register_step_post_hook(self._note_step) for each in trainer.optimizers]
        self._end_epochs_after(trainer, pl_module)
        self._obey(trainer)

    def _note_step(self, *_: Any) -> None:
        self._has_stepped = True

    def _end_epochs_after(self, trainer: Any, pl_module: Any) -> None:
        """Let epochs end after the module's own hook: those of callbacks are called before it."""
        own = pl_module.on_train_epoch_end

        def on_train_epoch_end() -> None:
            own()
            self._end_epoch(trainer)

        pl_module.on_train_epoch_end = on_train_epoch_end

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the run."""
        self._release(pl_module)
        if trainer.should_stop and not self.run.stopped:
            self.run.stop("trainer.should_stop was set")
        if self.run.status == "running":
            self.bus.train_end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the run: the training, or a sink, raised."""
        self._release(pl_module)
        if self.run.status == "running":
            self.bus.exception(exception)

    def _release(self, pl_module: Any) -> None:
        """Undo what was changed for the training."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._in_batch = False
        self._epochs.abandon()
        vars(pl_module).pop("on_train_epoch_end", None)

    # --- epochs and steps --------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin an epoch."""
        self._epochs.begin(trainer.current_epoch)
        self._obey(trainer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Begin a step, unless its gradients are still accumulated."""
        if not self._in_batch:
            if not self._epochs.is_open:  # continued in the middle of an epoch, which is not begun again
                self._epochs.begin(trainer.current_epoch)
            self._in_batch, self._has_stepped = True, False
            bus = self.bus
            bus.batch_begin(bus.run.step + 1)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End a step, if an optimizer has made one."""
        values, bus = self._values, self.bus
        found = values.read(outputs)
        if self._global_step is not None:
            before, self._global_step = self._global_step, trainer.global_step
            self._has_stepped = self._global_step > before
        if self._has_stepped:
            self._in_batch = False
            bus.batch_end(bus.run.step + 1, values.end(found))
        elif self._is_automatic and ((batch_idx + 1) % self._accumulated == 0 or trainer.is_last_batch):
            self._abandon_batch()  # a loss scaler skipped the step
        else:
            values.add(found)
        if bus.run.stop_reason is not None:
            trainer.should_stop = True

    def _abandon_batch(self) -> None:
        if self._in_batch:
            self._in_batch = False
            self._values.drop()
            self.bus.batch_abandon()

    def _end_epoch(self, trainer: Any) -> None:
        """End the epoch, also one whose batches all were before the checkpoint."""
        self._abandon_batch()
        if not self._epochs.is_open and self.run.epoch < trainer.current_epoch:
            self._epochs.begin(trainer.current_epoch)
        self._epochs.end(epoch_values(trainer._results))
        self._obey(trainer)

    def _obey(self, trainer: Any) -> None:
        if self.run.stopped:
            trainer.should_stop = True

    # --- evaluations -------------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin an evaluation, unless it is the check of the validation's code before the training."""
        if not trainer.sanity_checking:
            self._begin_evaluation(None)

    def on_validation_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        """Count a batch."""
        if not trainer.sanity_checking:
            self._count_batch()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """End an evaluation; called after the module's own hooks, with all that they logged."""
        if not trainer.sanity_checking:
            self._end_evaluation(trainer)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin an evaluation on test data."""
        self._begin_evaluation("test")

    def on_test_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        """Count a batch."""
        self._count_batch()

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """End an evaluation on test data."""
        self._end_evaluation(trainer)

    def _begin_evaluation(self, name: str | None) -> None:
        self._evaluation_batch = 0
        self.bus.evaluation_begin("", name=name)

    def _count_batch(self) -> None:
        self.bus.evaluation_batch_begin(self._evaluation_batch)
        self.bus.evaluation_batch_end(self._evaluation_batch)
        self._evaluation_batch += 1

    def _end_evaluation(self, trainer: Any) -> None:
        evaluation = self.run.evaluation
        prefix = f"{evaluation.name or 'val' if evaluation else 'val'}_"
        values = epoch_values(trainer._results)
        results = {prefix + name if name in self._values.names else name: value for name, value in values.items()}
        self._epochs.end_evaluation(results, followed=not (trainer.is_last_batch or trainer.should_stop))
        if self.run.status == "running":
            self._obey(trainer)

    # --- state -------------------------------------------------------------------------------------------------------

    @property
    def state_key(self) -> str:
        """The name of this callback's state in a checkpoint."""
        return "monitor_core.LightningAdapter"

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the run and its sinks, for a checkpoint."""
        state: dict[str, Any] = with_tensors(self._epochs.state_dict())
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep the state of a checkpoint until the run begins."""
        self._loaded = state_dict
