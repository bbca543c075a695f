"""A Griffe extension: what our sources mean and Griffe does not know.

attrs classes get the signature that attrs gives them, and a docstring's section ``Example:`` is read as code, as
``Examples:`` is.
"""

from __future__ import annotations

import inspect
import pkgutil
from typing import Any

import griffe


class AttrsSignatures(griffe.Extension):
    """Changes what Griffe has read, before it is rendered; needs NumPy and attrs only."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Let an example be read as code."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Give a class that attrs made an ``__init__`` with the real one's parameters."""
        names = {decorator.callable_path for decorator in cls.decorators}
        if not names & {"attrs.define", "attrs.frozen"} or "__init__" in cls.members or cls.name.startswith("_"):
            return
        try:
            signature = inspect.signature(pkgutil.resolve_name(cls.path))
        except (ImportError, AttributeError):  # a framework is missing; such a class is not public
            return
        parameters = [griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)]
        parameters += [_parameter(cls, each) for each in signature.parameters.values()]
        init = griffe.Function("__init__", parameters=griffe.Parameters(*parameters), parent=cls, lineno=cls.lineno)
        cls.set_member("__init__", init)


def _parameter(cls: griffe.Class, parameter: inspect.Parameter) -> griffe.Parameter:
    declared = cls.members.get(parameter.name)
    inherited = parameter.annotation if isinstance(parameter.annotation, str) else None
    has_default = parameter.default is not inspect.Parameter.empty
    return griffe.Parameter(
        parameter.name,
        annotation=getattr(declared, "annotation", inherited),
        kind=getattr(griffe.ParameterKind, parameter.kind.name.lower()),
        default=_default(parameter.default) if has_default else None,
    )


def _default(value: Any) -> str:
    """Return a default's source; one that attrs computes for each object has none."""
    return "..." if "Factory" in type(value).__name__ or repr(value) == "NOTHING" else repr(value)
