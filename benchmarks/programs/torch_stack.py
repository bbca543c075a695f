"""Builds and trains a program in PyTorch, in a loop as tutorials write it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from monitor_core import Loop
from monitor_core.adapters.torch import TorchModel
from programs.datasets import load
from programs.spec import Program

_ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid}


class Exponential(torch.nn.Module):
    """``exp(x)``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return it."""
        return torch.exp(x)


class Last(torch.nn.Module):
    """A recurrent layer's last output."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return it."""
        return self.layer(x)[0][:, -1]


class Mean(torch.nn.Module):
    """The mean over a sequence."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return it."""
        return x.mean(1)


def train(program: Program, seed: int, sink: Any) -> dict[str, float]:
    """Train a program with a sink; return the last epoch's results."""
    torch.manual_seed(seed)
    x, y, xv, yv = map(torch.as_tensor, _arrays(program, seed))
    builder = _Builder(program, tuple(x.shape[1:]))
    module, loss = builder.module, builder.loss
    optimizer = _optimizer(program, module)
    handle = TorchModel(module, optimizer, loss=loss)
    sink.sample = (x.numpy(), y.numpy())
    epochs = program.epochs * program.options.get("epochs", 1)
    generator = torch.Generator().manual_seed(seed)
    logs: dict[str, float] = {}
    with Loop(sink, model=handle, validation_data=(xv.numpy(), yv.numpy())) as loop:
        for epoch in loop.epochs(epochs):
            _set_rate(program, optimizer, epoch)
            module.train()
            batches = torch.randperm(len(x), generator=generator).split(program.batch)
            for rows in loop.batches(batches):
                optimizer.zero_grad()
                output = module(x[rows])
                value = loss(output, y[rows])
                (-value if program.options.get("flip_sign") else value).backward()
                optimizer.step()
                loop.log(loss=value)
                _log_accuracy(loop, builder, output, y[rows])
            module.eval()
            with loop.evaluation(), torch.no_grad():
                for rows in loop.batches(torch.arange(len(xv)).split(256)):
                    output = module(xv[rows])
                    loop.log(loss=loss(output, yv[rows]), weight=len(rows))
                    _log_accuracy(loop, builder, output, yv[rows])
    return logs


def _log_accuracy(loop: Any, builder: _Builder, output: torch.Tensor, y: torch.Tensor) -> None:
    if builder.has_classes:
        found = output.argmax(1) if output.shape[-1] > 1 else (output[:, 0] > builder.middle).long()
        loop.log(accuracy=(found == y.reshape(len(y), -1)[:, 0]).float().mean())


def _arrays(program: Program, seed: int) -> tuple[Any, ...]:
    x, y, xv, yv = load(program, seed)
    if x.ndim == 4:
        x, xv = np.moveaxis(x, -1, 1).copy(), np.moveaxis(xv, -1, 1).copy()
    if program.options.get("autoencoder"):
        return x, x, xv, xv
    if program.loss == "categorical_crossentropy":
        return x, y.argmax(1), xv, yv.argmax(1)
    y, yv = y.astype(np.float32), yv.astype(np.float32)
    if program.options.get("broadcast"):
        return x, y, xv, yv
    return x, y.reshape(len(y), -1), xv, yv.reshape(len(yv), -1)


