"""The states of sinks: what a state belongs to, and which sink of a bus gets it back.

Contract. A state is stored with its sink's name, its `Sink.identity` and its other options. It goes to the sink of the
same name and identity, in any position on the bus; of several such sinks, to the one with the same options. A path
within the run's folder is stored relative to it, so that the folder may be moved or copied. A state that fits none of
the sinks, or several equally, is an error that names both sides.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from monitor_core.bus.hooks import Hook, sink_name
from monitor_core.bus.run import Run
from monitor_core.errors import SetupError

_HOME = "<run>"
"""What a stored path begins with that is in the run's folder."""


@attrs.frozen
class StoredState:
    """A sink's state, and which sink it is of.

    Attributes:
        sink: The sink's name.
        identity: What the state belongs to, see `Sink.identity`.
        options: The sink's other options, as far as JSON has them.
        state: What the sink's ``state_dict()`` returned.
    """

    sink: str
    identity: dict[str, Any]
    options: dict[str, Any]
    state: Mapping[str, Any]

    @classmethod
    def of(cls, sink: object, state: Mapping[str, Any], home: Path | None) -> StoredState:
        """Return a sink's state with what identifies the sink."""
        identity = _identity(sink, home)
        return cls(sink_name(sink), identity, _options(sink, identity), state)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, and what arrays the state has."""
        return attrs.asdict(self, recurse=False)

    def __str__(self) -> str:
        named = [f"{name}={_shown(value)}" for name, value in self.identity.items()]
        return f"{self.sink}({', '.join(named)})"


@attrs.define
class Resumption:
    """What a run that continues begins from, until its sinks have begun.

    Attributes:
        home: The run's folder, if it has one.
        recorded: What a journal has of the run up to there, for sinks with a method ``load_record``.
    """

    home: Path | None = None
    recorded: Any = None
    _states: list[tuple[object, Mapping[str, Any]]] = attrs.field(factory=list)

    def load(self, stored: Iterable[Mapping[str, Any]], sinks: Sequence[object]) -> None:
        """Keep states for the sinks that they belong to.

        Raises:
            ValueError: A state belongs to none of the sinks, or to several equally.
        """
        self._states = _matched([StoredState(**each) for each in stored], sinks, self.home)

    def collect(self, sinks: Iterable[object]) -> list[dict[str, Any]]:
        """Return the sinks' states; of a sink that is still to begin the one that waits for it."""
        found = []
        for sink in sinks:
            state = self._waiting(sink)
            if state is None and hasattr(sink, "state_dict"):
                state = sink.state_dict()
            if state:
                found.append(StoredState.of(sink, state, self.home).to_json())
        return found

    def restore(self, sink: Any, run: Run, rewind: Hook | None) -> None:
        """Take a sink that has begun to where the run continues.

        Args:
            sink: The sink.
            run: The run.
            rewind: The sink's ``on_rewind`` as the bus calls it, if it has one.

        Raises:
            SetupError: It cannot be taken there.
        """
        state = self._waiting(sink)
        try:
            if state is not None:
                sink.load_state_dict(state)
            if rewind is not None:
                rewind(run, run.epoch + 1, run.step)
            if self.recorded is not None and hasattr(sink, "load_record"):
                sink.load_record(self.recorded)
        except SetupError:
            raise
        except Exception as error:
            raise SetupError(f"{sink_name(sink)} cannot continue the run: {type(error).__name__}: {error}") from error

    def clear(self) -> None:
        """Forget the states: the sinks have begun."""
        self.recorded, self._states = None, []

    def _waiting(self, sink: object) -> Mapping[str, Any] | None:
        return next((state for owner, state in self._states if owner is sink), None)


# --- who gets what -----------------------------------------------------------------------------------------------


