"""The loop: drives a bus from a hand-written training loop, and resumes a run that was interrupted.

In: a training loop's epochs, batches and logged values. Out: the bus's events, and the means of an epoch. Public
through ``monitor_core`` (`Loop`); the modules themselves are private.
"""
