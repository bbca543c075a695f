"""Recorded runs, many at a time: finding them, and what is asked of several.

In: folders with journals. Out: summaries. It reads files and, if asked, keeps a cache of what it read in the user's
cache folder; run folders are never written to. Public: `find_runs`, `FoundRun`.
"""

from monitor_core.runs.catalogue import FoundRun, find_runs

__all__ = ["FoundRun", "find_runs"]
