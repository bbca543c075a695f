"""The bus: what a sink is, what a run is, and which hooks are called when.

In: the events of a training, from an adapter or a loop, as plain method calls with raw metric values. Out: calls of
the sinks' hooks, in order, with failures isolated, and blocks of values fetched late. Public through ``monitor_core``
(`Bus`, `Sink`, `Run`, `Failure`, `on`); the modules themselves are private.
"""
