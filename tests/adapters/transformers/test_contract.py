"""The adapter of transformers passes the contract of adapters."""

from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from monitor_core.adapters.transformers import TransformersAdapter  # noqa: E402
from monitor_core.testing import AdapterContract, Trained  # noqa: E402
from torch_training_support import Compiler, reads, weights_of  # noqa: E402 (it imports torch)
from transformers_support import build  # noqa: E402 (it imports transformers)


class TestTransformers(AdapterContract):
    """A `Trainer` with sinks."""

    documented_in: ClassVar = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"

    def values(self):
        """Return what counts reads of tensors."""
        return reads()

    @pytest.fixture
    def train(self, tmp_path):
        """Return the function that trains."""

        def train(sinks, plan):
            folder = tmp_path / "trainer" if plan.folder is None else plan.folder
            trainer = build(plan, folder)
            counter, made = Compiler(), []
            if plan.compiled:
                torch._dynamo.reset()
                plugin = trainer.accelerator.state.dynamo_plugin
                plugin.backend, plugin.to_kwargs = "CUSTOM", lambda: {"backend": counter}
            resume = True if plan.folder is not None and any(Path(folder).glob("checkpoint-*")) else None
            trainer.create_optimizer()
            trainer.optimizer.register_step_post_hook(lambda *_: made.append(1))
            if sinks is None:
                trainer.train(resume_from_checkpoint=resume)
            else:
                TransformersAdapter(*sinks).train(trainer, resume_from_checkpoint=resume)
            model = trainer.model
            log = trainer.state.log_history
            means = torch.tensor(model.losses).reshape(-1, plan.accumulation).mean(dim=1)
            before = trainer.state.global_step - len(made) if resume else 0
            return Trained(
                weights=weights_of(model),
                steps=before + len(made),
                losses=means.tolist(),
                evaluations=[each["eval_loss"] for each in log if "eval_loss" in each],
                rate=trainer.optimizer.param_groups[0]["lr"],
                compilations=counter.count,
            )

        return train
