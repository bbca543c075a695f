"""Durable files: written whole or not at all, appended without loss, owned by one process, named by templates.

In: bytes, arrays and rows. Out: files that a killed process, a full disk or a second writer does not damage. Public
through ``monitor_core`` (`Keep`, `load_activations`); the modules themselves are private.
"""
