"""A small trainer and evaluator, for the tests of the adapter of Ignite."""

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Loss

from torch_training_support import VALIDATION, Session, batches


class Engines(Session):
    """The training of a plan, by engines.

    Attributes:
        trainer: The engine that trains; it evaluates at each epoch's end.
        evaluator: The engine that evaluates.
    """

    def __init__(self, plan, every=Events.EPOCH_COMPLETED):
        super().__init__(plan)
        self.trainer = Engine(self.train_step)
        self.evaluator = Engine(self.evaluation_step)
        Loss(torch.nn.functional.mse_loss).attach(self.evaluator, "loss")
        if plan.evaluates:
            self.trainer.add_event_handler(every, self.evaluate_now)

    def train_step(self, engine, batch):
        """Compute the gradients of a micro-batch, and step if all are accumulated; return its loss."""
        loss = self.micro_batch(*batch)
        if engine.state.iteration % self.plan.accumulation == 0:
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad()
            self.steps += 1
        return loss

    def evaluation_step(self, engine, batch):
        """Return outputs and targets."""
        self.plan.visit("evaluation")
        with torch.no_grad():
            return self.call(batch[0]), batch[1]

    def evaluate_now(self, engine):
        """Evaluate."""
        self.evaluator.run(VALIDATION)
        self.evaluations.append(self.evaluator.state.metrics["loss"])

    def run(self):
        """Train."""
        self.trainer.run(batches(self.plan.batches), max_epochs=self.plan.epochs)
