"""Check, when an adapter is constructed, that its framework is recent enough."""

from __future__ import annotations

import re
from importlib.metadata import version

from monitor_core.errors import SetupError


def require(package: str, least: str, extra: str) -> None:
    """Check the version of a package that has been imported.

    Args:
        package: The distribution's name.
        least: The lowest version that has the hooks which the adapter needs, such as ``"2.6"``.
        extra: The extra of this package that installs it.

    Raises:
        SetupError: It is older.
    """
    present = version(package)
    if _numbers(present) < _numbers(least):
        raise SetupError(
            f"{package} must be of version {least} or newer (got {present}): pip install -U 'monitor_core[{extra}]'"
        )


def _numbers(name: str) -> list[int]:
    return [int(each) for each in re.findall(r"\d+", name)[:3]]
