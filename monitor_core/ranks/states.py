"""What the ranks of a run save together: rank 0 writes it, with the part that each rank has of its own."""

from __future__ import annotations

from collections.abc import Callable

import attrs

Share = Callable[[str, bytes], list[bytes]]
"""Called on all ranks at the same point, with a text that says for what, and with bytes; returns those of each rank."""


@attrs.frozen
class RankStates:
    """Saves the states of all ranks at the end of an epoch, once they have agreed on its decisions.

    Attributes:
        is_due: Returns whether this rank asks for a save now; then all take part.
        own: Returns this rank's part.
        save: Gets the parts of all ranks, by rank; it does nothing on ranks that neither write nor help to.
    """

    is_due: Callable[[], bool]
    own: Callable[[], bytes]
    save: Callable[[list[bytes]], None]
