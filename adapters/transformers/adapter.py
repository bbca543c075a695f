"""The adapter of transformers' ``Trainer``: a callback that feeds a bus.

Contract. A step is an optimizer step. Its loss is what the trainer's ``training_step`` returns for its micro-batches:
the one that is trained, where the model may return another, and raw, so that a NaN is seen that
``logging_nan_inf_filter`` hides. Nothing is read on the host for it. What the trainer logs is recorded under the step
that it is logged at, without its smoothed loss. A trainer notifies callbacks of no exception: ``adapter.train`` does;
without it, the run stays open until the next training begins.

It is long because a trainer ends a step, an epoch and an evaluation in another order than a bus: see `Steps`.
"""

from __future__ import annotations

import math
import sys
from os import PathLike
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback

from monitor_core._log import logger
from monitor_core.adapters.attached import Attached
from monitor_core.adapters.torch.scheduled import ScheduledModel
from monitor_core.adapters.transformers.calls import find_evaluation, find_training
from monitor_core.adapters.transformers.steps import Steps
from monitor_core.adapters.versions import require
from monitor_core.bus.bus import Bus
from monitor_core.files.state import load_state, save_state
from monitor_core.loop.recording import attach

__all__ = ["TransformersAdapter"]

_STATE = "monitor_core.json"
"""The file in a checkpoint that holds the state of the run and its sinks."""


