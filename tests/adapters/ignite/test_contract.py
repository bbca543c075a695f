"""The adapter of Ignite passes the contract of adapters."""

from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("ignite")
pytest.importorskip("torch")

import torch
from ignite.engine import Events
from ignite.handlers import Checkpoint, DiskSaver

from ignite_support import Engines
from monitor_core.adapters.ignite import IgniteAdapter
from monitor_core.testing import AdapterContract, Trained
from torch_training_support import reads, weights_of


def continued(engines, adapter, folder):
    """Save at each epoch's end, and continue from what an earlier training saved; return the steps that it made."""
    saved = {
        "trainer": engines.trainer,
        "model": engines.module,
        "optimizer": engines.optimizer,
        "adapter": adapter,
    }
    saver = Checkpoint(saved, DiskSaver(folder, require_empty=False), n_saved=1, filename_pattern="last.pt")
    engines.trainer.add_event_handler(Events.EPOCH_COMPLETED, saver)
    if not (folder / "last.pt").exists():
        return 0
    Checkpoint.load_objects(saved, torch.load(folder / "last.pt", weights_only=True))
    return engines.trainer.state.iteration


class TestIgnite(AdapterContract):
    """A trainer and an evaluator with sinks."""

    documented_in: ClassVar = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"

    def values(self):
        """Return what counts reads of tensors."""
        return reads()

    @pytest.fixture
    def train(self):
        """Return the function that trains."""

        def train(sinks, plan):
            engines, before = Engines(plan), 0
            if sinks is not None:
                options = {"model": engines.module, "optimizer": engines.optimizer}
                adapter = IgniteAdapter(*sinks, gradient_accumulation_steps=plan.accumulation, **options)
                adapter.attach(engines.trainer, evaluator=engines.evaluator)
                if plan.folder is not None:
                    before = continued(engines, adapter, plan.folder)
            engines.run()
            return Trained(
                weights=weights_of(engines.module),
                steps=before + engines.made,
                losses=engines.rows(),
                evaluations=engines.evaluations,
                rate=engines.optimizer.param_groups[0]["lr"],
                compilations=engines.compiler.count,
            )

        return train
