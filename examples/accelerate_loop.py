"""A loop in Accelerate's idiom, with gradients accumulated over four batches.

python examples/accelerate_loop.py
"""

import torch
from accelerate import Accelerator

from monitor_core import EarlyStopping, History, Progress
from monitor_core.adapters.accelerate import AccelerateLoop


def main() -> None:
    torch.manual_seed(0)
    inputs = torch.linspace(-1, 1, 512)[:, None]
    targets = torch.sin(3 * inputs)
    train = torch.utils.data.TensorDataset(inputs[::2], targets[::2])
    validation = torch.utils.data.TensorDataset(inputs[1::2], targets[1::2])
    net = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    model, optimizer, loader, held_out = accelerator.prepare(
        net,
        torch.optim.Adam(net.parameters(), lr=0.03),
        torch.utils.data.DataLoader(train, batch_size=8, shuffle=True),
        torch.utils.data.DataLoader(validation, batch_size=32),
    )
    loss_of = torch.nn.functional.mse_loss
    history = History()
    sinks = [history, EarlyStopping("val_loss", patience=10, stopping_threshold=0.01), Progress()]
    with AccelerateLoop(accelerator, *sinks, model=model, optimizer=optimizer) as loop:
        for _ in loop.epochs(50):
            for x, y in loop.batches(loader):
                with accelerator.accumulate(model):
                    loss = loss_of(model(x), y)
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
                loop.log(loss=loss)
            with loop.evaluation(), torch.no_grad():
                for x, y in loop.batches(held_out):
                    outputs, gathered = accelerator.gather_for_metrics((model(x), y))
                    loop.log(loss=loss_of(outputs, gathered), weight=len(gathered))

    print(f"{loop.run.status} after {loop.run.step} steps of {len(loader)} batches an epoch: {loop.run.stop_reason}")
    print(f"the last val_loss is {history['val_loss'][-1]:.4f}")


if __name__ == "__main__":
    main()
