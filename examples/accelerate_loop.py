"""Monitor a loop with Accelerate: gradients of four micro-batches make one step, and each step has their mean.

python examples/accelerate_loop.py
"""

import torch
from accelerate import Accelerator

from monitor_core import EarlyStopping, History, Progress
from monitor_core.adapters.accelerate import AccelerateLoop


def main() -> None:
    torch.manual_seed(0)
    inputs = torch.linspace(-1, 1, 256)[:, None]
    targets = torch.sin(3 * inputs)
    train = torch.utils.data.TensorDataset(inputs[::2], targets[::2])
    held_out = torch.utils.data.TensorDataset(inputs[1::2], targets[1::2])

    accelerator = Accelerator(gradient_accumulation_steps=4, cpu=True)
    net = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    model, optimizer, data, validation = accelerator.prepare(
        net,
        torch.optim.Adam(net.parameters(), lr=0.02),
        torch.utils.data.DataLoader(train, batch_size=4, shuffle=True),
        torch.utils.data.DataLoader(held_out, batch_size=24),
    )

    history = History(per_batch=True)
    sinks = [history, EarlyStopping("val_loss", patience=3), Progress()]
    with AccelerateLoop(accelerator, *sinks, model=model, optimizer=optimizer) as loop:
        for _ in loop.epochs(10):
            for x, y in loop.batches(data):
                with accelerator.accumulate(model):
                    loss = torch.nn.functional.mse_loss(model(x), y)
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
                loop.log(loss=loss, weight=len(x))
            with loop.evaluation(), torch.no_grad():
                for x, y in loop.batches(validation):
                    losses = accelerator.gather_for_metrics((model(x) - y).square())
                    loop.log(loss=losses.mean(), weight=len(losses))

    print(f"{loop.run.status} after {loop.run.step} optimizer steps; each epoch had {len(data)} micro-batches")
    print("val_loss by epoch:", history["val_loss"].round(4))


if __name__ == "__main__":
    main()
