"""A small module and its trainer, for the tests of the adapter of Lightning."""

import signal
import warnings
from contextlib import contextmanager

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from torch_training_support import VALIDATION, Compiler, batches, build


class Module(pl.LightningModule):
    """A module that visits the plan in each batch, unless it is compiled."""

    def __init__(self, plan):
        super().__init__()
        self.plan, self.net = plan, build()
        self.compiler = Compiler()
        self.call = self.compiler.compiled(self.net) if plan.compiled else self.net
        self.losses, self.evaluations, self.made = [], [], 0

    def training_step(self, batch, batch_idx):
        """Return the loss."""
        self.plan.visit("batch")
        loss = torch.nn.functional.mse_loss(self.call(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        """Log the loss."""
        if not self.trainer.sanity_checking:
            self.plan.visit("evaluation")
        self.log("val_loss", torch.nn.functional.mse_loss(self.call(batch[0]), batch[1]))

    def on_validation_end(self):
        """Note the evaluation's result."""
        if not self.trainer.sanity_checking:
            self.evaluations.append(float(self.trainer.callback_metrics["val_loss"]))

    def on_before_optimizer_step(self, optimizer):
        """Make the gradients of one step overflow."""
        if self.global_step + 1 == self.plan.skipped:
            next(self.net.parameters()).grad.fill_(float("inf"))

    def configure_optimizers(self):
        """Return the optimizer, which counts its steps."""
        optimizer = torch.optim.SGD(self.net.parameters(), lr=self.plan.rate, momentum=0.5)
        optimizer.register_step_post_hook(self._count)
        return optimizer

    def _count(self, *_):
        self.made += 1


class Scaled(MixedPrecision):
    """Loss scaling without mixed precision, on the CPU."""

    def __init__(self):
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=4.0))

    @contextmanager
    def forward_context(self):
        """Compute in float32."""
        yield

    def optimizer_step(self, optimizer, model, closure, **kwargs):
        """Let the scaler find what the module's hook does to the gradients."""
        result = closure()
        self._after_closure(model, optimizer)
        self.scaler.step(optimizer, **kwargs)
        self.scaler.update()
        return result


def trainer(plan, folder, *callbacks, kind=pl.Trainer, **options):
    """Return a trainer of a plan."""
    defaults = {
        "max_epochs": plan.epochs,
        "accumulate_grad_batches": plan.accumulation,
        "default_root_dir": str(folder),
        "callbacks": list(callbacks),
        "limit_val_batches": None if plan.evaluates else 0,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "plugins": [Scaled()] if plan.skipped else None,
    }
    return kind(**defaults | options)


class Data(torch.utils.data.Dataset):
    """Micro-batches."""

    def __init__(self, found):
        self.found = found

    def __len__(self):
        return len(self.found)

    def __getitem__(self, index):
        return self.found[index]


def loaders(plan):
    """Return the loaders of training and validation data."""
    return [torch.utils.data.DataLoader(Data(each), batch_size=None) for each in (batches(plan.batches), VALIDATION)]


def fit(module, fitter, plan, **options):
    """Fit, and keep Ctrl-C as it was, which a trainer has ignored from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitter.fit(module, *loaders(plan), **options)
    finally:
        signal.signal(signal.SIGINT, handler)
