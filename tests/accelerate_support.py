"""A small training with an ``Accelerator``, for the tests of its loop."""

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from torch_training_support import Session


def accelerator_of(plan, **options):
    """Return an accelerator of a plan, as if it were the process's first."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    accelerator = Accelerator(gradient_accumulation_steps=plan.accumulation, cpu=True, **options)
    if plan.skipped:
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    return accelerator


class Data(torch.utils.data.Dataset):
    """Micro-batches."""

    def __init__(self, found):
        self.found = found

    def __len__(self):
        return len(self.found)

    def __getitem__(self, index):
        return self.found[index]


def loader(found):
    """Return a loader of micro-batches."""
    return torch.utils.data.DataLoader(Data(found), batch_size=None)


class AcceleratedSession(Session):
    """The training of a plan, with an accelerator."""

    def __init__(self, plan):
        super().__init__(plan)
        self.accelerator = accelerator_of(plan)
        self.prepared, self.stepper = self.accelerator.prepare(self.call, self.optimizer)

    def micro_batch(self, x, y):
        """Compute the loss and its gradients, and step if all are accumulated."""
        with self.accelerator.accumulate(self.prepared):
            self.plan.visit("batch")
            loss = torch.nn.functional.mse_loss(self.prepared(x), y)
            self.losses.append(loss.item())
            self.steps += self.accelerator.sync_gradients
            self.accelerator.backward(loss * float("inf") if self.steps == self.plan.skipped else loss)
            self.stepper.step()
            self.stepper.zero_grad()
        return loss

    def evaluation_loss(self, x, y):
        """Return the loss of a batch of an evaluation."""
        with torch.no_grad():
            return torch.nn.functional.mse_loss(self.prepared(x), y)
