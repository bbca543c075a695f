"""The fixtures that the adapter's tests share."""

from adapter_support import compiled, model

__all__ = ["compiled", "model"]
