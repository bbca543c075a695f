"""The user's own folders on this machine: for what can be made again, and for what must be kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_NAME = "monitor_core"


def cache_folder() -> Path:
    """Return the folder for what can be made again: in ``XDG_CACHE_HOME``, or its like on other systems.

    Raises:
        RuntimeError: The user has no home folder.
    """
    if sys.platform == "win32":
        return _local_data() / _NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / _NAME
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / _NAME


def state_folder() -> Path:
    """Return the folder for what must be kept: in ``XDG_STATE_HOME``, or its like on other systems.

    Raises:
        RuntimeError: The user has no home folder.
    """
    if sys.platform == "win32":
        return _local_data() / _NAME / "state"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _NAME
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / _NAME


def _local_data() -> Path:
    return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
