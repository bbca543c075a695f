"""Activations on disk: the outputs of a model's layers for some samples, one ``.npz`` file per dump.

Contract. A file is an ordinary ``.npz``, which ``numpy.load(path)`` opens directly: an array for each layer, under the
layer's name, ``__epoch__`` (0-based) and ``__step__`` as integers, and ``__run__`` as a string, which all files of one
run share. It holds numbers, booleans and that string, never Python objects, so loading a file executes no code.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import attrs
import numpy as np

from monitor_core.files.state import refusing_damage
from monitor_core.model.handles import Array, check_layers

_EPOCH, _STEP, _RUN = "__epoch__", "__step__", "__run__"
_MARKS = (_EPOCH, _STEP, _RUN)
# Characters that a zip member cannot contain, or that would unpack elsewhere, and the escape character itself.
_UNFIT = re.compile(r"[%\\\x00-\x1f\x7f\ud800-\udfff]")


class Activations(dict[str, Array]):
    """The output of each layer by its name, for some samples along the first axis, at the end of an epoch.

    Args:
        arrays: The outputs by the layers' names.
        epoch: The epoch, 0-based.
        step: How many batches had ended.
        run: The identifier that all files of one run share; empty for a file of its own.
    """

    def __init__(self, arrays: Mapping[str, Array], *, epoch: int, step: int, run: str = "") -> None:
        super().__init__(arrays)
        self.epoch = epoch
        self.step = step
        self.run = run

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.items())
        return f"Activations(epoch={self.epoch}, step={self.step}: {shapes})"


@attrs.frozen
class Mark:
    """The ``epoch`` (0-based), ``step`` and ``run`` stored in a file."""

    epoch: int
    step: int
    run: str


def is_storable(array: Array) -> bool:
    """Return whether an array can be stored in an activation file: it must hold numbers or booleans."""
    return array.dtype.kind in "biufc" or array.dtype.isbuiltin == 2


def write_activations(path: str | PathLike[str], activations: Activations) -> None:
    """Write an activation file under the given name; dtypes that NumPy lacks, such as bfloat16, are saved as float32.

    Args:
        path: The file, which is overwritten; see `monitor_core.files.replacing.replacing` for an atomic write.
        activations: The activations to write.

    Raises:
        OSError: The file cannot be written.
        TypeError: An array holds neither numbers nor booleans.
    """
    marks = (activations.epoch, activations.step, activations.run)
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in zip(_MARKS, marks, strict=True):
            _write(archive, key, np.array(value))
        for name, array in activations.items():
            if not is_storable(array):
                raise TypeError(f"activations must be numbers or booleans (got {array.dtype} of {name!r})")
            _write(archive, _member(name), array.astype(np.float32) if array.dtype.isbuiltin == 2 else array)


def _write(archive: zipfile.ZipFile, member: str, array: Array) -> None:
    with archive.open(f"{member}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def load_activations(path: str | PathLike[str], layers: Collection[str] | None = None) -> Activations:
    """Read an activation file, without executing anything in it.

    Args:
        path: The file, as `ActivationDump` wrote it.
        layers: Which layers to read; None for all.

    Returns:
        A dict of host arrays by the layers' names, with ``epoch`` (0-based), ``step`` and ``run`` as attributes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no activations, or is damaged, or has no such layer.
    """
    with _Reader(path) as reader:
        mark, names = reader.mark(), reader.layers()
        check_layers(layers, names)
        chosen = names if layers is None else [name for name in names if name in layers]
        arrays = {name: reader.read(_member(name)) for name in chosen}
    return Activations(arrays, epoch=mark.epoch, step=mark.step, run=mark.run)


def read_mark(path: str | PathLike[str]) -> Mark | None:
    """Return the mark of an activation file, without reading its arrays; None if it is not an activation file."""
    try:
        with _Reader(path) as reader:
            return reader.mark()
    except (OSError, ValueError):
        return None


class _Reader:
    """An open activation file; any damage raises a ValueError."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)

    def __enter__(self) -> Self:
        with refusing_damage(f"{self._path} holds no activations"):
            self._archive = zipfile.ZipFile(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def mark(self) -> Mark:
        epoch, step, run = (self.read(key).tolist() for key in _MARKS)
        if type(epoch) is not int or type(step) is not int or type(run) is not str:
            raise ValueError(f"{self._path} holds no activations: its marks are {(epoch, step, run)}")
        return Mark(epoch, step, run)

    def layers(self) -> list[str]:
        keys = [name.removesuffix(".npy") for name in self._archive.namelist() if name.endswith(".npy")]
        return [_layer(key) for key in keys if key not in _MARKS]

    def read(self, member: str) -> Array:
        with refusing_damage(f"{self._path} holds no activations"), self._archive.open(f"{member}.npy") as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
        return array


# --- several files -------------------------------------------------------------------------------------------------


def find_activations(files: Iterable[Path]) -> list[tuple[Path, Mark]]:
    """Return those of the given files that hold activations, with their marks, sorted by epoch and step."""
    marks = [(path, read_mark(path)) for path in files if not path.name.startswith(".")]  # skips temporary files
    found = [(path, mark) for path, mark in marks if mark is not None]
    return sorted(found, key=lambda each: (each[1].epoch, each[1].step))


def load_each(source: Any, layers: Collection[str] | None = None) -> Iterator[Activations]:
    """Read the activations of several epochs one at a time, so that they are not all in memory at once.

    Args:
        source: A folder with files that `ActivationDump` wrote, of which those of the most recent run are read, by
            epoch; or a sequence of files, or of mappings from layers' names to arrays, in the given order.
        layers: Which layers to read; None for all.

    Yields:
        The activations; for a plain mapping, the epoch is its position in the sequence.

    Raises:
        OSError: A file cannot be read.
        TypeError: The source is of another type.
        ValueError: A file holds no activations, or has no such layer, or there is no file.
    """
    for number, each in enumerate(_sources(source)):
        if isinstance(each, Mapping):
            check_layers(layers, each)
            arrays = {name: np.asarray(each[name]) for name in each if layers is None or name in layers}
            yield Activations(arrays, epoch=getattr(each, "epoch", number), step=getattr(each, "step", 0))
        elif isinstance(each, (str, PathLike)):
            yield load_activations(each, layers)
        else:
            raise TypeError(f"activations must be files, or mappings from names to arrays (got {each!r})")


def _sources(source: Any) -> Iterable[Any]:
    if isinstance(source, Mapping):
        return [source]
    if not isinstance(source, (str, PathLike)):
        if not isinstance(source, Iterable):
            raise TypeError(f"activations must be a folder, or a sequence of files or mappings (got {source!r})")
        return source
    path = Path(source)
    if not path.is_dir():
        return [path]
    found = find_activations(path.rglob("*.npz"))
    if not found:
        raise ValueError(f"{path} must hold files of activations (found none)")
    newest = max(found, key=lambda each: each[0].stat().st_mtime_ns)[1].run
    return [file for file, mark in found if mark.run == newest]


# --- names of layers as names of members ---------------------------------------------------------------------------


def _member(layer: str) -> str:
    """Return the zip member name for a layer, nearly always the layer's own; two layers never share one."""
    name = _UNFIT.sub(lambda found: _encoded(found[0]), layer)
    if any(part in {"", ".", ".."} for part in name.split("/")):
        name = name.replace("/", _encoded("/")).replace(".", _encoded("."))
    elif name in _MARKS:
        name = _encoded(name[0]) + name[1:]
    elif name.endswith(".npy"):
        name = name.removesuffix(".npy") + _encoded(".") + "npy"
    return name or "%"


def _layer(member: str) -> str:
    return "" if member == "%" else unquote(member, errors="surrogatepass")


def _encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
