"""The package's sinks, one in each module; import them from ``monitor_core``."""
