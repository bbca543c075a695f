"""The objects at an address: the one module that knows fsspec.

Contract. An object is written whole or not at all, as object stores do it; on a local file system, by replacing it.
Nothing is listed where a name is known, because some stores list late. Of a file that is uploaded, some megabytes are
in memory at a time. What goes wrong is an OSError: a `PermissionError` or `FileNotFoundError` if the store refuses,
else one that may pass.
"""

from __future__ import annotations

import errno
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from monitor_core.files.replacing import replacing
from monitor_core.store.addresses import StorePath

T = TypeVar("T")

REACH_SECONDS = 10.0
"""For how long a run's begin waits for a store."""
PART_BYTES = 8 << 20
_COPY_BYTES = 1 << 20
_WITH_FOLDERS = {"sftp", "ssh", "smb", "ftp", "hdfs", "webhdfs"}
"""Protocols whose folders must be made; a bucket is never made."""
_REFUSALS = (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, ValueError)
_REFUSED = (NotImplementedError, TypeError, ValueError)
"""What packages raise where a protocol or an option does not allow something; all others count as not reached."""


class Objects:
    """The objects below an address, by their names relative to it.

    Args:
        address: The address.

    Raises:
        ImportError: fsspec, or its package for this protocol, is not installed.
        ValueError: The protocol is unknown.
    """

    def __init__(self, address: StorePath) -> None:
        self.address = address
        try:
            from fsspec.core import url_to_fs
            from fsspec.implementations.local import LocalFileSystem
        except ImportError as error:
            raise ImportError(f'{address} needs fsspec: pip install "monitor_core[store]" ({error})') from error
        try:
            self._system, root = url_to_fs(str(address), use_listings_cache=False)
        except ImportError as error:
            raise ImportError(f"{address} cannot be opened: {error}") from error
        except ValueError as error:
            raise ValueError(f"{address} cannot be opened: {error}") from error
        self._root = root.rstrip("/")
        self._folder = Path(root) if isinstance(self._system, LocalFileSystem) else None
        protocol = self._system.protocol
        self._has_folders = not _WITH_FOLDERS.isdisjoint([protocol] if isinstance(protocol, str) else protocol)

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        with self._speaking(name):
            if self._folder is not None:
                with self._replacing(name) as temporary:
                    temporary.write_bytes(data)
            else:
                self._make_folder(name)
                self._system.pipe_file(self._path(name), data)

    def upload(self, name: str, file: Path) -> int:
        """Write an object with a file's content; return its size in bytes."""
        with file.open("rb") as source, self._speaking(name):
            if self._folder is not None:
                with self._replacing(name) as temporary, temporary.open("wb") as target:
                    shutil.copyfileobj(source, target, _COPY_BYTES)
            else:
                self._make_folder(name)
                self._stream(name, source)
            return source.tell()

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        with self._speaking(name):
            # From the first byte on: s3fs reads an object whose range is left out by several requests, between which it
            # may be replaced.
            return bytes(self._system.cat_file(self._path(name), start=0))

    def download(self, name: str, file: Path) -> None:
        """Write an object's content to a file."""
        with (
            self._speaking(name),
            self._system.open(self._path(name), "rb", block_size=PART_BYTES) as source,
            file.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, _COPY_BYTES)

    def read_all(self, names: Iterable[str]) -> list[bytes | Exception]:
        """Return the contents of several objects, read at the same time where the store can, or what each raised."""
        paths = [self._path(name) for name in names]
        with self._speaking():
            return list(self._system.cat_ranges(paths, 0, None, on_error="return")) if paths else []

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that cannot be removed stay."""
        for name in names:
            with suppress(Exception):
                self._system.rm_file(self._path(name))

    def exists(self) -> bool:
        """Return whether there is anything at or below the address."""
        with self._speaking():
            return bool(self._system.exists(self._root or "/"))

    def find(self) -> dict[str, dict[str, Any]]:
        """Return what the store knows of every object, by name: a listing, which may be late."""
        begin = f"{self._root}/"
        with self._speaking():
            found = self._system.find(self._root or "/", detail=True)
        return {path.removeprefix(begin): about for path, about in found.items()}

    def probe(self) -> None:
        """Write an object, and remove it if that is allowed."""
        name = "monitor_core-probe"
        self.write(name, b"This may be removed: a run has tried here whether it may write.")
        self.remove([name])

    def _stream(self, name: str, source: IO[bytes]) -> None:
        target = self._system.open(self._path(name), "wb", block_size=PART_BYTES)
        try:
            shutil.copyfileobj(source, target, _COPY_BYTES)
        except BaseException:
            with suppress(Exception):
                target.discard()
            raise
        target.close()

    @contextmanager
    def _speaking(self, name: str = "") -> Iterator[None]:
        """Raise what the store, or a package for it, raises as an OSError that names the address."""
        where = f"{self.address}/{name}" if name else str(self.address)
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, cause(error), where) from error
        except OSError:
            raise
        except Exception as error:
            refused = isinstance(error, _REFUSED) or "Credentials" in type(error).__name__
            kind = PermissionError if refused else ConnectionError
            raise kind(cause(error)) from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _replacing(self, name: str) -> Any:
        path = Path(self._path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        return replacing(path)

    def _make_folder(self, name: str) -> None:
        if self._has_folders:
            self._system.makedirs(os.path.dirname(self._path(name)), exist_ok=True)  # noqa: PTH120 (of the store)


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what a call returns; one that takes longer is abandoned on its thread.

    Raises:
        TimeoutError: It takes longer.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:
            done.put((None, error))

    threading.Thread(target=attempt, name="monitor_core store", daemon=True).start()
    try:
        value, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def refuses(error: BaseException) -> bool:
    """Return whether a store has answered that it will not do it, so that waiting does not help."""
    return isinstance(error, _REFUSALS)


def cause(error: BaseException) -> str:
    """Return why a store did not do something, human-readable."""
    text = getattr(error, "strerror", None) or str(error)
    return str(text).strip() or type(error).__name__
