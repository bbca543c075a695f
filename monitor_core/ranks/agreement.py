"""The agreement of the ranks of a run: at each of its points all of them get the same results, stop and rate.

Contract. `Agreement.exchange` is called at the same points on every rank, on the training's thread; a collective begins
only once all ranks have come to it. Each call takes one, two more where a rank reports a metric that is new, and two
more where a stop was asked for, whose reason is sent. A rank at the end of its epoch takes part in those of the others
meanwhile. A rank that has left, or is elsewhere, ends the call with an error.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from monitor_core._log import logger
from monitor_core.errors import RankError
from monitor_core.ranks.collective import Collective
from monitor_core.ranks.layout import Layout
from monitor_core.ranks.options import Ranks
from monitor_core.ranks.positions import Kind, Position, completed, named
from monitor_core.ranks.requests import Requests
from monitor_core.ranks.unwatched import Unwatched
from monitor_core.ranks.watch import Watch

_POSITION = slice(0, 4)
_UNKNOWN, _STOP, _RATE, _ACTS, _HEAD = 4, 5, 6, 7, 8
"""Where a vector has how many names have no place, what is asked for, a rate or NaN, and whether a sink may act on the
results; and how many numbers come before the results."""

_STOPS, _FAILS, _INTERRUPTS = 1, 2, 3
"""What may be asked for."""

_NAMING_SECONDS = 3.0
"""How much longer than ``lost_after`` to wait until it is known whose connection broke."""


class Agreement:
    """Exchanges results and requests with the other ranks.

    Args:
        collective: What gathers them, open.
        watch: What watches over the other ranks.
        options: The user's.
        requests: What this rank asks for; emptied when it was agreed on.
        on_stop: Called with the reason, and whether it is a failure, when a stop is agreed on.
        on_rate: Called with the learning rate that a rank has set, unless this rank has set the same.

    Attributes:
        collectives: How many collectives it has taken.
        any_acts: Whether, in the last exchange of results, any rank had a sink that may act on them.
        interrupted: Whether Ctrl-C has ended the run on all ranks.
    """

    def __init__(
        self,
        collective: Collective,
        watch: Watch | Unwatched,
        options: Ranks,
        requests: Requests,
        *,
        on_stop: Callable[[str, bool], None],
        on_rate: Callable[[float], None],
    ) -> None:
        self.collectives = 0
        self.any_acts = False
        self.interrupted = False
        self._collective = collective
        self._watch = watch
        self._options = options
        self._requests = requests
        self._on_stop = on_stop
        self._on_rate = on_rate
        self._layout = Layout()
        self._position = Position(Kind.BEGIN, -1)

    def exchange(
        self,
        position: Position,
        results: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
        *,
        acts: bool = False,
        of_all: bool = False,
    ) -> dict[str, float]:
        """Exchange results with the ranks that are at the same point, and requests with all.

        Args:
            position: Where this rank is.
            results: Its results by metric.
            weights: Their weights in the means over the ranks, 1 by default.
            acts: Whether it has a sink that may act on the results.
            of_all: Whether they are the results of all ranks already; those of the first rank count then.

        Returns:
            The results of all: this rank's metrics first, in its order.

        Raises:
            RankError: The ranks are at different points, or one has left, or is lost.
            KeyboardInterrupt: Ctrl-C was pressed on a rank; it is raised on all of them.
        """
        own, self._position = results or {}, position
        while True:
            vector = np.concatenate([self._head(position, own, acts=acts), self._layout.pack(own, weights or {})])
            rows = self._gather(vector)
            if rows[:, _UNKNOWN].any():
                self._learn(self._layout.unknown(own))
                continue
            arrived = completed([Position.of(each) for each in rows[:, _POSITION]])
            if position.kind == Kind.SHARE:  # what is asked for waits: a save is not cut short
                break
            self.any_acts = bool(rows[:, _ACTS].any())
            self._agree(rows)
            if self._collective.rank in arrived:
                break
        found = self._layout.reduce(rows[arrived, _HEAD:], None if of_all else self._options.reductions)
        return {**{name: found[name] for name in own}, **found}

    def _head(self, position: Position, results: Mapping[str, float], *, acts: bool) -> NDArray[np.float64]:
        asked = self._requests
        head = np.empty(_HEAD)
        head[_POSITION] = position.to_list()
        head[_UNKNOWN] = len(self._layout.unknown(results))
        head[_STOP] = _INTERRUPTS if asked.interrupted else _asked_for(asked)
        head[_RATE] = np.nan if asked.rate is None else asked.rate
        head[_ACTS] = acts
        return head

    # --- what is agreed on -------------------------------------------------------------------------------------------

    def _learn(self, names: list[str]) -> None:
        """Give a place to every name that is new to any rank, in the order of the ranks."""
        for each in self._gather_texts(json.dumps(names)):
            self._layout.add(json.loads(each))

    def _agree(self, rows: NDArray[np.float64]) -> None:
        """Adopt what any rank has asked for; of several rates or reasons, that of the first rank."""
        asked = self._requests
        stops, rates = rows[:, _STOP], rows[:, _RATE]
        if (interrupting := np.flatnonzero(stops == _INTERRUPTS)).size:
            asked.interrupted, self.interrupted = False, True
            raise KeyboardInterrupt(f"Ctrl-C on {named(interrupting.tolist())}")
        if stops.any():
            reasons = self._gather_texts(asked.stop_reason or "")
            asking = np.flatnonzero(stops).tolist()
            reason = reasons[asking[0]] + ("" if len(asking) == len(stops) else f" ({named(asking)})")
            asked.stop_reason, asked.failed = None, False
            self._on_stop(reason, bool((stops == _FAILS).any()))
        setting = np.flatnonzero(~np.isnan(rates))
        if len(setting):
            rate = float(rates[setting[0]])
            if asked.rate != rate:
                self._on_rate(rate)
            asked.rate = None

    # --- collectives -------------------------------------------------------------------------------------------------

    def _gather_texts(self, text: str) -> list[str]:
        return [each.decode() for each in self.gather_bytes(text.encode(errors="replace"))]

    def gather_bytes(self, own: bytes) -> list[bytes]:
        """Return every rank's bytes, eight in a number, because not every collective has bytes.

        All ranks must call this at the same point, on which they have agreed.

        Raises:
            RankError: A rank has left, or is lost.
        """
        lengths = self._gather(np.array([float(len(own))]))[:, 0].astype(int)
        size = 8 * -(-max(1, int(lengths.max())) // 8)
        rows = self._gather(np.frombuffer(bytearray(own.ljust(size, b"\0"))))
        return [row.tobytes()[:length] for row, length in zip(rows, lengths, strict=True)]

    def _gather(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        self.collectives += 1
        self._wait_for_all()
        try:
            return self._collective.gather(numbers)
        except Exception as error:
            raise self._broken(f": {error}") from error

    def _wait_for_all(self) -> None:
        arrival, is_told = self._watch.arrive(), False
        while not arrival.over.wait(self._watch.period):
            waited = time.monotonic() - arrival.at
            if not is_told and waited > self._options.lost_after:
                is_told = True
                logger.warning(self._waiting(waited))
            if (problem := self._problem(waited)) is not None and not arrival.over.is_set():
                raise problem
        if arrival.is_off:
            raise self._broken("")

    def _waiting(self, seconds: float) -> str:
        late = self._watch.late()
        who = named(late) if late else "another rank"
        return f"rank {self._collective.rank} has waited {seconds:.0f} s at {self._position} for {who}"

    def _problem(self, waited: float) -> RankError | None:
        """Return why to wait no longer, None if the others may still come."""
        if self._watch.left:
            return _without(self._watch.left, self._position)
        if waited > self._collective.patience:
            return RankError(self._waiting(waited))
        in_epoch = self._position.kind in (Kind.STEP, Kind.EVALUATION)
        if ahead := self._watch.ahead(in_epoch=in_epoch):
            return RankError(
                f"rank {self._collective.rank} is at {self._position}, which {named(ahead)} trained past: run the "
                "same epochs and evaluations on every rank, or evaluate on one rank alone after the epoch's batches"
            )
        return None

    def find_gone(self) -> dict[int, str]:
        """Return the ranks that have left or are lost, and why, as soon as there are any; nothing if none is."""
        watch, began = self._watch, time.monotonic()
        until = began + self._options.lost_after + _NAMING_SECONDS
        while not (watch.gone or watch.are_all_alive_after(began)) and time.monotonic() < until:
            time.sleep(watch.period / 10)
        watch.report()
        return watch.gone

    def _broken(self, why: str) -> RankError:
        """Return the error for an exchange that failed, as soon as it is known which rank is gone."""
        if not self._collective.is_open:
            return RankError(
                f"the process group was destroyed before the run ended, at {self._position}: leave the loop first"
            )
        if gone := self.find_gone():
            return _without(gone, self._position)
        return RankError(f"the ranks lost their connection at {self._position}{why}")


def _asked_for(asked: Requests) -> int:
    if asked.stop_reason is None:
        return 0
    return _FAILS if asked.failed else _STOPS


def _without(gone: Mapping[int, str], position: Position) -> RankError:
    listed = "; ".join(f"rank {rank}: {why}" for rank, why in sorted(gone.items()))
    return RankError(f"the run cannot continue at {position} without {named(sorted(gone))} ({listed})")
