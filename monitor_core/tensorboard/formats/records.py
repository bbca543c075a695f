"""Records: how an event file frames its messages, with two checksums each, and how damage is recognised."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from os import PathLike
from typing import BinaryIO

import attrs

from monitor_core._log import logger
from monitor_core.tensorboard.formats.checksums import masked_crc32c

HEADER_BYTES = 12
"""A message's length and the length's checksum; the message and its checksum follow."""
FOOTER_BYTES = 4


def frame(message: bytes) -> bytes:
    """Return a message as a record."""
    length = struct.pack("<Q", len(message))
    return length + _checksum(length) + message + _checksum(message)


@attrs.frozen
class Record:
    """A record read from an event file.

    Attributes:
        message: The message.
        is_sound: Whether its checksum matches.
    """

    message: bytes
    is_sound: bool


def read_records(file: BinaryIO, name: str | PathLike[str]) -> Iterator[Record]:
    """Yield records up to the file's end, or to a damaged record length, which is logged.

    Args:
        file: The file to read.
        name: The file's name in log messages.
    """
    while header := file.read(HEADER_BYTES):
        is_whole = len(header) == HEADER_BYTES
        if is_whole and _checksum(header[:8]) != header[8:]:
            logger.warning("%s is damaged in a record's length; the rest of the file cannot be read", name)
            return
        size = int.from_bytes(header[:8], "little") + FOOTER_BYTES
        rest = file.read(size) if is_whole else b""
        if len(rest) < size:
            logger.info("%s ends with an unfinished record", name)
            return
        message, footer = rest[:-FOOTER_BYTES], rest[-FOOTER_BYTES:]
        yield Record(message, _checksum(message) == footer)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))
