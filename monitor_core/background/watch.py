"""Notify owners of forks and of interpreter exit, as long as they live."""

from __future__ import annotations

import atexit
import os
import weakref
from functools import cache
from typing import Protocol


class Watched(Protocol):
    """An object to notify of forks and of interpreter exit."""

    def after_fork(self) -> None:
        """Called in a child process after a fork: start empty."""
        ...

    def at_exit(self) -> None:
        """Called at interpreter exit: deliver what is pending."""
        ...


def watch(owner: Watched, *, exits_last: bool = False) -> None:
    """Notify an owner of forks and of interpreter exit, as long as it lives.

    Args:
        owner: The object to notify.
        exits_last: Whether to notify it of the exit after owners that may still deliver something to it.
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
