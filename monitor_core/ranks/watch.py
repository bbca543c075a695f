"""Watch over the ranks: which of them are alive, where they are, and which have left; and wait until all have come.

Contract. Two threads, whatever the training's thread does. One exchanges notes with the other ranks, and may block in
that; the other one judges how old the last notes are. Rank 0 reads the signs of all ranks, and every other one those of
rank 0, which reports the ranks that are lost; so the notes that are read grow with the ranks, not with their square. A
rank that leaves a run by itself says so. A process that was itself stopped and continues does not count that time.

The ranks come to each exchange here before they begin a collective, which could not be ended while a rank is missing.
The exchange begins once all have come, or is off once one that has come leaves: the first outcome is that of all.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

import attrs

from monitor_core._log import logger
from monitor_core.ranks.collective import Board

_LONGEST_PERIOD = 2.0
"""Seconds between two signs of life at most."""
_LEAVING_SECONDS = 2.0
"""How long a rank that leaves waits at most until the others can know."""
_PERIODS_TO_READ = 3
"""For how many periods rank 0 stays, when a rank is lost, so that the others read it from the notes."""
_LONGEST_PAUSE = 0.1
_LEFT, _LOST, _BACK = "left", "lost", "back"
_GO, _OFF = "go", "off"
_NOTES = "notes"


@attrs.define
class Sign:
    """The last sign of life of a rank.

    Attributes:
        text: As it was written.
        at: When it was first read, by `monotonic`.
        exchanges: How many exchanges the rank has begun.
        place: Its epoch, and how many of its batches have begun.
    """

    text: str
    at: float
    exchanges: int = 0
    place: tuple[int, int] = (-1, 0)

    @classmethod
    def of(cls, text: str) -> Sign:
        """Return the sign that a rank wrote."""
        _, exchanges, epoch, begun = map(int, text.split())
        return cls(text, monotonic(), exchanges, (epoch, begun))


@attrs.define(eq=False)
class Arrival:
    """This rank's coming to an exchange.

    Attributes:
        number: The exchange's, from 1.
        over: Set when all have come, or the exchange is off.
        is_off: Whether a rank left instead.
        at: When it came, by `monotonic`.
        is_counted: Whether the others can know.
    """

    number: int
    over: threading.Event = attrs.field(factory=threading.Event)
    is_off: bool = False
    at: float = attrs.field(factory=monotonic)
    is_counted: bool = False


class Watch:
    """Watches over the ranks of a run.

    Args:
        board: The notes of this run.
        rank: The number of this process.
        ranks: How many there are.
        seconds: After how long without a sign of life a rank is lost.
        on_gone: Called on a thread of its own with the ranks that are lost, or have left, and why.
        on_overdue: Called on it, again and again, while a rank is lost, or has left so many seconds ago.

    Attributes:
        exchanges: How many exchanges this rank has come to.
        epoch: Its epoch, 0-based; for the training's thread to set.
        begun: How many batches of it have begun; the same.
        left: The ranks that have left the run, and why.
        lost: The ranks that are lost, and why.
    """

    def __init__(
        self,
        board: Board,
        rank: int,
        ranks: int,
        seconds: float,
        *,
        on_gone: Callable[[dict[int, str]], None],
        on_overdue: Callable[[], None],
    ) -> None:
        self.exchanges, self.epoch, self.begun = 0, -1, 0
        self.left: dict[int, str] = {}
        self.lost: dict[int, str] = {}
        self.period = min(_LONGEST_PERIOD, seconds / 10)
        self._board = board
        self._rank, self._ranks = rank, ranks
        self._sources = [each for each in range(ranks if rank == 0 else 1) if each != rank]
        self._seconds = seconds
        self._on_gone = on_gone
        self._on_overdue = on_overdue
        self._signs: dict[int, Sign] = {}
        self._count = 0
        self._answered = monotonic()
        self._posts: deque[tuple[list[object], threading.Event]] = deque()
        self._read = 0
        self._arrival: Arrival | None = None
        self._reported: dict[int, float] = {}
        self._reporting = threading.Lock()
        self._wake, self._stopped = threading.Event(), threading.Event()

    def announce(self) -> None:
        """Give the first sign of life, before the ranks meet."""
        self._count += 1
        self._board.set(_alive(self._rank), f"{self._count} {self.exchanges} {self.epoch} {self.begun}")

    def start(self) -> None:
        """Start watching; every rank has announced itself."""
        self._answered = monotonic()
        for target in (self._talk, self._judge):
            threading.Thread(target=target, name="monitor_core ranks", daemon=True).start()

    def stop(self) -> None:
        """Stop watching; harmless if it has not started."""
        self._stopped.set()
        self._wake.set()

    def leave(self, why: str) -> None:
        """Let the others know that this rank leaves the run, and stop."""
        if not self._stopped.is_set():
            self._post([self._rank, _LEFT, why]).wait(_LEAVING_SECONDS)
            if self.lost and self._rank == 0:  # which may keep the notes that say which rank is lost
                self._stopped.wait(_PERIODS_TO_READ * self.period)
            self.stop()

    def arrive(self) -> Arrival:
        """Come to the next exchange; wait for its `Arrival.over` before you begin it."""
        self.exchanges += 1
        self._arrival = arrival = Arrival(self.exchanges)
        self._wake.set()
        return arrival

    @property
    def gone(self) -> dict[int, str]:
        """The ranks that have left or are lost, and why."""
        return {**self.lost, **self.left}

    def late(self) -> list[int]:
        """Return the ranks, of those that it reads, that have not come to this rank's present exchange."""
        return [rank for rank, sign in sorted(self._signs.items()) if sign.exchanges < self.exchanges]

    def ahead(self, *, in_epoch: bool) -> list[int]:
        """Return those of them that are past it nevertheless: they do not run what this rank runs.

        Args:
            in_epoch: Whether those in the same epoch count that have begun more of its batches.
        """
        own = (self.epoch, self.begun)
        places = {rank: self._signs[rank].place for rank in self.late()}
        return [rank for rank, place in places.items() if (place > own if in_epoch else place[0] > own[0])]

    def are_all_alive_after(self, moment: float) -> bool:
        """Return whether every rank has given a sign of life after a moment, by `monotonic`; False if it is unknown."""
        signs = list(self._signs.values())
        return len(signs) == self._ranks - 1 and all(sign.at > moment + self.period for sign in signs)

    # --- the thread that exchanges notes -----------------------------------------------------------------------------

    def _post(self, note: list[object]) -> threading.Event:
        posted = threading.Event()
        self._posts.append((note, posted))
        self._wake.set()
        return posted

    def _talk(self) -> None:
        while not self._stopped.is_set():
            try:
                self.announce()
                self._write_posts()
                for rank in self._sources:
                    self._read_sign(rank)
                self._read_posts()
                self._answered = monotonic()
                self._attend(self._answered + self.period)
            except Exception as error:  # the process that keeps the notes is gone, or will answer again
                logger.debug("the notes of the ranks cannot be read: %s", error)
                self._stopped.wait(self.period / 10)

    def _attend(self, until: float) -> None:
        """Until the next sign of life is due, or a note is to be written, see whether all have come."""
        while not self._posts and not self._stopped.is_set() and (left := until - monotonic()) > 0:
            arrival = self._arrival
            if arrival is None:
                pause = left
            else:
                if self._is_over(arrival):
                    continue
                longest = min(_LONGEST_PAUSE, max(0.005, 0.0001 * self._ranks))  # many ranks ask one store
                pause = min(left, longest, max(0.0001, (monotonic() - arrival.at) / 10))
            self._wake.wait(pause)
            self._wake.clear()

    def _is_over(self, arrival: Arrival) -> bool:
        """Count an arrival if that is still to be done; return whether the wait is over."""
        count, outcome = f"come/{arrival.number}", f"outcome/{arrival.number}"
        found: str | None
        if not arrival.is_counted:
            arrival.is_counted = True
            if self._board.add(count, 1) == self._ranks:
                self._board.set_once(outcome, _GO)
                self._board.delete(count)
                self._board.delete(f"outcome/{arrival.number - 1}")  # which all have read, since they are here
        found = self._board.get(outcome)
        if found is None:
            return False
        arrival.is_off = found == _OFF
        self._arrival = None
        arrival.over.set()
        return True

    def _read_sign(self, rank: int) -> None:
        text = self._board.get(_alive(rank))
        before = self._signs.get(rank)
        if text is not None and (before is None or before.text != text):
            self._signs[rank] = Sign.of(text)

    def _write_posts(self) -> None:
        while self._posts:
            note, posted = self._posts[0]
            if note[1] == _LEFT and self._arrival is not None and self._arrival.is_counted:
                self._board.set_once(f"outcome/{self._arrival.number}", _OFF)
            self._board.set(f"{_NOTES}/{self._board.add(_NOTES, 1)}", json.dumps(note))
            self._posts.popleft()
            posted.set()

    def _read_posts(self) -> None:
        for number in range(self._read + 1, self._board.add(_NOTES, 0) + 1):
            text = self._board.get(f"{_NOTES}/{number}")
            if text is None:  # counted, and about to be written
                return
            self._read = number
            self._take(*json.loads(text))

    def _take(self, rank: int, kind: str, why: str) -> None:
        """Take a note about another rank; rank 0 knows by itself who is lost."""
        if kind == _LEFT and rank != self._rank:
            self.left[rank] = why
        elif kind == _LOST and rank != self._rank and self._rank:
            self.lost[rank] = why
        elif kind == _BACK and self._rank:
            self._find_again(rank)

    # --- the thread that judges --------------------------------------------------------------------------------------

    def _judge(self) -> None:
        before = monotonic()
        while not self._stopped.wait(self.period):
            now = monotonic()
            if now - before > 3 * self.period + 1.0:  # this process was stopped
                self._forgive(now - before)
            before = now
            self._find_lost(now)
            if not self._stopped.is_set():
                self.report()
                self._see_what_is_overdue(now)

    def report(self) -> None:
        """Report ranks that are gone, each once."""
        with self._reporting:
            if gone := {rank: why for rank, why in self.gone.items() if rank not in self._reported}:
                self._reported.update(dict.fromkeys(gone, monotonic()))
                self._on_gone(gone)

    def _see_what_is_overdue(self, now: float) -> None:
        """Call for the end where a rank is lost, once the others can have read which; or where one left long ago."""
        for rank, at in list(self._reported.items()):
            if now - at > (_PERIODS_TO_READ * self.period if rank in self.lost else self._seconds):
                self._on_overdue()
                return

    def _forgive(self, seconds: float) -> None:
        self._answered += seconds
        for sign in list(self._signs.values()):
            sign.at += seconds

    def _find_lost(self, now: float) -> None:
        unanswered = now - self._answered > self._seconds  # the notes; then its last sign is as old
        why = "the store that connects the ranks, which it usually keeps, does not answer" if unanswered else ""
        for rank, sign in list(self._signs.items()):
            is_silent = now - sign.at > self._seconds
            if is_silent and rank not in self.gone:
                self.lost[rank] = f"no sign of life for {self._seconds:g} s{why and ', '}{why}"
            elif not is_silent and rank in self.lost:
                self._find_again(rank)
            else:
                continue
            if self._rank == 0:
                self._post([rank, _LOST if is_silent else _BACK, self.lost.get(rank, "")])

    def _find_again(self, rank: int) -> None:
        if self.lost.pop(rank, None) is not None:
            self._reported.pop(rank, None)
            logger.warning("rank %d is alive again", rank)


def _alive(rank: int) -> str:
    return f"alive/{rank}"
