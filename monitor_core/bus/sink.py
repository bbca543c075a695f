"""The base class of sinks. Its hooks are the one list of all hooks there are: names, order and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from monitor_core import frameworks
from monitor_core.checks import known_arguments

if TYPE_CHECKING:
    from monitor_core.bus.finding import Finding
    from monitor_core.bus.origin import Origin
    from monitor_core.bus.run import Run
    from monitor_core.model.probe import Probe
    from monitor_core.model.snapshot import Snapshot
    from monitor_core.values.blocks import Block

Logs = Mapping[str, Any]
"""A mapping from metric name to value: floats for epochs and evaluations, raw framework values for batches."""

_ON_THE_RUN = {
    "model": "run.model, the model's handle (the model itself is run.model.model or run.model.module)",
    "params": "run.epochs and run.steps_per_epoch",
    "validation_data": "run.validation_data",
}
"""What a callback of Keras's has as its own, and a sink's hook finds on the run."""


class Sink:
    """Listen to a run: override any of the hooks below and pass an instance to a bus, a loop or an adapter.

    The bus calls only the hooks that a sink overrides, in the order in which the sinks were given, on the training's
    thread; only ``background`` sinks may get blocks on another. A hook that raises is logged once and isolated;
    training continues. A sink need not call ``super().__init__()``, and any object with some of these hooks can take
    its place.

    Attributes:
        needs: Names of the members that the model handle must have, such as ``"get_weights"``. A missing one raises
            `SetupError` at train begin.
        critical: Whether an exception of this sink ends the training (after every other sink was served).
        saves: Whether this sink saves the state of other sinks. Such sinks are called after all others.
        sets_learning_rate: Whether this sink may set the learning rate. If any sink may, the logs of every epoch
            include ``learning_rate``.
        read_only: Whether the hooks promise not to modify ``logs``. Other sinks get a copy.
        background: Whether ``on_block`` may be called on the bus's own thread, during a batch, so that no step waits
            for it. No two hooks of a sink run at the same time. A sink that uses the model must not set this; one
            with batch hooks gets its blocks between batches in any case.
        writes: Whether this sink writes files, draws, or talks to servers. If a run has several processes, such a sink
            is called on rank 0 only.
        per_rank: Whether it is called on every rank nevertheless.
        origin: What the runs with this sink are part of, such as the study whose trial they are; None for nothing.
        wants_interval_means: Whether this sink reads ``run.interval_means``, which costs as much as recording blocks.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    critical: ClassVar[bool] = False
    saves: ClassVar[bool] = False
    sets_learning_rate: ClassVar[bool] = False
    read_only: ClassVar[bool] = False
    background: ClassVar[bool] = False
    wants_interval_means: ClassVar[bool] = False
    writes: ClassVar[bool] = False
    per_rank: ClassVar[bool] = False
    origin: Origin | None = None

    if not TYPE_CHECKING:  # for type checkers the constructor is that of the subclass

        def __new__(cls, *_: Any, **kwargs: Any) -> Self:
            """Refuse arguments that there are not, with the nearest, before the constructor does without it."""
            if kwargs:
                known_arguments(cls, kwargs)
            return super().__new__(cls)

    def __getattr__(self, name: str) -> Any:
        """Say what to do where a sink is passed to a framework as if it were its callback, or looks for its model."""
        if (framework := frameworks.asked_by(name)) is not None:
            title, adapter = framework.title, framework.adapter
            raise AttributeError(
                f"{type(self).__name__} is a sink, not a {title} callback: pass {title} a {adapter} of it"
            )
        if name in _ON_THE_RUN:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: hooks read {_ON_THE_RUN[name]}",
                name=name,
                obj=self,
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def on_train_begin(self, run: Run) -> None:
        """Called when a run begins. A sink that cannot work in this run should raise `SetupError` here."""

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Called when a run ends, however it ends; ``logs`` are its last epoch's, ``run.status`` says how it ended."""

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Called when an epoch begins; ``epoch`` is 0-based."""

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Called when an epoch ends; ``logs`` are floats, and validation metrics have the prefix ``val_``."""

    def on_batch_begin(self, run: Run, step: int) -> None:
        """Called when a batch begins; ``step`` is the number it will have when it ends, from 1, never reset."""

    def on_batch_end(self, run: Run, step: int, logs: Logs) -> None:
        """Called when a batch ends, with its raw values from the framework; reading one may wait for the device."""

    def on_block(self, run: Run, block: Block) -> None:
        """Called with the values of several steps of one epoch, as columns; late, so that no batch waits for them."""

    def on_evaluation_begin(self, run: Run) -> None:
        """Called when an evaluation begins, inside an epoch or on its own."""

    def on_evaluation_end(self, run: Run, logs: Logs) -> None:
        """Called when an evaluation ends; ``logs`` are floats, without a prefix."""

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Called with the results of an evaluation that more training follows in its epoch; ``logs`` are floats.

        The names have the evaluation's prefix, and ``run.evaluation`` has its name and step. It is called when the
        evaluation ends if more batches are known to follow, else just before the next batch. The results of an
        evaluation that no batch follows are in the logs of ``on_epoch_end`` instead, so a sink that listens to both
        hooks gets each result once; at the epoch's end, ``run.stale_metrics`` names those that it got before.
        """

    def on_evaluation_batch_begin(self, run: Run, batch: int) -> None:
        """Called when an evaluation batch begins; ``batch`` counts from 0 within this evaluation."""

    def on_evaluation_batch_end(self, run: Run, batch: int, logs: Logs) -> None:
        """Called when an evaluation batch ends, with its raw values; ``batch`` counts from 0 within this evaluation."""

    def on_evaluation_block(self, run: Run, block: Block) -> None:
        """Called with the values of several batches of one evaluation, as columns; ``block.steps`` count from 0."""

    def on_prediction_begin(self, run: Run) -> None:
        """Called when a prediction begins."""

    def on_prediction_end(self, run: Run, logs: Logs) -> None:
        """Called when a prediction ends."""

    def on_prediction_batch_begin(self, run: Run, batch: int) -> None:
        """Called when a prediction batch begins; ``batch`` counts from 0 within this prediction."""

    def on_prediction_batch_end(self, run: Run, batch: int, logs: Logs) -> None:
        """Called when a prediction batch ends, with its raw outputs; ``batch`` counts from 0 within this prediction."""

    def on_finding(self, run: Run, finding: Finding) -> None:
        """Called when a sink has reported what is wrong with the training, see `Run.report`."""

    def on_snapshot(self, run: Run, snapshot: Snapshot) -> None:
        """Called when a sink has made a snapshot of the model: its graph, and what it makes of some examples."""

    def on_probe(self, run: Run, probe: Probe) -> None:
        """Called when a sink has looked into the model, with statistics of its layers and weights, see `Run.show`."""

    def on_exception(self, run: Run, error: BaseException) -> None:
        """Called when the training raised an exception; only a `Loop` and ``adapter.fit`` can notice one."""

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Drop what was recorded from ``epoch`` (0-based) on and after ``step``: the run goes back, or is resumed."""

    def wants_rank(self, run: Run) -> bool:
        """Return whether this sink, which writes, is called on this rank of the run too, which is not rank 0."""
        return self.per_rank

    def wants_hook(self, hook: str) -> bool:
        """Return whether to call a hook that this sink overrides; called once per hook, when the sink is added."""
        return True

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a state of this sink belongs to, by option: the file that it writes, the metric that it monitors.

        A state goes to the sink of the same name and identity; sinks that differ in nothing else get theirs in order.
        JSON values, and paths as `Path`.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what this sink must know to continue after a restart: JSON values and NumPy arrays."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` of a sink of this identity returned.

        Called once `on_train_begin` has made it as fresh as in any run (``run.resumed`` is true there); `on_rewind`
        follows, and says where the run continues.
        """
