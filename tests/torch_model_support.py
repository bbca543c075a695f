"""What the tests of model share."""

import importlib
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")


TorchModel = importlib.import_module("monitor_core.adapters.torch").TorchModel  # not without torch


nn = torch.nn


RNG = np.random.default_rng(0)


X = RNG.normal(size=(8, 4)).astype("float32")


Y = X.sum(axis=1, keepdims=True)


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 1))


@pytest.fixture
def module():
    return network()


@pytest.fixture
def handle(module):
    return TorchModel(module, torch.optim.AdamW(module.parameters(), lr=0.1), loss=nn.functional.mse_loss)


def train(handle, steps=3):
    """Train some steps in full batches; dropout draws from PyTorch's generator."""
    handle.module.train()
    for _ in range(steps):
        loss = nn.functional.mse_loss(handle.module(torch.tensor(X)), torch.tensor(Y))
        handle.optimizer.zero_grad()
        loss.backward()
        handle.optimizer.step()
    return handle.get_weights()


def same(ours, theirs):
    return len(ours) == len(theirs) and all(np.array_equal(one, two) for one, two in zip(ours, theirs, strict=True))


def through_json(value):
    """Return a state as it is after its JSON values went through JSON and its arrays were copied."""
    if isinstance(value, dict):
        return {name: through_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [through_json(each) for each in value]
    return value.copy() if isinstance(value, np.ndarray) else json.loads(json.dumps(value, allow_nan=False))
