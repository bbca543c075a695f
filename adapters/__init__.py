"""Adapters: one module for each framework, imported by its full name, such as ``monitor_core.adapters.keras``."""
