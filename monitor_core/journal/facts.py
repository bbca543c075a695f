"""What a journal records besides rows of metrics: how a run began and ended, what was decided, what failed.

Contract. Each fact is a JSON object whose ``type`` names its class here and whose other members are the class's fields.
Files are not trusted: a fact that lacks a field, or has one of another type, is refused. Unknown types and fields, from
a later release, are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from typing import Any

import attrs
import numpy as np
from attrs import validators


def _check_int64(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise TypeError(f"{field.name} must be an integer of 64 bits (got {value!r})")


_is_text = validators.instance_of(str)
_is_number = validators.instance_of((int, float))
_is_list = validators.instance_of(list)
_CHECKS: dict[str, Any] = {
    "bool": validators.instance_of(bool),
    "dict[str, Any]": validators.instance_of(dict),
    "float": _is_number,
    "int": _check_int64,
    "list[float]": validators.deep_iterable(_is_number, _is_list),
    "list[str]": validators.deep_iterable(_is_text, _is_list),
    "str": _is_text,
}


def _checked(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Give each field the validator for its annotation."""
    checked = []
    for field in fields:
        kind = str(field.type)
        check = _CHECKS[kind.removesuffix(" | None")]
        checked.append(field.evolve(validator=validators.optional(check) if kind.endswith(" | None") else check))
    return checked


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Begin:
    """A run begins.

    Attributes:
        id: Identifies the run; parts of one run that were recorded one after the other have the same.
        index: Which run of its bus it is, from 0.
        continues: The ``id`` of the run that it continues, from this epoch and step; None for a new run.
        epoch: The last epoch before it, 0-based, -1 if there is none.
        step: How many batches have ended before it.
        config: The configuration.
        versions: Of Python, this package and the frameworks that were imported.
        git_commit: The commit of the working directory, None if it is not in a repository.
        platform: The machine and its system.
        argv: The command line, without what looks secret, see `monitor_core.journal.masking`.
        process: Which process it is, see `monitor_core.journal.provenance.this_process`.
        time: When, seconds since 1970.
        rank: The number of this process in its job, from 0.
        ranks: How many processes the job has.
        parent: What the run is part of, by its id or name, see `monitor_core.bus.origin.Origin`; None for nothing.
        job: The scheduler's ids of the job, see `monitor_core.journal.provenance.job`.
    """

    id: str
    index: int
    continues: str | None
    epoch: int
    step: int
    config: dict[str, Any]
    versions: dict[str, Any]
    git_commit: str | None
    platform: str
    argv: list[str]
    process: dict[str, Any]
    time: float
    rank: int = 0
    ranks: int = 1
    parent: str | None = None
    job: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Plan:
    """What is known of a run once an epoch has ended.

    Attributes:
        epochs: How many epochs are planned, None if unknown.
        steps_per_epoch: How many batches an epoch has, None if unknown.
        learning_rates: Each parameter group's, None if the model's handle provides none.
        directions: For metrics whose direction the model knows, ``"min"`` or ``"max"``.
        watched: For each sink that decides by a metric, by its name: ``metric``, ``mode`` and ``restores``, as in
            `Watched`.
        diagnosed: Whether a sink looked for what is wrong with the training; its findings are recorded.
    """

    epochs: int | None
    steps_per_epoch: int | None
    learning_rates: list[float] | None
    directions: dict[str, Any]
    watched: dict[str, Any] = attrs.field(factory=dict)
    diagnosed: bool = False


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Stop:
    """A sink asked for the run's end.

    Attributes:
        reason: Why, human-readable.
        failed: Whether it reported a failure.
        epoch: The epoch in which it was noted, 0-based.
        step: The step at which it was noted.
        time: When, seconds since 1970.
    """

    reason: str
    failed: bool
    epoch: int
    step: int
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class RateChange:
    """The learning rate was changed.

    Attributes:
        reason: The change, human-readable.
        before: Each parameter group's rate before the change.
        after: Each parameter group's rate after it.
        epoch: The epoch at whose end it was noted, 0-based.
        step: The step at which it was noted.
        time: When, seconds since 1970.
    """

    reason: str
    before: list[float]
    after: list[float]
    epoch: int
    step: int
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Asked:
    """Something was asked of the run from outside, see `Control`.

    Attributes:
        reason: Who asked for what, and what became of it, human-readable.
        verb: What was asked for, such as ``"rate"``.
        who: Who asked, as ``user@host``.
        asked: When, seconds since 1970, by the asker's clock.
        epoch: The epoch in which it was noted, 0-based.
        step: The step at which it was noted.
        time: When it was noted, seconds since 1970.
    """

    reason: str
    verb: str
    who: str
    asked: float
    epoch: int
    step: int
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class SinkFailure:
    """A sink's hook raised.

    Attributes:
        sink: The sink's name.
        hook: The hook's name.
        error: The exception, as a string.
        traceback: The traceback.
        step: The step at which it was raised.
        time: When it was noted, seconds since 1970.
        disables: Whether the sink was disabled after it.
    """

    sink: str
    hook: str
    error: str
    traceback: str
    step: int
    time: float
    disables: bool = False


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Checkpoint:
    """A sink saved the model.

    Attributes:
        file: The file's name.
        value: The metric's value that it was saved for, None if it was not for one.
        epoch: The epoch in which, or at whose end, it was saved, 0-based.
        step: How many batches had been trained.
        time: When it was noted, seconds since 1970.
    """

    file: str
    value: float | None
    epoch: int
    step: int
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Raised:
    """The training raised.

    Attributes:
        error: The exception, as a string.
        traceback: The traceback.
        epoch: The current epoch, 0-based.
        step: The step before.
        time: When, seconds since 1970.
    """

    error: str
    traceback: str
    epoch: int
    step: int
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Rewind:
    """The run went back: ``epoch`` is the next one, and ``step`` batches have ended."""

    epoch: int
    step: int
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Partial:
    """An epoch was left by ``break`` before its end; its results, which come before, are of fewer batches."""

    epoch: int
    step: int
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class MidepochEvaluation:
    """An evaluation, whose results come before, was within its epoch: more batches followed.

    Attributes:
        name: The evaluation's name, or None.
        epoch: Its epoch, 0-based.
        step: Its step.
        time: When it was known, seconds since 1970.
    """

    name: str | None
    epoch: int
    step: int
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Interval:
    """The weighted means of the training's metrics since the evaluation before, if a sink wants them.

    What comes next, a `MidepochEvaluation` or an epoch's results, is what they belong to.
    """

    means: dict[str, Any]
    epoch: int
    step: int
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class Found:
    """A finding: what is wrong with the training.

    Attributes:
        symptom: What, from a published list.
        severity: ``"problem"``, ``"warning"`` or ``"note"``.
        message: A sentence that says what is seen.
        evidence: The numbers that show it.
        advice: What to try.
        source: Where the rule is from.
        epoch: Since which epoch, 0-based.
        step: Since which step.
        layer: In which layer, None if it is not in one.
        time: When it was found, seconds since 1970.
    """

    symptom: str
    severity: str
    message: str
    evidence: dict[str, Any]
    advice: str
    source: str
    epoch: int
    step: int
    layer: str | None
    time: float


