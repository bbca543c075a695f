"""Validators of arguments, for attrs classes: each error names the argument, the rule and the value."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import numpy as np

from monitor_core.errors import SetupError

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def number(*, least: float | None = None, finite: bool = False) -> Validator:
    """Return a validator of numbers that are not NaN.

    Args:
        least: The smallest one allowed.
        finite: Whether infinities are refused.

    Raises:
        TypeError: Raised by the validator: the value is not a Python or NumPy number.
        ValueError: Raised by the validator: the value is out of range.
    """
    rules = [f">= {least:g}" if least is not None else "", "finite" if finite else ""]
    rule = " and ".join(filter(None, rules)) or "a number"

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise TypeError(f"{field.name} must be a number (got {value!r})")
        if math.isnan(value) or (finite and math.isinf(value)) or (least is not None and value < least):
            raise ValueError(f"{field.name} must be {rule} (got {value})")

    return check


def count(*, least: int = 0) -> Validator:
    """Return a validator of integers from ``least`` on; it raises TypeError or ValueError."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        checked_count(field.name, value, least=least)

    return check


def checked_count(name: str, value: Any, *, least: int = 0) -> int:
    """Return an argument as an integer.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is below ``least``.
    """
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer (got {value!r})")
    if whole < least:
        raise ValueError(f"{name} must be >= {least} (got {whole})")
    return whole


def one_of(*choices: str) -> Validator:
    """Return a validator of strings; it raises ValueError with the choices."""
    listed = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value not in choices:
            raise ValueError(f"{field.name} must be {listed} (got {value!r})")

    return check


def boolean(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Check that a value is True or False; raise TypeError otherwise."""
    if not isinstance(value, bool):
        raise TypeError(f"{field.name} must be True or False (got {value!r})")


_ELSEWHERE = {
    "verbose": "what a sink decides is logged at INFO by the logger 'monitor_core', and Progress() shows the training",
}
"""Arguments that users of other libraries expect, with their replacement."""


def known_arguments(kind: Any, names: Iterable[str]) -> None:
    """Check the names of keyword arguments for a class's constructor.

    Raises:
        TypeError: An argument is unknown; the message has the nearest known name, and all of them.
    """
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return
    known = [each.name for each in parameters]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = _ELSEWHERE.get(name) or (f"did you mean {close[0]!r}?" if close else "")
            raise TypeError(
                f"{kind.__name__} has no argument {name!r}{f' ({hint})' if hint else ''}; "
                f"it has {', '.join(known) or 'none'}"
            )


def is_older(version: str, least: tuple[int, ...]) -> bool:
    """Return whether a version, such as ``"3.2.0"`` or ``"1.9.dev0"``, comes before another one."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[: len(least)]) < least


def require_version(owner: str, package: str, found: str, least: tuple[int, ...], extra: str) -> None:
    """Check the version of a package that an adapter or a sink is written for.

    Args:
        owner: The name of what needs it.
        package: The package, as it is installed.
        found: Its version, such as ``"3.2.0"`` or ``"1.9.dev0"``.
        least: The first version that will do.
        extra: The extra of this package that installs it.

    Raises:
        SetupError: It is too old.
    """
    if is_older(found, least):
        needed = ".".join(map(str, least))
        raise SetupError(
            f'{owner} needs {package} {needed} or newer (got {found}): run pip install -U "monitor_core[{extra}]"'
        )


def required(sink: str, extra: str, *modules: str) -> None:
    """Import what a sink needs, so that a missing package is noticed when the sink is made.

    Raises:
        SetupError: It cannot be imported; the message names the extra.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            package = module.partition(".")[0]
            raise SetupError(f'{sink} needs {package}: pip install "monitor_core[{extra}]" ({error})') from error
