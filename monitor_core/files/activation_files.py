"""The files of activations that one run writes: found again after a restart, limited in number and bytes.

Contract. A file belongs to a run if its content names the run. Only such files are removed, and each is read again
before. The limits remove the oldest first, and never the newest.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from monitor_core._log import logger
from monitor_core.files.activations import Activations, Mark, find_activations, read_mark, write_activations
from monitor_core.files.replacing import replacing


@attrs.frozen
class _File:
    """A file: its path, the mark it contains, and its size in bytes."""

    path: Path
    mark: Mark
    size: int


@attrs.define(eq=False)
class RunFiles:
    """The activation files of one run.

    Args:
        keep: How many files to keep; None for all.
        max_bytes: The limit on their total size, in bytes; None for no limit.

    Attributes:
        run: The identifier that all files of the run contain; empty before the first run.
    """

    keep: int | None = None
    max_bytes: int | None = None
    run: str = ""
    _files: list[_File] = attrs.field(factory=list)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The existing files, the oldest first."""
        return tuple(file.path for file in self._files)

    def begin(self) -> None:
        """Begin a new run, which has no files."""
        self.run, self._files = uuid.uuid4().hex, []

    def resume(self, paths: Iterable[Path]) -> None:
        """Continue with those of the given files that belong to the current run."""
        self._files = [
            _File(path, mark, path.stat().st_size) for path, mark in find_activations(paths) if mark.run == self.run
        ]

    def write(self, path: Path, activations: Activations) -> None:
        """Write a file of the run atomically, then remove the files that exceed the limits.

        Raises:
            OSError: The file cannot be written; no file has changed.
        """
        activations.run = self.run
        with replacing(path) as temporary:
            write_activations(temporary, activations)
        mark = Mark(activations.epoch, activations.step, self.run)
        others = [file for file in self._files if file.path != path]
        self._files = [*others, _File(path, mark, path.stat().st_size)]
        while len(self._files) > 1 and self._is_over():
            _remove(self._files.pop(0))

    def _is_over(self) -> bool:
        too_many = self.keep is not None and len(self._files) > self.keep
        return too_many or (self.max_bytes is not None and sum(file.size for file in self._files) > self.max_bytes)

    def drop(self, is_dropped: Callable[[Mark], bool]) -> None:
        """Remove the files for whose mark ``is_dropped`` returns True."""
        for file in self._files:
            if is_dropped(file.mark):
                _remove(file)
        self._files = [file for file in self._files if not is_dropped(file.mark)]


def _remove(file: _File) -> None:
    """Remove a file, unless it is already gone or another file has replaced it."""
    try:
        if read_mark(file.path) == file.mark:
            file.path.unlink()
    except OSError as error:
        logger.warning("%s cannot be removed: %s", file.path, error)
