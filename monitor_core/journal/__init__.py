"""The journal: the append-only record of a run that survives a killed process.

In: what the `Journal` sink receives. Out: frames in files, and `RecordedRun` read back from them. Public through
``monitor_core`` (`open_run`); the modules themselves are private.
"""
