"""The adapter of skorch's ``NeuralNet``: a callback that feeds a bus.

Contract. A step is a batch, or a group of accumulated ones, in which the optimizer made its step. The batches of the
validation data make an evaluation at the end of each epoch. A stop is the `KeyboardInterrupt` that skorch takes for
one. While a net trains, its ``fit_loop`` is watched: skorch notifies callbacks of no exception.

It is long because a callback is copied, pickled and used again, and a run continues over calls of ``partial_fit``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any, Self

from skorch.callbacks import Callback
from skorch.dataset import get_len

from monitor_core.adapters.attached import Attached
from monitor_core.adapters.epochs import Epochs
from monitor_core.adapters.skorch.watched import WatchedLoop, stopping_callback
from monitor_core.adapters.torch.model import TorchModel
from monitor_core.adapters.torch.values import is_number, means
from monitor_core.adapters.versions import require
from monitor_core.bus.bus import Bus
from monitor_core.checks import checked_count
from monitor_core.loop.recording import attach
from monitor_core.loop.resume import ResumePoint
from monitor_core.values.means import Means
from monitor_core.values.scalars import keep

__all__ = ["SkorchAdapter"]

_NO_METRICS = {"epoch", "dur", "train_loss", "valid_loss", "train_batch_count", "valid_batch_count"}
"""What skorch's history has of an epoch that the bus has too, or that is not a metric."""


