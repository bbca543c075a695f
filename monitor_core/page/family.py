"""What a run is part of, and which runs are part of it.

Contract. A run's record names its parent, by an id or by any name; who its children are is known from theirs. Names are
text, and only runs that the same server shows have addresses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from monitor_core.journal.summary import SUMMARY_NAME, Summary
from monitor_core.page.words import joined, number
from monitor_core.runs.catalogue import FoundRun
from monitor_core.store.addresses import StorePath

MOST_SHOWN = 12
"""How many children a page lists: those that train, then the newest."""


@attrs.frozen
class Relative:
    """A run, as others refer to it.

    Attributes:
        name: What it is called.
        address: Where its page is; the empty string if it has none.
        status: How it is doing, as in a list; the empty string if that is not known.
    """

    name: str
    address: str = ""
    status: str = ""


@attrs.frozen
class Family:
    """The relatives of a run.

    Attributes:
        parent: What it is part of, or None.
        children: The runs that are part of it, at most `MOST_SHOWN` of them.
        counts: How many there are in all, by their status.
    """

    parent: Relative | None = None
    children: tuple[Relative, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def size(self) -> int:
        """How many runs are part of it."""
        return sum(count for _, count in self.counts)

    def sentence(self) -> str:
        """Return how the children are doing."""
        states = [f"{number(count)} {status}" for status, count in self.counts]
        verb = "run is" if self.size == 1 else "runs are"
        return f"{number(self.size)} {verb} part of it: {joined(states)}."


def recorded_family(path: Path, parent: str | None) -> Family:
    """Return what a run's own record says, and the folder that it is in.

    Args:
        path: The run's path.
        parent: What it is part of, as recorded.
    """
    return Family(None if parent is None else Relative(_name_around(path, parent) or parent))


def family_among(
    path: Path, run_id: str, parent: str | None, runs: Sequence[FoundRun], shown: Callable[[FoundRun], Relative]
) -> Family:
    """Return the relatives of a run among others.

    Args:
        path: The run's path.
        run_id: Its id.
        parent: What it is part of, as recorded.
        runs: The others, the newest first; it may be among them.
        shown: Returns a run as it is shown.
    """
    above = next((run for run in runs if parent and run.summary.id == parent and run.path != path), None)
    children = [run for run in runs if run_id and run.summary.parent == run_id and run.path != path]
    children.sort(key=lambda run: run.status != "running")
    return Family(
        recorded_family(path, parent).parent if above is None else shown(above),
        tuple(map(shown, children[:MOST_SHOWN])),
        tuple(Counter(run.status for run in children).most_common()),
    )


def _name_around(path: Path, parent: str) -> str | None:
    """Return the name of the folder that a run is in, if the run there is its parent."""
    if isinstance(path, StorePath):
        return None
    around = path.resolve().parent
    try:
        summary = Summary.from_json((around / SUMMARY_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    return around.name if summary.id == parent else None
