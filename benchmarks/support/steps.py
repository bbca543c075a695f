"""Training steps without a framework's own loop: raw PyTorch and raw JAX, each with a loss and an accuracy.

A step trains a network of dense layers on one batch that stays on the device, and returns both values
from the device. `Ready` does no work and returns values that were computed before: it measures
the monitoring alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np


@attrs.frozen
class Size:
    """A network of dense layers, and its batches.

    Attributes:
        width: The number of units of each hidden layer.
        layers: The number of hidden layers.
        samples: The number of samples per batch.
        inputs: The number of inputs.
    """

    width: int
    layers: int
    samples: int
    inputs: int = 32

    def data(self, batches: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets of a number of batches."""
        x = np.random.default_rng(0).normal(size=(batches * self.samples, self.inputs)).astype("float32")
        return x, (x.sum(axis=1) > 0).astype("float32")

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The shape of each layer's kernel."""
        widths = [self.inputs, *[self.width] * self.layers, 1]
        return list(itertools.pairwise(widths))


def nothing() -> None:
    """Do nothing."""


class TorchStep:
    """A step of PyTorch: SGD, on the GPU if there is one.

    Attributes:
        device: Where it trains.
        handle: The model's handle for sinks.
        on_step: Called when a step begins.
    """

    def __init__(self, size: Size) -> None:
        import torch

        from monitor_core.adapters.torch import TorchModel

        torch.manual_seed(0)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        layers: list[Any] = []
        for rows, columns in size.shapes:
            layers += [torch.nn.Linear(rows, columns), torch.nn.ReLU()]
        self.module = torch.nn.Sequential(*layers[:-1]).to(self.device)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=1e-3)
        self.loss = torch.nn.functional.binary_cross_entropy_with_logits
        self.x, self.y = (torch.from_numpy(each).to(self.device) for each in size.data())
        self.handle = TorchModel(self.module, self.optimizer)
        self.on_step = nothing

    def measure(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Call ``on_step`` and train: return loss and accuracy of a batch."""
        self.on_step()
        outputs = self.module(x)[:, 0]
        return self.loss(outputs, y), ((outputs.detach() > 0) == (y > 0.5)).float().mean()

    def __call__(self) -> tuple[Any, Any]:
        """Train on the batch; return loss, which requires a gradient, and accuracy."""
        loss, accuracy = self.measure(self.x, self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss, accuracy

    def settle(self) -> None:
        """Wait until the device has nothing left to do."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def ready(self, count: int) -> list[tuple[Any, Any]]:
        """Return a number of pairs of values."""
        import torch

        values = torch.rand(count, 2, device=self.device)
        pairs = [(pair[0].clone(), pair[1].clone()) for pair in values]
        self.settle()
        return pairs


@attrs.define
class Rates:
    """A handle that provides only a learning rate."""

    learning_rates: list[float] = attrs.Factory(lambda: [1e-3])


class JaxStep:
    """A step of JAX: SGD, compiled, its parameters donated to the next step.

    Attributes:
        device: Where it trains.
        handle: A handle for sinks, with a learning rate that is not used.
        on_step: Called when a step begins.
    """

    def __init__(self, size: Size) -> None:
        import jax
        from jax import numpy as jnp

        random = np.random.default_rng(1)
        self._jax = jax
        self.device = jax.devices()[0]
        self._parameters = [
            (jnp.asarray(random.normal(size=shape, scale=shape[0] ** -0.5).astype("float32")), jnp.zeros(shape[1]))
            for shape in size.shapes
        ]
        self._batch = tuple(jnp.asarray(each) for each in size.data())
        self._update = jax.jit(_sgd, donate_argnums=0)
        self._ready = jax.jit(lambda number: (number * 0.5, number + 1.0))
        self._last: Any = None
        self.on_step = nothing
        self.handle = Rates()

    def __call__(self) -> tuple[Any, Any]:
        """Train on the batch; return loss and accuracy."""
        self.on_step()
        self._parameters, loss, accuracy = self._update(self._parameters, *self._batch)
        self._last = loss
        return loss, accuracy

    def settle(self) -> None:
        """Wait until the device has nothing left to do."""
        self._jax.block_until_ready(self._last)

    def ready(self, count: int) -> list[tuple[Any, Any]]:
        """Return a number of pairs of values."""
        return self._jax.block_until_ready([self._ready(float(number)) for number in range(count)])


def _sgd(parameters: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
    import jax
    from jax import numpy as jnp

    def measure(parameters):
        hidden = x
        for kernel, bias in parameters[:-1]:
            hidden = jax.nn.relu(hidden @ kernel + bias)
        kernel, bias = parameters[-1]
        outputs = (hidden @ kernel + bias)[:, 0]
        loss = jnp.mean(jax.nn.softplus(outputs) - y * outputs)
        return loss, jnp.mean((outputs > 0) == (y > 0.5))

    (loss, accuracy), gradients = jax.value_and_grad(measure, has_aux=True)(parameters)
    updated = jax.tree.map(lambda parameter, gradient: parameter - 1e-3 * gradient, parameters, gradients)
    return updated, loss, accuracy


class Ready:
    """Does no work: returns values that another step has computed.

    Args:
        step: The other step.
    """

    def __init__(self, step: TorchStep | JaxStep) -> None:
        self._step = step
        self._pairs: list[tuple[Any, Any]] = []
        self.device = step.device
        self.handle = step.handle
        self.settle = step.settle

    def prepare(self, batches: int) -> None:
        """Prepare values for a number of batches."""
        self._pairs = self._step.ready(batches)

    def __call__(self) -> tuple[Any, Any]:
        return self._pairs.pop()


STEPS: dict[str, Callable[[Size], TorchStep | JaxStep]] = {"torch": TorchStep, "jax": JaxStep}
