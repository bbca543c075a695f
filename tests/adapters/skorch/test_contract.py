"""The adapter of skorch passes the contract of adapters."""

from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("skorch")
pytest.importorskip("torch")

from monitor_core.adapters.skorch import SkorchAdapter
from monitor_core.testing import AdapterContract, Trained
from skorch_support import fit, net_of
from torch_training_support import reads, weights_of


class TestSkorch(AdapterContract):
    """A net with sinks."""

    documented_in: ClassVar = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"

    def values(self):
        """Return what counts reads of tensors."""
        return reads()

    @pytest.fixture
    def train(self):
        """Return the function that trains."""

        def train(sinks, plan):
            before, callbacks = 0, []
            if sinks is not None:
                options = {"gradient_accumulation_steps": plan.accumulation, "resume": plan.folder}
                callbacks = [SkorchAdapter(*sinks, **options)]
            net = fit(net_of(plan, *callbacks))
            session = net.session
            if plan.folder is not None:
                before = callbacks[0].run.step - session.made
            return Trained(
                weights=weights_of(session.module),
                steps=before + session.made,
                losses=session.rows(),
                evaluations=[row["valid_loss"] for row in net.history if "valid_loss" in row],
                rate=session.optimizer.param_groups[0]["lr"],
                compilations=session.compiler.count,
            )

        return train
