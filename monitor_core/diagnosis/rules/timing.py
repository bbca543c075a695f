"""Rules on time and memory: steps that take longer and longer, memory that grows."""

from __future__ import annotations

import attrs
import numpy as np

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.seen import Seen
from monitor_core.diagnosis.trends import score
from monitor_core.diagnosis.words import number, percent
from monitor_core.values.text import counted


@attrs.frozen
class Slowing(Rule):
    """Steps take longer and longer, window after window.

    Attributes:
        ratio: How many times as long as at the beginning.
        windows: How many windows of steps are needed.
        level: How clear the trend must be, as a Mann-Kendall score.
        least: How long a step must take at the end, seconds: very short ones vary with everything.
    """

    symptom = "slowing"
    moments = ("epoch",)
    source = "runmedic (growth with a rank correlation), on the time of steps"

    ratio: float = 2.0
    windows: int = 10
    level: float = 4.0
    least: float = 0.001

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning if the last quarter is slow and the trend is clear."""
        medians = np.array(seen.timing.medians)
        if len(medians) < self.windows:
            return None
        quarter = max(2, len(medians) // 4)
        early, late = float(np.median(medians[1 : 1 + quarter])), float(np.median(medians[-quarter:]))
        if late < self.least or late < self.ratio * early or score(medians) < self.level:
            return None
        return self.found(
            seen,
            "warning",
            f"Steps take longer and longer: {number(1000 * early)} ms at the beginning, {number(1000 * late)} ms now.",
            "Look for a list or graph that grows with each step: losses kept with their graphs (use .item() or "
            ".detach()), a model that is compiled or built again, a log that is read back.",
            early=early,
            late=late,
            threshold=self.ratio,
        )


@attrs.frozen
class WaitingForData(Rule):
    """The loop spends much of its time waiting for the next batch.

    Attributes:
        share: The share of the batches' time from which on it is a warning.
        note: From which on it is a note.
        seconds: How long it must have waited, in the last epochs.
        epochs: How many epochs count.
    """

    symptom = "waiting_for_data"
    needs = ("waiting",)
    source = "runmedic (20 to 30% of a step)"

    share: float = 0.5
    note: float = 0.3
    seconds: float = 10.0
    epochs: int = 3

    def check(self, seen: Seen) -> Finding | None:
        """Return it for the last epochs; the first, which fills caches, counts only where no other is planned."""
        counted_from = 0 if seen.epochs_planned == 1 else 1
        last = seen.waiting[counted_from:][-self.epochs :]
        waited, total = (sum(each[index] for each in last) for index in (0, 1))
        if waited < self.seconds or waited < self.note * total:
            return None
        share = waited / total
        return self.found(
            seen,
            "warning" if share >= self.share else "note",
            f"{percent(share)} of the last {counted(round(total), 'second')} of training went into waiting for the "
            "next batch.",
            "Load it with more workers, prefetch it, store it in a faster format, or keep it in memory. If "
            "the batches are made by work that belongs to the training, such as an environment's steps, this is its "
            "share.",
            share=share,
            waited=waited,
            total=total,
            threshold=self.share,
        )


@attrs.frozen
class MemoryGrowth(Rule):
    """The process's memory grows from epoch to epoch.

    Attributes:
        ratio: How many times as much as after the first fifth of the epochs.
        bytes: How much more at least.
        epochs: How many epochs are needed.
        level: How clear the trend must be, as a Mann-Kendall score.
    """

    symptom = "memory_growth"
    moments = ("epoch",)
    needs = ("memory",)
    source = "runmedic (1.2 times, with a rank correlation of 0.8)"

    ratio: float = 1.2
    bytes: int = 100_000_000
    epochs: int = 10
    level: float = 4.0

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning if the trend is clear."""
        values = np.array(seen.memory[len(seen.memory) // 5 :], np.float64)
        if len(seen.memory) < self.epochs:
            return None
        first, last = float(values[0]), float(values[-1])
        if last < self.ratio * first or last - first < self.bytes or score(values) < self.level:
            return None
        return self.found(
            seen,
            "warning",
            f"The process's memory grows: from {number(first / 1e6)} MB to {number(last / 1e6)} MB in the last "
            f"{counted(len(values), 'epoch')}.",
            "Look for tensors that are kept in a list with their graphs, a History of every batch, or data that is "
            "cached.",
            first=first,
            last=last,
            threshold=self.ratio,
        )
