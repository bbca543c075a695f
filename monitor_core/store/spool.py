"""The spool of a run in a store: the local folder that it is recorded in, from which a mirror uploads.

Contract. Its name follows from the address, so a later process finds what an earlier one left. One process at a time
uploads from it; several may record into it. Nothing in it is removed but by `monitor-core upload --remove`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import attrs

from monitor_core.files.ownership import Ownership
from monitor_core.files.user_folders import state_folder
from monitor_core.store.addresses import StorePath, located

GROWING = ".mcj"
"""How the names of files end that only grow."""
_NAMES_OTHERS = ("summary.json", ".latest.json")
"""How the names of files end that name others, or sum them up: they are read first and uploaded last."""
_ABOUT = "spool.json"
_NOT_UPLOADED = {_ABOUT, "control"}  # requests to a run are for its own machine
_METADATA = ".metadata"
"""A file that a checkpoint of a sharded PyTorch model has."""
_FORMAT = 1


@attrs.frozen
class SpooledFile:
    """A file in a spool.

    Attributes:
        name: Its name relative to the spool, with slashes.
        path: Its path.
        size: How many bytes it has.
        modified: When it was modified, nanoseconds since 1970.
        data: Its content, if it names other files.
    """

    name: str
    path: Path
    size: int
    modified: int
    data: bytes | None = attrs.field(default=None, repr=False)

    @property
    def grows(self) -> bool:
        """Whether it only grows."""
        return self.name.endswith(GROWING)


class Spool:
    """The spool of an address.

    Args:
        address: The address.

    Attributes:
        address: The address.
        folder: The folder.
        id: Its id, by which the store knows it; "" if there is no such folder.
    """

    def __init__(self, address: StorePath) -> None:
        self.address = address
        self.folder = _spools() / folder_name(address)
        self.id = ""
        self._ownership: Ownership | None = None

    def make(self) -> None:
        """Create the folder, unless it is there.

        Raises:
            OSError: It cannot be created.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        about = self.folder / _ABOUT
        if not about.exists():
            text = json.dumps({"format": _FORMAT, "address": str(self.address), "id": secrets.token_hex(8)})
            with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix=".", encoding="ascii") as written:
                written.write(text)
                written.flush()
                try:
                    os.link(written.name, about)
                except FileExistsError:  # another process was first
                    pass
                except OSError:  # a file system without links
                    about.write_text(text, encoding="ascii")
        try:
            self.id = _about(about)[0]
        except (ValueError, LookupError, TypeError) as error:
            raise OSError(errno.EINVAL, f"it is damaged ({error}): move the folder away", str(about)) from error

    @property
    def is_there(self) -> bool:
        """Whether the folder is there as it was made."""
        return (self.folder / _ABOUT).exists()

    def own(self) -> None:
        """Become the process that uploads from it, unless this already is.

        Raises:
            OwnedError: Another process is.
        """
        if self._ownership is None:
            self._ownership = Ownership(Path(os.path.realpath(self.folder)) / _ABOUT)
        self._ownership.take()

    def free(self) -> None:
        """Let other processes upload from it."""
        if self._ownership is not None:
            self._ownership.free()

    def files(self) -> list[SpooledFile]:
        """Return its files, those last that name others; these as they were before the others were looked for.

        Raises:
            OSError: The folder cannot be read.
        """
        early = []
        for file in self._walk():
            if file.name.endswith(_NAMES_OTHERS):
                with suppress(FileNotFoundError):
                    early.append(attrs.evolve(file, data=file.path.read_bytes()))
        return [file for file in self._walk() if not file.name.endswith(_NAMES_OTHERS)] + early

    def _walk(self) -> Iterator[SpooledFile]:
        for folder, folders, names in os.walk(self.folder, onerror=_raise):
            folders[:] = [each for each in folders if belongs_to_store(each)]
            for path in (Path(folder, each) for each in names if belongs_to_store(each)):
                with suppress(FileNotFoundError):
                    about = path.lstat()
                    if stat.S_ISREG(about.st_mode):
                        name = path.relative_to(self.folder).as_posix()
                        yield SpooledFile(name, path, about.st_size, about.st_mtime_ns)


def belongs_to_store(name: str) -> bool:
    """Return whether a file of this name is uploaded, and fetched; locks, requests and the like are of one machine."""
    parts = name.split("/")
    return not any((part.startswith(".") and part != _METADATA) or part in _NOT_UPLOADED for part in parts)


def _raise(error: OSError) -> None:
    raise error


def all_spools() -> list[Spool]:
    """Return the spools of this user on this machine, by address."""
    found = []
    with suppress(OSError):
        for about in _spools().glob(f"*/{_ABOUT}"):
            with suppress(OSError, ValueError, LookupError, TypeError):
                address = located(_about(about)[1])
                if isinstance(address, StorePath) and Spool(address).folder == about.parent:
                    found.append(Spool(address))
    return sorted(found, key=lambda spool: str(spool.address))


def is_spool(folder: Path) -> bool:
    """Return whether a folder is a spool, or was one."""
    return os.path.lexists(folder / _ABOUT)


def folder_name(address: StorePath) -> str:
    """Return the name of an address's own folder on this machine."""
    text = str(address)
    return f"{re.sub(r'[^A-Za-z0-9_.]+', '-', text)[-60:].strip('-.')}-{sha256(text.encode()).hexdigest()[:12]}"


def _spools() -> Path:
    return state_folder() / "stores"


def _about(path: Path) -> tuple[str, str]:
    data = json.loads(path.read_bytes())
    if data["format"] != _FORMAT:
        raise ValueError(f"{path} is of another format")
    return str(data["id"]), str(data["address"])
