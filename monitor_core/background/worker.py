"""The background thread that delivers blocks and messages: it wakes when one is due.

Contract. The thread sleeps while nothing is pending, and holds its owner only by a weak reference. It is a daemon and
is never joined: a caller that needs pending items takes them itself, under the owner's lock, or waits with a limit. At
interpreter exit each owner is called once to deliver what is still pending; a forked process starts without pending
items.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable

_STOP = object()


class DeliveryThread:
    """Calls a method as long as it requests another call, then sleeps until there is a signal.

    Args:
        deliver: A bound method. It returns in how many seconds to call it again, None if nothing is pending, and must
            not raise. Its object is not kept alive; the thread ends with it.
        name: The thread's name.
        linger: For how many seconds to check once more before it sleeps; None to sleep at once. Items whose turn comes
            only after that time then need no signal, though nothing was pending for a moment.
    """

    def __init__(
        self,
        deliver: Callable[[], float | None],
        name: str = "monitor_core delivery",
        *,
        linger: float | None = None,
    ) -> None:
        self._name = name
        self._signals: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._deliver = weakref.WeakMethod(deliver, lambda _, signals=self._signals: signals.put(_STOP))  # type: ignore[misc]
        self._asleep = True
        self._linger = linger
        self._lingers = False
        self._thread: threading.Thread | None = None

    def notice(self) -> None:
        """Signal that something is pending where nothing was; free if the thread is about to check anyway."""
        if self._asleep:
            self.wake()

    def wake(self) -> bool:
        """Have the method called now; return whether there is a thread to call it."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can be started, or the interpreter is shutting down
                return False
            self._thread = thread
        self._signals.put(None)
        return True

    def stop(self) -> None:
        """Stop the thread after its current call, if any; the next signal starts another."""
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
        if seconds is None and self._linger is not None and not self._lingers:
            self._lingers = True
            return self._linger
        self._lingers = False
        if seconds is None:
            self._asleep = True
            if self._thread is not None:  # else it was stopped in the meantime
                seconds = deliver()  # items before the mark sent no signal
        return None if seconds is None else max(seconds, 0.0)
