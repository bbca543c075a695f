"""The player: drives a sink through a short training that a script describes, and returns what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from monitor_core.bus.run import Failure, Run
from monitor_core.loop.loop import Loop
from monitor_core.model.handles import ModelHandle
from monitor_core.testing.recorder import Event, Recorder

Values = Mapping[str, Any]


def _as_list(values: Any) -> list[Any]:
    return list(values)


@attrs.frozen
class Epoch:
    """One epoch of a script.

    Attributes:
        batches: Each batch's values; an exception in their place is raised there, by the training.
        evaluation: Each evaluation batch's values, logged with the prefix ``val_``; no evaluation if there are none.
        evaluations: The same for evaluations within the epoch, by how many of its batches come before each; those
            before the last batch are events of their own.
        logs: What is logged of the epoch itself, outside of its batches.
    """

    batches: list[Values | BaseException] = attrs.field(factory=list, converter=_as_list)
    evaluation: list[Values] = attrs.field(factory=list, converter=_as_list)
    logs: Values = attrs.field(factory=dict)
    evaluations: Mapping[int, Sequence[Values]] = attrs.field(factory=dict, kw_only=True)


Script = Sequence[Epoch | Values | Sequence[Values | BaseException] | BaseException]
"""One entry for each epoch: an `Epoch`, the epoch's logs alone, its batches' values alone, or an exception to raise."""


@attrs.frozen
class Played:
    """What happened.

    Attributes:
        run: The run, which has ended.
        events: What the sink's hooks were called with, as a `Recorder` after it has recorded them.
        failures: What the sink raised.
        error: The exception of the script that ended the training, or None.
    """

    run: Run
    events: list[Event]
    failures: list[Failure]
    error: BaseException | None = None

    @property
    def epochs(self) -> list[tuple[int, dict[str, float]]]:
        """Each epoch that ended, with its logs."""
        return [event[1:] for event in self.events if event[0] == "epoch_end"]


def play(
    sink: object,
    script: Script,
    *,
    model: ModelHandle | None = None,
    validation_data: Any = None,
    strict: bool = True,
) -> Played:
    """Drive a sink through one run.

    Args:
        sink: The sink.
        script: One entry for each epoch.
        model: A model's handle, for sinks that need one, such as a `NumpyModel`.
        validation_data: Data for sinks that look at the model, usually ``(x, y)``.
        strict: Whether to raise what the sink raises; else it is isolated, as in a training, and is in ``failures``.

    Returns:
        What happened. An exception of the script itself is not raised; it is in ``error``.

    Raises:
        Exception: With ``strict``, what the sink raised.
        TypeError: ``script`` is not a sequence with an entry for each epoch.

    Example:
        >>> played = play(EarlyStopping("val_loss", patience=1), [{"val_loss": 1.0}, {"val_loss": 2.0}])
        >>> played.run.status
        'stopped'
    """
    if isinstance(script, str) or not isinstance(script, Sequence):
        raise TypeError(
            f"script must be a sequence with an entry for each epoch (got {script!r}): write [...] around it"
        )
    recorder = Recorder()
    loop = Loop(sink, recorder, model=model, validation_data=validation_data, strict=strict)
    error: BaseException | None = None
    try:
        with loop:
            for epoch in loop.epochs(len(script)):
                play_epoch(loop, _as_epoch(script[epoch]))
    except BaseException as raised:
        if not any(raised is each for each in _exceptions(script)):
            raise
        error = raised
    return Played(loop.run, recorder.events, list(loop.bus.failures), error)


def _exceptions(script: Script) -> list[BaseException]:
    epochs = [_as_epoch(entry) for entry in script]
    return [each for epoch in epochs for each in epoch.batches if isinstance(each, BaseException)]


def _as_epoch(entry: Any) -> Epoch:
    if isinstance(entry, Epoch):
        return entry
    if isinstance(entry, BaseException):
        return Epoch(batches=[entry])
    return Epoch(logs=entry) if isinstance(entry, Mapping) else Epoch(batches=entry)


def play_epoch(loop: Loop, epoch: Epoch) -> None:
    """Play one epoch in an epoch of a loop."""
    _evaluate(loop, epoch.evaluations.get(0, ()))
    for number, values in enumerate(loop.batches(epoch.batches), start=1):
        if isinstance(values, BaseException):
            raise values
        loop.log(values)
        _evaluate(loop, epoch.evaluations.get(number, ()))
    _evaluate(loop, epoch.evaluation)
    if epoch.logs:
        loop.log(epoch.logs)


def _evaluate(loop: Loop, batches: Sequence[Values]) -> None:
    if batches:
        with loop.evaluation():
            for values in loop.batches(batches):
                loop.log(values)
