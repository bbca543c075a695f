"""The ranks meet when a run begins: either all of them come within some time, or each continues alone.

Contract. The outcome is the same on every rank, whenever it arrives, because the first one to write it decides. Ranks
that continued alone once do so in all later runs of the job, without waiting.
"""

from __future__ import annotations

import time

from monitor_core.ranks.collective import Board

_TOGETHER, _APART = "together", "apart"
_OUTCOME, _ARRIVED = "outcome", "arrived"
_LONGEST_PAUSE = 0.1


def meet(job: Board, run: Board, rank: int, ranks: int, seconds: float) -> list[int]:
    """Wait for the other ranks; return those that have not come, nothing if all have.

    Args:
        job: The notes of the whole job.
        run: Those of this run.
        rank: The number of this process.
        ranks: How many there are.
        seconds: How long to wait.
    """
    if job.get(_APART) is None:
        outcome = _outcome(run, rank, ranks, seconds)
        if outcome == _TOGETHER:
            return []
        job.set(_APART, "")
    absent = [each for each in range(ranks) if run.get(f"{_ARRIVED}/{each}") is None and each != rank]
    return absent or [each for each in range(ranks) if each != rank]


def _outcome(run: Board, rank: int, ranks: int, seconds: float) -> str:
    run.set(f"{_ARRIVED}/{rank}", "")
    if run.add(_ARRIVED, 1) == ranks:
        return run.set_once(_OUTCOME, _TOGETHER)
    until, pause = time.monotonic() + seconds, 0.001
    while (outcome := run.get(_OUTCOME)) is None:
        if time.monotonic() > until:
            return run.set_once(_OUTCOME, _APART)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return outcome
