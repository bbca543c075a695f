"""What a user may choose about a run of several ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from monitor_core import checks
from monitor_core.ranks.layout import REDUCTIONS, Reduction


def _reductions(_: object, __: object, value: Mapping[str, str]) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"reductions must be a dict of metrics and how to reduce them (got {value!r})")
    for name, reduction in value.items():
        if not isinstance(name, str) or reduction not in REDUCTIONS:
            raise ValueError(
                f"reductions must map names of metrics to {', '.join(REDUCTIONS)} (got {name!r}: {reduction!r})"
            )


def _positive(_: object, field: attrs.Attribute[float], value: float) -> None:
    if not value > 0:
        raise ValueError(f"{field.name} must be > 0 (got {value})")


@attrs.frozen(kw_only=True)
class Ranks:
    """How the ranks of a job work together in one run, for ``Loop(..., ranks=Ranks(...))``.

    It has no effect in a job of one process. Every rank must get the same options.

    Args:
        every: After how many steps of an epoch the ranks agree on stops and rates, at least 1.
        lost_after: After how many seconds without a sign of life a rank is lost, above 0. As long, the ranks wait for
            each other when the run begins.
        on_lost_rank: What a rank does when another one is lost, after it has flushed its records and logged which:
            ``"wait"`` leaves the end to the framework's own time-out, ``"exit"`` ends the process, with status 75.
        reductions: How the values of several ranks become one, by metric, where it is not the ``"mean"``, weighted as
            the rank's batches were: ``"sum"``, ``"min"`` or ``"max"`` of the ranks' means.
        together: Whether the ranks train one model. If not, each has a run of its own, and nothing is exchanged.

    Raises:
        TypeError: An option is of another type.
        ValueError: An option is out of its range, or not among its choices.

    Example:
        >>> Loop(History(), ranks=Ranks(lost_after=300, reductions={"samples": "sum"}))
    """

    every: int = attrs.field(default=100, validator=checks.count(least=1))
    lost_after: float = attrs.field(default=60.0, validator=[checks.number(finite=True), _positive])
    on_lost_rank: Literal["wait", "exit"] = attrs.field(default="wait", validator=checks.one_of("wait", "exit"))
    reductions: Mapping[str, Reduction] = attrs.field(factory=dict, validator=_reductions)
    together: bool = attrs.field(default=True, validator=checks.boolean)
