"""The event files of a log folder: one for each TensorBoard run, created when it is first written to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monitor_core._log import logger
from monitor_core.errors import SetupError
from monitor_core.tensorboard.formats.event_file import EventFile, Keep, event_files, rewind_folder

TRAIN, VALIDATION, WHOLE = "train", "validation", "."
"""The runs: training, validation, and the log folder itself."""


class RunFiles:
    """The event files of a log folder. May be used from any thread.

    Args:
        folder: The log folder; it is created with the first file.

    Attributes:
        folder: The log folder, absolute, because files are created later too, even after a change of directory.
        start: 0 for files that start from scratch, None for files that continue existing ones; see `EventFile`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.start: int | None = 0
        self._files: dict[str, EventFile] = {}
        self._kept: Keep | None = None
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, which opens its own files.

        Raises:
            TypeError: Files are open: a copy would write into the same folder at the same time.
        """
        if self._files:
            raise TypeError(
                f"a TensorBoard that has begun to write into {self.folder} cannot be copied or pickled: "
                "call reset() on it, or copy it before its first run"
            )
        return {"folder": self.folder, "start": self.start}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]
        self.start = state["start"]

    def __getitem__(self, run: str) -> EventFile:
        """Return a run's file.

        Raises:
            OSError: It cannot be created now; a later attempt may succeed.
        """
        try:
            return self._opened(run)
        except SetupError as error:
            raise OSError(str(error)) from error

    def open(self) -> None:
        """Create the train run's file, and check that the others can be created.

        Raises:
            SetupError: One of them cannot be created.
        """
        self._opened(TRAIN)
        folder = self.folder / VALIDATION
        if folder.exists() and not folder.is_dir():
            raise SetupError(f"{folder} cannot be written: it is not a folder")

    def rewind(self, keep: Keep) -> None:
        """Drop the values that ``keep`` rejects from all files of the log folder, those of earlier processes too.

        Raises:
            OSError: A file of an earlier process cannot be read or written.
        """
        with self._lock:
            self._kept = keep  # for runs of earlier processes that are only written to later
            for run in dict.fromkeys((WHOLE, TRAIN, VALIDATION, *self._files)):
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
        """Sync what was written to disk, and close the files; writing opens them again."""
        with self._lock:
            for file in self._files.values():
                file.close()

    def _opened(self, run: str) -> EventFile:
        with self._lock:
            if run not in self._files:
                self._warn_of_earlier(self.folder / run)
                if self._kept is not None and run not in (WHOLE, TRAIN, VALIDATION):
                    rewind_folder(self.folder / run, self._kept)
                self._files[run] = EventFile(self.folder / run, start=self.start)
            return self._files[run]

    def _rewind(self, run: str, keep: Keep) -> None:
        if run in self._files:
            self._files[run].rewind(keep)
        rewind_folder(self.folder / run, keep)

    def _warn_of_earlier(self, folder: Path) -> None:
        if self.start == 0 and folder.name == TRAIN and event_files(folder):
            logger.warning(
                "%s has event files of an earlier run: from the same step on, TensorBoard shows the new run's values "
                "instead of the earlier ones; choose another log_dir to compare the two",
                folder,
            )
