"""The Keras adapter: `fit`, `evaluate` and `predict` feed a bus, on each of Keras's backends. It imports Keras.

In: Keras's callback events and models. Out: the bus's events, and a handle of the model. Public: `KerasAdapter`,
`KerasCallback`, `KerasModel`, `reset_states`; the modules themselves are private.
"""

from monitor_core.adapters.keras.adapter import KerasAdapter
from monitor_core.adapters.keras.callback_sink import KerasCallback
from monitor_core.adapters.keras.model import KerasModel, reset_states

__all__ = ["KerasAdapter", "KerasCallback", "KerasModel", "reset_states"]
