"""Notifying owners of forks and of the interpreter's exit, for as long as they live."""

from __future__ import annotations

import atexit
import os
import weakref
from functools import cache
from typing import Protocol


class Watched(Protocol):
    """What must know of forks and of the interpreter's exit."""

    def after_fork(self) -> None:
        """Begin anew in a child process."""
        ...

    def at_exit(self) -> None:
        """Hand over what waits."""
        ...


def watch(owner: Watched, *, exits_last: bool = False) -> None:
    """Tell an owner of forks and of the interpreter's exit, as long as it lives.

    Args:
        owner: Who is told.
        exits_last: Whether to tell it of the exit after those that may still hand something over to it.
    """
    _watched()[exits_last].add(owner)


@cache
def _watched() -> tuple[weakref.WeakSet[Watched], weakref.WeakSet[Watched]]:
    owners: tuple[weakref.WeakSet[Watched], weakref.WeakSet[Watched]] = (weakref.WeakSet(), weakref.WeakSet())

    def tell(event: str) -> None:
        for group in owners:
            for owner in tuple(group):
                getattr(owner, event)()

    atexit.register(tell, "at_exit")
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: tell("after_fork"))
    return owners
