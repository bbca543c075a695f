"""Secrets in a command line, masked before it is recorded.

Contract. A value is masked where the name in front of it looks secret: an option's (``--api-key=x``, ``--api-key x``),
an assignment's (``HF_TOKEN=x``, ``model.password=x``, also within lists, JSON and the query of a URL) or a header's. So
are user name and password in a URL. A name looks secret if one of its words ends with ``token``, ``key``, ``secret``,
``password`` or ``credential``. This masks too much rather than too little: ``--sort-key=loss`` loses its value;
``--max-tokens=512`` and ``--tokenizer=bpe`` do not. A secret without a name is not recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MASK = "***"

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SECRET = re.compile(
    r".*(token|key|secret|password|passwd|passphrase|credential)|.*(keys|secrets|passwords|credentials)|pwd|authorization",
    re.IGNORECASE,
)
_OPTION = re.compile(r"-{1,2}[A-Za-z][\w.-]*")
_NAME = re.compile(r"(?<![\w.-])([A-Za-z_][\w.-]*)[\"']?\s*[:=]\s*")
_VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|[^\s,;&}\"']+")
_HEADER = re.compile(r"(authorization[\"']?\s*[:=]\s*).+", re.IGNORECASE | re.DOTALL)
_USER = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@")


def masked(arguments: Iterable[str]) -> list[str]:
    """Return a command line with `MASK` in place of what looks secret."""
    shown = []
    awaits_secret = False
    for argument in arguments:
        is_value = awaits_secret and not argument.startswith("-")
        shown.append(MASK if is_value else _masked_one(argument))
        awaits_secret = _OPTION.fullmatch(argument) is not None and _is_secret(argument)
    return shown


def _masked_one(argument: str) -> str:
    name, sign, value = argument.partition("=")
    if sign and value and _is_secret(name) and not re.search(r"[\s:,;{]", name):
        return f"{name}={MASK}"
    argument = _HEADER.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", argument))
    return "".join(_without_assigned(argument))


def _without_assigned(text: str) -> Iterator[str]:
    """Yield the parts of a string without the values that are assigned to secret names in it."""
    end = 0
    for found in _NAME.finditer(text):
        if found.start() >= end and _is_secret(found[1]) and (value := _VALUE.match(text, found.end())):
            yield text[end : found.end()] + MASK
            end = value.end()
    yield text[end:]


def _is_secret(name: str) -> bool:
    return any(_SECRET.fullmatch(word) for word in _WORDS.findall(name))
