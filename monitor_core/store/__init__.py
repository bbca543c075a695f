"""A store of runs: run folders at an address of fsspec, such as an object store.

In: the address of a run's folder, such as ``s3://bucket/runs/a``. A run is recorded in a local folder, its spool, as
always; a mirror uploads what is new from there, in the background. Out: for readers, a copy of the record in the user's
cache folder, to which only what is new is added. Only `monitor_core.store.objects` knows fsspec. Not public.
"""
