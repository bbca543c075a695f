"""When to retry a message that a server did not accept, and when to drop it.

Contract. Failures in a row make the pauses between attempts longer, whichever message they were for, so that an
unavailable server costs almost no time; the first success resets them. One caller at a time.
"""

from __future__ import annotations

import math
import traceback
from time import monotonic

import attrs

from monitor_core.errors import MonitorError

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds between two attempts while they fail: doubled from the first to the longest."""
TROUBLE = 3
"""After how many failures in a row the server counts as failing."""

# Programming errors, which every further attempt would raise again.
_MISTAKES = (AssertionError, AttributeError, LookupError, NameError, NotImplementedError, TypeError)


class DeliveryError(MonitorError, RuntimeError):
    """Raised by ``deliver`` to say what to do with a message that it could not deliver.

    Args:
        cause: The reason, in a few words that are the same for every message: there is one warning for each cause.
        retry: Whether to retry this message.
        after: How many seconds to wait before the retry, at least. A message with less time left is dropped.
    """

    def __init__(self, cause: str, *, retry: bool = True, after: float = 0.0) -> None:
        super().__init__(cause)
        self.retry = retry
        self.after = after


@attrs.define(eq=False)
class Backoff:
    """The outcome of recent delivery attempts, and the time of the next one.

    Attributes:
        failures: How many attempts failed in a row.
        due: When the next attempt may start, on the monotonic clock, in seconds.
        not_before: The time before which the server asked not to be contacted.
    """

    failures: int = 0
    due: float = 0.0
    not_before: float = 0.0

    @property
    def is_failing(self) -> bool:
        """Whether attempts keep failing."""
        return self.failures >= TROUBLE

    def succeed(self) -> None:
        """Record a success."""
        self.failures, self.due, self.not_before = 0, 0.0, 0.0

    def hurry(self) -> None:
        """Allow the next attempt immediately, unless the server asked for a wait."""
        self.due = self.not_before

    def fail(self, error: BaseException, deadline: float) -> bool:
        """Record a failure, and return whether to retry the message.

        Args:
            error: The exception.
            deadline: Until when that message may be retried.
        """
        if isinstance(error, _MISTAKES) or not getattr(error, "retry", True):
            return False  # caused by this message: the next one need not wait
        self.failures += 1
        now, asked = monotonic(), error.after if isinstance(error, DeliveryError) else 0.0
        pause = max(asked, min(FIRST_PAUSE * 2.0 ** min(self.failures - 1, 60), LONGEST_PAUSE))
        fits = now + pause <= deadline
        longest = math.inf if fits else LONGEST_PAUSE  # the next message has its own deadline
        self.due, self.not_before = now + min(pause, longest), now + min(asked, longest)
        return fits


def description(error: BaseException) -> str:
    """Return an error's cause, human-readable, for a warning."""
    if isinstance(error, DeliveryError):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip()
