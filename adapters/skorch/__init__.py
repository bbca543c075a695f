"""skorch: sinks attached to a ``NeuralNet``. It imports skorch.

In: a net's callbacks. Out: a bus's events. Public: `SkorchAdapter`; the modules themselves are private.
"""

from monitor_core.adapters.skorch.adapter import SkorchAdapter

__all__ = ["SkorchAdapter"]
