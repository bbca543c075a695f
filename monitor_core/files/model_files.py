"""Writing a model's file whole or not at all, with a checksum to recognize it later."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import zlib
from pathlib import Path

from monitor_core.files.replacing import replacing
from monitor_core.model.handles import ModelHandle

# Messages of a full disk or an exceeded limit from libraries that do not raise an OSError: h5py and torch.save.
_WRITE_FAILED = re.compile(r"errno = \d+|(?:write|writing) .*fail|fail\w* (?:to )?writ|No space left", re.IGNORECASE)


def write_model(model: ModelHandle, path: Path, *, weights_only: bool, size: int = 0) -> tuple[str, int]:
    """Write a model's file; after a kill or a full disk at any moment, the old or the new file is there, complete.

    Args:
        model: The model's handle, with ``save``.
        path: The file; its folder must exist.
        weights_only: Whether to write only the weights.
        size: The approximate size in bytes; 0 if it is not known.

    Returns:
        The file's checksum, and its size in bytes.

    Raises:
        OSError: The file cannot be written; the old file is unchanged.
    """
    _require_space(path.parent, size or _weights_size(model))
    with replacing(path) as temporary:
        try:
            model.save(temporary, weights_only=weights_only)
        except Exception as error:
            if not isinstance(error, OSError) and _WRITE_FAILED.search(str(error)):
                raise OSError(errno.EIO, f"the model could not be written: {error}", str(path)) from error
            raise
        return checksum(temporary), temporary.stat().st_size


def checksum(path: Path) -> str:
    """Return a checksum of a file's content, which detects damage but not forgery."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            value = zlib.crc32(piece, value)
    return f"crc32:{value:08x}"


def _weights_size(model: ModelHandle) -> int:
    """Return the size of the weights in bytes, 0 if the handle does not provide them."""
    return sum(array.nbytes for _, array in model.weights()) if hasattr(model, "weights") else 0


def _require_space(folder: Path, size: int) -> None:
    """Raise an `OSError` if there is no room: in the middle of a save, a full disk can make HDF5 crash the process."""
    if size and hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
