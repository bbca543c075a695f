"""Which programs the diagnosis is tuned on, and which only report how well it does.

Contract. The part of a program follows from its id alone, so a new program cannot be placed by choice. Thresholds are
chosen on the part ``tune``; figures are those of the part ``report``. Where a threshold was changed after a look at a
program of the part ``report``, its id goes to `MOVED`, and the benchmark's table says how many there are.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Part = Literal["tune", "report"]

MOVED: frozenset[str] = frozenset()
"""Programs of the part ``report`` that were looked at, and so belong to the part ``tune``."""


def part_of(program: str) -> Part:
    """Return the part that a program belongs to: by a hash of its id, two thirds are ``"tune"``.

    Args:
        program: The program's id, without its seed: seeds of one program stay together.
    """
    number = int(hashlib.sha256(program.encode()).hexdigest(), 16)
    return "report" if number % 3 == 0 and program not in MOVED else "tune"
