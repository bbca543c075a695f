"""Ranks: the processes of one training, which agree on results, stops and rates.

In: each rank's results at a point of the run, its requests, and a collective of the framework that connects the
processes, found by what is initialized and never imported first. Out: the same results, stops and rates on every rank,
or an error that names the rank that is elsewhere, has left, or is lost. Public through ``monitor_core`` (`Ranks`); the
modules themselves are private.
"""
