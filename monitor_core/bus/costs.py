"""What sinks cost: how long each of their hooks takes, on the training's thread and in the background.

Hooks for train, epochs, blocks and evaluations are timed at each call; those for batches at one batch in `SAMPLED`, so
that the meter costs nothing itself, and the rest is estimated from these.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import attrs

from monitor_core.values.html import card, table

SAMPLED = 251
"""One batch in this many is timed: a prime, so that it does not coincide with another period of the training."""
PER_BATCH = ("on_batch_begin", "on_batch_end")
KEPT, FETCHED = "values kept", "values fetched"
BUS = "the bus itself"
"""The entry among the sinks for the bus's own work: keeping the values of batches, and fetching them."""

_WARM_UP_SECONDS, _WARM_UP_SAMPLES = 1.0, 3
_CHECK_SECONDS = 1.0
"""How often to look for slow sinks: it takes 20 us, which is much for an epoch of one step."""


@attrs.frozen
class HookCost:
    """What one hook of a sink cost in a run.

    Attributes:
        sink: The sink's name.
        hook: The hook's name.
        calls: How many times it was called; for batch hooks, the number of batches.
        seconds: The total wall time of these calls; for batch hooks, an estimate.
        longest: The longest timed call, in seconds.
    """

    sink: str
    hook: str
    calls: int
    seconds: float
    longest: float


@attrs.frozen
class Cost:
    """What the sinks of a bus have cost in a run so far.

    Attributes:
        hooks: Each hook that was called, the most expensive first.
        seconds: How long the run has taken, wall time.
        steps: How many batches of it have ended.
    """

    hooks: tuple[HookCost, ...]
    seconds: float
    steps: int

    def by_sink(self) -> dict[str, float]:
        """Return the seconds that each sink took, the slowest first."""
        sums: dict[str, float] = {}
        for each in self.hooks:
            sums[each.sink] = sums.get(each.sink, 0.0) + each.seconds
        return dict(sorted(sums.items(), key=lambda pair: -pair[1]))

    @property
    def slowest(self) -> str | None:
        """The sink that took longest; None if none was called."""
        return next((name for name in self.by_sink() if name != BUS), None)

    def share_of_step(self, sink: str) -> float:
        """Return what a sink's hooks for batches and blocks take, as a share of the mean step's time."""
        hooks = (*PER_BATCH, "on_block")
        return sum(each.seconds for each in self.hooks if each.sink == sink and each.hook in hooks) / self.seconds

    def __str__(self) -> str:
        """Return a table of the sinks and the time of each hook."""
        lines = [
            f"{sink:<24} {hook:<24} {calls:>10} x {each:>10} = {together:>10} {share:>7}"
            for sink, hook, calls, each, together, share in self._rows()
        ]
        return "\n".join([self._summary(), *lines])

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        headers = ("sink", "hook", "calls", "each", "together", "of the run")
        rows = self._rows()
        return card("Cost", [self._summary()], *([table(headers, rows, right=(2, 3, 4, 5))] if rows else []))

    def _summary(self) -> str:
        if not self.hooks:
            return "no hook was called"
        step = f"{1e3 * self.seconds / self.steps:.3g} ms each" if self.steps else "none ended"
        return f"{self.steps} steps in {self.seconds:.1f} s, {step}; slowest sink: {self.slowest or 'none'}"

    def _rows(self) -> list[tuple[str, str, int, str, str, str]]:
        """Return the sink and the hook, how often it was called, what a call and all took, and their share."""
        return [
            (
                each.sink,
                each.hook,
                each.calls,
                _shown(each.seconds / each.calls),
                _shown(each.seconds),
                f"{each.seconds / self.seconds:.2%}",
            )
            for each in self.hooks
        ]


def _shown(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


@attrs.define
class _Meter:
    calls: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class CostMeter:
    """Adds up the time that hooks take in a run.

    Args:
        first_step: How many batches had ended when the run began.
    """

    def __init__(self, first_step: int = 0) -> None:
        self._began = time.perf_counter()
        self._ended: float | None = None
        self._first_step = first_step
        self._meters: dict[tuple[str, str], _Meter] = {}
        self._told: set[str] = set()
        self._check_at = self._began + _WARM_UP_SECONDS

    def add(self, sink: str, hook: str, seconds: float) -> None:
        """Add a timed call."""
        try:
            meter = self._meters[sink, hook]
        except KeyError:
            meter = self._meters[sink, hook] = _Meter()
        meter.calls += 1
        meter.seconds += seconds
        if seconds > meter.longest:  # noqa: PLR1730 (max() takes 60 ns more)
            meter.longest = seconds

    def end(self) -> None:
        """Stop the run's clock."""
        self._ended = time.perf_counter()

    def cost(self, step: int) -> Cost:
        """Return the cost up to a step."""
        steps = step - self._first_step
        hooks = [
            HookCost(sink, hook, steps, meter.seconds / meter.calls * steps, meter.longest)
            if hook in (*PER_BATCH, KEPT)
            else HookCost(sink, hook, meter.calls, meter.seconds, meter.longest)
            for (sink, hook), meter in tuple(self._meters.items())
        ]
        seconds = (self._ended or time.perf_counter()) - self._began
        return Cost(tuple(sorted(hooks, key=lambda each: -each.seconds)), max(seconds, 1e-9), steps)

    def newly_slow(self, step: int, share: float, *, is_last: bool = False) -> Iterator[tuple[str, float]]:
        """Yield each sink that takes more than this share of the step, once, with its share.

        Args:
            step: How many batches have ended.
            share: The share.
            is_last: Whether the run ends; otherwise it looks once a second at most, since epochs may be short.
        """
        now = time.perf_counter()
        if now < self._check_at and not (is_last and now - self._began >= _WARM_UP_SECONDS):
            return
        if step - self._first_step < _WARM_UP_SAMPLES * SAMPLED:
            return
        self._check_at = now + _CHECK_SECONDS
        cost = self.cost(step)
        for sink in cost.by_sink():
            if sink not in self._told and sink != BUS and (taken := cost.share_of_step(sink)) > share:
                self._told.add(sink)
                yield sink, taken
