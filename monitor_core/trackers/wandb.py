"""W&B: a run's results as the history of a run in Weights & Biases, over the training's steps.

Contract. That of `monitor_core.trackers.tracker`, and: W&B drops rows whose step does not increase, and it cannot take
back what it has. So W&B numbers the rows itself, the training's step is a column that every chart has as its axis, and
a run that is resumed, or goes back, continues in a segment: another run of W&B in the same group. Within a segment
every point is kept and none is there twice. W&B's own process writes the files and uploads them; what it loses then is
not counted here.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import attrs

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.errors import SetupError
from monitor_core.files.folders import absolute
from monitor_core.network.retries import DeliveryError
from monitor_core.trackers.points import BATCH, About, End, Points
from monitor_core.trackers.tracker import Tracker, optional_string, root_cause

AXIS = "step"
"""The column with the training's step, the axis of all charts."""
_EXIT_CODES = {"completed": 0, "stopped": 0, "failed": 1, "interrupted": 255}


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _check_tags(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{field.name} must be a sequence of strings (got {value!r})")


@attrs.define(eq=False)
class WandB(Tracker):
    """Send a run's results to Weights & Biases, or to files that ``wandb sync`` uploads later.

    A run that is resumed continues in a segment of its own, a run of W&B in the same group, because W&B drops steps
    that do not increase; this is logged.

    Args:
        project: The project's name.
        entity: The user or team that owns the project; None: W&B's default.
        run_name: What W&B calls the run; None: W&B chooses.
        group: The group; None: the run's own id, so that its segments are together.
        mode: ``"online"`` uploads, which needs a login; ``"offline"`` only writes files; None: the variable
            ``WANDB_MODE`` decides, or it is ``"online"``.
        folder: Where W&B writes its files, in a folder ``wandb``.
        per_batch: Whether to send the values of every batch too.
        config: The run's configuration.
        tags: The run's tags.
        limit: How many messages wait at most; when there are more, the oldest are dropped.
        retry_seconds: For how many seconds to retry a message.
        flush_seconds: For how many seconds the run's end waits for pending messages.

    Raises:
        SetupError: The package ``wandb`` is missing, or there is no login for the mode ``"online"``.
        TypeError: An argument is of a wrong type.
        ValueError: An argument breaks its rule above.

    Example:
        >>> with Loop(WandB("digits", config={"width": 64}, mode="offline")) as loop:
        ...     train(loop)
    """

    project: str = attrs.field(validator=attrs.validators.instance_of(str))
    entity: str | None = optional_string()
    group: str | None = optional_string()
    mode: Literal["online", "offline"] | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(checks.one_of("online", "offline"))
    )
    folder: Path = attrs.field(default=Path(), kw_only=True, converter=absolute, repr=False)
    tags: tuple[str, ...] = attrs.field(
        default=(), kw_only=True, converter=_as_tuple, validator=_check_tags, repr=False
    )
    _run_id: str | None = attrs.field(init=False, default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        checks.required("WandB", "wandb", "wandb")
        if (self.mode or os.environ.get("WANDB_MODE", "online")) == "online" and not _has_login():
            raise SetupError('WandB has no login for W&B: run "wandb login", set WANDB_API_KEY, or pass mode="offline"')

    @property
    def run_id(self) -> str | None:
        """The id of the current or last segment in W&B, None before it is created."""
        return self._run_id

    def start_session(self, about: About) -> Segments:
        """Begin the run in W&B; one that is resumed gets a segment of its own."""
        return Segments(self, about)

    def start_run(self, about: About, step: int | None) -> Any:
        """Return a new run of W&B.

        Args:
            about: Our run.
            step: From which step a segment continues; None for a run's first one.
        """
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        segment = "" if step is None else f"-{step}-{uuid.uuid4().hex[:6]}"
        run = wandb.init(
            project=self.project,
            entity=self.entity,
            name=f"{self.run_name}{segment}" if self.run_name else None,
            id=about.id + segment,
            group=self.group or about.id,
            config=self.config,
            tags=self.tags or None,
            mode=self.mode,
            dir=str(self.folder),
            reinit="create_new",  # the user's own run, if any, stays as it is
            settings=wandb.Settings(console="off", silent=True),
        )
        run.define_metric(AXIS, hidden=True)
        run.define_metric("*", step_metric=AXIS)
        self._run_id = run.id
        if step is not None:
            text = "W&B drops steps that do not increase: the run continues after step %d in its run %s, of group %s"
            logger.info(text, step, run.id, run.group)
        return run


class Segments:
    """One training's runs in W&B, one at a time."""

    def __init__(self, sink: WandB, about: About) -> None:
        self._sink = sink
        self._about = about
        continues = about.resumed or (sink.run_id or "").startswith(about.id)  # or the sink was removed and added again
        self._run = self._started(about.step if continues else None)
        self._written: tuple[Points, int] | None = None

    def _started(self, step: int | None) -> Any:
        with _errors():
            return self._sink.start_run(self._about, step)

    def write(self, points: Points) -> None:
        """Log a row for each step, from the one that failed before."""
        done = self._written[1] if self._written and self._written[0] is points else 0
        epoch = {} if any(name.startswith(BATCH) for name in points.columns) else {"epoch": points.epoch}
        with _errors():
            for index, (step, moment, row) in enumerate(points.rows()):
                if index >= done:
                    self._run.log({**row, **epoch, AXIS: step, "_timestamp": moment})
                    self._written = points, index + 1

    def rewind(self, step: int) -> None:
        """Continue in another segment."""
        with _errors():
            self._run.finish(exit_code=0)
        self._run = self._started(step)

    def close(self, end: End) -> None:
        """Finish the run, with its status and reason in the summary."""
        with _errors():
            self._run.summary.update({"status": end.status, "reason": end.reason})
            self._run.finish(exit_code=_EXIT_CODES.get(end.status, 0))


@contextmanager
def _errors() -> Iterator[None]:
    """Raise W&B's errors with their cause alone, and with those of its own usage not to be retried."""
    from wandb.errors import UsageError

    try:
        yield
    except UsageError as error:
        raise DeliveryError(root_cause(error), retry=False) from None
    except Exception as error:
        raise DeliveryError(root_cause(error)) from None


def _has_login() -> bool:
    """Return whether W&B finds a key or a token without asking for one in the terminal."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        import wandb
        from wandb.sdk.lib import wbauth

        settings = wandb.Settings()
        host = os.environ.get("WANDB_BASE_URL") or settings.base_url
        found = settings.api_key or wbauth.session_credentials(host=host) or wbauth.read_netrc_auth(host=host)
    except (ImportError, AttributeError, TypeError):  # of another version: let W&B itself look
        logger.debug("cannot look for a login of W&B", exc_info=True)
        return True
    return bool(found)