class TransformersAdapter(Attached, TrainerCallback):
    """Attach sinks to a ``Trainer``: ``TransformersAdapter(History()).train(trainer)``, or in its ``callbacks``.

    ``adapter.train(trainer)`` calls ``trainer.train()``, and notifies sinks of an exception at once. Each training is a
    run of its own; one that continues from a checkpoint continues the run, with the states of all sinks as they were.

    Metrics of an evaluation have the prefix ``val_`` where the trainer writes ``eval_``; those of one of several
    datasets have its name.

    Args:
        *sinks: Sinks, in the order in which they are to be called.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``.
        record: The run's folder, in which a `Journal` records each training after the last, as with `Loop`.
        strict: Whether to check the order of batches, and to let every exception of a sink propagate.

    Attributes:
        bus: The bus that carries the events.

    Raises:
        HookError: An object is not a sink.
        SetupError: transformers is older than 5.0.

    Example:
        >>> adapter = TransformersAdapter(History(), EarlyStopping("val_loss", patience=3), record="runs/a")
        >>> adapter.train(Trainer(model, args, train_dataset=data, eval_dataset=validation))
    """

    def __init__(
        self,
        *sinks: object,
        validation_data: Any = None,
        record: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        require("transformers", "5.0", "transformers")
        self._options = {"validation_data": validation_data, "strict": strict}
        self._record = record
        self._trainer: Any = None
        self._replaced: dict[str, Any] = {}
        self._begin_bus(*sinks)

    def train(self, trainer: Trainer, *args: Any, **kwargs: Any) -> Any:
        """Call ``trainer.train`` with this adapter among its callbacks.

        Args:
            trainer: The trainer.
            *args: As for ``trainer.train``.
            **kwargs: As for ``trainer.train``, such as ``resume_from_checkpoint``.

        Returns:
            What ``trainer.train`` returns.
        """
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        try:
            return trainer.train(*args, **kwargs)
        except BaseException as error:
            self._release()
            if self.run.status == "running":
                self.bus.exception(error)
            raise

    def _begin_bus(self, *sinks: object) -> None:
        self.bus = Bus(*sinks, **self._options)
        attach(self.bus, record=self._record, resume=None)
        self._steps = Steps(self.bus)

    # --- the run -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Begin a run, or continue the one of a checkpoint."""
        self._release()
        self.bus.interrupt()  # an earlier training that raised
        self._trainer, checkpoint = find_training()
        if checkpoint is not None and self.run.status != "pending":
            self._begin_bus(*self.bus.sinks)
        model, optimizer = kwargs["model"], kwargs.get("optimizer")
        self.run.model = ScheduledModel(model, getattr(optimizer, "optimizer", optimizer), kwargs.get("lr_scheduler"))
        if checkpoint is not None:
            self._continue(Path(checkpoint), state)
        epochs = state.num_train_epochs if state.num_train_epochs < sys.maxsize else None
        self.bus.train_begin(epochs=epochs, steps_per_epoch=_steps_per_epoch(args, kwargs))
        self._record_losses()
        return self._obey_early(control)

    def _record_losses(self) -> None:
        """Let the trainer's ``training_step`` note each loss that it returns."""
        if self._trainer is None:
            logger.warning("the trainer is unknown: of the losses, only those that it logs are recorded")
            return
        step, losses = self._trainer.training_step, self._steps.losses

        def training_step(*args: Any, **kwargs: Any) -> Any:
            loss = step(*args, **kwargs)
            losses.append(loss)
            return loss

        self._replace("training_step", training_step)

    def _replace(self, name: str, function: Any) -> None:
        """Replace a method of the trainer until the training ends."""
        self._replaced.setdefault(name, vars(self._trainer).get(name))
        setattr(self._trainer, name, function)

    def _continue(self, checkpoint: Path, state: Any) -> None:
        """Load the states of the run and its sinks from a checkpoint."""
        try:
            saved = load_state(checkpoint / _STATE)
        except FileNotFoundError:
            self.run.step, self.run.epoch = state.global_step, int(state.epoch or 0) - 1
            logger.warning("%s has no %s: the sinks begin with step %d", checkpoint, _STATE, state.global_step + 1)
            return
        self._steps.epochs.load_state_dict(saved)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save the states of the run and its sinks in the checkpoint that was just written."""
        trainer = self._trainer
        folder = Path(args.output_dir if trainer is None else trainer._get_output_dir(trial=trainer._trial))
        checkpoint = folder / f"checkpoint-{state.global_step}"
        if self.run.status == "running" and args.should_save and checkpoint.is_dir():
            save_state(checkpoint / _STATE, self._steps.epochs.state_dict())

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the run."""
        self._steps.end_epoch()
        self._release()
        if control.should_training_stop and state.global_step < state.max_steps and not self.run.stopped:
            self.run.stop("control.should_training_stop was set")
        if self.run.status == "running":
            self.bus.train_end()

    def _release(self) -> None:
        """Undo what was changed for the training."""
        self._steps.abandon()
        for name, before in self._replaced.items():
            delattr(self._trainer, name)
            if before is not None:
                setattr(self._trainer, name, before)
        self._replaced = {}
        self._trainer = None

    # --- epochs, steps and evaluations -------------------------------------------------------------------------------

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Begin an epoch, or continue the one in which a checkpoint was saved."""
        self._steps.end_epoch()
        if not self.run.stopped:
            self._steps.epochs.begin(int(state.epoch or 0))
        return self._obey_early(control)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an optimizer step."""
        self._steps.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        """End an optimizer step; if its values are about to be logged, once they are."""
        steps = self._steps
        if getattr(optimizer, "step_was_skipped", False):  # by a loss scaler
            steps.skip()
        else:
            steps.end(is_logged=control.should_log)
        if self.bus.run.stop_reason is not None:
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        """Record what is logged under its step; the smoothed loss only where the raw one is unknown."""
        self._steps.log(logs or {})
        return self._obey(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """End an epoch, once its evaluations are done."""
        if not self._steps.epochs.is_open:  # a stop was requested before its first step
            control.should_log = control.should_evaluate = control.should_save = False
        data = getattr(self._trainer, "eval_dataset", None)
        self._steps.await_evaluations(0 if not control.should_evaluate else len(data) if isinstance(data, dict) else 1)
        return self._obey(control)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an evaluation, after its first batch."""
        if self.run.evaluation is None and (prefix := find_evaluation()) is not None:
            self._steps.begin_evaluation(prefix)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> Any:
        """End an evaluation, and the epoch if it was its last."""
        self._steps.end_evaluation(metrics)
        return self._obey(control)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _obey(self, control: Any) -> Any:
        if self.bus.run.stop_reason is not None:
            control.should_training_stop = True
        return control

    def _obey_early(self, control: Any) -> Any:
        """Obey before the first step of an epoch: a trainer looks only after a step, so there must be no batch."""
        if self.run.stopped and self._trainer is not None:
            self._replace("get_batch_samples", lambda *_: ([], None))
        return self._obey(control)


def _steps_per_epoch(args: Any, kwargs: dict[str, Any]) -> int | None:
    """Return the number of optimizer steps of an epoch, None if the data has no length."""
    try:
        batches = len(kwargs["train_dataloader"])
    except TypeError:
        return None
    return max(1, math.ceil(batches / int(args.gradient_accumulation_steps)))
