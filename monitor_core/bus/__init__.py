"""The bus: what a sink is, what a run is, and which hooks are called when.

Input: the events of a training, from an adapter or a loop, as plain method calls with raw metric values. Output: calls
of the sinks' hooks, in order, with failures isolated, and blocks of values fetched late. Public through
``monitor_core`` (`Bus`, `Sink`, `Run`, `Failure`, `on`); the modules themselves are private.
"""
