"""Log values: what a metric's value may be, how it becomes a float, and how a raw value is kept until then.

What each framework's values need beyond that is in ``monitor_core.frameworks``; no framework is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor_core import frameworks

OnSkip = Callable[[str, str], None]
"""Called for each skipped value with the metric's name and the reason."""


class Unusable:
    """A placeholder for a value that cannot be a metric, with the reason; it does not keep the value alive."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


DEEPEST = 32
"""How deep mappings of metrics may be nested."""
_TOO_DEEP = Unusable(f"its mappings are nested more than {DEEPEST} deep, or contain themselves")


def scalar(value: Any) -> float:
    """Convert one log value to a float; for a value on a device, this waits.

    Args:
        value: A Python or NumPy number or boolean, or an array or tensor of any framework with exactly one element.

    Returns:
        The value as a Python float (float64); NaN and infinities are kept.

    Raises:
        TypeError: The value is None, a string, complex, traced, symbolic, or has more or fewer than one element.
        ValueError: The value is an integer beyond the range of float64, or an array whose memory was donated.
    """
    if type(value) is float:
        return value
    if isinstance(value, Unusable):
        raise TypeError(value.reason)
    if frameworks.is_symbolic(type(value)):  # some of them could be read, but have a number of the trace
        raise TypeError(frameworks.why_no_metric(value))
    try:
        return _number(value)
    except (TypeError, ValueError):
        if (reason := frameworks.why_no_metric(value)) is None:
            raise
    raise TypeError(reason)


def _number(value: Any) -> float:
    shape = _shape(value)
    if isinstance(shape, Sequence) and math.prod(shape) != 1:
        raise TypeError(f"it has the shape {tuple(shape)}, and a metric has one element")
    item = _item(value)
    if not hasattr(type(item), "__float__"):
        raise TypeError(f"it is {_shown(value)}, and a metric is a number")
    try:
        return float(item)
    except OverflowError:
        kind = f"an integer of {item.bit_length()} bits" if isinstance(item, int) else f"a {type(item).__name__}"
        raise ValueError(f"it is {kind}, too large for a float64") from None
    except (TypeError, ValueError):
        raise
    except Exception as error:  # a user's own number class
        raise ValueError(f"it cannot be read ({error!r})") from None


def _shape(value: Any) -> Any:
    try:
        return getattr(value, "shape", None)
    except Exception:  # an object that is not an array may raise anything here
        return None


def _item(value: Any) -> Any:
    """Return the only element of an array or tensor as a Python object; anything else unchanged."""
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, (np.generic, np.ndarray)) and (value.dtype.kind in "mM" or np.ma.is_masked(value)):
        return None  # their items would be plain numbers
    try:
        if hasattr(value, "item"):
            return value.item()
        if hasattr(value, "numpy"):
            return value.numpy().item()
    except (AttributeError, NotImplementedError) as error:
        raise TypeError(f"it is {_shown(value)}, which has no number to read ({error})") from None
    except (TypeError, ValueError):
        raise
    except Exception as error:  # JAX: "Array has been deleted"; TensorFlow's errors have no other base
        raise ValueError(f"it cannot be read any more ({error}): log a copy") from None
    return value


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # report that it is not a metric, whatever its class raises
        text = ""
    return text if 0 < len(text) <= 40 else f"a {type(value).__name__}"


def _same(value: Any) -> Any:
    return value


def _convert(value: Any) -> Any:
    try:
        return scalar(value)
    except (TypeError, ValueError) as error:
        return Unusable(str(error))


def _keep_nested(logs: Mapping[str, Any], depth: int = 1) -> Any:
    if depth > DEEPEST:  # else a mapping that contains itself would end the training
        return _TOO_DEEP
    return {
        name: _keep_nested(value, depth + 1) if isinstance(value, Mapping) else keep(value)
        for name, value in logs.items()
    }


class _Keepers(dict[type, Callable[[Any], Any]]):
    """How to keep values, by type; for a new type it is determined at the first value."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        framework = frameworks.of_arrays(kind)
        if framework is not None:
            keeper = _keeper_of_arrays(framework.keep)
        else:
            keeper = _keep_nested if issubclass(kind, Mapping) else _convert
        self[kind] = keeper
        return keeper


