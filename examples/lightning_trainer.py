"""Attach to a `Trainer` of PyTorch Lightning: a GAN with two optimizers, each with its own loss.

python examples/lightning_trainer.py
"""

import tempfile

import lightning.pytorch as pl
import torch

from monitor_core import History, Progress, TerminateOnNaN
from monitor_core.adapters.lightning import LightningAdapter


class Gan(pl.LightningModule):
    """Learns to draw points on a circle."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.generator = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
        self.critic = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))

    def training_step(self, batch, batch_idx):
        (real,) = batch
        of_generator, of_critic = self.optimizers()
        fake = self.generator(torch.randn(len(real), 2))
        losses = {"critic_loss": self.critic_loss(real, fake.detach())}
        self.step(of_critic, losses["critic_loss"])
        losses["generator_loss"] = torch.nn.functional.softplus(-self.critic(fake)).mean()
        self.step(of_generator, losses["generator_loss"])
        self.log_dict(losses)

    def critic_loss(self, real, fake):
        softplus = torch.nn.functional.softplus
        return softplus(-self.critic(real)).mean() + softplus(self.critic(fake)).mean()

    def step(self, optimizer, loss):
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.Adam(each.parameters(), lr=3e-3) for each in (self.generator, self.critic)]


def main() -> None:
    torch.manual_seed(0)
    angles = torch.rand(512) * 6.283
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(circle), batch_size=32)
    history = History(per_batch=True)
    adapter = LightningAdapter(history, TerminateOnNaN("critic_loss"), Progress())
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=5,
            callbacks=[adapter],
            default_root_dir=folder,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Gan(), loader)

    print(f"{adapter.run.status} after {adapter.run.step} steps; the trainer counts {trainer.global_step}")
    print(
        "losses of the last step:", [history.batches[name][-1].round(3) for name in ("critic_loss", "generator_loss")]
    )


if __name__ == "__main__":
    main()
