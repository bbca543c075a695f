"""When to try again what a server did not take, and when to give it up.

Contract. Failures in a row put ever longer pauses between the attempts, whichever message they were for, so that a
server that is gone costs next to nothing; the first success ends them. One caller at a time.
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
"""After how many failures in a row the server is said to be in trouble."""

# What a mistake in the program raises: no later attempt would go better.
_MISTAKES = (AssertionError, AttributeError, LookupError, NameError, NotImplementedError, TypeError)


class DeliveryError(MonitorError, RuntimeError):
    """Raised by what delivers messages, to say how to go on with the one that it could not deliver.

    Args:
        cause: Why, in a few words that are the same for every message: there is one warning for each cause.
        retry: Whether to try this message again.
        after: For how many seconds to wait before that, at least. A message that has less time left is given up.
    """

    def __init__(self, cause: str, *, retry: bool = True, after: float = 0.0) -> None:
        super().__init__(cause)
        self.retry = retry
        self.after = after


@attrs.define(eq=False)
class Backoff:
    """How the attempts to deliver went, and when the next one may come.

    Attributes:
        failures: How many failed in a row.
        due: When the next one may come, on the monotonic clock, in seconds.
        not_before: Before which time the server does not want one.
    """

    failures: int = 0
    due: float = 0.0
    not_before: float = 0.0

    @property
    def is_failing(self) -> bool:
        """Whether they go on failing."""
        return self.failures >= TROUBLE

    def succeed(self) -> None:
        """Note a success."""
        self.failures, self.due, self.not_before = 0, 0.0, 0.0

    def hurry(self) -> None:
        """Let the next one come at once, unless the server asked for a wait."""
        self.due = self.not_before

    def fail(self, error: BaseException, deadline: float) -> bool:
        """Note a failure, and answer whether to try the message again.

        Args:
            error: What was raised.
            deadline: Until when that message may be tried.
        """
        if isinstance(error, _MISTAKES) or not getattr(error, "retry", True):
            return False  # the message's own fault: the next one need not wait
        self.failures += 1
        now, asked = monotonic(), error.after if isinstance(error, DeliveryError) else 0.0
        pause = max(asked, min(FIRST_PAUSE * 2.0 ** min(self.failures - 1, 60), LONGEST_PAUSE))
        fits = now + pause <= deadline
        longest = math.inf if fits else LONGEST_PAUSE  # the next message has a time of its own
        self.due, self.not_before = now + min(pause, longest), now + min(asked, longest)
        return fits


def in_words(error: BaseException) -> str:
    """Return the cause that an error names, in words for a warning."""
    if isinstance(error, DeliveryError):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip()
