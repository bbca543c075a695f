"""A small model, its data and its trainer, for the tests of the adapter of transformers."""

import torch
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from torch_training_support import batches

SAMPLES = 4


class Config(PretrainedConfig):
    """The configuration of `Model`."""

    model_type = "monitored"


class Model(PreTrainedModel):
    """A small model that visits the plan in each batch, unless it is compiled."""

    config_class = Config
    accepts_loss_kwargs = False

    def __init__(self, config):
        super().__init__(config)
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        self.losses = []
        self.plan = None
        self.post_init()

    def forward(self, x, labels):
        """Return the loss and the output."""
        out = self.net(x)
        loss = torch.nn.functional.mse_loss(out, labels)
        if self.plan is not None:
            self.plan.visit("batch" if self.training else "evaluation")
            if self.training:
                self.losses.append(loss.item())
        return {"loss": loss, "logits": out}


class Data(torch.utils.data.Dataset):
    """The samples of so many micro-batches."""

    def __init__(self, count, seed=1):
        x, y = zip(*batches(count, seed), strict=True)
        self.x, self.y = torch.cat(x), torch.cat(y)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "labels": self.y[index]}


class Overflow(TrainerCallback):
    """Makes the gradients of one optimizer step overflow; the trainer's own steps are counted by the optimizer."""

    def __init__(self, step):
        self.step = step

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Make them infinite."""
        if state.global_step + 1 == self.step:
            next(model.parameters()).grad.fill_(float("inf"))


def arguments(folder, plan, **options):
    """Return the trainer's arguments for a plan."""
    defaults = {
        "per_device_train_batch_size": SAMPLES,
        "per_device_eval_batch_size": SAMPLES,
        "gradient_accumulation_steps": plan.accumulation,
        "num_train_epochs": plan.epochs,
        "learning_rate": plan.rate,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "eval_strategy": "epoch" if plan.evaluates else "no",
        "save_strategy": "no" if plan.folder is None else "epoch",
        "logging_steps": 3,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 3,
    }
    return TrainingArguments(output_dir=str(folder), **defaults | options)


def build(plan, folder, model=None, *, kind=Trainer, data=None, **options):
    """Return a trainer of a plan, with its model as new."""
    torch.manual_seed(7)
    if model is None:
        model = Model(Config())
        model.plan = None if plan.compiled else plan
    validation = Data(2, seed=2) if data is None else data
    trainer = kind(model, arguments(folder, plan, **options), train_dataset=Data(plan.batches), eval_dataset=validation)
    if plan.skipped:
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        trainer.add_callback(Overflow(plan.skipped))
    return trainer
