"""Replacing files atomically: a reader sees the old file or the new one, never a part.

Contract. `replacing` writes a file whole or not at all, and raises any error. A file has one writer. What is not a file
of a disk, such as ``/dev/stdout`` or a named pipe, is written to, and stays what it is.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

_PREFIX = ".monitor_core-"


_numbers = itertools.count()


_under_way: set[str] = set()


@contextlib.contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """Write a file whole or not at all: yield a temporary path, then rename it to the file.

    The temporary file is in the same folder, ends like the target's name (writers choose the format by it) and is
    removed if the body raises. The data is on disk before the rename, so that at any moment the name refers to a
    complete file, the old or the new one. The new file has the old one's permissions.

    Args:
        path: The file to replace; its folder must exist.

    Raises:
        OSError: The file cannot be written; the old one is unchanged.
    """
    target = Path(path)
    if _is_device(target):
        yield target
        return
    temporary = _temporary(target)
    _under_way.add(temporary.name)
    try:
        yield temporary
        with contextlib.suppress(OSError):
            shutil.copymode(target, temporary)
        sync(temporary)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    finally:
        _under_way.discard(temporary.name)
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder
        sync(target.parent)


@contextlib.contextmanager
def replacing_folder(path: str | PathLike[str]) -> Iterator[Path]:
    """Write a folder whole or not at all: yield a path for a new folder, then rename that.

    What is there under the name, a file or a folder, is removed first, so a kill may leave neither.

    Args:
        path: The folder; the one that it is in must exist.

    Raises:
        OSError: The folder cannot be written, or what is there cannot be removed.
    """
    target = Path(path)
    temporary = _temporary(target)
    _under_way.add(temporary.name)
    try:
        yield temporary
        with contextlib.suppress(OSError):
            sync(temporary)
        remove(target)
        temporary.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(temporary)
        raise
    finally:
        _under_way.discard(temporary.name)
    with contextlib.suppress(OSError):
        sync(target.parent)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there; after a kill its name is gone, or it is whole.

    Raises:
        OSError: It cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        temporary = path.rename(_temporary(path))
        shutil.rmtree(temporary)
    else:
        path.unlink(missing_ok=True)


def _temporary(target: Path) -> Path:
    # Only the end of the name: the longest name that a file system allows has no room for a prefix.
    return target.with_name(f"{_PREFIX}{os.getpid()}-{next(_numbers)}-{target.name[-40:]}")


def _is_device(path: Path) -> bool:
    """Return whether a file is a device or a pipe; what ``/dev/stdout`` leads to may be a file of a disk."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return path.absolute().parent == Path("/dev") or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def remove_strays(folder: str | PathLike[str]) -> list[Path]:
    """Remove the temporary files and folders of ended processes from a folder; return the removed paths."""
    removed = []
    for stray in Path(folder).glob(f"{_PREFIX}*"):
        pid = stray.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and not _is_in_use(stray.name, int(pid)):
            with contextlib.suppress(OSError):
                remove(stray)
                removed.append(stray)
    return removed


def sync(path: Path) -> None:
    """Return once a file, or the names in a folder, are on disk.

    Raises:
        OSError: They cannot be written; some file systems cannot do this with a folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_in_use(name: str, pid: int) -> bool:
    if pid == os.getpid():  # in a restarted container, the earlier process had the same number
        return name in _under_way
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
