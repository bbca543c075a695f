"""Recorded runs, many at a time: finding them, and what is asked of several.

In: paths of recorded runs. Out: summaries, a comparison. It reads files and, if asked, keeps a cache of what it read in
the user's cache folder; run folders are never written to. Public: `find_runs`, `FoundRun`, `compare`, `Comparison`,
`query`, `table`, `Answer`, `TABLES`.
"""

from monitor_core.runs.catalogue import FoundRun, find_runs
from monitor_core.runs.comparison import Comparison, compare
from monitor_core.runs.queries import TABLES, Answer, query, table

__all__ = ["TABLES", "Answer", "Comparison", "FoundRun", "compare", "find_runs", "query", "table"]
