"""The sinks that come with the package, one in each module; import them from ``monitor_core``."""
