"""Texts: Markdown for TensorBoard's Text tab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from monitor_core.values.text import valid_text

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary


def text_value(tag: str, text: str | bytes) -> Summary.Value:
    """Return Markdown as a summary value.

    Args:
        tag: Its tag.
        text: Markdown. Invalid UTF-8 is replaced by question marks: otherwise TensorBoard would show none of the tag's
            texts.

    Raises:
        TypeError: ``text`` is not a string.
    """
    if not isinstance(text, str | bytes):
        raise TypeError(f"text must be a string (got {text!r})")
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    from tensorboard.plugins.text.summary_v2 import text_pb

    (value,) = text_pb(valid_text(tag), text.encode(errors="replace")).value
    return value


def table(mapping: Mapping[str, Any], header: tuple[str, str] = ("name", "value")) -> str:
    """Return a mapping as a Markdown table with a row for each item; nested mappings become ``outer/inner``.

    Args:
        mapping: Names and values; values are converted by `str`.
        header: The titles of the two columns.
    """
    rows = [header, ("---", "---"), *_items(mapping, "")]
    return "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows) + "\n"


def _items(mapping: Mapping[str, Any], outer: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in mapping.items():
        rows += (
            _items(value, f"{outer}{name}/") if isinstance(value, Mapping) and value else [(f"{outer}{name}", value)]
        )
    return rows


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|")
