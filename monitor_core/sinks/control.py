"""Control a running training from outside: stop it, set its learning rate, save the model, leave a note.

Contract. A thread of this sink looks at the run's folder once a second; what it finds is acted on by the training's
thread, just before the next batch, or at the epoch's end where a framework has no batches that can be stopped at. The
batch path has nothing to check. Only `VERBS` are known, their values are checked, and nothing is executed. Each
request, who asked and when, and what became of it, is a decision in the journal.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, ClassVar

import attrs

from monitor_core import frameworks
from monitor_core._log import logger
from monitor_core.background.worker import DeliveryThread
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.run import Run
from monitor_core.bus.sink import Logs, Sink
from monitor_core.errors import SetupError
from monitor_core.files import requests
from monitor_core.files.folders import absolute
from monitor_core.files.model_files import write_model
from monitor_core.files.requests import Request

SECONDS = 1.0
"""How often the thread looks."""
CLOSE_SECONDS = 5.0
"""How long a run's end waits at most for a look that hangs, as on a network file system."""


def _optional_path(folder: Any) -> Path | None:
    return None if folder is None else absolute(folder)


@attrs.define(eq=False)
class Control(Sink):
    """Let a running training be controlled from its folder: ``monitor-core control runs/a stop``, or the live page.

    ========================  ========================================================================================
    ``stop``, ``stop "why"``  The run stops as if a sink had asked for it.
    ``rate 1e-4``             Sets the learning rate, of all parameter groups.
    ``checkpoint``            Saves the model in the run's folder, as ``control-<step>`` with the framework's ending.
    ``note "why"``            Nothing but a note in the journal.
    ========================  ========================================================================================

    A request is acted on before the next batch. With Keras on JAX, the rate and a checkpoint wait for the epoch's end,
    where they cost nothing; so does every request where no sink listens to batches, because Keras then trains them
    without calling a callback. A request that is older than the run, or meant for another one, is refused.

    Those who may write into the run's folder may control it. A job of several processes refuses all requests, because
    its processes would no longer agree.

    Args:
        folder: The run's folder; None: that of the run's `Journal`.

    Raises:
        TypeError: ``folder`` is not a path.
        SetupError: At train begin: the folder that was given cannot be written.

    Example:
        >>> with Loop(Control(), record="runs/a") as loop:
        ...     for epoch in loop.epochs(100):
        ...         for x, y in loop.batches(train_data):
        ...             loop.log(loss=train_step(x, y))
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True
    writes: ClassVar[bool] = True

    folder: Path | None = attrs.field(default=None, converter=_optional_path)
    _listener: _Listener | None = attrs.field(init=False, default=None, repr=False)

    def on_train_begin(self, run: Run) -> None:
        """Begin to look at the folder; requests from before are refused."""
        self._listener = _Listener(run, self.folder)

    def on_epoch_begin(self, run: Run, epoch: int) -> None:
        """Begin to look at the folder of the run's journal, which has begun by now; warn, once, if there is none."""
        if self._listener is not None:
            self._listener.open()

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Act on what waits for the epoch's end."""
        if self._listener is not None:
            self._listener.act(ends_epoch=True)

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Refuse what has come too late, and look no more."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None


