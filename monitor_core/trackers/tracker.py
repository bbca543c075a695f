"""The base class of trackers: hooks queue points, and a session sends them, on the sink's own thread.

Contract. A hook only puts what it got into the sink's queue. On the thread, the first message of a run opens a
`Session`, later ones write to it, and the run's end closes it; if opening fails, the next message tries again. A
message is written once, or again after a failure. A metric gets no step twice: what a tracker already has when a run is
resumed, or goes back, is left out. For outages, see `monitor_core.network.sink`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Protocol

import attrs

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.hooks import sink_name
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs
from monitor_core.journal.facts import as_json
from monitor_core.network.outbox import LIMIT
from monitor_core.network.sink import NetworkSink
from monitor_core.trackers.points import About, End, Points, Rewind, place
from monitor_core.values.blocks import Block, count_values

RETRY_SECONDS = 120.0
"""For how many seconds a message is retried by default: trackers themselves wait up to 30 s for a locked database."""
FLUSH_SECONDS = 15.0
"""For how many seconds the end of a run waits by default: trackers take longer to open and close than a web address."""


class Session(Protocol):
    """One run in a tracker. All methods are called on the sink's thread, and may raise `DeliveryError`."""

    def write(self, points: Points) -> None:
        """Send points. It may be called again with the same ones after it has raised."""
        ...

    def rewind(self, step: int) -> None:
        """Called when the run goes back to a step."""
        ...

    def close(self, end: End) -> None:
        """Send how the run ended. It may be called again after it has raised."""
        ...


class Desk:
    """What is open on the sink's thread. A copy of the sink, and a pickled one, begin without it."""

    def __init__(self) -> None:
        self.about: About | None = None
        self.session: Session | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Desk:
        return Desk()

    def __reduce__(self) -> tuple[type[Desk], tuple[()]]:
        return Desk, ()

    def at(self, about: About, opened: Callable[[About], Session]) -> Session:
        """Return a run's session, after closing another run's and opening this one's if necessary."""
        if self.session is None or self.about is not about:
            self.leave()
            self.session, self.about = opened(about), about
        return self.session

    def leave(self) -> None:
        """Close a session whose end has not arrived."""
        session, self.session, self.about = self.session, None, None
        if session is not None:
            with suppress(Exception):
                session.close(End("interrupted", None, time.time()))


class Floors:
    """Which steps of each metric a tracker already has, so that none is sent twice.

    Args:
        last: The last step of each metric that an earlier process has sent.
    """

    def __init__(self, last: Mapping[str, int] | None = None) -> None:
        self._floors = dict(last or {})
        self._last: dict[str, int] = dict(self._floors)

    def new(self, points: Points) -> Points:
        """Return the points that the tracker does not have."""
        return points.after(self._floors) if self._floors else points

    def note(self, points: Points) -> None:
        """Note that points were sent."""
        for name, step in points.last_steps():
            self._last[name] = max(step, self._last.get(name, step))

    def rewind(self) -> None:
        """Leave out, from now on, what has been sent until now."""
        self._floors = dict(self._last)


def copied_config(value: Any) -> dict[str, Any]:
    """Return a configuration as JSON values, for the converter of an attrs field."""
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"config must be a mapping (got {value!r})")
    copy: dict[str, Any] = as_json(value or {})
    return copy


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration without mappings in it: the names of inner values have a slash."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= flattened(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def root_cause(error: BaseException) -> str:
    """Return the innermost cause of an error in a few words, without addresses in memory, SQL or what was sent."""
    for _ in range(20):  # a chain may contain itself
        found = getattr(error, "orig", None) or getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(found, BaseException):
            found = next((each for each in error.args if isinstance(each, BaseException)), None)
        if found is None:
            break
        error = found
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    first = words.strip().partition("\n")[0].partition(" (Background on this error")[0]
    return f"{type(error).__name__}: {first[:200]}" if first else type(error).__name__


def optional_string() -> Any:
    """Return a keyword-only attrs field that is a string or None."""
    check = attrs.validators.optional(attrs.validators.instance_of(str))
    return attrs.field(default=None, kw_only=True, validator=check)


def _seconds(default: float) -> Any:
    return attrs.field(default=default, kw_only=True, validator=checks.number(least=0, finite=True), repr=False)


