"""A small net, for the tests of the adapter of skorch."""

import torch
from skorch import NeuralNet
from skorch.helper import predefined_split

from torch_training_support import VALIDATION, Session, batches


class Rows(torch.utils.data.Dataset):
    """The samples of micro-batches."""

    def __init__(self, found):
        self.x, self.y = (torch.cat(each) for each in zip(*found, strict=True))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Net(NeuralNet):
    """A net that trains as its session does.

    Attributes:
        session: What trains.
    """

    def __init__(self, *args, session, **kwargs):
        super().__init__(*args, **kwargs)
        self.session = session

    def initialize_module(self):
        """Take the session's module, as it was at first."""
        self.module_ = self.session.module
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """Take the session's optimizer."""
        self.optimizer_ = self.session.optimizer
        return self

    def train_step(self, batch, **fit_params):
        """Compute the gradients of a micro-batch, and step if all are accumulated."""
        session = self.session
        loss = session.micro_batch(*batch)
        if len(session.losses) % session.plan.accumulation == 0:
            session.scaler.step(session.optimizer)
            session.scaler.update()
            session.optimizer.zero_grad()
            session.steps += 1
        return {"loss": loss, "y_pred": None}

    def validation_step(self, batch, **fit_params):
        """Compute the loss."""
        self.session.plan.visit("evaluation")
        with torch.no_grad():
            loss = torch.nn.functional.mse_loss(self.session.call(batch[0]), batch[1])
        return {"loss": loss, "y_pred": None}


def net_of(plan, *callbacks, **options):
    """Return a net of a plan."""
    session = Session(plan)
    split = predefined_split(Rows(VALIDATION)) if plan.evaluates else None
    options = {"max_epochs": plan.epochs, "train_split": split, "batch_size": 4, "verbose": 0} | options
    return Net(torch.nn.Linear, torch.nn.MSELoss, session=session, callbacks=list(callbacks), compile=False, **options)


def fit(net):
    """Fit a net; return it."""
    return net.fit(Rows(batches(net.session.plan.batches)), None)
