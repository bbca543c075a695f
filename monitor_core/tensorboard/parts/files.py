"""The event files of a log folder: one for each of TensorBoard's runs, made when it is first written to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monitor_core._log import logger
from monitor_core.errors import SetupError
from monitor_core.tensorboard.formats.event_file import EventFile, Keep, event_files, rewind_folder

TRAIN, VALIDATION, WHOLE = "train", "validation", "."
"""The runs: what was trained, what was evaluated, and the log folder itself."""


class RunFiles:
    """The event files of a log folder. May be used from any thread.

    Args:
        folder: The log folder; it is made with the first file.

    Attributes:
        folder: The log folder, absolute: files are made later too, wherever the process is then.
        start: 0 for files that begin anew, None for files that go on with those that are there; see `EventFile`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.start: int | None = 0
        self._files: dict[str, EventFile] = {}
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs, which opens files of its own.

        Raises:
            TypeError: Files are open: a copy would write into the same folder at the same time.
        """
        if self._files:
            raise TypeError(
                f"a TensorBoard that has begun to write, into {self.folder}, cannot be copied or pickled: "
                "call reset() on it, or copy it before its first run"
            )
        return {"folder": self.folder, "start": self.start}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]
        self.start = state["start"]

    def __getitem__(self, run: str) -> EventFile:
        """Return a run's file.

        Raises:
            OSError: It cannot be made now; a later attempt may succeed.
        """
        try:
            return self._opened(run)
        except SetupError as error:
            raise OSError(str(error)) from error

    def open(self) -> None:
        """Make the train run's file, and look whether the others can be made.

        Raises:
            SetupError: One of them cannot.
        """
        self._opened(TRAIN)
        folder = self.folder / VALIDATION
        if folder.exists() and not folder.is_dir():
            raise SetupError(f"{folder} cannot be written: it is no folder")

    def rewind(self, keep: Keep) -> None:
        """Drop what is not to be kept from all files of the log folder, those of earlier processes too.

        Raises:
            OSError: A file of an earlier process cannot be read or written.
        """
        with self._lock:
            for run in (WHOLE, TRAIN, VALIDATION):
                self._rewind(run, keep)

    def drop(self, run: str, is_stale: Callable[[str], bool]) -> None:
        """Drop some tags from a run's files, those of earlier processes too.

        Raises:
            OSError: A file of an earlier process cannot be read or written.
        """
        with self._lock:
            self._rewind(run, lambda _step, tag, _axis: not is_stale(tag))

    @property
    def dropped(self) -> int:
        """How many values were dropped because they could not be written for too long."""
        return sum(file.dropped for file in tuple(self._files.values()))

    def close(self) -> None:
        """Put on disk what was written, and free the files; what is written later opens them again."""
        with self._lock:
            for file in self._files.values():
                file.close()

    def _opened(self, run: str) -> EventFile:
        with self._lock:
            if run not in self._files:
                self._tell_of_earlier(self.folder / run)
                self._files[run] = EventFile(self.folder / run, start=self.start)
            return self._files[run]

    def _rewind(self, run: str, keep: Keep) -> None:
        if run in self._files:
            self._files[run].rewind(keep)
        rewind_folder(self.folder / run, keep)

    def _tell_of_earlier(self, folder: Path) -> None:
        if self.start == 0 and folder.name == TRAIN and event_files(folder):
            logger.warning(
                "%s holds event files of an earlier run: TensorBoard shows the new run's values in the place of those "
                "from the same step on; choose another log_dir to compare the two",
                folder,
            )
