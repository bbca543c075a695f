"""Which evaluation results are of, and what records and logs call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import attrs

V = TypeVar("V")


@attrs.frozen
class EvaluationLabel:
    """Which evaluation some results are of.

    Attributes:
        name: Its name, or None.
        prefix: What is prepended to the names of its metrics in the epoch's logs.
    """

    name: str | None
    prefix: str

    @property
    def label(self) -> str:
        """What a record calls it: its name, or its prefix without the separator at its end, such as ``val``."""
        return self.name or self.prefix.rstrip("_/.- ") or "evaluation"

    def prefixed(self, name: str) -> str:
        """Return a metric's name as the epoch's logs have it."""
        return name if name.startswith(self.prefix) else self.prefix + name

    def renamed(self, logs: Mapping[str, V]) -> dict[str, V]:
        """Return an evaluation's results with their names as the epoch's logs have them."""
        return {self.prefixed(name): value for name, value in logs.items()}


UNNAMED = EvaluationLabel(None, "val_")
"""An evaluation without a name, and those of journals of format 1."""