@attrs.define(eq=False, kw_only=True)
class Tracker(NetworkSink):
    """Send a run's results to a tracker, on the sink's own thread. Subclasses override `start_session`.

    Results of epochs and evaluations keep their names, those of batches are named ``batch/loss``. All are placed at
    training steps, an epoch's at its last one; in a run without batches at the epoch's number.

    Args:
        run_name: What the tracker calls the run; None: the tracker chooses.
        per_batch: Whether to send the values of every batch too.
        config: The run's configuration, such as hyperparameters by name; it is copied. Inner mappings are allowed.
        limit: How many messages wait at most, each with the values of up to 256 batches or of an epoch; when there are
            more, the oldest are dropped.
        retry_seconds: For how many seconds to retry a message.
        flush_seconds: For how many seconds the run's end waits for pending messages.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: An argument breaks its rule above.
    """

    read_only: ClassVar[bool] = True
    background: ClassVar[bool] = True

    run_name: str | None = optional_string()
    per_batch: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    config: dict[str, Any] = attrs.field(default=None, kw_only=True, converter=copied_config, repr=False)
    limit: int = attrs.field(default=LIMIT, kw_only=True, validator=checks.count(least=1), repr=False)
    retry_seconds: float = _seconds(RETRY_SECONDS)
    flush_seconds: float = _seconds(FLUSH_SECONDS)
    _about: About | None = attrs.field(init=False, default=None, repr=False)
    _error: str | None = attrs.field(init=False, default=None, repr=False)
    _is_resuming: bool = attrs.field(init=False, default=False, repr=False)
    _desk: Desk = attrs.field(init=False, factory=Desk, repr=False)

    def start_session(self, about: About) -> Session:
        """Begin or continue a run in the tracker; called on the sink's thread.

        Args:
            about: What is known of the run.

        Raises:
            DeliveryError: It cannot be opened now; the next message tries again.
        """
        raise NotImplementedError(f"{type(self).__name__} must override start_session(about)")

    def __copy__(self) -> Tracker:
        new = independent_copy(self)
        new.__dict__.pop("_outbox_made", None)  # a copy gets its own messages and thread
        return new

    def wants_hook(self, hook: str) -> bool:
        """Listen to blocks only if every batch is to be sent."""
        return hook != "on_block" or self.per_batch

    # --- hooks -------------------------------------------------------------------------------------------------------

    def on_train_begin(self, run: Run) -> None:
        """Open the run."""
        self._about, self._error, self._is_resuming = About.of(run), None, run.resumed
        self._put(None)

    def on_block(self, run: Run, block: Block) -> None:
        """Send the values of some batches."""
        self._put(Points.of_block(block), count_values(block))

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Send an epoch's results, without those of an evaluation that were sent within the epoch."""
        fresh = {name: value for name, value in logs.items() if name not in run.stale_metrics}
        self._put_logs(epoch, place(run, epoch), fresh)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Send an evaluation's results, at its step."""
        step = run.step if run.evaluation is None else run.evaluation.step
        self._put_logs(run.epoch, step, logs)

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Note that the run goes back; what a tracker has cannot be dropped."""
        if self._is_resuming:  # the session starts there
            self._is_resuming = False
        else:
            self._put(Rewind(step))

    def on_exception(self, run: Run, error: BaseException) -> None:
        """Keep what the training raised for the run's end."""
        self._error = "".join(traceback.format_exception_only(error)).strip()

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Send how the run ended, and wait for pending messages."""
        self._put(End(run.status, self._error or run.stop_reason, time.time()))
        self._about = None
        super().on_train_end(run, logs)

    def _put_logs(self, epoch: int, step: int, logs: Logs) -> None:
        points = Points.of_logs(epoch, step, logs)
        if points.columns:
            self._put(points, len(points.columns))

    def _put(self, content: Points | Rewind | End | None, values: int = 0) -> None:
        if content is not None:
            self._is_resuming = False
        if self._about is not None:
            self._outbox.put((self._about, content), values)  # immutable, so it needs no copy

    # --- on the thread -----------------------------------------------------------------------------------------------

    def deliver(self, message: tuple[About, Points | Rewind | End | None]) -> None:
        """Send one message; on the sink's own thread.

        Raises:
            DeliveryError: The tracker did not accept it.
        """
        about, content = message
        session = self._desk.at(about, self.start_session)
        if isinstance(content, Points):
            session.write(content)
        elif isinstance(content, Rewind):
            session.rewind(content.step)
        elif content is not None:
            session.close(content)
            self._desk.session = self._desk.about = None

    def warn(self, text: str, *args: object) -> None:
        """Log a warning that begins with the sink's name."""
        logger.warning("%s " + text, sink_name(self), *args)