class _Listener:
    """Looks at one run's folder on a thread, and acts on the training's."""

    def __init__(self, run: Run, folder: Path | None) -> None:
        self._run = run
        self._folder: Path | None = None
        self._began = time.time()
        self._waiting: deque[Request] = deque()
        self._looking = threading.Lock()
        self._closed = False
        self._pid = os.getpid()
        self._warned = False
        self._thread = DeliveryThread(self._look, "monitor_core control")
        if folder is not None:
            self._listen(folder)

    def open(self) -> None:
        """Begin to look at the folder of the run's journal, if no other was given; warn, once, if there is none."""
        if self._folder is None and self._run.folder is not None:
            self._listen(self._run.folder)
        elif self._folder is None and not self._warned:
            self._warned = True
            logger.warning(
                "Control has no folder to look at: record the run with record=..., add a Journal, or pass the folder"
            )

    def _listen(self, folder: Path) -> None:
        try:
            requests.listen(folder, self._run.id)
        except OSError as error:
            raise SetupError(f"{folder} cannot be looked at for requests: {error}") from error
        self._folder = folder
        self._thread.wake()

    # --- on the thread ---------------------------------------------------------------------------------------------

    def _look(self) -> float | None:
        with self._looking:
            if self._closed or self._run.status != "running":
                return None
            try:
                self._take()
            except Exception as error:  # a thread that dies would end all control without a word
                self._complain(error)
        if self._waiting and self._run.call_soon is not None:
            self._run.call_soon(self.act)
        return SECONDS

    def _complain(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("Control could not look at %s: %s", self._folder, error)

    def _take(self) -> None:
        """Take the requests that are there; refuse those that are not for this run."""
        if self._folder is None:
            return
        for request in requests.take(self._folder):
            if isinstance(request, str):
                logger.warning("Control: %s", request)
            elif self._run.ranks > 1:
                self._settle(request, "a job of several processes cannot be controlled")
            elif request.run != self._run.id:
                self._settle(request, "it is meant for another run")
            elif request.time < self._began:
                self._settle(request, "it is older than the run")
            else:
                self._waiting.append(request)

    # --- on the training's thread ----------------------------------------------------------------------------------

    def act(self, *, ends_epoch: bool = False) -> None:
        """Act on what waits, except what is to wait for the epoch's end."""
        late: list[Request] = []
        while self._waiting:
            request = self._waiting.popleft()
            if request.verb in ("rate", "checkpoint") and not ends_epoch and self._waits_for_epoch():
                late.append(request)
                continue
            try:
                self._settle(request, None, self._do(request))
            except Exception as error:
                is_ours = isinstance(error, (AttributeError, ValueError))  # whose messages are sentences
                self._settle(request, str(error) if is_ours else f"{type(error).__name__}: {error}")
        self._waiting.extendleft(reversed(late))

    def _waits_for_epoch(self) -> bool:
        return bool(getattr(self._run.model, "waits_within_epoch", False))

    def _do(self, request: Request) -> str:
        """Do what is asked for; return what was done."""
        run, value = self._run, request.value
        if request.verb == "stop":
            run.stop(f"{request.who} asked to stop" + (f": {value}" if value else ""))
            return "the run stops"
        if request.verb == "rate":
            before = run.learning_rate
            run.learning_rate = float(value or 0.0)
            return f"the learning rate is {run.learning_rate:g}, after {before:g}"
        if request.verb == "checkpoint":
            return f"the model is saved as {self._save().name}"
        return "noted"

    def _save(self) -> Path:
        model: Any = self._run.model
        if model is None or not hasattr(model, "save") or self._folder is None:
            raise ValueError("no model that can be saved was given: pass model=...")
        framework = frameworks.of_handle(model)
        ending = framework.endings[0] if framework is not None and framework.endings else ".ckpt"
        path = self._folder / f"control-{self._run.step}{ending}"
        write_model(model, path, weights_only=False)
        return path

    def _settle(self, request: Request, refused: str | None, done: str = "") -> None:
        """Record what became of a request, and answer it."""
        text = done if refused is None else f"refused: {refused}"
        logger.info("%s asked for %s: %s", request.who, request, text)
        self._run.requests.append((request, text))
        if self._folder is not None:
            requests.answer(self._folder, request, done=refused is None, text=text)

    def close(self) -> None:
        """Refuse what waits, and look no more."""
        if os.getpid() != self._pid:  # a forked process leaves the folder to its parent
            return
        self._thread.stop()
        if self._looking.acquire(timeout=CLOSE_SECONDS):
            self._closed = True
            self._looking.release()
        while self._waiting:
            self._settle(self._waiting.popleft(), "the run has ended")
        if self._folder is not None:
            for request in requests.take(self._folder):
                if isinstance(request, Request):
                    self._settle(request, "the run has ended")
            requests.stop_listening(self._folder)
