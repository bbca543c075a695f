"""Addresses of stores, such as ``s3://bucket/runs/a``, as paths."""

from __future__ import annotations

import os
import re
from os import PathLike
from pathlib import Path, PosixPath, WindowsPath
from typing import TYPE_CHECKING, Self

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # at least two letters: one is a drive
_ADDRESS = re.compile(_SCHEME.pattern + "/")  # a path has lost the second slash
_LOCAL = ("file:", "local:")

if TYPE_CHECKING or os.name != "nt":  # noqa: SIM108 (a type checker understands no other form)
    _Base = PosixPath
else:
    _Base = WindowsPath


class StorePath(_Base):
    """An address as a path: it has a name, parents and parts, is always absolute, and names no file of this machine."""

    def __str__(self) -> str:
        """Return the address."""
        first, *others = self.parts or ("",)
        if not _SCHEME.fullmatch(first):  # of a path relative to an address
            return super().__str__()
        return f"{first}//{'/' if first in _LOCAL else ''}{'/'.join(others)}"

    def absolute(self) -> Self:
        """Return this address."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Return this address without ``..``, which never leads out of the store."""
        first, *others = self.parts
        inside: list[str] = []
        for each in others:
            if each == "..":
                del inside[-1:]
            else:
                inside.append(each)
        return type(self)(first, *inside)

    def exists(self) -> bool:
        """Return whether there is anything at or below the address."""
        from monitor_core.store.objects import Objects

        return Objects(self).exists()

    def is_dir(self) -> bool:
        """Return whether there is anything at or below the address."""
        return self.exists()


def located(path: str | PathLike[str]) -> Path:
    """Return a path, which is a `StorePath` if it is the address of a store."""
    if isinstance(path, StorePath):
        return path
    text = os.fspath(path)
    return StorePath(text) if _ADDRESS.match(text) else Path(text)
