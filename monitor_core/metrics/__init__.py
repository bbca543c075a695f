"""Metrics by name: how a name is looked up, which direction is better, what counts as an improvement.

Input: a metric's name and its values as floats. Output: decisions. It reads no files and calls no hooks. `DIRECTIONS`
is public as ``monitor_core.metrics.DIRECTIONS``; the modules themselves are private.
"""

from monitor_core.metrics.monitor import DIRECTIONS

__all__ = ["DIRECTIONS"]
