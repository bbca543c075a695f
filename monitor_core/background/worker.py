"""The thread beside the training, on which blocks are handed over and messages delivered: it wakes when one is due.

Contract. The thread sleeps while nothing waits, and holds its owner by a weak reference alone. It is a daemon and is
never joined: whoever needs what waits takes it himself, under the owner's lock, or waits with a limit. At the
interpreter's exit each owner is asked once for what still waits; in a process that was forked off it begins anew,
without what waited.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable

_STOP = object()


class DeliveryThread:
    """Calls a method for as long as it asks to be called again, then sleeps until there is a signal.

    Args:
        deliver: A bound method. It returns in how many seconds it wants to be called again, None if nothing waits, and
            must not raise. Its object is not kept alive; the thread ends with it.
        name: The thread's name.
    """

    def __init__(self, deliver: Callable[[], float | None], name: str = "monitor_core delivery") -> None:
        self._name = name
        self._signals: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._deliver = weakref.WeakMethod(deliver, lambda _, signals=self._signals: signals.put(_STOP))  # type: ignore[misc]
        self._asleep = True
        self._thread: threading.Thread | None = None

    def notice(self) -> None:
        """Tell that something waits where nothing did: free where the thread is going to look anyway."""
        if self._asleep:
            self.wake()

    def wake(self) -> bool:
        """Have the method called now; answer whether there is a thread to call it."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads are to be had, or the interpreter is about to end
                return False
            self._thread = thread
        self._signals.put(None)
        return True

    def stop(self) -> None:
        """End the thread after the call under way, if there is one; the next signal starts another."""
        if self._thread is not None:
            self._thread = None
            self._signals.put(_STOP)

    def _run(self) -> None:
        timeout: float | None = None
        while True:
            try:
                if self._signals.get(timeout=timeout) is _STOP:
                    break
            except queue.Empty:
                pass
            timeout = self._call()
        self._asleep = True

    def _call(self) -> float | None:
        deliver = self._deliver()
        if deliver is None or self._thread is None:
            return None
        self._asleep = False
        seconds = deliver()
        if seconds is None:
            self._asleep = True
            if self._thread is not None:  # else it was stopped meanwhile
                seconds = deliver()  # what came before the mark gave no signal
        return None if seconds is None else max(seconds, 0.0)
