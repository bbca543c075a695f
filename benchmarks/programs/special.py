"""Healthy trainings whose curves look wrong: adversarial, reinforced, late to generalize; in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from monitor_core import Loop
from monitor_core.adapters.torch import TorchModel

EPOCHS = 40


def _mlp(*sizes: int) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def gan(variant: int, seed: int, sink: Any) -> None:
    """A generator and a critic on points of a ring; in some variants the generator's loss is logged as ``loss``."""
    torch.manual_seed(seed)
    generator, critic = _mlp(4, 32, 2), _mlp(2, 32, 1)
    optimizers = {
        "generator": torch.optim.Adam(generator.parameters(), (0.001, 0.0005)[variant % 2], betas=(0.5, 0.9)),
        "critic": torch.optim.Adam(critic.parameters(), 0.001, betas=(0.5, 0.9)),
    }
    angle = 6.28 * torch.rand(2048)
    real = torch.stack([angle.cos(), angle.sin()], 1)
    with Loop(sink, model=TorchModel({"generator": generator, "critic": critic}, optimizers)) as loop:
        for _ in loop.epochs(EPOCHS):
            for batch in loop.batches(real.split(128)):
                fake = generator(torch.randn(len(batch), 4))
                critic_loss = (
                    functional.softplus(critic(fake.detach())).mean() + functional.softplus(-critic(batch)).mean()
                )
                _update(optimizers["critic"], critic_loss)
                generator_loss = functional.softplus(-critic(generator(torch.randn(len(batch), 4)))).mean()
                _update(optimizers["generator"], generator_loss)
                if variant < 4:
                    loop.log(generator_loss=generator_loss, critic_loss=critic_loss)
                else:
                    loop.log(loss=generator_loss, critic_loss=critic_loss)


def _update(optimizer: Any, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def reinforce(variant: int, seed: int, sink: Any) -> None:
    """A policy for a contextual bandit: its loss does not measure success, the reward does."""
    torch.manual_seed(seed)
    policy = _mlp(4, 32, 3)
    optimizer = torch.optim.Adam(policy.parameters(), 0.01 / (1 + variant))
    with Loop(sink, model=TorchModel(policy, optimizer)) as loop:
        for _ in loop.epochs(EPOCHS):
            for _ in loop.batches(range(20)):
                state = torch.randn(64, 4)
                choice = torch.distributions.Categorical(logits=policy(state))
                action = choice.sample()
                reward = (action == state[:, :3].argmax(1)).float()
                baseline = reward.mean() if variant % 2 else 0.0
                loss = -((reward - baseline) * choice.log_prob(action)).mean() - 0.01 * choice.entropy().mean()
                _update(optimizer, loss)
                loop.log(loss=loss, reward=reward.mean())


def grokking(variant: int, seed: int, sink: Any) -> None:
    """Sums modulo a prime: validation stays at chance for long, then gets right."""
    torch.manual_seed(seed)
    prime = (11, 13, 17, 19)[variant]
    pairs = torch.cartesian_prod(torch.arange(prime), torch.arange(prime))
    x = torch.cat([functional.one_hot(pairs[:, each], prime) for each in (0, 1)], 1).float()
    y = pairs.sum(1) % prime
    order = torch.randperm(len(x))
    train, val = order[: len(x) * 6 // 10], order[len(x) * 6 // 10 :]
    module = _mlp(2 * prime, 128, prime)
    optimizer = torch.optim.AdamW(module.parameters(), 0.003, weight_decay=1.0)
    sink.sample = (x[train].numpy(), y[train].numpy())
    loss_of = torch.nn.CrossEntropyLoss()
    handle = TorchModel(module, optimizer, loss=loss_of)
    with Loop(sink, model=handle, validation_data=(x[val].numpy(), y[val].numpy())) as loop:
        for _ in loop.epochs(300):
            for rows in loop.batches(train[torch.randperm(len(train))].split(64)):
                output = module(x[rows])
                loss = loss_of(output, y[rows])
                _update(optimizer, loss)
                loop.log(loss=loss, accuracy=(output.argmax(1) == y[rows]).float().mean())
            with loop.evaluation(), torch.no_grad():
                output = module(x[val])
                loop.log(loss=loss_of(output, y[val]), accuracy=(output.argmax(1) == y[val]).float().mean())


def double_descent(variant: int, seed: int, sink: Any) -> None:
    """A wide network on few rows with noisy targets, trained long: validation rises, and falls again."""
    torch.manual_seed(seed)
    x = torch.randn(80 + 20 * variant, 10)
    weights = torch.randn(10)
    y = (x @ weights / math.sqrt(10) + 0.5 * torch.randn(len(x)))[:, None]
    xv = torch.randn(400, 10)
    yv = (xv @ weights / math.sqrt(10))[:, None]
    module = _mlp(10, 200, 1)
    optimizer = torch.optim.Adam(module.parameters(), 0.002)
    loss_of = torch.nn.MSELoss()
    sink.sample = (x.numpy(), y.numpy())
    handle = TorchModel(module, optimizer, loss=loss_of)
    with Loop(sink, model=handle, validation_data=(xv.numpy(), yv.numpy())) as loop:
        for _ in loop.epochs(150):
            for rows in loop.batches(torch.randperm(len(x)).split(20)):
                loss = loss_of(module(x[rows]), y[rows])
                _update(optimizer, loss)
                loop.log(loss=loss)
            with loop.evaluation(), torch.no_grad():
                loop.log(loss=loss_of(module(xv), yv))


class _Language(torch.nn.Module):
    """A small causal model of characters."""

    def __init__(self, symbols: int, width: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(symbols, width)
        self.layer = torch.nn.GRU(width, width, batch_first=True)
        self.head = torch.nn.Linear(width, symbols)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits for each next symbol, ``(n, symbols, time)``."""
        return self.head(self.layer(self.embedding(x))[0]).transpose(1, 2)


def autoregressive(variant: int, seed: int, sink: Any) -> None:
    """A model of sequences, few epochs of many steps, warmed up and then decayed; its loss ends near the entropy."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    symbols = 12
    table = rng.dirichlet(np.full(symbols, 0.3), symbols)
    rows = np.zeros((6400, 17), np.int64)
    for place in range(1, 17):
        draws = rng.random(len(rows))[:, None]
        rows[:, place] = (table[rows[:, place - 1]].cumsum(1) < draws).sum(1).clip(0, symbols - 1)
    data = torch.as_tensor(rows)
    module = _Language(symbols, (16, 32, 48, 24)[variant])
    optimizer = torch.optim.AdamW(module.parameters(), 0.005)
    loss_of = torch.nn.CrossEntropyLoss()
    steps = 0
    with Loop(sink, model=TorchModel(module, optimizer, loss=loss_of)) as loop:
        for _ in loop.epochs(3):
            for batch in loop.batches([(each[:, :-1], each[:, 1:]) for each in data.split(32)]):
                steps += 1
                optimizer.param_groups[0]["lr"] = 0.005 * min(1.0, steps / 50) * max(0.05, 1 - steps / 600)
                loss = loss_of(module(batch[0]), batch[1])
                _update(optimizer, loss)
                loop.log(loss=loss)


TRAINERS: dict[str, Callable[[int, int, Any], None]] = {
    function.__name__: function for function in (gan, reinforce, grokking, double_descent, autoregressive)
}