def _matched(
    stored: list[StoredState], sinks: Sequence[object], home: Path | None
) -> list[tuple[object, Mapping[str, Any]]]:
    """Return each state with its sink: equal ones first, then those with other options, then those that moved."""
    able = [(sink, StoredState.of(sink, {}, home)) for sink in sinks if hasattr(sink, "load_state_dict")]
    found: list[tuple[object, Mapping[str, Any]]] = []
    for fits, takes_first in ((_is_equal, True), (_has_identity, False), (_has_moved, False)):
        for state in list(stored):
            candidates = [(sink, each) for sink, each in able if fits(state, each)]
            if not candidates:
                continue
            rivals = [each for each in stored if fits(each, candidates[0][1])]
            if not takes_first and (len(candidates) > 1 or len(rivals) > 1):
                raise ValueError(_ambiguous(rivals, [each for _, each in candidates]))
            sink, each = candidates[0]
            found.append((sink, state.state))
            stored.remove(state)
            able.remove((sink, each))
    if stored:
        present = ", ".join(str(StoredState.of(sink, {}, home)) for sink in sinks)
        raise ValueError(f"state holds a sink {stored[0]}, which this bus has not; it has {present or 'none'}")
    return found


def _is_equal(one: StoredState, other: StoredState) -> bool:
    return _has_identity(one, other) and one.options == other.options


def _has_identity(one: StoredState, other: StoredState) -> bool:
    return one.sink == other.sink and one.identity == other.identity


def _has_moved(stored: StoredState, present: StoredState) -> bool:
    """Return whether they differ in the folders of paths alone, and what was stored is not there any more."""
    if stored.sink != present.sink or stored.identity.keys() != present.identity.keys():
        return False
    return all(_is_same(value, present.identity[name]) for name, value in stored.identity.items())


def _is_same(stored: Any, present: Any) -> bool:
    if stored == present or not (_is_path(stored) and _is_path(present)):
        return bool(stored == present)
    old, new = Path(stored["path"]), Path(present["path"])
    if old.name != new.name:
        return False
    there = old if "{" not in str(old) else old.parent  # a template names no file
    return not there.exists() or os.path.realpath(old) == os.path.realpath(new)


def _ambiguous(stored: list[StoredState], present: list[StoredState]) -> str:
    def listed(states: list[StoredState]) -> str:
        return ", ".join(f"{each} with {each.options}" for each in states)

    return (
        f"it is not clear which sink each state belongs to: the state holds {listed(stored)}, and this bus has "
        f"{listed(present)}; keep the options of all but one of them as they were, or give sinks a `name` of their own"
    )


# --- what identifies a sink ---------------------------------------------------------------------------------------


def _identity(sink: object, home: Path | None) -> dict[str, Any]:
    identity = getattr(sink, "identity", None)
    if not isinstance(identity, Mapping):  # any object with hooks may have an attribute of that name
        return {}
    return {name: _as_json(value, home) for name, value in identity.items()}


def _options(sink: object, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an attrs class that JSON can hold."""
    kind = type(sink)
    if not attrs.has(kind):
        return {}
    names = [field.name for field in attrs.fields(kind) if field.init and field.name not in identity]
    values = {name: getattr(sink, name, None) for name in names}
    return {name: _as_json(value, None) for name, value in values.items() if _is_json(value)}


def _is_json(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_json, value))
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_json(each) for name, each in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def _as_json(value: Any, home: Path | None) -> Any:
    if isinstance(value, os.PathLike):
        return {"path": _stored_path(Path(value), home)}
    if isinstance(value, (list, tuple)):
        return [_as_json(each, home) for each in value]
    if isinstance(value, Mapping):
        return {name: _as_json(each, home) for name, each in value.items()}
    return value


def _stored_path(path: Path, home: Path | None) -> str:
    if home is not None:
        inside = os.path.relpath(os.path.realpath(path), os.path.realpath(home))
        if not inside.startswith(os.pardir):
            return f"{_HOME}/{Path(inside).as_posix()}"
    return path.as_posix()


def _is_path(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"path"}


def _shown(value: Any) -> str:
    return repr(value["path"] if _is_path(value) else value)
