"""The adapter of Lightning passes the contract of adapters."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("lightning")
pytest.importorskip("torch")

from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_support import Module, fit, trainer
from monitor_core.adapters.lightning import LightningAdapter
from monitor_core.testing import AdapterContract, Trained
from torch_training_support import reads, weights_of


class TestLightning(AdapterContract):
    """A `Trainer` with sinks."""

    documented_in: ClassVar = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"

    def values(self):
        """Return what counts reads of tensors."""
        return reads()

    @pytest.fixture
    def train(self, tmp_path):
        """Return the function that trains."""

        def train(sinks, plan):
            module, options, checkpoint = Module(plan), {}, None
            callbacks = [] if sinks is None else [LightningAdapter(*sinks)]
            if plan.folder is not None:
                checkpoint = plan.folder / "last.ckpt" if (plan.folder / "last.ckpt").exists() else None
                callbacks.append(ModelCheckpoint(plan.folder, save_last=True))
                options = {"enable_checkpointing": True}
            fitter = trainer(plan, tmp_path, *callbacks, **options)
            fit(module, fitter, plan, ckpt_path=checkpoint)
            return Trained(
                weights=weights_of(module.net),
                steps=module.made if checkpoint is None else fitter.global_step,
                losses=np.array(module.losses).reshape(-1, plan.accumulation).mean(axis=1).tolist(),
                evaluations=module.evaluations,
                rate=fitter.optimizers[0].param_groups[0]["lr"],
                compilations=module.compiler.count,
            )

        return train
