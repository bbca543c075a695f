"""The command ``monitor-core``: a module for each subcommand, on typer and rich, which the extra ``cli`` installs.

In: paths of recorded runs. Out: text for people, or JSON for programs with ``--json``. Exit codes: 0 fine, 1 an error,
2 wrong usage, 3 findings. Public: the command; the modules are private.
"""

from __future__ import annotations

import gc
import sys
from importlib.util import find_spec

__all__ = ["main"]

MISSING = 'monitor-core needs typer and rich: pip install "monitor_core[cli]"'


def main() -> int:
    """Run the command with the process's arguments; return the exit code."""
    if any(find_spec(name) is None for name in ("typer", "rich")):
        print(MISSING, file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    from monitor_core.cli.app import run

    code = run()
    gc.freeze()  # else Python looks for garbage in all that was read before it exits: 70 ms with 10,000 runs
    return code
