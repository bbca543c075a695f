"""The webhook: a run's events, posted as JSON to a web address.

Contract. That of `monitor_core.network.sink` and `monitor_core.network.http`: no step waits for the server, and no
token is shown.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import attrs

from monitor_core import checks
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.finding import Finding
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs
from monitor_core.files.state import finite_or_names
from monitor_core.network.http import TIMEOUT, Poster, origin
from monitor_core.network.outbox import EXIT_SECONDS, LIMIT, RETRY_SECONDS
from monitor_core.network.retries import DeliveryError
from monitor_core.network.sink import NetworkSink
from monitor_core.values.blocks import Block, count_values

EVENTS = ("train_begin", "epoch_end", "evaluation", "finding", "exception", "train_end")
"""The events that can be posted besides blocks."""


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _check_events(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple):
        raise TypeError(f"{field.name} must be a sequence of names (got {value!r})")
    for name in value:
        if name not in EVENTS:
            raise ValueError(f"{field.name} must be among {', '.join(EVENTS)} (got {name!r})")


_check_seconds = checks.number(least=0, finite=True)


@attrs.define(eq=False)
class Webhook(NetworkSink):
    """Post a run's events to a web address, as JSON, without making the training wait.

    Each body is an object with ``event``, ``run`` (its index within the bus, from 0), ``epoch`` (0-based, -1 before the
    first), ``step``, ``status``, ``time`` (seconds since 1970), and more by event:

    - ``"train_begin"``: ``epochs`` and ``steps_per_epoch``, null where unknown.
    - ``"epoch_end"``: ``logs``.
    - ``"evaluation"``, of one within an epoch that more batches follow: its ``name`` (``val`` for one without a name),
      ``logs``, and as ``step`` how many steps came before it.
    - ``"finding"``, of a sink that has found what is wrong with the training: the finding's ``symptom``, ``severity``,
      ``message``, ``advice``, ``evidence``, ``source`` and ``layer``.
    - ``"exception"``: ``error``, the exception that the training raised, as a string.
    - ``"train_end"``: ``reason``, why the run was asked to stop, else null; and the last epoch's ``logs``.
    - ``"block"``, with ``per_batch=True``: ``steps``, ``times`` and ``columns``, lists for up to 256 batches; a metric
      is null where it is missing.

    Non-finite numbers are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. A post is tried again after a
    status of 500 or above, a 429 (after the time that it asks for) or a broken connection, not after other errors. The
    server gets the events in order, and may get one twice.

    Args:
        url: The address, http or https. A user name and password in it are sent as basic authentication. Logs and
            ``repr`` show only its scheme, host and port.
        per_batch: Whether to post the batches' values too.
        events: Which events to post, of `EVENTS`.
        format: Returns the body for an event, or None to skip the event. It is called on the sink's own
            thread, with floats as they are, and may be called again for the same event.
        headers: Headers to send, such as ``Authorization``.
        timeout: How many seconds a post may take in all, above 0; a slower server counts as down.
        limit: How many messages wait at most; when there are more, the oldest are dropped.
        retry_seconds: For how many seconds to retry a message.
        flush_seconds: For how many seconds the run's end waits for pending messages.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: An argument breaks its rule above.

    Example:
        What Slack and Mattermost show (Discord's word for ``"text"`` is ``"content"``):

        >>> def as_text(event):
        ...     logs = ", ".join(f"{name} {value:.3g}" for name, value in event.get("logs", {}).items())
        ...     return {"text": f"{event['event']} {event['epoch']} ({event['status']}) {logs}"}
        >>> Webhook("https://hooks.slack.com/services/secret", events=["epoch_end", "exception"], format=as_text)
        Webhook(url=https://hooks.slack.com)
    """

    read_only: ClassVar[bool] = True
    background: ClassVar[bool] = True

    url: str = attrs.field(repr=origin)
    per_batch: bool = attrs.field(default=False, kw_only=True, validator=checks.boolean)
    events: tuple[str, ...] = attrs.field(
        default=EVENTS, kw_only=True, converter=_as_tuple, validator=_check_events, repr=False
    )
    format: Callable[[dict[str, Any]], Any] | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(attrs.validators.is_callable()), repr=False
    )
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True, repr=False)
    timeout: float = attrs.field(default=TIMEOUT, kw_only=True, repr=False)
    limit: int = attrs.field(default=LIMIT, kw_only=True, validator=checks.count(least=1), repr=False)
    retry_seconds: float = attrs.field(default=RETRY_SECONDS, kw_only=True, validator=_check_seconds, repr=False)
    flush_seconds: float = attrs.field(default=EXIT_SECONDS, kw_only=True, validator=_check_seconds, repr=False)
    _poster: Poster = attrs.field(init=False, repr=False)

    @_poster.default
    def _make_poster(self) -> Poster:
        return Poster(self.url, self.headers, self.timeout)

    def wants_hook(self, hook: str) -> bool:
        """Listen to the events to post, and to the run's end."""
        if hook == "on_block":
            return self.per_batch
        if hook == "on_midepoch_evaluation":
            return "evaluation" in self.events
        return hook == "on_train_end" or hook.removeprefix("on_") in self.events

    def on_train_begin(self, run: Run) -> None:
        """Post that a run begins."""
        self._send("train_begin", run, epochs=run.epochs, steps_per_epoch=run.steps_per_epoch)

    def on_block(self, run: Run, block: Block) -> None:
        """Post the values of some batches."""
        self._send("block", run, values=count_values(block), step=block.steps[-1], block=block)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Post an epoch's results."""
        self._send("epoch_end", run, values=len(logs), epoch=epoch, logs=logs)

    def on_midepoch_evaluation(self, run: Run, logs: Logs) -> None:
        """Post the results of an evaluation within an epoch."""
        if (evaluation := run.evaluation) is not None:
            about = {"step": evaluation.step, "name": evaluation.label}
            self._send("evaluation", run, values=len(logs), **about, logs=logs)

    def on_finding(self, run: Run, finding: Finding) -> None:
        """Post what is wrong with the training."""
        self._send("finding", run, **attrs.asdict(finding, recurse=False))

    def on_exception(self, run: Run, error: BaseException) -> None:
        """Post what the training raised."""
        self._send("exception", run, error="".join(traceback.format_exception_only(error)).strip())

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Post how the run ended, and wait for pending messages."""
        if "train_end" in self.events:
            self._send("train_end", run, reason=run.stop_reason, logs=logs)
        super().on_train_end(run, logs)

    def _send(self, event: str, run: Run, values: int = 1, **more: Any) -> None:
        place = {"run": run.index, "epoch": run.epoch, "step": run.step, "status": run.status}
        self.send({"event": event, **place, "time": time.time(), **more}, values=values)

    def __copy__(self) -> Webhook:
        new = independent_copy(self)
        new.__dict__.pop("_outbox_made", None)  # a copy gets its own messages and thread
        return new

    def deliver(self, message: dict[str, Any]) -> None:
        """Post an event; on the sink's own thread.

        Raises:
            DeliveryError: The server refused it, or it could not be formatted.
        """
        body = self._body({**message, **message.get("block", {})})
        if body is not None:
            self._poster.post(body)

    def _body(self, event: dict[str, Any]) -> bytes | None:
        event.pop("block", None)
        try:
            body = event if self.format is None else self.format(event)
            return None if body is None else json.dumps(finite_or_names(body), allow_nan=False).encode("ascii")
        except Exception as error:
            cause = f"an event cannot be formatted as JSON: {type(error).__name__}: {error}"
            raise DeliveryError(cause, retry=False) from None
