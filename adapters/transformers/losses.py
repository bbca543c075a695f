"""The raw loss of each micro-batch, as the model returns it, and of each optimizer step.

Contract. Nothing is read on the host: losses stay on their device. Where the model does not return exactly one loss for
each micro-batch, such as with a loss function of the trainer's own, there is none.
"""

from __future__ import annotations

from typing import Any

import torch


class Losses:
    """Collects the losses that a module returns while it trains.

    A trainer that passes ``num_items_in_batch`` to its model gets the micro-batches' shares of the step's loss, which
    are added; else each loss is the mean of its micro-batch.
    """

    def __init__(self) -> None:
        self._found: list[torch.Tensor] = []
        self._are_shares = False
        self._hook: Any = None

    def attach(self, module: torch.nn.Module) -> None:
        """Listen to a module, the outermost one: a hook within a compiled one would be compiled with it."""
        self.detach()
        self._hook = module.register_forward_hook(self._note, with_kwargs=True)

    def detach(self) -> None:
        """Stop listening."""
        if self._hook is not None:
            self._hook.remove()
        self._hook = None
        self._found = []

    def _note(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if module.training:
            loss = output.get("loss") if isinstance(output, dict) else _first_of(output)
            if loss is not None and loss.requires_grad:
                self._are_shares = kwargs.get("num_items_in_batch") is not None
                self._found.append(loss.detach())  # of the same memory: the trainer may scale the loss in place

    def take(self, micro_batches: int) -> torch.Tensor | None:
        """Return the loss of the step that ends, None if it is unknown, and begin the next.

        Args:
            micro_batches: How many micro-batches the step had.
        """
        found, self._found = self._found, []
        if len(found) != micro_batches:
            return None
        if micro_batches == 1 and found[0].ndim == 0:
            return found[0]
        losses = torch.stack([each.mean() for each in found])  # several devices return a loss each
        return losses.sum() if self._are_shares else losses.mean()


def _first_of(output: Any) -> torch.Tensor | None:
    """Return the loss of a model that returns a tuple."""
    first = output[0] if isinstance(output, tuple) and output else None
    return first if isinstance(first, torch.Tensor) and first.ndim == 0 else None
