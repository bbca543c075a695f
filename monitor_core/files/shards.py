"""Checkpoints of a model whose parts are on several ranks: a folder that all ranks write into together.

Contract. All ranks call `save_together` at the same points. Rank 0 decides; what fails on one of them raises on all.
The folder gets its name once it is whole. It has a list of its files with their checksums, and the checksum of that
list is the checkpoint's. All ranks must see the folder.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from monitor_core.errors import RankError
from monitor_core.files.model_files import checksum
from monitor_core.files.replacing import sync
from monitor_core.model.handles import ModelHandle

LIST = "checksums.json"
"""The list of a folder's files, with the size in bytes and the checksum of each."""

_READERS = 8
"""How many files are read at a time."""

Exchange = Callable[[bytes], list[bytes]]
"""Called on all ranks at the same point; returns what each of them passes."""


def is_sharded(model: ModelHandle) -> bool:
    """Return whether parts of a model are on several ranks, as far as its handle knows."""
    return bool(getattr(model, "is_sharded", False))


def is_shards(path: Path) -> bool:
    """Return whether a path is a folder that `Together.write` has written."""
    return (path / LIST).is_file()


def check_shards(folder: Path, expected: str | None, *, thorough: bool) -> None:
    """Check a folder.

    Args:
        folder: The folder.
        expected: Its checksum; None if it is not known.
        thorough: Whether to read all files, or only to look at their sizes.

    Raises:
        ValueError: It is damaged, or not the one that was saved.
    """
    listed = json.loads((folder / LIST).read_text(encoding="ascii"))
    if expected is not None and checksum(folder / LIST) != expected:
        raise ValueError(f"{folder} is damaged, or another folder: the checksum of its list of files differs")
    for name, (size, _) in listed.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            raise ValueError(f"{folder} is damaged: its file {name} is missing, or has another size")
    if thorough:
        found = _checksums(folder, list(listed))
        differing = [name for name, (_, was) in listed.items() if found[name][1] != was]
        if differing:
            raise ValueError(f"{folder} is damaged: the checksum of its file {differing[0]} differs")


class Together:
    """A save by all ranks, as rank 0 sees it.

    Args:
        model: The model's handle, with ``save_shards``.
        share: Exchanges with the other ranks.
    """

    def __init__(self, model: ModelHandle, share: Exchange) -> None:
        self._model = model
        self._share = share
        self._is_broken = False

    def write(self, folder: Path, *, weights_only: bool) -> str:
        """Have each rank write its part into a new folder; return the checksum.

        Raises:
            OSError: A rank cannot write, or they do not see the same folder.
            RuntimeError: A rank cannot save its part for another reason.
            RankError: A rank is elsewhere, or lost.
        """
        self._exchange(_said({"folder": str(folder), "weights_only": weights_only}))
        listed = _save_part(self._model, folder, 0, self._exchange, weights_only=weights_only)
        present = {name: (folder / name).stat().st_size for name in _names(folder)}
        if present != {name: size for name, (size, _) in listed.items()}:
            raise OSError(
                errno.ENOENT, "all ranks must see the folder that they save to: use a file system that they share"
            )
        (folder / LIST).write_text(json.dumps(listed, sort_keys=True), encoding="ascii")
        sync(folder / LIST)
        return checksum(folder / LIST)

    def end(self, error: BaseException | None) -> None:
        """Let the other ranks know how it has ended, unless they could not be reached."""
        if not self._is_broken:
            self._exchange(_said({"end": True, **({} if error is None else _about(error))}))

    def _exchange(self, own: bytes) -> list[bytes]:
        self._is_broken = True  # what raises here, raises on all
        found = self._share(own)
        self._is_broken = False
        return found


def save_together(
    model: ModelHandle,
    rank: int,
    share: Callable[[str, bytes], list[bytes]] | None,
    what: str,
    save: Callable[[Together | None], None],
) -> None:
    """Let rank 0 save something, or nothing; the others do their part if they have parts of the model.

    All ranks of a model that is sharded call this; of any other, rank 0 alone saves.

    Args:
        model: The model's handle.
        rank: The number of this process.
        share: Exchanges with the other ranks; None if there are none.
        what: What is saved, the same on all ranks.
        save: Called on rank 0 alone, with None if it saves alone.

    Raises:
        Exception: On rank 0 what ``save`` raises; on the others an `OSError` or a `RuntimeError` that says what it is.
        RankError: A rank is elsewhere, or lost.
    """
    if share is None or not is_sharded(model):
        if rank == 0:
            save(None)
        return
    exchange = partial(share, what)
    if rank:
        _follow(model, rank, exchange)
        return
    together = Together(model, exchange)
    try:
        save(together)
    except BaseException as error:
        together.end(error)
        raise
    together.end(None)


def _follow(model: ModelHandle, rank: int, share: Exchange) -> None:
    """Do what rank 0 says, until it has ended."""
    while "end" not in (asked := json.loads(share(b"")[0])):
        try:
            _save_part(model, Path(asked["folder"]), rank, share, weights_only=asked["weights_only"])
        except RankError:
            raise
        except (OSError, RuntimeError):
            continue  # rank 0 raises it too, and then says that it has
    if "error" in asked:
        _raise(asked, "rank 0 cannot save")


def _save_part(model: ModelHandle, folder: Path, rank: int, share: Exchange, *, weights_only: bool) -> dict[str, Any]:
    """Save the part of this rank; return the sizes and checksums of all files, of which each rank reads some.

    Raises:
        OSError: A rank cannot write.
        RuntimeError: A rank cannot save for another reason.
    """
    done = _on_all(share, "save the model", lambda: model.save_shards(folder, weights_only=weights_only))
    found = _on_all(share, "read what they have saved", lambda: _checksums(folder, _names(folder)[rank :: len(done)]))
    return {name: about for each in found for name, about in each.items()}


def _on_all(share: Exchange, what: str, action: Callable[[], Any]) -> list[Any]:
    """Call a function on all ranks; return what it returns on each, or raise on all what it raises on one."""
    try:
        own = {"done": action()}
    except Exception as error:
        own = _about(error)
    found = [json.loads(each) for each in share(_said(own))]
    if failed := [rank for rank, each in enumerate(found) if "error" in each]:
        _raise(found[failed[0]], f"rank {failed[0]} cannot {what}" if len(failed) == 1 else f"the ranks cannot {what}")
    return [each["done"] for each in found]


def _names(folder: Path) -> list[str]:
    """Return the names of all files, those of folders in it too."""
    found = [Path(each, name) for each, _, names in os.walk(folder) for name in names]
    return sorted(each.relative_to(folder).as_posix() for each in found)


def _checksums(folder: Path, names: list[str]) -> dict[str, tuple[int, str]]:
    """Return the size and the checksum of files; what was written is on disk then."""

    def of_one(name: str) -> tuple[int, str]:
        path = folder / name
        sync(path)
        return path.stat().st_size, checksum(path)

    with ThreadPoolExecutor(_READERS) as readers:
        return dict(zip(names, readers.map(of_one, names), strict=True))


def _said(what: Mapping[str, Any]) -> bytes:
    return json.dumps(what).encode()


def _about(error: BaseException) -> dict[str, Any]:
    return {"error": f"{type(error).__name__}: {error}", "is_of_files": isinstance(error, OSError)}


def _raise(about: Mapping[str, Any], what: str) -> NoReturn:
    text = f"{what}: {about['error']}"
    if about["is_of_files"]:  # which do not disable a sink
        raise OSError(errno.EIO, text)
    raise RuntimeError(text)
