"""The adapter of Ignite's engines: handlers of a trainer and of evaluators that feed a bus.

Contract. A step is an iteration of the trainer, or a group of accumulated ones, in which the optimizer made its step.
An epoch ends after all other handlers of its end, so that evaluations in them belong to it; a step ends before an
evaluation that one of its handlers runs. Exceptions are seen around ``trainer.run``, which is replaced on that engine:
a handler of ``EXCEPTION_RAISED`` would decide whether Ignite raises them, and gets some of them twice.

It is long because Ignite has no order of its handlers: what has to come first or last is arranged here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from typing import Any, Self

from ignite.engine import Engine, Events

from monitor_core._log import logger
from monitor_core.adapters.attached import Attached
from monitor_core.adapters.epochs import Epochs
from monitor_core.adapters.torch.values import is_number, means, with_arrays, with_tensors
from monitor_core.adapters.versions import require
from monitor_core.bus.bus import Bus
from monitor_core.checks import checked_count
from monitor_core.frameworks import handle_of
from monitor_core.loop.recording import attach

__all__ = ["IgniteAdapter"]


class IgniteAdapter(Attached):
    """Attach sinks to a trainer: ``IgniteAdapter(History(), ...).attach(trainer, evaluator=evaluator)``.

    Each ``trainer.run`` is a run of its own; one that continues from a checkpoint with this adapter's state continues
    the run, with the states of all sinks as they were.

    Args:
        *sinks: Sinks, in the order in which they are to be called.
        model: The model, for sinks that need it: a PyTorch module, or a handle.
        optimizer: The optimizer of a module, for the learning rate, and to tell steps that a loss scaler skips.
        output_transform: What makes metrics by name of the output of the trainer's function; by default a mapping is
            taken as it is, and one number is the ``loss``.
        gradient_accumulation_steps: How many iterations make one optimizer step, at least 1, as for Ignite's
            ``create_supervised_trainer``; the values of a step are their means.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``.
        record: The run's folder, in which a `Journal` records each run after the last, as with `Loop`.
        strict: Whether to check the order of batches, and to let every exception of a sink propagate.

    Attributes:
        bus: The bus that carries the events.

    Raises:
        HookError: An object is not a sink.
        SetupError: Ignite is older than 0.5.
        TypeError: ``optimizer`` is given without a PyTorch module.
        ValueError: ``gradient_accumulation_steps`` is below 1.

    Example:
        >>> adapter = IgniteAdapter(History(), EarlyStopping("val_loss", patience=3), model=net, optimizer=optimizer)
        >>> adapter.attach(trainer, evaluator=evaluator)
        >>> trainer.run(loader, max_epochs=20)
    """

    def __init__(
        self,
        *sinks: object,
        model: Any = None,
        optimizer: Any = None,
        output_transform: Callable[[Any], Any] | None = None,
        gradient_accumulation_steps: int = 1,
        validation_data: Any = None,
        record: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        require("pytorch-ignite", "0.5", "ignite")
        self._accumulated = checked_count("gradient_accumulation_steps", gradient_accumulation_steps, least=1)
        self._options = {"model": handle_of(model, optimizer), "validation_data": validation_data, "strict": strict}
        self._transform = output_transform
        self._record = record
        self._trainer: Any = None
        self._hooks: list[Any] = []
        self._loaded: Mapping[str, Any] | None = None
        self._has_warned = self._is_interrupted = False
        self._begin_bus(*sinks)

    def _begin_bus(self, *sinks: object) -> None:
        self.bus = Bus(*sinks, **self._options)
        attach(self.bus, record=self._record, resume=None)
        self._epochs = Epochs(self.bus)
        self._found: list[dict[str, Any]] = []
        self._in_batch = self._in_iteration = self._has_stepped = False
        self._evaluation_batch = 0

    def attach(self, trainer: Engine, *, evaluator: Engine | Mapping[str, Engine] | None = None) -> Self:
        """Attach the sinks to a trainer.

        Args:
            trainer: The engine that trains.
            evaluator: The engine that evaluates, whose metrics get the prefix ``val_``; or several by name, whose
                metrics get their names and an underscore. They are run by the trainer's handlers, at any event.

        Returns:
            This adapter.

        Raises:
            TypeError: An engine is of another type.
            ValueError: The adapter is attached already.
        """
        evaluators = evaluator if isinstance(evaluator, Mapping) else {None: evaluator} if evaluator else {}
        for engine in (trainer, *evaluators.values()):
            if not isinstance(engine, Engine):
                raise TypeError(f"trainer and evaluator must be engines of Ignite (got {engine!r})")
        if self._trainer is not None:
            raise ValueError("the adapter is attached to a trainer already: make another one")
        self._trainer = trainer
        vars(trainer)["run"] = self._watching(trainer.run)
        for event, handler in (
            (Events.STARTED, self._begin),
            (Events.EPOCH_STARTED, self._begin_epoch),
            (Events.ITERATION_STARTED, self._begin_iteration),
            (Events.ITERATION_COMPLETED, self._end_iteration),
            (Events.EPOCH_COMPLETED, self._end_epoch),
            (Events.INTERRUPT, self._interrupt),
            (Events.TERMINATE, self._terminate),
            (Events.COMPLETED, self._complete),
        ):
            trainer.add_event_handler(event, handler)
        for name, engine in evaluators.items():
            engine.add_event_handler(Events.STARTED, partial(self._begin_evaluation, name))
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._count_batch)
            engine.add_event_handler(Events.COMPLETED, self._end_evaluation)
        return self

    # --- the run -----------------------------------------------------------------------------------------------------

    def _watching(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``trainer.run``, after which the run has ended, whichever way it returns."""

        def train(*args: Any, **kwargs: Any) -> Any:
            self._is_interrupted = False
            try:
                state = run(*args, **kwargs)
            except BaseException as error:
                self._release()
                if self.run.status == "running":
                    self.bus.exception(error)
                raise
            if not self._is_interrupted:
                self._release()
                self.bus.interrupt()  # a handler kept Ignite from raising
            return state

        return train

    def _begin(self, trainer: Any) -> None:
        """Begin a run, or continue the one of a checkpoint."""
        self.bus.interrupt()
        state, loaded = trainer.state, self._loaded
        self._loaded = None
        if self.run.status != "pending" and (loaded is not None or state.iteration):
            self._begin_bus(*self.bus.sinks)
        if loaded is not None:
            self._epochs.load_state_dict(with_arrays(loaded))
        elif state.iteration:
            self.run.step, self.run.epoch = state.iteration // self._accumulated, state.epoch - 1
            logger.warning("no state of the adapter was loaded: the sinks begin with step %d", self.run.step + 1)
        length = state.epoch_length
        self.bus.train_begin(
            epochs=state.max_epochs,
            steps_per_epoch=None if length is None else math.ceil(length / self._accumulated),
        )
        optimizers = getattr(self.run.model, "optimizers", {}).values()
        self._hooks = [each.register_step_post_hook(self._note_step) for each in optimizers]
        self._obey()

    def _note_step(self, *_: Any) -> None:
        self._has_stepped = True

    def _interrupt(self, trainer: Any) -> None:
        """Keep the run open: the trainer continues when it is run again."""
        self._is_interrupted = True

    def _terminate(self, trainer: Any) -> None:
        """Note that the trainer was terminated, unless it has made all its iterations."""
        state = trainer.state
        if not (self.run.stopped or (state.max_iters is not None and state.iteration >= state.max_iters)):
            self.run.stop("trainer.terminate() was called")
        if trainer.should_terminate == "skip_completed":
            self._complete(trainer)

    def _complete(self, trainer: Any) -> None:
        """End the run, and the epoch in which it was stopped."""
        self._abandon_batch()
        self._epochs.end()
        self._release()
        if self.run.status == "running":
            self.bus.train_end()

    def _release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._found, self._in_batch, self._in_iteration = [], False, False
        self._epochs.abandon()

    def _obey(self) -> None:
        if self.bus.run.stop_reason is not None and not self._trainer.should_terminate:
            self._trainer.terminate()

    # --- epochs and steps --------------------------------------------------------------------------------------------

    def _begin_epoch(self, trainer: Any) -> None:
        """Begin an epoch, and let it end after the handlers that were added meanwhile."""
        trainer.remove_event_handler(self._end_epoch, Events.EPOCH_COMPLETED)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        self._epochs.end()  # its end was skipped
        self._epochs.begin(trainer.state.epoch - 1)
        self._obey()

    def _begin_iteration(self, trainer: Any) -> None:
        if not self._epochs.is_open:  # continued in the middle of an epoch, which is not begun again
            self._epochs.begin(trainer.state.epoch - 1)
        self._in_iteration = True
        if not self._in_batch:
            self._in_batch, self._has_stepped = True, False
            self.bus.batch_begin(self.bus.run.step + 1)

    def _end_iteration(self, trainer: Any) -> None:
        """End an iteration, unless an evaluation in an earlier handler has ended it."""
        if not self._in_iteration:
            return
        self._in_iteration = False
        self._found.append(self._metrics_of(trainer.state.output))
        bus = self.bus
        if self._has_stepped or (not self._hooks and trainer.state.iteration % self._accumulated == 0):
            self._in_batch = False
            found, self._found = self._found, []
            bus.batch_end(bus.run.step + 1, means(found))
        elif trainer.state.iteration % self._accumulated == 0:
            self._abandon_batch()  # a loss scaler skipped the step
        if bus.run.stop_reason is not None:
            self._obey()

    def _abandon_batch(self) -> None:
        self._in_iteration = False
        if self._in_batch:
            self._in_batch, self._found = False, []
            self.bus.batch_abandon()

    def _metrics_of(self, output: Any) -> dict[str, Any]:
        if self._transform is not None:
            output = self._transform(output)
        if isinstance(output, Mapping):
            return {name: value for name, value in output.items() if is_number(value)}
        if is_number(output):
            return {"loss": output}
        if output is not None and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the trainer's output is a %s, so no metric of its steps is recorded: pass output_transform, which "
                "makes a dict of it",
                type(output).__name__,
            )
        return {}

    def _end_epoch(self, trainer: Any) -> None:
        self._abandon_batch()
        self._epochs.end(dict(trainer.state.metrics))
        self._obey()

    # --- evaluations -------------------------------------------------------------------------------------------------

    def _begin_evaluation(self, name: str | None, evaluator: Any) -> None:
        """Begin an evaluation; within the end of an iteration, this ends first."""
        trainer = self._trainer
        if trainer.last_event_name == Events.ITERATION_COMPLETED:
            self._end_iteration(trainer)
        if self.run.evaluation is not None:
            self.bus.evaluation_abandon()  # it raised
        self._evaluation_batch = 0
        self.bus.evaluation_begin(name=name)

    def _count_batch(self, evaluator: Any) -> None:
        self.bus.evaluation_batch_begin(self._evaluation_batch)
        self.bus.evaluation_batch_end(self._evaluation_batch)
        self._evaluation_batch += 1

    def _end_evaluation(self, evaluator: Any) -> None:
        """End an evaluation; called after its metrics were computed."""
        state = self._trainer.state
        is_last = self._trainer.last_event_name != Events.ITERATION_COMPLETED or (
            state.epoch_length is not None and state.iteration % state.epoch_length == 0
        )
        self._epochs.end_evaluation(evaluator.state.metrics, followed=not is_last and not self.run.stopped)
        if self.run.status == "running":
            self._obey()

    # --- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the run and its sinks, for ``Checkpoint({"adapter": adapter, ...})``."""
        state: dict[str, Any] = with_tensors(self._epochs.state_dict())
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep the state of a checkpoint until the trainer runs."""
        self._loaded = state_dict
