"""States on disk: JSON values and NumPy arrays, nested in dicts and lists, as ``bus.state_dict()`` returns them.

Contract. The values are in a JSON file, the arrays in an ``.npz`` next to it, whose name, new with every save, is in
the JSON. The JSON is replaced last and atomically, so after a kill at any moment it is the old or the new state, each
with its own arrays. Both have checksums, so that no damaged value is ever returned (a file without a checksum is read
unchecked). Loading executes nothing from the files. Non-finite floats are written as the strings ``NaN``, ``Infinity``
and ``-Infinity``, and are read back as floats.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from monitor_core.files.replacing import replacing
from monitor_core.model.handles import Array

_FORMAT = 1
_ARRAY = "__array__"
_NOT_FINITE = {"NaN", "Infinity", "-Infinity"}
_QUOTED = re.compile(r"'*(?:NaN|-?Infinity)")  # a string that would read as a float gets one more quote in front


def save_state(path: str | PathLike[str], state: Mapping[str, Any]) -> None:
    """Write a state; after a kill or a full disk at any moment, the old or the new one is there, complete.

    Args:
        path: The JSON file; its folder must exist. Arrays go next to it into ``<stem>.<number>.npz``.
        state: Dicts with string keys, lists, tuples (which come back as lists), None, booleans, integers, floats,
            strings, and arrays of any numeric dtype.

    Raises:
        TypeError: The state holds something else; the message says where.
        OSError: The files cannot be written; the old state is unchanged.
    """
    target = Path(path)
    arrays: list[Array] = []
    data: dict[str, Any] = {"format": _FORMAT, "arrays": None, "state": _pack(state, "state", arrays)}
    if arrays:
        data["arrays"] = f"{target.stem}.{uuid.uuid4().hex}.npz"
    text = json.dumps({"checksum": _checksum(data), **data}, allow_nan=False)
    try:
        if arrays:
            with replacing(target.with_name(data["arrays"])) as temporary:
                write_arrays(temporary, arrays)
        with replacing(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    finally:
        _remove_unused_arrays(target)


def check_storable(state: Mapping[str, Any]) -> None:
    """Raise a TypeError that says where a state holds a value that `save_state` cannot write."""
    _pack(state, "state", [])


def load_state(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the state that `save_state` wrote, without executing anything in the files.

    Raises:
        OSError: A file cannot be read.
        ValueError: The files hold no such state.
    """
    source = Path(path)
    try:
        data = json.loads(source.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        name = _checked_format(data, source)
        arrays = [] if name is None else read_arrays(source.with_name(name))
        state: dict[str, Any] = _unpack(data["state"], arrays)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{source} holds no state: {error}") from error
    return state


def state_bytes(state: Mapping[str, Any]) -> bytes:
    """Return a state as bytes: its JSON on a line, then its arrays.

    Raises:
        TypeError: The state holds something that `save_state` cannot write either.
    """
    arrays: list[Array] = []
    text = json.dumps(_pack(state, "state", arrays), allow_nan=False)
    buffer = io.BytesIO()
    np.savez(buffer, **_entries(arrays))  # type: ignore[arg-type]
    return text.encode() + b"\n" + buffer.getvalue()


def parse_state(data: bytes) -> dict[str, Any]:
    """Return the state of which `state_bytes` returned these bytes."""
    text, _, arrays = data.partition(b"\n")
    with np.load(io.BytesIO(arrays), allow_pickle=False) as archive:
        state: dict[str, Any] = _unpack(json.loads(text), _arrays(archive))
    return state


def _checked_format(data: Any, path: Path) -> str | None:
    """Return the name of the file with the arrays, None if there are none."""
    if not isinstance(data, dict) or data.get("format") != _FORMAT or not isinstance(data.get("state"), dict):
        raise ValueError(f"it is not of format {_FORMAT}")
    if "checksum" in data and data.pop("checksum") != _checksum(data):
        raise ValueError("it is damaged: its checksum differs from that of the saved state")
    name = data["arrays"]
    if name is not None and not (isinstance(name, str) and _arrays_of(path).fullmatch(name)):
        raise ValueError(f"its arrays must be in a file next to it (got {name!r})")
    return name


def write_arrays(path: str | PathLike[str], arrays: Iterable[Array]) -> None:
    """Write arrays into one ``.npz`` file, whatever the path's suffix, including arrays of dtypes that NumPy lacks.

    Raises:
        TypeError: An array holds Python objects.
    """
    entries = _entries(arrays)
    with Path(path).open("wb") as file:  # given a name, NumPy would append its suffix
        np.savez(file, **entries)  # type: ignore[arg-type]


def _entries(arrays: Iterable[Array]) -> dict[str, Array]:
    entries = {}
    for number, array in enumerate(arrays):
        if array.dtype.hasobject:
            raise TypeError(f"arrays must hold numbers or strings (got dtype {array.dtype})")
        if array.dtype.isbuiltin == 2:  # such as bfloat16, of which NumPy's format keeps only the width
            entries[f"{number}.{array.dtype.name}"] = array.view(f"V{array.dtype.itemsize}")
        else:
            entries[f"{number}"] = array
    return entries


def read_arrays(path: str | PathLike[str]) -> list[Array]:
    """Return the arrays that `write_arrays` wrote, in order, without executing anything in the file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no arrays, or is damaged.
    """
    with (
        refusing_damage(f"{path} holds no arrays"),
        Path(path).open("rb") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        return _arrays(archive)


def _arrays(archive: Any) -> list[Array]:
    found: dict[int, Array] = {}
    for key in archive.files:
        number, _, dtype = key.partition(".")
        array = archive[key]
        found[int(number)] = array.view(_extension_dtype(dtype)) if dtype else array
    return [found[number] for number in sorted(found)]


@contextlib.contextmanager
def refusing_damage(complaint: str) -> Iterator[None]:
    """Turn every exception raised while a file is read, except an OSError, into a ValueError with this complaint.

    On damaged files, zipfile, zlib, tokenize and NumPy raise exceptions of many types.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{complaint}: {error}") from error


def _extension_dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes  # installed with the frameworks that have such arrays

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def finite_or_name(value: float) -> float | str:
    """Return a number for JSON: a non-finite one as the string ``NaN``, ``Infinity`` or ``-Infinity``."""
    if isinstance(value, int) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def finite_or_names(value: Any) -> Any:
    """Return mappings, lists and tuples of values for JSON, with `finite_or_name` of each number in them."""
    if isinstance(value, Mapping):
        return {name: finite_or_names(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_names(each) for each in value]
    return finite_or_name(value) if isinstance(value, float) else value


def _pack(value: Any, place: str, arrays: list[Array]) -> Any:
    """Return a value for JSON; arrays are appended to the list."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return finite_or_name(value)
    if isinstance(value, str):
        return "'" + value if _QUOTED.fullmatch(value) else value
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError(f"{place} must hold numbers (got an array of dtype {value.dtype})")
        arrays.append(value)
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, (list, tuple)):
        return [_pack(each, f"{place}[{number}]", arrays) for number, each in enumerate(value)]
    if isinstance(value, Mapping):
        return {_packed_key(key, place): _pack(each, f"{place}[{key!r}]", arrays) for key, each in value.items()}
    raise TypeError(f"{place} must hold JSON values and arrays (got {type(value).__name__})")


def _packed_key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{place} must have string keys (got {key!r})")
    return "'" + key if key.lstrip("'") == _ARRAY else key


def _unpack(value: Any, arrays: list[Array]) -> Any:
    if isinstance(value, str) and _QUOTED.fullmatch(value):
        return float(value) if value in _NOT_FINITE else value[1:]
    if isinstance(value, list):
        return [_unpack(each, arrays) for each in value]
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]]
        return {key[1:] if key.lstrip("'") == _ARRAY else key: _unpack(each, arrays) for key, each in value.items()}
    return value


def _checksum(data: Mapping[str, Any]) -> str:
    """Return a checksum of JSON values, to detect damage; reading JSON gives back the same values."""
    return f"crc32:{zlib.crc32(json.dumps(data).encode()):08x}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")


def _arrays_of(path: Path) -> re.Pattern[str]:
    return re.compile(re.escape(path.stem) + r"\.[0-9a-f]{32}\.npz")


def _remove_unused_arrays(path: Path) -> None:
    """Remove arrays of earlier, killed and failed saves: all files that the JSON does not name."""
    pattern = _arrays_of(path)
    with contextlib.suppress(OSError, ValueError, LookupError):
        used = json.loads(path.read_text(encoding="utf-8"))["arrays"] if path.exists() else None
        for each in path.parent.iterdir():
            if pattern.fullmatch(each.name) and each.name != used:
                each.unlink()
