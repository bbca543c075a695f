"""CRC-32C, the checksum of event files: of bytes by a C extension if installed, of many records by NumPy.

A checksum with a zero start is linear: the checksum of a sum (exclusive or) is the sum of the checksums. So the
checksums of records that differ in a few bytes take a table look-up for each of these bytes, all records at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
_ONES = 0xFFFFFFFF
_CHUNK = 1 << 16  # bytes whose words fit in a second-level cache


def masked_crc32c(data: bytes) -> int:
    """Return the checksum as event files store it, so that data containing checksums can be checksummed safely."""
    return masked(crc32c()(data))


def masked(crc: int) -> int:
    """Return a checksum as event files store it."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _ONES


def masked_words(crcs: Words) -> Words:
    """Return checksums, ``(n,)``, as event files store them."""
    mixed: Words = (crcs >> np.uint32(15) | crcs << np.uint32(17)) + np.uint32(0xA282EAD8)
    return mixed


@functools.cache
def crc32c() -> Callable[[bytes], int]:
    """Return the fastest function available: google-crc32c's (0.1 ns a byte), or NumPy's (17 ns a byte)."""
    try:
        import google_crc32c
    except ImportError:
        return crc32c_by_numpy
    value: Callable[[bytes], int] = google_crc32c.value
    return value if google_crc32c.implementation == "c" else crc32c_by_numpy


def crc32c_by_numpy(data: bytes) -> int:
    """Return the CRC-32C of bytes."""
    register = _ONES
    whole = len(data) - len(data) % 4
    for start in range(0, whole, _CHUNK):
        words = np.frombuffer(data[start : min(start + _CHUNK, whole)], np.uint8).astype(np.uint32)
        # Starting with a register is the same as adding it to the first bytes.
        words[:4] ^= np.frombuffer(register.to_bytes(4, "little"), np.uint8)
        register = _folded(words)
    table = _byte_table()
    for byte in data[whole:]:
        register = int(table[(register ^ byte) & 0xFF]) ^ register >> 8
    return register ^ _ONES


class RowChecksums:
    """The checksums of records of one length that differ in only a few bytes.

    Args:
        template: A record; the bytes at ``positions`` must be zero.
        positions: The positions of the bytes in which records differ, from 0.
    """

    def __init__(self, template: bytes, positions: Sequence[int]) -> None:
        self._same = np.uint32(crc32c()(template))
        distances = len(template) - 1 - np.asarray(positions)
        self._tables = _tables_before_zeros(int(distances.max()) + 1)[distances].ravel()
        self._offsets = 256 * np.arange(len(distances))

    def masked(self, differing: NDArray[np.uint8]) -> Words:
        """Return the masked checksums, ``(n,)``, of records with these bytes at the positions, ``(n, positions)``."""
        crc = np.bitwise_xor.reduce(self._tables.take(differing + self._offsets), axis=1) ^ self._same
        return masked_words(crc)


def _folded(words: Words) -> int:
    """Return the register after these bytes: move the left of each two neighbours past the right one and add."""
    words = _byte_table()[words]
    moving = 0
    while len(words) > 1:
        if len(words) % 2:
            words = np.concatenate((np.zeros(1, np.uint32), words))  # leading zeros change nothing
        words = _applied(_move(moving), words[::2]) ^ words[1::2]
        moving += 1
    return int(words[0])


def _applied(operator: Words, words: Words) -> Words:
    """Apply a linear operator, given as its values for each byte of a word, ``(4, 256)``."""
    bytes_of = [words >> shift & 0xFF for shift in (0, 8, 16, 24)]
    result: Words = np.bitwise_xor.reduce([table[byte] for table, byte in zip(operator, bytes_of, strict=True)])
    return result


@functools.cache
def _move(power: int) -> Words:
    """Return the operator that moves a register past ``2 ** power`` zero bytes."""
    if power:
        half = _move(power - 1)
        return _applied(half, half)
    words = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)
    return _past_zero(words)


def _past_zero(words: Words) -> Words:
    result: Words = _byte_table()[words & 0xFF] ^ words >> 8
    return result


@functools.cache
def _byte_table() -> Words:
    words = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        words = np.where(words & 1, words >> 1 ^ _POLYNOMIAL, words >> 1).astype(np.uint32)
    return words


_tables: Words = np.empty((0, 256), np.uint32)


def _tables_before_zeros(count: int) -> Words:
    """Return the registers after each byte and 0, 1, ... zero bytes, ``(>= count, 256)``; kept for the next call."""
    global _tables  # noqa: PLW0603 (a cache that grows; replaced whole, so that threads need no lock)
    known = _tables
    if len(known) < count:
        rows = [*known] or [_byte_table()]
        while len(rows) < count:
            rows.append(_past_zero(rows[-1]))
        _tables = known = np.array(rows)
    return known