@attrs.frozen(kw_only=True, field_transformer=_checked)
class End:
    """A run has ended.

    Attributes:
        status: How; ``"running"`` if it continued without being recorded.
        epoch: The last epoch, 0-based.
        step: The last step.
        time: When, seconds since 1970.
        best_epochs: For each sink that keeps the epoch of its best value, that epoch, 0-based.
        best_steps: The same for the step.
        cost: What the run cost: ``seconds``, ``steps``, for each of the ``sinks`` and its hooks the ``calls``,
            ``seconds`` and ``longest`` call, and how long the loop ``waited`` for data, if measured. Else empty.
    """

    status: str
    epoch: int
    step: int
    time: float
    best_epochs: dict[str, Any] = attrs.field(factory=dict)
    best_steps: dict[str, Any] = attrs.field(factory=dict)
    cost: dict[str, Any] = attrs.field(factory=dict)


Fact = (
    Begin
    | Plan
    | Stop
    | RateChange
    | Asked
    | SinkFailure
    | Checkpoint
    | Raised
    | Rewind
    | Partial
    | MidepochEvaluation
    | Interval
    | Found
    | End
)
Decision = Stop | RateChange | Asked

_TYPES: dict[str, type[Fact]] = {
    "begin": Begin,
    "plan": Plan,
    "stop": Stop,
    "learning_rate": RateChange,
    "asked": Asked,
    "failure": SinkFailure,
    "checkpoint": Checkpoint,
    "exception": Raised,
    "rewind": Rewind,
    "partial": Partial,
    "midepoch_evaluation": MidepochEvaluation,
    "interval": Interval,
    "finding": Found,
    "end": End,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def as_json(value: Any) -> Any:
    """Return a value as a JSON value; one that JSON cannot hold becomes a string."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(each) for each in value]
    return str(value) if isinstance(value, PathLike) else repr(value)


def encode_fact(fact: Fact) -> bytes:
    """Return a fact as a journal holds it. Non-finite numbers are written in Python's form."""
    members = attrs.asdict(fact, recurse=False)
    return json.dumps({"type": _NAMES[type(fact)], **members}, separators=(",", ":")).encode("ascii")


def parse_fact(payload: bytes) -> Fact | None:
    """Return what `encode_fact` encoded; None for a fact of a later release.

    Raises:
        ValueError: It is not a fact.
    """
    try:
        members = json.loads(payload)
        if members["type"] not in _TYPES and isinstance(members["type"], str):
            return None
        kind = _TYPES[members["type"]]
        known = attrs.fields_dict(kind)
        return kind(**{name: value for name, value in members.items() if name in known})
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it is not a fact ({type(error).__name__}: {error})") from None
