"""Where a run comes from: its command line, code, versions, seed, configuration and machine."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from monitor_core.page.run import PageRun
from monitor_core.page.words import moment

_LONGEST = 400
_MOST = 200


def origin_of(run: PageRun) -> list[tuple[str, str]]:
    """Return what is known, as pairs of a name and a value."""
    begin = run.record.begin
    if begin is None:
        return []
    host = str(begin.process.get("host", ""))
    facts = [
        ("Command", shlex.join(begin.argv)),
        ("Commit", begin.git_commit or ""),
        ("Machine", " · ".join(filter(None, [host, begin.platform]))),
        ("Begun", moment(run.record.began) if run.record.began else ""),
        ("Run", begin.id),
        ("Ranks", f"{begin.rank} of {begin.ranks}" if begin.ranks > 1 else ""),
        ("Versions", " · ".join(f"{name} {version}" for name, version in begin.versions.items())),
    ]
    return [(name, _cut(value)) for name, value in facts if value]


def config_of(run: PageRun) -> list[tuple[str, str]]:
    """Return the configuration, as pairs of a name and a value; nested names are joined by dots."""
    begin = run.record.begin
    return [] if begin is None else list(_flat("", begin.config))[:_MOST]


def _flat(prefix: str, config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
