"""How much memory this process uses."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident() -> int | None:
    """Return the process's resident memory in bytes; None where neither Linux nor psutil tells it."""
    with suppress(OSError, ValueError):
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with suppress(Exception):
        return int(importlib.import_module("psutil").Process().memory_info().rss)
    return None