def _keeper_of_arrays(keep_one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def keep_array(value: Any) -> Any:
        try:
            return keep_one(value)
        except Exception:  # the frameworks' own messages say less than the reason that converting gives
            return _convert(value)

    return keep_array


KEEPERS = _Keepers({float: _same, int: _same, bool: _same, type(None): _same, dict: _keep_nested})
"""What `keep` calls, by the value's type; for the one place where another call per value would cost too much."""


def _refuse(value: Any) -> Any:
    raise TypeError("how to keep it is not known by its type")


class _QuickKeepers(dict[type, Callable[[Any], Any]]):
    """How to keep the usual metrics; any other value raises and must go through `keep`."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        framework = frameworks.of_arrays(kind)
        keeper: Callable[[Any], Any]
        if framework is not None:
            keeper = framework.keep
        else:
            keeper = kind.item if issubclass(kind, (np.floating, np.integer)) else _refuse
        self[kind] = keeper
        return keeper


QUICK_KEEPERS = _QuickKeepers({float: _same, int: _same, bool: _same, type(None): _same})
"""What keeps a metric, by its type, without the checks of `KEEPERS`: for `Loop.log`, where every call counts."""


def keep(value: Any) -> Any:
    """Return an object that still has this value at the next block, without waiting for a device.

    How a framework's values are kept is in ``monitor_core.frameworks``; other values that may change in place (0-d
    arrays, variables) are converted at once. Of a value that cannot be a metric, only the reason is kept.
    """
    return KEEPERS[type(value)](value)


def is_ready(kept: Any) -> bool:
    """Return whether a kept value can be fetched without waiting for a device, as far as is known."""
    framework = frameworks.of_arrays(type(kept))
    return framework is None or bool(framework.is_ready(kept))


def fetch(name: str, kept: Sequence[Any], on_skip: OnSkip) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """Convert a metric's kept values to a column, waiting for a device that is still computing them.

    Args:
        name: The metric's name, for messages.
        kept: What `keep` returned for each step; None where the metric is missing.
        on_skip: Called for each value that is not a number; such a value counts as missing.

    Returns:
        The column, ``(n,) float64`` with NaN where missing, and a mask ``(n,) bool`` of present values, or None if all
        are present.
    """
    kinds = set(map(type, kept))
    if kinds <= {float, int, bool}:
        try:
            return np.array(kept, dtype=np.float64), None
        except OverflowError:
            pass
    elif len(kinds) == 1 and (framework := frameworks.of_arrays(type(kept[0]))) is not None:
        with suppress(Exception):  # values that differ in kind, or cannot be read, are converted one by one below
            array = framework.fetch(kept)
            if array.dtype.kind not in "cOSUmM":
                return array.astype(np.float64), None
    column = np.full(len(kept), np.nan)
    present = np.zeros(len(kept), dtype=np.bool_)
    for index, value in enumerate(kept):
        if value is None:
            continue
        try:
            column[index] = scalar(value)
        except (TypeError, ValueError) as error:
            on_skip(name, str(error))
        else:
            present[index] = True
    return column, (None if present.all() else present)


def flatten(logs: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the metrics of a mapping, and those of nested mappings under their own names, as in Keras.

    Args:
        logs: The metrics.
        depth: The number of mappings around this one; beyond `DEEPEST` its metrics are unusable.
    """
    for name, value in logs.items():
        if not isinstance(value, Mapping):
            yield name, value
        elif depth < DEEPEST:
            yield from flatten(value, depth + 1)
        else:
            yield name, _TOO_DEEP


def named(logs: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the metrics of a mapping; those of nested mappings are named ``outer/inner``.

    Args:
        logs: The metrics.
        prefix: What their names begin with.
        depth: The number of mappings around this one; beyond `DEEPEST` its metrics are unusable.
    """
    for name, value in logs.items():
        full = f"{prefix}{name}" if prefix else name
        if not isinstance(value, Mapping):
            yield full, value
        elif depth < DEEPEST:
            yield from named(value, f"{full}/", depth + 1)
        else:
            yield full, _TOO_DEEP


def flattened(logs: Mapping[str, Any], on_skip: OnSkip) -> dict[str, Any]:
    """Return the metrics of a mapping in one level; of two with one name the last one counts, with a warning."""
    flat: dict[str, Any] = {}
    for name, value in flatten(logs):
        if name in flat:
            on_skip(name, "it occurs twice, in nested mappings of the logs, and the last one counts")
        flat[name] = value
    return flat


def to_floats(logs: Mapping[str, Any] | None, on_skip: OnSkip) -> dict[str, float]:
    """Convert logs to floats, in their order.

    Args:
        logs: Metric names and values; None, and a value of None, mean missing.
        on_skip: Called for each value that is not a number; it is skipped.
    """
    floats: dict[str, float] = {}
    for name, value in flattened(logs or {}, on_skip).items():
        if value is None:
            continue
        if not isinstance(name, str):
            on_skip(repr(name), "its name is not a string")
            continue
        try:
            floats[name] = scalar(value)
        except (TypeError, ValueError) as error:
            on_skip(name, str(error))
    return floats
