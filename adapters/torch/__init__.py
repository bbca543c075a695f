"""PyTorch: the handle of a module, for manual loops. It imports torch.

In: a module and its optimizer. Out: weights, rates, activations, gradients and training state. Public: `TorchModel`;
the modules themselves are private.
"""

from monitor_core.adapters.torch.model import TorchModel

__all__ = ["TorchModel"]
