"""A small PyTorch training that follows a plan of the contract of adapters: model, data, loss scaling, compiling."""

import numpy as np
import torch

from monitor_core.testing.reads import HostReads
from monitor_core.testing.trainings import Plan

SAMPLES = 4
"""The samples of a micro-batch."""


def build():
    """Return the module, with the same weights each time."""
    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


def batches(count, seed=1):
    """Return so many micro-batches."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(SAMPLES, 3, generator=generator), torch.randn(SAMPLES, 1, generator=generator))
        for _ in range(count)
    ]


VALIDATION = batches(2, seed=2)


def weights_of(module):
    """Return copies of a module's weights."""
    return [each.detach().numpy().copy() for each in module.state_dict().values()]


def reads():
    """Return what counts the reads of tensors, which look as if they were on a device."""
    return HostReads(torch.Tensor, attributes={"is_cpu": False})


class Compiler:
    """A backend of ``torch.compile`` that counts, and compiles nothing."""

    def __init__(self):
        self.count = 0

    def __call__(self, graph, inputs):
        self.count += 1
        return graph.forward

    def compiled(self, module):
        """Return a module, compiled from scratch."""
        torch._dynamo.reset()
        return torch.compile(module, backend=self)


class Session:
    """What trains: the module, its optimizer, a loss scaler where the plan has a step to skip, and what it noted.

    Attributes:
        losses: The loss of each micro-batch.
        evaluations: The loss of each evaluation.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.module = build()
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=plan.rate, momentum=0.5)
        self.optimizer.register_step_post_hook(self._count)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=plan.skipped is not None)
        self.compiler = Compiler()
        self.call = self.compiler.compiled(self.module) if plan.compiled else self.module
        self.steps = self.made = 0
        self.losses = []
        self.evaluations = []

    def _count(self, *_):
        self.made += 1

    def groups(self):
        """Return the micro-batches of an epoch, by optimizer step."""
        found, size = batches(self.plan.batches), self.plan.accumulation
        return [found[first : first + size] for first in range(0, len(found), size)]

    def micro_batch(self, x, y):
        """Compute the loss and its gradients."""
        self.plan.visit("batch")
        loss = torch.nn.functional.mse_loss(self.call(x), y)
        self.losses.append(loss.item())
        scaled = self.scaler.scale(loss) / self.plan.accumulation
        (scaled * float("inf") if self.steps + 1 == self.plan.skipped else scaled).backward()
        return loss.detach()

    def step(self, group):
        """Make an optimizer step from the micro-batches of a group; return the mean of their losses."""
        losses = [self.micro_batch(x, y) for x, y in group]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.steps += 1
        return torch.stack(losses).mean()

    def evaluate(self):
        """Return the loss of each batch of the validation data."""
        with torch.no_grad():
            for x, y in VALIDATION:
                self.plan.visit("evaluation")
                yield torch.nn.functional.mse_loss(self.call(x), y)

    def evaluated(self, losses):
        """Note the result of an evaluation."""
        self.evaluations.append(float(np.mean([float(each) for each in losses])))

    def rows(self):
        """Return the mean of the losses of each optimizer step."""
        return np.array(self.losses).reshape(-1, self.plan.accumulation).mean(axis=1).tolist()
