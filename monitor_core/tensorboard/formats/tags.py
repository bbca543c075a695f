"""Tags: metrics' names in a form that TensorBoard shows unchanged."""

from __future__ import annotations

import re
import zlib

LONGEST = 1000
"""Maximal length of a tag. TensorBoard's chart titles, URLs and stores were observed to handle this many characters."""

_UNSHOWN = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]+")


def clean_tag(name: str) -> str:
    """Return a name that TensorBoard shows unchanged: the given one, or a cleaned one.

    A name is cleaned if it is empty, has slashes or spaces at its ends, control characters or halves of surrogate
    pairs, or is longer than `LONGEST`. A cleaned name ends with a checksum of the given name, which makes it unique and
    the same in every process.
    """
    cleaned = _UNSHOWN.sub("_", name).strip("/ ")
    if cleaned == name and 0 < len(name) <= LONGEST:
        return name
    checksum = zlib.crc32(name.encode(errors="surrogatepass"))
    return f"{cleaned[: LONGEST - 9] or 'unnamed'}_{checksum:08x}"
