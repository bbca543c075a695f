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
        if module.training and torch.is_grad_enabled():
            loss = _loss_in(output)
            if loss is not None:
                self._are_shares = kwargs.get("num_items_in_batch") is not None
                self._found.append(loss.detach())

    def take(self, micro_batches: int) -> torch.Tensor | None:
        """Return the loss of the step that ends, None if it is unknown, and begin the next.

        Args:
            micro_batches: How many micro-batches the step had.
        """
        found = self._found
        if not found:
            return None
        self._found = []
        if len(found) != micro_batches:
            return None
        if micro_batches == 1:
            return found[0]
        return torch.stack(found).sum() if self._are_shares else torch.stack(found).mean()


def _loss_in(output: Any) -> torch.Tensor | None:
    loss = output.get("loss") if isinstance(output, dict) else output[0] if isinstance(output, tuple) else None
    if not isinstance(loss, torch.Tensor):
        return None
    return loss if loss.ndim == 0 else loss.mean() if loss.ndim == 1 and isinstance(output, dict) else None
