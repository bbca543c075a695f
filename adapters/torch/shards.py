"""Modules whose parameters are sharded over several ranks, as `fully_shard` does it: their checkpoints as folders.

Contract. A folder is one of `torch.distributed.checkpoint`, with the tensors of modules and optimizers, and a file with
what is not a tensor. All ranks save together. Each loads by itself what it has a part of, so a checkpoint can be loaded
on another number of ranks, and by one process. Nothing in a folder is executed.
"""

from __future__ import annotations

import io
import pickle
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from monitor_core.adapters.torch.parts import is_distributed
from monitor_core.files.state import load_state, save_state

_REST = "monitor_core.json"
"""The file with what is not a tensor."""

_KNOWN = frozenset(
    [
        *(("pathlib", name) for name in ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")),
        *(("collections", name) for name in ("OrderedDict", "defaultdict")),
        *(("builtins", name) for name in ("set", "frozenset", "dict", "list", "tuple", "slice")),
        ("torch", "Size"),
        ("torch", "device"),
        ("torch.serialization", "_get_layout"),
        ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ]
)
"""What the metadata of a folder may name, besides dtypes and the classes of metadata."""


def save(folder: Path, state: Callable[[], tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """Write a folder; all ranks call this.

    Args:
        folder: The folder, which all ranks see.
        state: Returns the tensors by name, and what is not a tensor. Of sharded tensors this rank's part is written, of
            all else that of the first rank.

    Raises:
        OSError: It cannot be written, on any rank.
        RuntimeError: A rank cannot save for another reason, or the ranks have different parameters.
    """
    tensors, rest = _agreed(state)
    with _as_exceptions():
        dcp.save(
            dict(tensors),
            storage_writer=dcp.FileSystemWriter(folder),
            planner=dcp.DefaultSavePlanner(dedup_save_to_lowest_rank=True),
        )
    if torch.distributed.get_rank() == 0:  # only now: the others wait in the collectives
        save_state(folder / _REST, rest)


def _agreed(
    state: Callable[[], tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the state, once all ranks have theirs and it is that of one model.

    A collective takes part in what others have failed to begin, so that none of them waits.
    """
    tensors: Mapping[str, Any] = {}
    rest: Mapping[str, Any] = {}
    try:
        tensors, rest = state()
        own = "\n".join(sorted(f"{name} {tuple(each.shape)} {_ranks_of(each)}" for name, each in tensors.items()))
        said = ("", zlib.crc32(own.encode()))
    except Exception as error:
        said = (f"{type(error).__name__}: {error}", 0)
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, said)
    for rank, (why, _) in enumerate(found):
        if why:
            raise RuntimeError(f"{why} (rank {rank})")
    if len(set(found)) > 1:
        raise RuntimeError(
            "the ranks must have the same parameters, each sharded over the same ranks; stages of a pipeline, of which "
            "each rank has other parameters, cannot be saved together"
        )
    return tensors, rest


def _ranks_of(tensor: Any) -> list[int] | None:
    return tensor.device_mesh.mesh.flatten().tolist() if is_distributed(tensor) else None


@contextmanager
def _as_exceptions() -> Iterator[None]:
    """Raise what has failed on a rank as an `OSError` or a RuntimeError; PyTorch's own is not even an `Exception`."""
    try:
        yield
    except CheckpointException as error:
        rank, (failed, _) = next(iter(error.failures.items()))
        if isinstance(failed, OSError):
            raise OSError(failed.errno, f"{failed.strerror}, on rank {rank}") from error
        raise RuntimeError(f"{type(failed).__name__} on rank {rank}: {failed}") from error


class Saved:
    """What is in a folder.

    Args:
        folder: The folder.

    Attributes:
        rest: What is not a tensor.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not one that `save` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rest = load_state(folder / _REST)
        self._reader = _Reader(folder)
        self._tensors = self._reader.read_metadata().state_dict_metadata

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names of the tensors that begin with a prefix, without it."""
        return (name.removeprefix(prefix) for name in self._tensors if name.startswith(prefix))

    def empty(self, name: str, like: Any = None) -> Any:
        """Return a new tensor for a saved one, sharded and placed as another one if they have the same shape."""
        about = self._about(name)
        if like is not None and tuple(about.size) == tuple(like.shape) and like.dim():
            return torch.empty_like(like.detach(), dtype=about.properties.dtype)
        return torch.empty(about.size, dtype=about.properties.dtype)

    def load(self, tensors: Mapping[str, Any]) -> None:
        """Read into tensors by name, of sharded ones this rank's part.

        Raises:
            RuntimeError: One was not saved, or has another shape; nothing is read then.
        """
        for name, tensor in tensors.items():
            if tuple(self._about(name).size) != tuple(tensor.shape):
                raise RuntimeError(
                    f"{self._folder} must have the shape {tuple(tensor.shape)} for {name} (got "
                    f"{tuple(self._about(name).size)})"
                )
        with warnings.catch_warnings(), _as_exceptions():  # it says that it loads as a single process, as it is told to
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
            dcp.load(dict(tensors), storage_reader=self._reader, no_dist=True)

    def _about(self, name: str) -> TensorStorageMetadata:
        found = self._tensors.get(name)
        if isinstance(found, TensorStorageMetadata):  # anything else would be unpickled
            return found
        raise RuntimeError(f"{self._folder} has no tensor {name}: it is of another module or optimizer")


class _Reader(dcp.FileSystemReader):
    """Reads a folder without executing anything in it, and its metadata once."""

    _metadata: Metadata | None = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read what the folder has.

        Raises:
            ValueError: It holds more than metadata.
        """
        if self._metadata is None:
            self._metadata = self._read()
        self._metadata.storage_meta = self._metadata.storage_meta or StorageMeta()
        self._metadata.storage_meta.load_id = self.load_id
        return self._metadata

    def _read(self) -> Metadata:
        try:
            found = _Unpickler(io.BytesIO(Path(self.path, ".metadata").read_bytes())).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
            raise ValueError(f"{self.path} is damaged, or not a checkpoint of torch.distributed: {error}") from error
        if not isinstance(found, Metadata):
            raise ValueError(f"{self.path} is not a checkpoint of torch.distributed")  # noqa: TRY004
        return found


class _Unpickler(pickle.Unpickler):
    """Creates objects of the classes of metadata alone."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class, or a dtype.

        Raises:
            pickle.UnpicklingError: It is not known.
        """
        found = super().find_class(module, name) if self._is_known(module, name) else None
        if found is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no metadata needs")
        return found

    @staticmethod
    def _is_known(module: str, name: str) -> bool:
        if (module, name) in _KNOWN or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return True
        found = vars(sys.modules[Metadata.__module__]).get(name) if module == Metadata.__module__ else None
        return isinstance(found, type) and found.__module__ == module