class _Builder:
    """The module and the loss, in the way that PyTorch's users write them: logits with losses that take logits."""

    def __init__(self, program: Program, shape: tuple[int, ...]) -> None:
        self.program, self.shape = program, shape
        self.middle = 0.0
        self.has_classes = "crossentropy" in program.loss and not program.options.get("autoencoder")
        layers: list[torch.nn.Module] = []
        for index, spec in enumerate(program.layers):
            layers += self._layers(spec, index)
        self.loss = self._loss_of(layers)
        self.module = torch.nn.Sequential(*layers)
        frozen = program.options.get("frozen", 0)
        for layer in [each for each in layers if next(each.parameters(), None) is not None][:frozen]:
            layer.requires_grad_(False)

    def _layers(self, spec: tuple[Any, ...], index: int) -> list[torch.nn.Module]:  # noqa: PLR0911 (a table)
        kind, *args = spec
        size = math.prod(self.shape)
        if kind == "dense":
            layer: torch.nn.Module = torch.nn.Linear(size, args[0])
            self.shape = (args[0],)
            self._initialize(layer, index)
            return [layer, *_activation(args[1])]
        if kind == "conv":
            layer = torch.nn.Conv2d(self.shape[0], args[0], args[1], padding="same")
            self.shape = (args[0], *self.shape[1:])
            self._initialize(layer, index)
            return [layer, *_activation(args[2])]
        if kind == "maxpool":
            self.shape = (self.shape[0], *(side // args[0] for side in self.shape[1:]))
            return [torch.nn.MaxPool2d(args[0])]
        if kind == "flatten":
            self.shape = (size,)
            return [torch.nn.Flatten()]
        if kind == "bn":
            is_image = len(self.shape) == 3
            momentum = {"momentum": args[0]} if args else {}
            return [(torch.nn.BatchNorm2d if is_image else torch.nn.BatchNorm1d)(self.shape[0], **momentum)]
        if kind == "embedding":
            self.shape = (*self.shape, args[1])
            return [torch.nn.Embedding(*args)]
        if kind in {"lstm", "gru"}:
            layer = (torch.nn.LSTM if kind == "lstm" else torch.nn.GRU)(self.shape[-1], args[0], batch_first=True)
            self.shape = (args[0],)
            return [Last(layer)]
        if kind == "meanpool":
            self.shape = self.shape[-1:]
            return [Mean()]
        return [torch.nn.Dropout(args[0])] if kind == "dropout" else _activation(args[0])

    def _initialize(self, layer: Any, index: int) -> None:
        options = self.program.options
        init = options.get("first_init") if index == 0 and "first_init" in options else options.get("init")
        with torch.no_grad():
            if init is not None:
                _fill(layer.weight, init)
            if init is not None or "bias" in options:
                is_hidden = index < len(self.program.layers) - 1
                layer.bias.fill_(options.get("bias", 0.0) if is_hidden else 0.0)

    def _loss_of(self, layers: list[torch.nn.Module]) -> Any:
        program = self.program
        options = program.options
        if program.loss == "categorical_crossentropy":
            if isinstance(layers[-1], torch.nn.Softmax) and not options.get("from_logits"):
                layers.pop()
            return torch.nn.CrossEntropyLoss(label_smoothing=options.get("label_smoothing", 0.0))
        if program.loss == "binary_crossentropy":
            if options.get("from_logits"):
                self.middle = 0.5
                return torch.nn.BCEWithLogitsLoss()
            if isinstance(layers[-1], torch.nn.Sigmoid):
                layers.pop()
            return torch.nn.BCEWithLogitsLoss()
        if options.get("sum_loss"):
            return torch.nn.MSELoss(reduction="sum")
        kinds = {"mean_squared_error": "MSELoss", "mean_absolute_error": "L1Loss", "huber": "HuberLoss"}
        return getattr(torch.nn, kinds[program.loss])()


def _activation(name: str) -> list[torch.nn.Module]:
    if name == "linear":
        return []
    if name == "softmax":
        return [torch.nn.Softmax(-1)]
    return [Exponential() if name == "exponential" else _ACTIVATIONS[name]()]


def _fill(weight: torch.Tensor, init: Any) -> None:
    if not isinstance(init, str):
        kind, value = init
        weight.fill_(value) if kind == "constant" else weight.normal_(0.0, value)
        return
    fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(weight)
    if init in {"zeros", "ones"}:
        weight.fill_(float(init == "ones"))
    elif init == "random_uniform":
        weight.uniform_(-0.05, 0.05)
    elif init == "truncated_normal":
        torch.nn.init.trunc_normal_(weight, 0.0, 0.05, -0.1, 0.1)
    else:
        name, kind = init.split("_")
        scale = {"he": 2 / fan_in, "lecun": 1 / fan_in, "glorot": 2 / (fan_in + fan_out)}[name]
        weight.uniform_(-math.sqrt(3 * scale), math.sqrt(3 * scale)) if kind == "uniform" else weight.normal_(
            0, math.sqrt(scale)
        )


def _optimizer(program: Program, module: Any) -> Any:
    name, rate, options = program.optimizer
    options = dict(options)
    if "beta_1" in options:
        options["betas"] = (options.pop("beta_1"), options.pop("beta_2"))
    if "epsilon" in options:
        options["eps"] = options.pop("epsilon")
    kinds = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "rmsprop": "RMSprop", "adagrad": "Adagrad"}
    if program.options.get("l2"):
        options["weight_decay"] = 2 * program.options["l2"]
    return getattr(torch.optim, kinds[name])(module.parameters(), lr=rate, **options)


def _set_rate(program: Program, optimizer: Any, epoch: int) -> None:
    name = program.options.get("schedule")
    if name is not None:
        from programs.schedules import SCHEDULES

        for group in optimizer.param_groups:
            group["lr"] = SCHEDULES[name](program.optimizer[1], program.epochs)(epoch)
