"""The folder of a template's files: a fixed absolute path, prepared, and owned by one process at a time.

Contract. The path is absolute from construction on, so that a later `os.chdir` moves no file. No folder is created
before `prepare`, and no file locked before `own`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from monitor_core.errors import SetupError
from monitor_core.files.ownership import OwnedError, Ownership
from monitor_core.files.replacing import remove_strays
from monitor_core.files.templates import Template


def absolute(path: str | PathLike[str]) -> Path:
    """Return an absolute path, so that a later `os.chdir` does not change which file an argument names."""
    return Path(path).absolute()


class TemplateFolder:
    """The folder above all fields of a template.

    Args:
        template: The template; a relative one is resolved against the current working directory.
        owner: The name of the sink that writes there, for messages.

    Attributes:
        path: The folder, absolute.
        owner: The name of the sink that writes there, for messages.
    """

    def __init__(self, template: Template, owner: str) -> None:
        self.path = absolute(template.folder)
        self.owner = owner
        self._template = template
        self._ownership: Ownership | None = None

    def file(self, numbers: Mapping[str, int], metrics: Mapping[str, Any]) -> Path:
        """Return the absolute path of a file, as `Template.format` names it."""
        return self.path / Path(self._template.format(numbers, metrics)).relative_to(self._template.folder)

    def files(self, pattern: str) -> Iterator[Path]:
        """Yield the files that match a pattern, at the depth of the template's files."""
        return self.path.glob("*/" * self._template.depth + pattern)

    def prepare(self) -> None:
        """Create the folder, and remove temporary files that killed processes left in it.

        Raises:
            SetupError: The folder is not writable, or the template names a folder.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
            for folder in self._folders():
                remove_strays(folder)
        except OSError as error:
            raise SetupError(f"{self.owner} cannot write into {str(self.path)!r}: {error}") from error
        if not self._template.names and (path := self.file({}, {})).is_dir():
            raise SetupError(f"filepath must name a file (got the folder {str(path)!r})")

    def _folders(self) -> Iterator[Path]:
        """Yield this folder and those named by fields of the template; not those that a link puts outside of it."""
        real = os.path.realpath(self.path)
        for depth in range(self._template.depth + 1):
            for each in self.path.glob("*/" * depth) if depth else [self.path]:
                if Path(os.path.realpath(each)).is_relative_to(real):
                    yield each

    def check_inside(self, path: Path) -> None:
        """Raise a ValueError if symbolic links lead from a file's folder out of this one."""
        if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(self.path)):
            raise ValueError(f"filepath must not leave its folder by a symbolic link (got {str(path.parent)!r})")

    def own(self) -> None:
        """Lock the files against other processes that lock them too, until `disown`; the folder must exist.

        Raises:
            SetupError: Another process is writing them.
        """
        ownership = Ownership(Path(os.path.realpath(self.path)) / self._template.file_name)
        try:
            ownership.take()
        except OwnedError as error:
            raise SetupError(f"{self.owner} cannot write {self._template.text!r}: {error}") from error
        self._ownership = ownership  # the earlier one is freed only now, so that there is no gap

    def disown(self) -> None:
        """Let other processes write the files."""
        if self._ownership is not None:
            self._ownership.free()
