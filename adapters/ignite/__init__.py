"""Ignite: sinks attached to its engines. It imports ignite.

In: the events of a trainer's engine and of evaluators. Out: a bus's events. Public: `IgniteAdapter`; the modules
themselves are private.
"""

from monitor_core.adapters.ignite.adapter import IgniteAdapter

__all__ = ["IgniteAdapter"]
