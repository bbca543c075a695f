"""The first samples of validation data, of any kind that a framework accepts.

Contract. Reading does not change the data: an iterator, which would be consumed, is refused; a PyTorch loader's workers
are not started, and its own iterator is not created; and the random generators of Python, NumPy and PyTorch keep their
states. The one exception is a shuffled ``tf.data.Dataset``: reading it changes its next order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from monitor_core import frameworks
from monitor_core.checks import checked_count
from monitor_core.frameworks.base import iterated
from monitor_core.model.generators import generators_kept
from monitor_core.model.handles import Array, to_host


def first_samples(data: Any, count: int) -> tuple[Any, Any]:
    """Return the first samples of data as host arrays.

    Args:
        data: One of these.

            - An array or tensor of any framework, a data frame, or a mapping of these: inputs without targets.
            - A tuple or list ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``, as Keras reads it, in which ``x`` and
              ``y`` may be nested. A list of inputs without targets is ``([one, two],)``.
            - A list of batches, each such a tuple.
            - Anything that yields batches each time it is iterated over: a ``tf.data.Dataset``, a PyTorch
              ``DataLoader``, a custom object. A Keras ``PyDataset``.
            - A PyTorch ``Dataset``, of samples.
        count: How many samples, at least 1; if there are fewer, all of them.

    Returns:
        ``x`` and ``y`` in their own structure, with the same number of samples; ``y`` is None if there are no targets.

    Raises:
        TypeError: The data are of another kind, or an iterator, which can be read only once.
        ValueError: There is no sample, the arrays have different lengths, or samples of several batches have
            different shapes.

    Example:
        >>> first_samples((np.arange(6).reshape(3, 2), np.array([0, 1, 1])), 1)
        (array([[0, 1]]), array([0]))
    """
    checked_count("count", count, least=1)
    with generators_kept(data):
        pieces = list(_taken(_batches(data, count), count))
    if not pieces:
        raise ValueError("data must have at least one sample (got none)")
    x, y = pieces[0] if len(pieces) == 1 else _joined(pieces)
    return x, y


def _taken(batches: Iterable[Any], count: int) -> Iterator[tuple[Any, Any]]:
    """Yield the inputs and targets of the batches, up to a total number of samples."""
    for batch in batches:
        piece = _map(functools.partial(_head, count=count), _inputs_and_targets(batch))
        lengths = {len(leaf) for leaf in leaves(piece)}
        if len(lengths) > 1:
            raise ValueError(f"data must have as many samples in every array (got {sorted(lengths)})")
        length = lengths.pop() if lengths else 0
        if length:
            yield piece
        count -= length
        if count <= 0:
            return


def _inputs_and_targets(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, (tuple, list)):
        return batch, None
    if not 1 <= len(batch) <= 3:
        raise TypeError(f"data must be (x,), (x, y) or (x, y, sample_weight) (got {len(batch)} parts)")
    return batch[0], batch[1] if len(batch) > 1 else None


# --- kinds of data -------------------------------------------------------------------------------------------------


def _batches(data: Any, count: int) -> Iterable[Any]:
    """Return the data as batches; arrays are one batch."""
    if isinstance(data, list) and data and all(isinstance(each, tuple) for each in data):
        return data
    if isinstance(data, (Mapping, tuple, list)) or _is_array(data):
        return [data]
    if (batches := frameworks.batches_of(data, count)) is not None:
        return batches
    if hasattr(data, "__iter__"):
        return iterated(data)
    raise TypeError(f"data must be arrays, or an iterable of batches of them (got {_shown(data)})")


def _is_array(data: Any) -> bool:
    return hasattr(data, "shape") and hasattr(data, "__getitem__")


# --- nested arrays -------------------------------------------------------------------------------------------------


def _map(function: Callable[[Any], Any], data: Any) -> Any:
    """Apply a function to all leaves of nested containers; None is kept."""
    if isinstance(data, Mapping):
        return {name: _map(function, value) for name, value in data.items()}
    if isinstance(data, (tuple, list)):
        values = [_map(function, value) for value in data]
        return values if isinstance(data, list) else tuple(values)
    return None if data is None else function(data)


def leaves(data: Any) -> list[Any]:
    """Return the arrays in nested containers, in order, without None."""
    found: list[Any] = []
    _map(found.append, data)
    return found


def _head(leaf: Any, count: int) -> Array:
    """Return the first rows of an array of any framework, on the host."""
    leaf = getattr(leaf, "iloc", leaf)  # pandas: its own brackets look up names
    if not hasattr(leaf, "__getitem__") or getattr(leaf, "shape", None) == () or isinstance(leaf, (str, bytes)):
        raise TypeError(f"data must be arrays of samples along the first axis (got {_shown(leaf)})")
    head = leaf[:count]
    return to_host(head.toarray() if hasattr(head, "toarray") else head)  # SciPy: a sparse array


def _joined(pieces: list[Any]) -> Any:
    """Return pieces of the same structure, joined along the first axis."""
    first = pieces[0]
    if isinstance(first, Mapping):
        return {name: _joined([piece[name] for piece in pieces]) for name in first}
    if isinstance(first, (tuple, list)):
        values = [_joined(list(each)) for each in zip(*pieces, strict=True)]
        return values if isinstance(first, list) else tuple(values)
    if first is None:
        return None
    shapes = {piece.shape[1:] for piece in pieces}
    if len(shapes) > 1:
        raise ValueError(
            f"data must have samples of one shape in all batches that are read (got {sorted(shapes)}): request no more "
            "samples than the first batch has"
        )
    return np.concatenate(pieces)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"
