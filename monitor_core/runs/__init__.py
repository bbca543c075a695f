"""Recorded runs, many at a time: finding them, and what is asked of several or of one.

In: paths of recorded runs, or what `open_run` returned. Out: summaries, answers to queries, a comparison, a verdict,
what a sink would have decided, files of other kinds. Run folders are never written to, but for what `control` asks of a
running training; a cache of what was read is kept in the user's cache folder. Public: what is named here, each imported
when it is first asked for.
"""

import typing

from monitor_core import _lazy

if typing.TYPE_CHECKING:
    from monitor_core.runs.catalogue import FoundRun, find_runs
    from monitor_core.runs.comparison import Comparison, compare
    from monitor_core.runs.decided import Decided, decide
    from monitor_core.runs.exporting import export
    from monitor_core.runs.queries import TABLES, Answer, query, table
    from monitor_core.runs.verdict import Verdict, gate

_LAZY = {
    "Answer": "monitor_core.runs.queries",
    "Comparison": "monitor_core.runs.comparison",
    "Decided": "monitor_core.runs.decided",
    "FoundRun": "monitor_core.runs.catalogue",
    "Verdict": "monitor_core.runs.verdict",
    "compare": "monitor_core.runs.comparison",
    "decide": "monitor_core.runs.decided",
    "export": "monitor_core.runs.exporting",
    "find_runs": "monitor_core.runs.catalogue",
    "gate": "monitor_core.runs.verdict",
    "query": "monitor_core.runs.queries",
    "table": "monitor_core.runs.queries",
    "TABLES": "monitor_core.runs.queries",
}

if not typing.TYPE_CHECKING:  # else a misspelt name would be of any type
    __getattr__ = _lazy.importer(__name__, _LAZY)

__all__ = [
    "TABLES",
    "Answer",
    "Comparison",
    "Decided",
    "FoundRun",
    "Verdict",
    "compare",
    "decide",
    "export",
    "find_runs",
    "gate",
    "query",
    "table",
]
