"""The exceptions of the package; each also is the built-in type that callers would expect to catch."""


class MonitorError(Exception):
    """The base of every error that this package raises by itself."""


class SetupError(MonitorError, ValueError):
    """A run cannot begin as it is set up: a missing need, a folder that cannot be written, an undecidable mode.

    Raised at train begin at the latest, and always propagated: no policy isolates it.
    """


class HookError(MonitorError, TypeError):
    """An object passed as a sink has a misspelt hook, a wrong signature, or no hook at all."""


class OrderError(MonitorError, RuntimeError):
    """Events came in an order that no training has, such as an epoch's end without its begin."""


class RankError(MonitorError, RuntimeError):
    """The ranks of a job are at different points of the run, or one of them has left it or is lost."""
