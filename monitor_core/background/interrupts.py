"""Defer interrupts while records are delivered, so that Ctrl-C loses, duplicates or truncates none.

Contract. A run that begins on the main thread, where Python handles signals, installs its own handler in front of those
that are Python functions. It forwards a signal immediately or, inside a `deferred_interrupts` block, when the outermost
block exits. A second signal is always forwarded immediately. A handler installed later is left in place. A run may take
the first Ctrl-C itself, in place of the `KeyboardInterrupt` that Python's own handler would raise.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any
from weakref import ref

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


_main_thread = threading.main_thread().ident
"""Kept, because it is compared ten times in an epoch: with the calls, a comparison takes 0.5 us longer."""


def _note_main_thread() -> None:
    global _main_thread  # noqa: PLW0603 (a forked process has another)
    _main_thread = threading.main_thread().ident


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_main_thread)


def _on_main_thread() -> bool:
    return threading.get_ident() == _main_thread


class _Held:
    """A context manager that may be nested; there is one instance.

    An interrupt between two lines of `__enter__` leaves it unchanged: from the moment the depth counts, the
    handler raises nothing.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._waiting: dict[int, FrameType | None] = {}
        # A run that is dropped without an end is no reason to stay. Keyed by identity: owners need no hash.
        self._owners: dict[int, ref[object]] = {}
        self._takers: dict[int, Callable[[], bool]] = {}
        self._has_taken = False

    def __enter__(self) -> None:
        if _on_main_thread():
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        if _on_main_thread():
            self._depth -= 1
            if not self._depth:
                self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            number, frame = self._waiting.popitem()
            self._before[number](number, frame)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Let signals through inside a block that defers them: for a wait that may be long and is safe to interrupt."""
        if not _on_main_thread():
            yield
            return
        depth, self._depth = self._depth, 0
        try:
            self._pass_on()
            yield
        finally:
            self._depth = depth

    def install(self, owner: object, take: Callable[[], bool] | None = None) -> None:
        """Wrap the existing handlers until the last owner uninstalls this one, or is garbage collected.

        Does nothing outside the main thread.

        Args:
            owner: The run's bus.
            take: Called on a Ctrl-C that would raise `KeyboardInterrupt`; returns whether the run has taken it, so that
                nothing is raised. It must not keep the owner alive.
        """
        if not _on_main_thread():
            return
        key = id(owner)
        self._owners[key] = ref(owner, lambda _: self._disown(key))
        if take is not None:
            self._takers[key] = take
        for each in _SIGNALS:
            handler = signal.getsignal(each)
            if callable(handler) and handler != self._handle:
                self._before[each] = handler
                signal.signal(each, self._handle)

    def uninstall(self, owner: object) -> None:
        """Restore the handlers that were there before, unless others have been set since."""
        self._disown(id(owner))

    def _disown(self, key: int) -> None:
        self._owners.pop(key, None)
        self._takers.pop(key, None)
        if not self._owners:
            self._has_taken = False
            self._restore()

    def _restore(self) -> None:
        for each, handler in self._before.items():
            if signal.getsignal(each) == self._handle:
                with suppress(ValueError):  # only the main thread can: else the next signal or run restores it
                    signal.signal(each, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._owners:  # the last one was collected on another thread
            self._restore()
        is_again = number in self._waiting
        if number == signal.SIGINT and self._before[number] is signal.default_int_handler:
            is_again = is_again or self._has_taken
            taken = [take() for take in list(self._takers.values())]
            if any(taken):
                self._has_taken = True
                return
        if self._depth and not is_again:
            self._waiting[number] = frame
        else:
            self._waiting.pop(number, None)
            self._before[number](number, frame)


deferred_interrupts = _Held()
"""Defer signals for the length of a ``with`` block."""
