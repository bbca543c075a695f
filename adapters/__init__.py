"""Adapters: a module or folder for each framework, imported by its full name, such as ``monitor_core.adapters.keras``.

In: a framework's callbacks and models. Out: the bus's events, and handles of the models. Each adapter is public, and
    imports
its framework but no other adapter.
"""
