"""Real small trainings whose curves look wrong and are not: none gives a problem, and most give nothing."""

import math
from itertools import pairwise

import numpy as np
import pytest
from diagnosis_support import blobs, severe, symptoms, trained

from monitor_core import Diagnosis, Loop

torch = pytest.importorskip("torch")

TorchModel = pytest.importorskip("monitor_core.adapters.torch").TorchModel

nn = torch.nn
X, Y = (torch.as_tensor(each) for each in blobs(300))
VALIDATION = tuple(torch.as_tensor(each) for each in blobs(200))


def mlp(*widths):
    """Return a small network with ReLU."""
    torch.manual_seed(0)
    layers = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def update(optimizer, loss):
    """Do a step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def classified(module=None, loss=None, **options):
    """Train a classifier."""
    module = module or mlp(2, 16, 3)
    optimizer = torch.optim.Adam((each for each in module.parameters() if each.requires_grad), 0.01)
    return trained(module, optimizer, loss or nn.CrossEntropyLoss(), X, Y, **options)


def with_rates(rate, *, epochs=24):
    """Train with a rate for each epoch."""
    module = mlp(2, 16, 3)
    optimizer, loss = torch.optim.Adam(module.parameters(), 0.01), nn.CrossEntropyLoss()
    diagnosis = Diagnosis(sample=(X.numpy(), Y.numpy()))
    with Loop(diagnosis, model=TorchModel(module, optimizer, loss=loss)) as loop:
        for epoch in loop.epochs(epochs):
            optimizer.param_groups[0]["lr"] = rate(epoch)
            for rows in loop.batches(torch.randperm(len(X)).split(32)):
                value = loss(module(X[rows]), Y[rows])
                update(optimizer, value)
                loop.log(loss=value)
    return diagnosis


def test_dropout():
    """Training is worse than validation."""
    module = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3))
    assert severe(classified(module, validation=VALIDATION).findings) == []


def test_layers_frozen_by_intent():
    """The first of three."""
    module = mlp(2, 32, 16, 3)
    module[0].requires_grad_(False)
    assert severe(classified(module).findings) == []


SCHEDULES = {
    "warm-up": lambda epoch: 0.01 * min(1.0, (epoch + 1) / 8),
    "cosine restarts": lambda epoch: 0.01 * (1 + math.cos(math.pi * (epoch % 8) / 8)),
    "steps": lambda epoch: 0.01 * 0.1 ** (epoch // 8),
    "warm-up from 0": lambda epoch: 0.01 * min(1.0, epoch / 4),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    """Rates that rise, fall and begin again."""
    assert severe(with_rates(SCHEDULES[name]).findings) == []


def test_label_smoothing():
    """The loss ends far from 0."""
    assert severe(classified(loss=nn.CrossEntropyLoss(label_smoothing=0.2)).findings) == []


def test_class_weights():
    """The loss has another scale."""
    loss = nn.CrossEntropyLoss(weight=torch.tensor([10.0, 1.0, 5.0]))
    assert severe(classified(loss=loss).findings) == []


@pytest.mark.parametrize("epochs", [1, 2])
def test_early_epochs(epochs):
    """Nothing can be said yet."""
    assert severe(classified(epochs=epochs, validation=VALIDATION).findings) == []


def test_a_small_noisy_validation_set():
    """Of ten samples."""
    few = tuple(each[:10] for each in VALIDATION)
    assert symptoms(classified(validation=few, epochs=30).findings, "problem") == []


def test_augmentation():
    """Training inputs are noisier than those of validation."""
    noisy = X + 0.3 * torch.randn(X.shape, generator=torch.Generator().manual_seed(0))
    module = mlp(2, 16, 3)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    diagnosis = trained(module, optimizer, nn.CrossEntropyLoss(), noisy, Y, validation=(X, Y))
    assert severe(diagnosis.findings) == []


@pytest.mark.parametrize("name", ["critic_loss", "loss"])
def test_a_generator_and_a_critic(name):
    """Their losses do not fall, and need not, whatever they are called."""
    generator, critic = mlp(2, 16, 2), mlp(2, 16, 1)
    optimizers = {
        "generator": torch.optim.Adam(generator.parameters(), 0.002),
        "critic": torch.optim.Adam(critic.parameters(), 0.002),
    }
    diagnosis = Diagnosis()
    handle = TorchModel({"generator": generator, "critic": critic}, optimizers)
    with Loop(diagnosis, model=handle) as loop:
        for _ in loop.epochs(20):
            for real in loop.batches(X.split(50)):
                fake = generator(torch.randn(len(real), 2))
                softplus = nn.functional.softplus
                critic_loss = softplus(critic(fake.detach())).mean() + softplus(-critic(real)).mean()
                update(optimizers["critic"], critic_loss)
                generator_loss = softplus(-critic(generator(torch.randn(len(real), 2)))).mean()
                update(optimizers["generator"], generator_loss)
                loop.log({"generator_loss": generator_loss, name: critic_loss})
    assert symptoms(diagnosis.findings, "problem") == []


def test_reinforcement_learning():
    """A policy's loss is negative and noisy, and the reward rises."""
    policy = mlp(3, 16, 3)
    optimizer = torch.optim.Adam(policy.parameters(), 0.01)
    diagnosis = Diagnosis()
    with Loop(diagnosis, model=TorchModel(policy, optimizer)) as loop:
        for _ in loop.epochs(20):
            for _ in loop.batches(range(10)):
                state = torch.randn(64, 3)
                choice = torch.distributions.Categorical(logits=policy(state))
                action = choice.sample()
                reward = (action == state.argmax(1)).float()
                loss = -((reward - reward.mean()) * choice.log_prob(action)).mean() - 0.01 * choice.entropy().mean()
                update(optimizer, loss)
                loop.log(loss=loss, reward=reward.mean())
    assert severe(diagnosis.findings) == []


def test_double_descent_and_late_generalization_give_no_problem():
    """A wide network on few noisy targets, trained long: until validation turns a warning is right, no problem is."""
    torch.manual_seed(0)
    x, weights = torch.randn(40, 8), torch.randn(8)
    y = (x @ weights + 2 * torch.randn(40))[:, None]
    xv = torch.randn(200, 8)
    module = mlp(8, 128, 1)
    optimizer = torch.optim.Adam(module.parameters(), 0.005)
    diagnosis = trained(module, optimizer, nn.MSELoss(), x, y, epochs=80, validation=(xv, (xv @ weights)[:, None]))
    assert symptoms(diagnosis.findings, "problem") == []


def test_an_autoencoder():
    """The targets are the inputs."""
    module = mlp(8, 4, 8)
    x = torch.as_tensor(np.random.default_rng(0).normal(size=(200, 8)).astype("float32"))
    diagnosis = trained(module, torch.optim.Adam(module.parameters(), 0.01), nn.MSELoss(), x, x)
    assert severe(diagnosis.findings) == []
