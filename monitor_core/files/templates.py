"""Templates of file names, with fields of a name and a format spec.

Contract. A field is a name, looked up among numbers and metrics, with a format spec for a number. Attributes, items,
conversions and nested fields are refused, and a formatted value can neither leave the folder nor name another one. All
of that is checked at construction, not at the first file.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Collection, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from monitor_core.metrics.names import find_metric, unknown_metric
from monitor_core.values.scalars import scalar

# Fill and alignment, sign, grouping, at most three digits of width and of precision, and a type for numbers. Not "c",
# which turns 47 into a slash, nor "n", which asks the locale.
_SPEC = re.compile(r"(?:[^{}/\\:\x00-\x1f]?[<>=^])?[-+ ]?z?#?0?\d{0,3}[,_]?(?:\.\d{1,3})?[bdoxXeEfFgG%]?")
_SAMPLES = [0.5, 12.0, -1e300, float("nan"), float("inf")]


class Template:
    """A path with fields, such as ``runs/{epoch:03d}-{val_loss:.2f}.keras``.

    Args:
        text: The path; ``{{`` and ``}}`` mean literal braces.
        numbers: The names of integer fields, from 1; all other names are metrics.
        argument: The name of the caller's argument, for messages.

    Attributes:
        text: The path as given.
        names: The fields' names, in order, each once.
        folder: The folder above all fields; the empty string for the working directory.

    Raises:
        TypeError: ``text`` is not a path.
        ValueError: ``text`` does not name a file, is not a template, or has a field that is more than a name and a
            format spec for a number.
    """

    def __init__(self, text: str | PathLike[str], *, numbers: Collection[str] = (), argument: str = "filepath") -> None:
        if not isinstance(text, (str, PathLike)) or not isinstance(os.fspath(text), str):
            raise TypeError(f"{argument} must be a path, as a string or a PathLike of one (got {text!r})")
        self.text = os.fspath(text)
        self._argument = argument
        self._numbers = frozenset(numbers)
        if "\0" in self.text:
            raise ValueError(f"{argument} must not contain NUL (got {self.text!r})")
        if os.path.basename(self.text) in {"", ".", ".."}:  # noqa: PTH119 (pathlib drops a last slash)
            raise ValueError(f"{argument} must name a file (got {self.text!r})")
        self._parts = list(self._parse())
        first = next((number for number, part in enumerate(self._parts) if part[1] is not None), len(self._parts))
        self.folder = os.path.dirname("".join(part[0] for part in self._parts[: first + 1]))  # noqa: PTH120
        if ".." in Path(self._rest).parts:
            raise ValueError(f"{argument} must not have '..' after a field (got {self.text!r})")
        self.names = tuple(dict.fromkeys(name for _, name, _ in self._parts if name is not None))

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def _parse(self) -> Iterator[tuple[str, str | None, str]]:
        try:
            for literal, name, spec, conversion in string.Formatter().parse(self.text):
                if name is not None:
                    self._check_field(name, spec or "", conversion)
                yield literal, name, spec or ""
        except ValueError as error:
            if str(error).startswith(self._argument):
                raise
            raise ValueError(f"{self._argument} must be a template (got {self.text!r}): {error}") from None

    def _check_field(self, name: str, spec: str, conversion: str | None) -> None:
        shown = f"{{{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}"
        if not name or name.isdecimal() or "." in name or "[" in name or conversion:
            raise ValueError(
                f"{self._argument} must have fields of a name and a format spec, without attributes, items or "
                f"conversions (got {shown})"
            )
        kind, samples = ("integers", [1]) if name in self._numbers else ("floats", _SAMPLES)
        problem = "" if _SPEC.fullmatch(spec) else "it is not for numbers, or too wide, or its fill separates folders"
        try:
            for sample in samples if not problem else ():
                format(sample, spec)
        except ValueError as error:
            problem = str(error)
        if problem:
            raise ValueError(f"{self._argument} must have format specs for {kind} (got {shown}): {problem}")

    @property
    def depth(self) -> int:
        """How many folders there may be between `folder` and the file."""
        return len(Path(self._rest).parts) - 1

    @property
    def _rest(self) -> str:
        """The part after `folder`, with an x for each field."""
        rest = "".join(literal + ("" if name is None else "x") for literal, name, _ in self._parts)
        return rest.removeprefix(self.folder).lstrip(f"{os.sep}{os.altsep or ''}")

    @property
    def file_name(self) -> str:
        """The last part of the template as a file name, with each field replaced by its name."""
        plain = "".join(literal + (name or "").replace("/", "_") for literal, name, _ in self._parts)
        return os.path.basename(plain)  # noqa: PTH119 (a fragment of a path)

    def format(self, numbers: Mapping[str, int], metrics: Mapping[str, Any]) -> str:
        """Return the path with every field filled in; ``acc`` and ``accuracy`` are interchangeable.

        Args:
            numbers: The values of the integer fields.
            metrics: The metrics' values, of any framework.

        Raises:
            KeyError: A name is missing; the message lists the available names.
            TypeError: A metric in a field is not a number.
        """
        return "".join(
            literal + ("" if name is None else format(self._value(name, numbers, metrics), spec))
            for literal, name, spec in self._parts
        )

    def _value(self, name: str, numbers: Mapping[str, int], metrics: Mapping[str, Any]) -> int | float:
        if name in self._numbers:
            return numbers[name]
        found = find_metric(name, metrics)
        if found is None:
            available = [*sorted(self._numbers), *metrics]
            raise KeyError(unknown_metric(name, available, f"a file name of {self._argument} {self.text!r}"))
        try:
            return scalar(metrics[found])
        except (TypeError, ValueError) as error:
            raise TypeError(f"{self._argument} needs a number for {{{name}}}: {error}") from None
