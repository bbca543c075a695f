"""Promises: tests of a contract that a subclass may declare impossible, which then must fail."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])


def promise(test: Test) -> Test:
    """Make a test of a contract one that its class may declare impossible in ``cannot``, by the test's name.

    ``cannot`` maps the name without ``test_``, with a parameter's value in brackets if it concerns only that, to the
    reason. The test then runs all the same: it is reported as an expected failure, and fails if everything works.
    """

    @functools.wraps(test)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        import pytest  # only tests need it

        reason = _reason(self.cannot, test, [*args, *kwargs.values()])
        if reason is None:
            test(self, *args, **kwargs)
            return
        try:
            test(self, *args, **kwargs)
        except (Exception, pytest.fail.Exception):
            pytest.xfail(reason)
        pytest.fail(f"this works, although it is declared impossible: remove it from `cannot` ({reason})")

    checked.is_promise = True  # type: ignore[attr-defined]
    return checked  # type: ignore[return-value]


def _reason(cannot: Any, test: Callable[..., Any], arguments: list[Any]) -> str | None:
    name = test.__name__.removeprefix("test_")
    names = [name, *(f"{name}[{each}]" for each in arguments if isinstance(each, (str, int)))]
    return next((str(cannot[each]) for each in names if each in cannot), None)


def promises(contract: type) -> set[str]:
    """Return the names of a contract's promises, without ``test_``."""
    members = inspect.getmembers(contract, inspect.isfunction)
    return {name.removeprefix("test_") for name, member in members if hasattr(member, "is_promise")}
