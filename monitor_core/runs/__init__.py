"""Recorded runs, many at a time: finding them, and what is asked of several.

In: paths of recorded runs. Out: summaries, a comparison, a verdict. It reads files and, if asked, keeps a cache of what
it read in the user's cache folder; run folders are never written to. Public: what is named here.
"""

from monitor_core.runs.catalogue import FoundRun, find_runs
from monitor_core.runs.comparison import Comparison, compare
from monitor_core.runs.gate import Verdict, gate

__all__ = ["Comparison", "FoundRun", "Verdict", "compare", "find_runs", "gate"]
