"""Attach to Ignite: a trainer, and an evaluator that runs twice in each epoch.

python examples/ignite_trainer.py
"""

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Loss

from monitor_core import EarlyStopping, History, Progress
from monitor_core.adapters.ignite import IgniteAdapter


def loss_of(*outputs):
    """Return the loss of what a trainer computes, as a tensor."""
    return outputs[-1]


def main() -> None:
    torch.manual_seed(0)
    inputs = torch.linspace(-1, 1, 256)[:, None]
    targets = torch.sin(3 * inputs)
    train = torch.utils.data.TensorDataset(inputs[::2], targets[::2])
    held_out = torch.utils.data.TensorDataset(inputs[1::2], targets[1::2])
    data = torch.utils.data.DataLoader(train, batch_size=8, shuffle=True)
    validation = torch.utils.data.DataLoader(held_out, batch_size=32)

    net = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    criterion = torch.nn.MSELoss()
    trainer = create_supervised_trainer(net, optimizer, criterion, output_transform=loss_of)
    evaluator = create_supervised_evaluator(net, metrics={"loss": Loss(criterion)})

    history = History(per_batch=True)
    sinks = [history, EarlyStopping("val_loss", patience=3), Progress()]
    adapter = IgniteAdapter(*sinks, model=net, optimizer=optimizer).attach(trainer, evaluator=evaluator)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=8), lambda: evaluator.run(validation))
    trainer.run(data, max_epochs=10)

    print(f"{adapter.run.status} after {adapter.run.step} steps: {adapter.run.stop_reason}")
    print("val_loss by epoch:", history["val_loss"].round(4))


if __name__ == "__main__":
    main()
