"""The loop with an accelerator passes the contract of adapters."""

from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("torch")

from accelerate_support import AcceleratedSession, loader
from monitor_core.adapters.accelerate import AccelerateLoop
from monitor_core.testing import AdapterContract, Trained
from torch_training_support import VALIDATION, batches, reads, weights_of


class Bare:
    """What a training without sinks has for a loop."""

    def epochs(self, epochs):
        """Return the epochs."""
        return range(epochs)

    def batches(self, data):
        """Return the batches."""
        return data

    def log(self, **metrics):
        """Log nothing."""

    def evaluation(self):
        """Return nothing to enter."""
        return nullcontext()


def train(sinks, plan):
    """Train as an accelerator's documentation has it."""
    session = AcceleratedSession(plan)
    data, held_out = session.accelerator.prepare(loader(batches(plan.batches)), loader(VALIDATION))
    if sinks is None:
        monitored = nullcontext(Bare())
    else:
        options = {"model": session.prepared, "optimizer": session.stepper, "resume": plan.folder}
        monitored = AccelerateLoop(session.accelerator, *sinks, **options)
    with monitored as loop:
        before = 0 if sinks is None else loop.run.step
        for _ in loop.epochs(plan.epochs):
            for x, y in loop.batches(data):
                loop.log(loss=session.micro_batch(x, y))
            if plan.evaluates and not (sinks is not None and loop.run.stopped):
                losses = []
                with loop.evaluation():
                    for x, y in loop.batches(held_out):
                        plan.visit("evaluation")
                        losses.append(session.accelerator.gather_for_metrics(session.evaluation_loss(x, y)))
                        loop.log(loss=losses[-1])
                session.evaluated(losses)
    return Trained(
        weights=weights_of(session.module),
        steps=before + session.made,
        losses=session.rows(),
        evaluations=session.evaluations,
        rate=session.optimizer.param_groups[0]["lr"],
        compilations=session.compiler.count,
    )


class TestAccelerateLoop(AdapterContract):
    """An `AccelerateLoop`."""

    documented_in: ClassVar = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"

    def values(self):
        """Return what counts reads of tensors."""
        return reads()

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return train
