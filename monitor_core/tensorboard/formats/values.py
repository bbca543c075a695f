"""Summary values: tensors with the metadata that assigns them to one of TensorBoard's tabs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monitor_core.values.text import valid_text

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary


def numbers_value(tag: str, plugin: str, array: NDArray[Any], *, content: bytes = b"") -> Summary.Value:
    """Return a tensor of numbers.

    Args:
        tag: The value's tag.
        plugin: The name of TensorBoard's plugin.
        array: ``float32`` or ``float64``, of any shape.
        content: The plugin's own metadata.
    """
    from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT

    value = _value(tag, plugin, content)
    wide = array.dtype == np.float64
    value.tensor.dtype = DT_DOUBLE if wide else DT_FLOAT
    for size in array.shape:
        value.tensor.tensor_shape.dim.add(size=size)
    value.tensor.tensor_content = array.astype("<f8" if wide else "<f4").tobytes()
    return value


def strings_value(
    tag: str, plugin: str, strings: Sequence[bytes], *, content: bytes = b"", blobs: bool = False
) -> Summary.Value:
    """Return a tensor of byte strings.

    Args:
        tag: The value's tag.
        plugin: The name of TensorBoard's plugin.
        strings: The strings; a single one becomes a tensor without axes.
        content: The plugin's own metadata.
        blobs: Whether the plugin reads them one by one: images, graphs.
    """
    from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_BLOB_SEQUENCE
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    value = _value(tag, plugin, content)
    if blobs:
        value.metadata.data_class = DATA_CLASS_BLOB_SEQUENCE
    value.tensor.dtype = DT_STRING
    if blobs or len(strings) > 1:
        value.tensor.tensor_shape.dim.add(size=len(strings))
    value.tensor.string_val.extend(strings)
    return value


def _value(tag: str, plugin: str, content: bytes) -> Summary.Value:
    from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary

    value = Summary.Value(tag=valid_text(tag))
    value.metadata.plugin_data.plugin_name = plugin
    value.metadata.plugin_data.content = content
    value.metadata.data_class = DATA_CLASS_TENSOR
    return value
