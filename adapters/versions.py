"""Check, when an adapter is constructed, that its framework is recent enough."""

from __future__ import annotations

from importlib.metadata import version

from monitor_core.checks import is_older
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
    if is_older(present, tuple(map(int, least.split(".")))):
        raise SetupError(
            f"{package} must be of version {least} or newer (got {present}): pip install -U 'monitor_core[{extra}]'"
        )
