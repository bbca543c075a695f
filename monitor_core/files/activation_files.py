"""The files of activations that one run writes: found again after a restart, limited in number and bytes.

Contract. A file belongs to a run if it says so itself; nothing else is ever removed, and each file is asked before. The
limits remove the oldest first, and never the newest.
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
    """A file: where it is, what it says of itself, and its size in bytes."""

    path: Path
    mark: Mark
    size: int


@attrs.define(eq=False)
class RunFiles:
    """What there is of one run.

    Args:
        keep: How many files stay; None for all.
        max_bytes: How many bytes they may have together; None for any.

    Attributes:
        run: What all files of the run say that they belong to; empty before there is a run.
    """

    keep: int | None = None
    max_bytes: int | None = None
    run: str = ""
    _files: list[_File] = attrs.field(factory=list)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are there, the oldest first."""
        return tuple(file.path for file in self._files)

    def begin(self) -> None:
        """Begin with a new run, which has no files."""
        self.run, self._files = uuid.uuid4().hex, []

    def go_on(self, paths: Iterable[Path]) -> None:
        """Find the files of the present run among some."""
        self._files = [
            _File(path, mark, path.stat().st_size) for path, mark in find_activations(paths) if mark.run == self.run
        ]

    def write(self, path: Path, activations: Activations) -> None:
        """Write a file, all at once, in the name of the run, and remove what is then beyond the limits.

        Raises:
            OSError: It cannot be written; nothing has changed.
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
        """Remove the files of which that is true."""
        for file in self._files:
            if is_dropped(file.mark):
                _remove(file)
        self._files = [file for file in self._files if not is_dropped(file.mark)]


def _remove(file: _File) -> None:
    """Remove a file, unless it is gone, or another one stands in its place."""
    try:
        if read_mark(file.path) == file.mark:
            file.path.unlink()
    except OSError as error:
        logger.warning("%s cannot be removed: %s", file.path, error)
