"""Where a run comes from: its command line, code, versions, seed, configuration and machine."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from monitor_core.page.run import PageRun
from monitor_core.page.words import moment
from monitor_core.values.text import shortened

_LONGEST = 400
_MOST = 200
_LEAD = 20


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
    return [(name, shortened(value, _LONGEST)) for name, value in facts if value]


def config_of(run: PageRun) -> list[tuple[str, str]]:
    """Return the configuration, as pairs of a name and a value; nested names are joined by dots."""
    return [(name, shortened(value, _LONGEST)) for name, value in list(_settings(run).items())[:_MOST]]


def differing_config(runs: Sequence[PageRun], missing: str) -> list[tuple[str, ...]]:
    """Return what differs in configuration: a name, and each run's value; ``missing`` for none."""
    configs = [_settings(run) for run in runs]
    rows = {name: [config.get(name) for config in configs] for name in itertools.chain(*configs)}
    differing = [(name, values) for name, values in rows.items() if len(set(values)) > 1]
    return [
        (name, *_cut_apart([missing if each is None else each for each in values]))
        for name, values in differing[:_MOST]
    ]


def _settings(run: PageRun) -> dict[str, str]:
    begin = run.record.begin
    return {} if begin is None else dict(_flat("", begin.config))


def _flat(prefix: str, config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut_apart(texts: list[str]) -> Iterator[str]:
    """Yield texts, cut; where all begin alike, from shortly before they differ."""
    alike = itertools.takewhile(lambda each: len(set(each)) == 1, zip(*texts, strict=False))
    same = sum(1 for _ in alike)
    for text in texts:
        yield shortened(text if same < _LONGEST - 1 else f"…{text[same - _LEAD :]}", _LONGEST)
