"""The mirror of a run in a store: uploads from the run's spool, in the background.

Contract. The training's thread waits for the store at the run's begin, for `REACH_SECONDS` at most, and at its end, for
`END_SECONDS` at most; in between the mirror works on a thread of its own. A store that fails is tried again, with
pauses up to half a minute, as long as the process lives; there is one warning. What is not uploaded stays in the spool:
the next run at the address uploads it, and so does ``monitor-core upload``. A forked process uploads nothing.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from time import monotonic

from monitor_core._log import logger
from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.background.watch import watch
from monitor_core.background.worker import DeliveryThread
from monitor_core.errors import SetupError
from monitor_core.files.ownership import OwnedError
from monitor_core.network.outbox import EXIT_SECONDS
from monitor_core.network.retries import TROUBLE, Backoff
from monitor_core.store.addresses import StorePath
from monitor_core.store.fetching import fetch
from monitor_core.store.manifest import Manifest, read_manifest
from monitor_core.store.objects import REACH_SECONDS, Objects, cause, refuses, within
from monitor_core.store.spool import Spool
from monitor_core.store.uploading import Left, TakenError, Uploader

SECONDS = 10.0
"""How often a mirror looks for what is new while the run trains."""
END_SECONDS = 60.0
"""How long the end of a run waits for what is left; a store that fails three times meanwhile is not waited for."""
_OWNED_SECONDS = 0.5


def check(address: StorePath) -> None:
    """Raise what is wrong with an address, as far as that is known within `REACH_SECONDS`.

    Raises:
        ImportError: fsspec, or its package for this protocol, is not installed.
        SetupError: The store refuses: there is no such bucket, it must not be written, or the protocol is unknown.
    """
    try:
        objects = Objects(address)
        within(REACH_SECONDS, objects.probe)
    except ImportError:
        raise
    except Exception as error:
        if refuses(error):
            raise SetupError(f"{address} cannot be written: {cause(error)}") from error
        # else it may come back: the run's begin warns


class Mirror:
    """Uploads what is recorded in an address's spool.

    Args:
        address: The address.

    Attributes:
        spool: The spool.
    """

    def __init__(self, address: StorePath) -> None:
        self.spool = Spool(address)
        self._uploader = Uploader(self.spool, Objects(address))
        self._pid = os.getpid()
        self._attempts = Backoff()
        self._round = threading.Lock()
        self._changed = threading.Condition()
        self._is_prepared = self._is_taken = self._warned = False
        self._training = 0
        self._asked = self._done = 0
        self._thread = DeliveryThread(self._look, "monitor_core store")
        watch(self, exits_last=True)

    # --- on the training's thread ------------------------------------------------------------------------------------

    def prepare(self, *, must_reach: bool = False) -> None:
        """Make the spool, and fetch what another machine has recorded at the address.

        Args:
            must_reach: Whether a store that does not answer is an error if there is no spool of an earlier process.

        Raises:
            SetupError: The spool cannot be written, what is in the store cannot be fetched, or both have gone on.
        """
        if self._is_prepared:
            return
        is_new = not self.spool.is_there
        try:
            self.spool.make()
            self.spool.own()
            found = within(REACH_SECONDS, lambda: read_manifest(self._uploader.objects))
            if found is not None and found.spool != self.spool.id:
                self._take_over(found)
        except OwnedError:
            pass  # another process on this machine records to the address too, and uploads
        except Exception as error:
            if self._is_local(error):
                raise SetupError(f"{self.spool.folder} cannot be written: {error}") from error
            if refuses(error) or isinstance(error, SetupError) or (must_reach and is_new):
                raise SetupError(f"{self.spool.address} cannot be continued: {cause(error)}") from error
            self._warn(error)
        self._is_prepared, self._is_taken = True, False

    def begin(self) -> None:
        """Begin to upload; raises as `prepare` does."""
        self.prepare()
        self._training += 1
        _at_work.add(self)
        self._thread.wake()

    def finish(self, seconds: float = END_SECONDS) -> Left:
        """End a run: wait until all of it is uploaded, unless the store keeps failing; return what is left.

        Args:
            seconds: For how many seconds to wait at most.
        """
        self._training = max(self._training - 1, 0)  # several runs of this process may record to the address
        self._is_prepared = self._training > 0
        if os.getpid() != self._pid or self._is_taken:
            return Left()
        deadline = monotonic() + seconds
        with self._changed:
            self._asked = asked = self._asked + 1
            limit = 1 if self._attempts.is_failing else TROUBLE
            self._attempts.hurry()
            last = self._attempts.failures + limit
        _at_work.add(self)
        if not self._thread.wake():  # at the interpreter's exit
            self._look()
        with deferred_interrupts.passing(), self._changed:
            while self._done < asked and self._attempts.failures < last and (left := deadline - monotonic()) > 0:
                self._changed.wait(left)
        return self._report()

    def _report(self) -> Left:
        """Return what is left, and say where it is."""
        left = self._uploader.left()
        if left and not self._is_taken:
            logger.warning(
                "%s lacks %s of the run, which are in %s; they are uploaded while this process lives, at the next run "
                "at this address, or by: monitor-core upload %s",
                self.spool.address,
                left,
                self.spool.folder,
                self.spool.address,
            )
        return left

    def _take_over(self, found: Manifest) -> None:
        """Make the record of another machine this spool's own.

        Raises:
            SetupError: The spool has what the store lacks.
        """
        folder, address, files = self.spool.folder, self.spool.address, self.spool.files()
        for file in files:
            known = found.files.get(file.name)
            if file.grows and (known is None or known.size < file.size):
                raise SetupError(
                    f"{found.writer} has gone on there, and {folder} has records that were never uploaded: move that "
                    "folder away, or record to another address"
                )
        for file in files:
            if file.name not in found.files:  # of a checkpoint that was continued from
                file.path.unlink()
        logger.info("%s was recorded by %s; its files are fetched to %s", address, found.writer, folder)
        found = fetch(self._uploader.objects, found, folder)
        self._uploader.take_over(found)

    def _is_local(self, error: BaseException) -> bool:
        name = getattr(error, "filename", None)
        return isinstance(name, (str, os.PathLike)) and os.fspath(name).startswith(str(self.spool.folder.parent))

    def _warn(self, error: BaseException) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s cannot be reached (%s); training continues, the run is recorded in %s, and uploaded when it can be",
                self.spool.address,
                cause(error),
                self.spool.folder,
            )

    # --- on the mirror's thread --------------------------------------------------------------------------------------

    def _look(self) -> float | None:
        """Upload what is new; return in how many seconds to look again, None if there is nothing to come."""
        with self._round:
            if os.getpid() != self._pid or self not in _at_work:
                return None
            if (pause := self._attempts.due - monotonic()) > 0:
                return pause
            asked = self._asked
            pause = self._attempt(ends=asked > self._done)
            with self._changed:
                if not self._attempts.failures and pause != _OWNED_SECONDS:
                    self._done = asked
                self._changed.notify_all()
                if self._training or self._asked > self._done or self._is_taken:
                    return None if self._is_taken else pause
            with suppress(OSError):
                if self._uploader.left():
                    return pause
            self.spool.free()
            _at_work.discard(self)
            return None

    def _attempt(self, *, ends: bool) -> float:
        try:
            self.spool.own()
            self._uploader.round(verify=ends)
        except OwnedError:
            return self._wait_for_owner(ends=ends)
        except TakenError as error:
            self._attempts.succeed()  # the store has answered
            self._is_taken = True
            _at_work.discard(self)
            text = "%s: this run is no longer uploaded to %s; its record stays in %s"
            logger.warning(text, error, self.spool.address, self.spool.folder)
        except Exception as error:
            self._fail(error)
            return max(self._attempts.due - monotonic(), 0.0) or SECONDS
        else:
            self._attempts.succeed()
            if self._warned:
                self._warned = False
                logger.warning("%s is reached again, and has all of the run so far", self.spool.address)
        return SECONDS

    def _wait_for_owner(self, *, ends: bool) -> float:
        """Look what another process on this machine has uploaded of the spool, which has this one's files too."""
        if not ends:
            return SECONDS
        try:
            self._uploader.look()
            is_whole = not self._uploader.left()
        except Exception as error:
            self._fail(error)
            return _OWNED_SECONDS
        self._attempts.succeed()
        return SECONDS if is_whole else _OWNED_SECONDS

    def _fail(self, error: Exception) -> None:
        if not self._attempts.fail(error, float("inf")):  # a mistake of a package: it may still be the store's answer
            self._attempts.failures += 1
            self._attempts.due = monotonic() + SECONDS
        if self._attempts.is_failing or refuses(error):
            self._warn(error)

    def after_fork(self) -> None:
        """Upload nothing in a forked process: the parent does."""
        _at_work.discard(self)
        _mirrors.clear()

    def at_exit(self) -> None:
        """Upload at the interpreter's exit what came after the run's end, for some seconds."""
        if os.getpid() != self._pid or self._is_taken or not self.spool.is_there:
            return
        with suppress(Exception):
            if self._attempts.is_failing:  # the run's end has said what is left, if there was one
                if self._training:
                    self._report()
            elif self in _at_work or self._uploader.left():
                self.finish(EXIT_SECONDS)


_at_work: set[Mirror] = set()
"""Mirrors with something to upload, kept alive by being in this set."""
_mirrors: weakref.WeakValueDictionary[StorePath, Mirror] = weakref.WeakValueDictionary()


def mirror_of(address: StorePath) -> Mirror:
    """Return this process's mirror of an address: one, however many journals record there."""
    found = _mirrors.get(address)
    if found is None:
        found = _mirrors[address] = Mirror(address)
    return found
