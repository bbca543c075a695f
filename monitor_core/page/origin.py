"""Where a run comes from: its command line, code, versions, seed, configuration and machine."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from monitor_core.page.run import PageRun
from monitor_core.page.words import moment
from monitor_core.values.text import shortened

NOT_RECORDED = "not on record"
_LONGEST = 400
_MOST = 200
_LEAD = 20
T = TypeVar("T")


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
        ("Part of", begin.parent or ""),
        ("Ranks", f"{begin.rank} of {begin.ranks}" if begin.ranks > 1 else ""),
        ("Versions", " · ".join(f"{name} {version}" for name, version in begin.versions.items())),
    ]
    return [(name, shortened(value, _LONGEST)) for name, value in facts if value]


def config_of(run: PageRun) -> list[tuple[str, str]]:
    """Return the configuration, as pairs of a name and a value; nested names are joined by dots."""
    return [(name, shortened(value, _LONGEST)) for name, value in list(_settings(run).items())[:_MOST]]


def differing_config(runs: Sequence[PageRun], missing: str) -> list[tuple[str, ...]]:
    """Return what differs in configuration: a name, and each run's value; ``missing`` for none.

    A log has no configuration: nothing differs from it, and its values are `NOT_RECORDED`.
    """
    configs = [_settings(run) for run in runs]
    rows = {name: [config.get(name) for config in configs] for name in itertools.chain(*configs)}
    differing = [(name, values) for name, values in rows.items() if len(set(_recorded(runs, values))) > 1]
    unset = [missing if run.log is None else NOT_RECORDED for run in runs]
    return [
        (name, *_cut_apart([none if each is None else each for each, none in zip(values, unset, strict=True)]))
        for name, values in differing[:_MOST]
    ]


def same_config(runs: Sequence[PageRun]) -> str:
    """Return what is said of configurations in which nothing differs."""
    if len(_recorded(runs, runs)) < 2:
        return "Their configurations cannot be compared: a log has none."
    if not any(map(_settings, runs)):
        return "None of them has a configuration on record."
    return "Their configurations are the same."


def _recorded(runs: Sequence[PageRun], values: Sequence[T]) -> list[T]:
    """Return the values of the runs that recorded themselves."""
    return [value for run, value in zip(runs, values, strict=True) if run.log is None]


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
