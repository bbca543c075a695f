"""What a bus adds where the run is one of several ranks: agreements at steps, evaluations, epochs, and the run's end.

Contract. A run of one process has none of this, and its batch path calls nothing of it. On several connected ranks, it
is called as the last hook at a batch's begin and end; every ``every`` steps of an epoch it agrees on stops and rates.
All agreements are on the training's thread; evaluations on other threads keep this rank's own results.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from monitor_core._log import logger
from monitor_core.bus.hooks import Hook
from monitor_core.bus.members import Member
from monitor_core.bus.run import Run
from monitor_core.errors import RankError
from monitor_core.ranks import jax, torch, xgboost
from monitor_core.ranks.agreement import Agreement
from monitor_core.ranks.collective import Collective
from monitor_core.ranks.meeting import meet
from monitor_core.ranks.options import Ranks
from monitor_core.ranks.positions import Kind, Position, named
from monitor_core.ranks.requests import Requests
from monitor_core.ranks.unwatched import Unwatched
from monitor_core.ranks.watch import Watch

EXIT_STATUS = 75
"""With which a process ends because another rank is lost: ``EX_TEMPFAIL``, for schedulers that start it again."""

_CONNECTED: list[Callable[[], Collective | None]] = [torch.connected, jax.connected, xgboost.connected]
_NEVER = sys.maxsize

_UNDER_TORCHRUN = 20.0
"""After how many seconds Ctrl-C is raised under torchrun, if the ranks have not agreed: it kills them after 30."""

_numbers = itertools.count()
"""Numbers the runs of this process that may have other ranks, so that each has notes of its own."""


class SharedRun:
    """A run that this process shares with other ranks. Its methods are called on all of them, in the same order.

    Args:
        run: The run.
        options: The user's.
        collective: What connects the ranks.
        watch: What watches over them.

    Attributes:
        member: What the bus calls at a batch's begin and end.
        agreement: What exchanges with the other ranks.
    """

    critical = read_only = True

    def __init__(self, run: Run, options: Ranks, collective: Collective, watch: Watch | Unwatched) -> None:
        self._run = run
        self._options = options
        self._collective = collective
        self._watch = watch
        self._next = _NEVER
        self._in_epoch = False
        run.rank_requests = Requests()
        run.share = self.share
        self.agreement = Agreement(
            collective, watch, options, run.rank_requests, on_stop=self._adopt_stop, on_rate=self._adopt_rate
        )
        hooks: dict[str, Hook] = {"on_batch_begin": self.on_batch_begin, "on_batch_end": self.on_batch_end}
        self.member = Member(self, "the agreement of the ranks", hooks, copies_logs=False)

    @classmethod
    def begin(cls, run: Run, options: Ranks, flush: Callable[[], None]) -> SharedRun | None:
        """Meet the other ranks; return None if there are none, or if this rank continues without them.

        Args:
            run: The run, which is about to begin.
            options: The user's.
            flush: Delivers pending values; called from another thread when a rank is lost.
        """
        if run.ranks < 2 or not options.together:
            return None
        found = filter(None, (connected() for connected in _CONNECTED))
        collective = next((each for each in found if (each.rank, each.ranks) == (run.rank, run.ranks)), None)
        if collective is None:
            return None
        if (job := collective.board) is None:
            return cls(run, options, collective, Unwatched())
        notes = job.part(f"run {next(_numbers)}")
        watch = Watch(
            notes,
            run.rank,
            run.ranks,
            options.lost_after,
            on_gone=lambda gone: _report(gone, flush),
            on_overdue=(lambda: _exit(flush)) if options.on_lost_rank == "exit" else (lambda: None),
        )
        watch.announce()
        absent = meet(job, notes, run.rank, run.ranks, options.lost_after)
        if absent:
            logger.warning(
                "rank %d continues alone: %s did not begin this run within %g s, so each rank decides by its own "
                "values. Begin the run on every rank, or pass ranks=Ranks(together=False)",
                run.rank,
                named(absent),
                options.lost_after,
            )
            return None
        collective.open()
        watch.start()
        return cls(run, options, collective, watch)

    def _adopt_stop(self, reason: str, failed: bool) -> None:
        if not self._run.stopped:
            self._run.stop_at_once(reason, failed=failed)

    def _adopt_rate(self, rate: float) -> None:
        if getattr(self._run.model, "learning_rates", None):
            self._run.learning_rate = rate

    # --- hooks -------------------------------------------------------------------------------------------------------

    def on_batch_begin(self, run: Run, step: int) -> None:
        """Note where this rank is."""
        self._watch.begun = step - run.epoch_began_at

    def on_batch_end(self, run: Run, step: int, logs: Mapping[str, Any]) -> None:
        """Agree every so many steps."""
        if step >= self._next:
            self._next += self._options.every * (1 + (step - self._next) // self._options.every)
            self._exchange(Kind.STEP, step=step - run.epoch_began_at)

    # --- called by the bus -------------------------------------------------------------------------------------------

    def interrupt(self) -> bool:
        """Let Ctrl-C end the run on all ranks when they agree next; return False if it was pressed before."""
        asked = self._run.rank_requests
        if asked is None or asked.interrupted:
            return False
        asked.interrupted = True
        logger.warning(
            "Ctrl-C on rank %d: all ranks end together when they agree next, after at most %d steps of an epoch; "
            "press it again to end this one at once",
            self._run.rank,
            self._options.every,
        )
        if "TORCHELASTIC_RUN_ID" in os.environ:
            timer = threading.Timer(_UNDER_TORCHRUN, self._interrupt_again)
            timer.daemon = True
            timer.start()
        return True

    def _interrupt_again(self) -> None:
        """Have Ctrl-C raised at once, as when it is pressed again, if the ranks have not agreed on it meanwhile."""
        asked = self._run.rank_requests
        if asked is not None and asked.interrupted:
            os.kill(os.getpid(), signal.SIGINT)

    def begun(self) -> None:
        """Agree that all ranks have begun the run, with the same options.

        Raises:
            RankError: They have not.
        """
        self._exchange(Kind.BEGIN, label=zlib.crc32(repr(self._options).encode()))

    def epoch_begin(self) -> None:
        """Note that an epoch has begun."""
        run, every = self._run, self._options.every
        self._watch.begun, self._watch.epoch = run.epoch_step, run.epoch
        self._in_epoch = True
        self._next = run.epoch_began_at + every * (run.epoch_step // every + 1)

    def evaluated(
        self, results: dict[str, float], weights: Mapping[str, float], *, among_batches: bool, of_all: bool
    ) -> dict[str, float]:
        """Return the results of the evaluation that ends, reduced over the ranks.

        Args:
            results: Those of this rank.
            weights: Their weights, 1 for those that are missing.
            among_batches: Whether this rank has more batches of the epoch to train.
            of_all: Whether they are the results of all ranks already.

        Raises:
            RankError: Not all ranks have evaluated the same.
        """
        run, evaluation = self._run, self._run.evaluation
        name = "" if evaluation is None else f"{evaluation.name} {evaluation.prefix}"
        label = zlib.crc32(name.encode(errors="replace"))
        if not self._in_epoch:
            return self._exchange(Kind.TEST, results, weights, label=label, of_all=of_all)
        if not among_batches or evaluation is None:
            return self._exchange(Kind.VALIDATION, results, weights, label=label, of_all=of_all)
        step = evaluation.step - run.epoch_began_at
        return self._exchange(Kind.EVALUATION, results, weights, step=step, label=label, of_all=of_all)

    def epoch_ends(
        self, results: dict[str, float], weights: Mapping[str, float] | None, *, acts: bool, of_all: bool
    ) -> dict[str, float]:
        """Return the results of the epoch that ends, reduced over the ranks, once all have come to its end.

        Args:
            results: Those of this rank.
            weights: Their weights, 1 for those that are missing; None for the number of the epoch's batches.
            acts: Whether a sink of this rank may act on the results.
            of_all: Whether they are the results of all ranks already.

        Raises:
            RankError: A rank is elsewhere.
        """
        self._next = _NEVER
        if weights is None:
            weights = dict.fromkeys(results, float(self._run.epoch_step))
        return self._exchange(Kind.EPOCH, results, weights, acts=acts, of_all=of_all)

    def epoch_ended(self) -> None:
        """Agree on what sinks have decided at the epoch's end, if any rank has one that may; then save what is due."""
        self._in_epoch = False
        run, states = self._run, self._run.rank_states
        if self.agreement.any_acts:
            self._exchange(Kind.DECISION, acts=states is not None and states.is_due())
            if states is not None and not run.failed and (self.agreement.any_acts or run.stopped):
                states.save(self._gather(states.own()))

    def share(self, what: str, own: bytes) -> list[bytes]:
        """Return what each rank passes, by rank.

        Args:
            what: What it is; the same on all ranks.
            own: What this rank passes.

        Raises:
            RankError: Not all ranks call this.
        """
        self._exchange(Kind.SHARE, step=self._run.epoch_step, label=zlib.crc32(what.encode()))
        return self._gather(own)

    def epoch_abandoned(self) -> None:
        """Note that the epoch was left without an end."""
        self._next, self._in_epoch = _NEVER, False

    def end(self) -> None:
        """Agree that the run ends, and on a stop that was asked for meanwhile.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed on a rank.
            RankError: A rank is elsewhere.
        """
        if self._collective.is_open:
            self._exchange(Kind.END)
        else:
            why = "its process group was destroyed before the run ended"
            logger.warning("rank %d ends the run on its own: %s. Leave the loop first", self._run.rank, why)
            self._watch.leave(why)
            asked = self._run.rank_requests
            if asked is not None and asked.interrupted:
                asked.interrupted = False
                raise KeyboardInterrupt(f"Ctrl-C on rank {self._run.rank}")

    def leave(self, why: str) -> None:
        """Leave the run, and let the other ranks know why, unless it has ended on all."""
        self._watch.leave(why)

    def fail(self, error: BaseException) -> None:
        """Leave the run because the training raised; if it lost its connection, once it is known which rank is gone."""
        if self.agreement.interrupted and isinstance(error, KeyboardInterrupt):
            return  # which was raised on all ranks
        if self._collective.is_broken(error) and self._collective.is_open:
            self.agreement.find_gone()
        self._watch.leave(f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Stop watching, and free the connection."""
        self._watch.stop()
        self._run.rank_requests = self._run.share = None
        self._collective.close()

    def _exchange(
        self,
        kind: Kind,
        results: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
        *,
        step: int = 0,
        label: int = 0,
        acts: bool = False,
        of_all: bool = False,
    ) -> dict[str, float]:
        position = Position(kind, self._run.epoch, step, label)
        with self._leaving():
            return self.agreement.exchange(position, results, weights, acts=acts, of_all=of_all)

    def _gather(self, own: bytes) -> list[bytes]:
        with self._leaving():
            return self.agreement.gather_bytes(own)

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        """Let the other ranks know if the ranks cannot continue."""
        try:
            yield
        except RankError as error:
            self._watch.leave(str(error))
            raise


def _report(gone: Mapping[int, str], flush: Callable[[], None]) -> None:
    for rank, why in sorted(gone.items()):
        logger.error("rank %d is gone: %s", rank, why)
    _try(flush)


def _try(flush: Callable[[], None]) -> None:
    """Flush; what a strict sink raises must not end the thread that watches."""
    try:
        flush()
    except Exception:
        logger.exception("what was recorded could not be flushed")


def _exit(flush: Callable[[], None]) -> None:
    """End the process: its training may be waiting for the lost rank, where no exception reaches it."""
    logger.error("this process ends with status %d, as on_lost_rank='exit' asks for", EXIT_STATUS)
    _try(flush)
    os._exit(EXIT_STATUS)
