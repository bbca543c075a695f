"""Asking a running training for something through its folder, from the command or from the live page.

Contract. What cannot be asked for is a `ValueError`, whose message is all that a user needs; nothing is written then.
Of all that looks at runs, only this writes to a run's folder, see `monitor_core.files.requests`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from monitor_core.files.requests import Request, answer_to, listens, send, withdraw
from monitor_core.journal import provenance
from monitor_core.journal.summary import Summary

NOT_ANSWERED = "asked, and not answered yet"
"""What there is to say of a request that waits."""


@attrs.frozen
class Pending:
    """A request that was sent.

    Attributes:
        folder: The run's folder.
        request: The request.
        process: The run's process, see `monitor_core.journal.provenance.this_process`.
    """

    folder: Path
    request: Request
    process: Mapping[str, Any]

    def answer(self) -> tuple[bool, str] | None:
        """Return whether it was done, and a sentence; None while there is no answer.

        There is one answer, once. If the run died meanwhile, the request is withdrawn.
        """
        found = answer_to(self.folder, self.request)
        if found is None and provenance.is_alive(self.process) is False and withdraw(self.folder, self.request):
            return False, "refused: the run has died"
        return found


def ask(folder: Path, summary: Summary, verb: str, value: str | None, *, who: str, name: str | None = None) -> Pending:
    """Ask the last run in a folder for something.

    Args:
        folder: The run's folder.
        summary: The run's summary.
        verb: What is asked for, one of `monitor_core.files.requests.VERBS`.
        value: The rate, the note, or why to stop, as they were typed; None if nothing was.
        who: Who asks, as ``user@host``.
        name: What the run is called in errors; by default its folder.

    Raises:
        ValueError: The run is not running or does not listen, or the verb or its value breaks its rule.
        OSError: The folder cannot be written.
    """
    called = folder if name is None else name
    if summary.status != "running":
        raise ValueError(f"{called} is not running: its status is {summary.status}")
    if not listens(folder, summary.id):
        raise ValueError(f"{called} does not listen: add Control() to its sinks, or wait a second if it just began")
    request = Request(verb=verb, value=_number(value) if verb == "rate" else value, who=who, run=summary.id)
    send(folder, request)
    return Pending(folder, request, summary.process)


def _number(value: str | None) -> float:
    try:
        return float(value or "")
    except ValueError:
        raise ValueError(f"rate must be a number > 0 and finite (got {value!r})") from None