class SkorchAdapter(Attached, Callback):
    """Attach sinks to a net: ``NeuralNet(module, callbacks=[SkorchAdapter(History(), ...)])``.

    Each ``fit`` is a run of its own; ``partial_fit`` continues the last one, with the states of all sinks as they were.
    A net that scikit-learn clones, as in a grid search, has copies of the sinks.

    Args:
        *sinks: Sinks, in the order in which they are to be called.
        gradient_accumulation_steps: How many batches make one optimizer step, at least 1, for nets that accumulate
            gradients; the values of a step are the means of its batches.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``.
        record: The run's folder, in which a `Journal` records each run after the last, as with `Loop`.
        resume: The run's folder, to record in, and to continue from as with `Loop`: ``fit`` then trains up to
            ``max_epochs`` in all.
        strict: Whether to check the order of batches, and to let every exception of a sink propagate.

    Attributes:
        bus: The bus that carries the events.

    Raises:
        HookError: An object is not a sink.
        SetupError: skorch is older than 1.0.
        ValueError: ``gradient_accumulation_steps`` is below 1; or ``record`` and ``resume`` differ.

    Example:
        >>> adapter = SkorchAdapter(History(), EarlyStopping("val_loss", patience=3))
        >>> NeuralNetClassifier(Module, max_epochs=20, callbacks=[adapter]).fit(x, y)
    """

    def __init__(
        self,
        *sinks: object,
        gradient_accumulation_steps: int = 1,
        validation_data: Any = None,
        record: str | PathLike[str] | None = None,
        resume: str | PathLike[str] | None = None,
        strict: bool = False,
    ) -> None:
        require("skorch", "1.0", "skorch")
        self._accumulated = checked_count("gradient_accumulation_steps", gradient_accumulation_steps, least=1)
        self._options = {"validation_data": validation_data, "strict": strict}
        self._folders = {"record": record, "resume": resume}
        self._begin_bus(*sinks)

    def _begin_bus(self, *sinks: object) -> None:
        self.bus = Bus(*sinks, **self._options)
        self._resume = attach(self.bus, **self._folders)
        self._epochs = Epochs(self.bus)
        self._last: Mapping[str, Any] | None = None
        self._hooks: list[Any] = []
        self._found: list[dict[str, Any]] = []
        self._weights: list[Any] = []
        self._in_batch = self._has_stepped = False
        self._validation: Means | None = None
        self._batch = 0

    # --- copies ------------------------------------------------------------------------------------------------------

    def _get_param_names(self) -> list[str]:
        """Return no parameter: a grid search cannot set any."""
        return []

    def __sklearn_clone__(self) -> SkorchAdapter:
        """Return an adapter with copies of the sinks, for scikit-learn's ``clone``."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        options = {"gradient_accumulation_steps": self._accumulated, **self._options, **self._folders}
        return {"sinks": self._own_sinks(), "options": options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        SkorchAdapter.__init__(self, *state["sinks"], **state["options"])

    def _own_sinks(self) -> list[Any]:
        return [sink for sink in self.bus.sinks if not isinstance(sink, ResumePoint)]

    # --- the run -----------------------------------------------------------------------------------------------------

    def initialize(self) -> Self:
        """Let the next training be a run of its own."""
        self._last = None
        return self

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:  # noqa: N803
        """Begin a run, or continue the last one."""
        self._release(net)
        self.bus.interrupt()
        last = self._last
        if self.run.status != "pending" and (last is not None or self._resume is not None):
            self._begin_bus(*self._own_sinks())
        continues = False
        optimizers = {name: getattr(net, f"{name}_") for name in net._optimizers}
        self.run.model = TorchModel(*(_alone(each) for each in (_modules(net), optimizers)))
        if self._resume is not None:
            continues = self._resume.begin() and last is None
        elif last is not None:
            self._epochs.load_state_dict(last)
        self._first = self.run.epoch + 1
        self.bus.train_begin(epochs=net.max_epochs + (0 if continues else self._first))
        self._hooks = [each.register_step_post_hook(self._note_step) for each in optimizers.values()]
        vars(net)["fit_loop"] = WatchedLoop(
            net, lambda epochs: max(0, epochs - (self._first if continues else 0)), self._note_exception
        )

    def _note_step(self, *_: Any) -> None:
        self._has_stepped = True

    def _note_exception(self, error: BaseException) -> None:
        """End the run, unless a callback has stopped the training."""
        if self.run.status != "running" or (self.run.stopped and isinstance(error, KeyboardInterrupt)):
            return
        if isinstance(error, KeyboardInterrupt) and (name := stopping_callback(error)) is not None:
            self.run.stop(f"{name} stopped the training")
            return
        self._abandon_batch()
        self._epochs.abandon()
        self.bus.exception(error)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:  # noqa: N803
        """End the run, and the epoch in which it was stopped."""
        if self.run.status == "running":
            self._abandon_batch()
            self._end_epoch(net)
        self._release(net)
        if self.run.status == "running":
            self._last = self._epochs.state_dict() if self._resume is None else {}
            self.bus.train_end()

    def _release(self, net: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._found, self._in_batch, self._validation = [], False, None
        self._epochs.abandon()
        vars(net).pop("fit_loop", None)

    # --- epochs, steps and evaluations -------------------------------------------------------------------------------

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Begin an epoch."""
        self._obey()
        self._epochs.begin(self.run.epoch + 1)
        self._obey()

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool | None = None, **kwargs: Any) -> None:
        """Begin a step, unless its gradients are still accumulated, or a batch of an evaluation."""
        if not training:
            self._begin_evaluation_batch()
        elif not self._in_batch:
            self._in_batch, self._has_stepped = True, False
            self.bus.batch_begin(self.bus.run.step + 1)

    def on_batch_end(self, net: Any, batch: Any = None, training: bool | None = None, **step: Any) -> None:
        """End a step, if the optimizer has made it, or a batch of an evaluation."""
        values = {name: keep(value) for name, value in step.items() if name != "y_pred" and is_number(value)}
        weight = get_len(batch[0] if isinstance(batch, (tuple, list)) else batch)
        if not training:
            weights = dict.fromkeys(values, weight)
            self.bus.evaluation_batch_end_kept(self._batch, values, weights)
            self._batch += 1
            return
        self._found.append(values)
        self._weights.append(weight)
        if self._has_stepped:
            found, total = means(self._found), sum(self._weights)
            self._found, self._weights, self._in_batch = [], [], False
            bus = self.bus
            bus.batch_end_kept(bus.run.step + 1, found, dict.fromkeys(found, total))
            if bus.run.stop_reason is not None:
                raise KeyboardInterrupt
        elif len(self._found) >= self._accumulated:
            self._abandon_batch()  # a loss scaler skipped the step

    def _abandon_batch(self) -> None:
        if self._in_batch:
            self._found, self._weights, self._in_batch = [], [], False
            self.bus.batch_abandon()

    def _begin_evaluation_batch(self) -> None:
        if self._validation is None:
            self._abandon_batch()
            self._validation, self._batch = Means(), 0
            self.bus.evaluation_begin(means=self._validation)
        self.bus.evaluation_batch_begin(self._batch)

    def on_epoch_end(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """End an evaluation and its epoch, with the scores that callbacks before this one have computed."""
        self._abandon_batch()
        self._end_epoch(net)
        self._obey()

    def _end_epoch(self, net: Any) -> None:
        if not self._epochs.is_open:
            return
        scores = dict(_scores(net.history[-1] if net.history else {}))
        if self._validation is not None:
            means, self._validation = self._validation, None
            self.bus.evaluation_flush()
            found = {name.removeprefix("valid_"): value for name, value in scores.items() if name.startswith("valid_")}
            self._epochs.end_evaluation({**means.take(), **found}, followed=False)
        rest = {name.removeprefix("train_"): each for name, each in scores.items() if not name.startswith("valid_")}
        self._epochs.end(rest)

    def _obey(self) -> None:
        if self.run.stopped:
            raise KeyboardInterrupt


def _modules(net: Any) -> dict[str, Any]:
    return {name: getattr(net, f"{name}_") for name in net._modules}


def _alone(several: dict[str, Any]) -> Any:
    """Return the only one of several; all of them by name where there are more."""
    return next(iter(several.values())) if len(several) == 1 else several or None


def _scores(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the metrics of an epoch that callbacks have computed."""
    for name, value in row.items():
        is_other = name in _NO_METRICS or name.endswith("_best") or isinstance(value, bool)
        if not is_other and is_number(value):
            yield name, value
