"""Healthy programs: families of data, architecture and loss, trained as in tutorials, and what must stay silent."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from programs.spec import STACKS, Program

_ADAM = ("adam", 0.001, {})
_ADAM_FAST = ("adam", 0.005, {})
_SGD = ("sgd", 0.1, {})
_MOMENTUM = ("sgd", 0.02, {"momentum": 0.9})
_RMSPROP = ("rmsprop", 0.001, {})
_ADAMW = ("adamw", 0.002, {})


def healthy() -> Iterator[Program]:
    """Yield the healthy programs, each with its family."""
    yield from _tables()
    yield from _images()
    yield from _regressions()
    yield from _sequences()
    yield from _what_looks_wrong()
    yield from _special()


def _program(family: str, name: str, data: str, layers: list[tuple[Any, ...]], loss: str, **more: Any) -> Program:
    return Program(id=f"{family}-{name}", kind="healthy", family=family, data=data, layers=layers, loss=loss, **more)


def _mlp(widths: tuple[int, ...], activation: str, output: tuple[int, str], dropout: float = 0.0) -> list[Any]:
    layers: list[Any] = []
    for width in widths:
        layers.append(("dense", width, activation))
        if dropout:
            layers.append(("dropout", dropout))
    return [*layers, ("dense", *output)]


_OPTIMIZERS = {"adam": _ADAM, "fast": _ADAM_FAST, "sgd": _SGD, "momentum": _MOMENTUM, "rmsprop": _RMSPROP}


def _tables() -> Iterator[Program]:
    classes, binary = "categorical_crossentropy", "binary_crossentropy"
    for family, data, output, loss, epochs in (
        ("blobs-mlp", "blob", (3, "softmax"), classes, 40),
        ("moons-mlp", "moons", (1, "sigmoid"), binary, 60),
        ("iris-mlp", "iris", (3, "softmax"), classes, 60),
        ("wine-mlp", "wine", (3, "softmax"), classes, 40),
        ("cancer-mlp", "cancer", (1, "sigmoid"), binary, 30),
        ("classes-mlp", "classification", (4, "softmax"), classes, 25),
    ):
        for (width, optimizer), activation in product(
            (((16,), "adam"), ((32, 32), "momentum"), ((64, 32), "adam"), ((64,), "rmsprop"), ((128, 64), "fast")),
            ("relu", "tanh"),
        ):
            name = f"{'x'.join(map(str, width))}-{optimizer}-{activation}"
            layers = _mlp(width, activation, output)
            yield _program(
                family, name, data, layers, loss, optimizer=_OPTIMIZERS[optimizer], epochs=_fewer(epochs, optimizer)
            )


def _fewer(epochs: int, optimizer: str) -> int:
    """Return fewer epochs for a fast optimizer: on so few rows, as many would overfit, which is not healthy."""
    return epochs // 3 if optimizer == "fast" else epochs


def _images() -> Iterator[Program]:
    loss, output = "categorical_crossentropy", (10, "softmax")
    for width, dropout, optimizer in (
        ((64,), 0.0, "adam"),
        ((128,), 0.2, "adam"),
        ((128, 64), 0.0, "momentum"),
        ((256, 128), 0.4, "fast"),
        ((64, 64), 0.0, "rmsprop"),
        ((512,), 0.5, "rmsprop"),
        ((32,), 0.0, "sgd"),
        ((128, 128, 64), 0.1, "adam"),
    ):
        name = f"{'x'.join(map(str, width))}-{optimizer}-{dropout}"
        layers = _mlp(width, "relu", output, dropout)
        yield _program("digits-mlp", name, "digits", layers, loss, optimizer=_OPTIMIZERS[optimizer], epochs=25)
    for width, dropout, optimizer in (
        ((128,), 0.2, "adam"),
        ((512, 512), 0.2, "rmsprop"),
        ((256,), 0.0, "momentum"),
        ((512,), 0.0, "adam"),
        ((300, 100), 0.0, "sgd"),
    ):
        name = f"{'x'.join(map(str, width))}-{optimizer}-{dropout}"
        layers = _mlp(width, "relu", output, dropout)
        yield _program("mnist-mlp", name, "mnist", layers, loss, batch=128, epochs=12, optimizer=_OPTIMIZERS[optimizer])
    for filters, extra, optimizer in (
        ((16, 32), None, "adam"),
        ((8, 16), "dropout", "adam"),
        ((16, 16), "bn", "momentum"),
        ((32,), "dropout", "rmsprop"),
        ((16, 32), "bn", "fast"),
        ((8,), None, "sgd"),
    ):
        yield _program(
            "digits-cnn",
            f"{'x'.join(map(str, filters))}-{extra}-{optimizer}",
            "digits_image",
            _cnn(filters, extra, 10),
            loss,
            epochs=15,
            optimizer=_OPTIMIZERS[optimizer],
        )
    for filters, extra, optimizer in (((32, 64), "dropout", "adam"), ((16, 32), None, "momentum")):
        yield _program(
            "mnist-cnn",
            f"{'x'.join(map(str, filters))}-{extra}-{optimizer}",
            "mnist_image",
            _cnn(filters, extra, 10),
            loss,
            batch=128,
            epochs=6,
            optimizer=_OPTIMIZERS[optimizer],
        )


def _cnn(filters: tuple[int, ...], extra: str | None, classes: int) -> list[Any]:
    layers: list[Any] = []
    for each in filters:
        layers.append(("conv", each, 3, "linear" if extra == "bn" else "relu"))
        if extra == "bn":
            layers += [("bn",), ("activation", "relu")]
        layers.append(("maxpool", 2))
    layers.append(("flatten",))
    if extra == "dropout":
        layers.append(("dropout", 0.5))
    return [*layers, ("dense", classes, "softmax")]


def _regressions() -> Iterator[Program]:
    for family, data, epochs in (
        ("diabetes-mlp", "diabetes", 40),
        ("friedman-mlp", "friedman", 40),
        ("linear-mlp", "linear", 30),
        ("cars-mlp", "cars_standardized", 100),
    ):
        for width, optimizer, loss in (
            ((64, 64), "adam", "mean_squared_error"),
            ((32,), "fast", "mean_squared_error"),
            ((64, 64), "rmsprop", "mean_squared_error"),
            ((16, 16), "fast", "mean_absolute_error"),
            ((64,), "adam", "huber"),
        ):
            name = f"{'x'.join(map(str, width))}-{optimizer}-{loss}"
            layers = _mlp(width, "relu", (1, "linear"))
            yield _program(family, name, data, layers, loss, optimizer=_OPTIMIZERS[optimizer], epochs=epochs)


def _sequences() -> Iterator[Program]:
    for cell, units, optimizer in (
        ("gru", 16, "fast"),
        ("lstm", 16, "fast"),
        ("lstm", 32, "adam"),
        ("gru", 32, "rmsprop"),
    ):
        layers = [(cell, units), ("dense", 1, "linear")]
        yield _program(
            "waves-rnn",
            f"{cell}{units}-{optimizer}",
            "waves",
            layers,
            "mean_squared_error",
            epochs=12,
            optimizer=_OPTIMIZERS[optimizer],
        )
    for size, optimizer, dropout in ((8, "fast", 0.0), (16, "adam", 0.0), (16, "rmsprop", 0.3), (32, "adam", 0.5)):
        layers = [
            ("embedding", 50, size),
            ("meanpool",),
            *([("dropout", dropout)] if dropout else []),
            ("dense", 16, "relu"),
            ("dense", 1, "sigmoid"),
        ]
        yield _program(
            "words-pool",
            f"{size}-{optimizer}-{dropout}",
            "parity_words",
            layers,
            "binary_crossentropy",
            epochs=15,
            optimizer=_OPTIMIZERS[optimizer],
        )


# --- what looks wrong and is not -----------------------------------------------------------------------------------


def _what_looks_wrong() -> Iterator[Program]:  # noqa: C901 (a list)
    classes = "categorical_crossentropy"
    digits = _mlp((64,), "relu", (10, "softmax"))
    image = _cnn((16, 32), None, 10)
    yield _program("dropout", "strong", "digits", _mlp((256, 256), "relu", (10, "softmax"), 0.6), classes, epochs=30)
    yield _program(
        "dropout",
        "input",
        "mnist",
        [("dropout", 0.2), *_mlp((256,), "relu", (10, "softmax"), 0.5)],
        classes,
        epochs=10,
        batch=128,
    )
    for copies in (1, 2):
        yield _program(
            "augmentation",
            f"{copies}",
            "digits_image",
            image,
            classes,
            epochs=15,
            options={"data": {"augment": copies}},
        )
    for frozen in (1, 2):
        layers = _mlp((64,) * (frozen + 1), "relu", (10, "softmax"))
        yield _program("frozen", f"{frozen}", "digits", layers, classes, epochs=25, options={"frozen": frozen})
    for name, optimizer in (("adam", ("adam", 0.003, {})), ("sgd", ("sgd", 0.1, {"momentum": 0.9}))):
        for schedule in ("warmup", "restarts", "steps", "cosine"):
            yield _program(
                "schedules",
                f"{schedule}-{name}",
                "digits",
                digits,
                classes,
                epochs=40,
                optimizer=optimizer,
                options={"schedule": schedule},
            )
    for share in (0.1, 0.2):
        yield _program(
            "label-smoothing", f"{share}", "digits", digits, classes, epochs=25, options={"label_smoothing": share}
        )
        yield _program(
            "noisy-labels",
            f"{share}",
            "classification",
            _mlp((32,), "relu", (4, "softmax")),
            classes,
            epochs=30,
            options={"data": {"noisy_labels": share}},
        )
    for weight in (2.0, 5.0):
        yield _program(
            "class-weights",
            f"{weight}",
            "cancer",
            _mlp((16,), "relu", (1, "sigmoid")),
            "binary_crossentropy",
            epochs=30,
            options={"class_weight": weight},
            stacks=STACKS[:2],
        )
    for count in (15, 30):
        yield _program(
            "small-validation",
            f"digits-{count}",
            "digits",
            digits,
            classes,
            epochs=40,
            options={"data": {"few_validation": count}},
        )
        yield _program(
            "small-validation",
            f"moons-{count}",
            "moons",
            _mlp((32, 32), "relu", (1, "sigmoid")),
            "binary_crossentropy",
            epochs=40,
            options={"data": {"few_validation": count}},
        )
    for epochs in (1, 2, 3):
        yield _program(
            "early", f"{epochs}", "mnist", _mlp((128,), "relu", (10, "softmax"), 0.2), classes, epochs=epochs, batch=64
        )
    for name, loss, last in (("mse", "mean_squared_error", "linear"), ("bce", "binary_crossentropy", "sigmoid")):
        layers = [("dense", 32, "relu"), ("dense", 64, last)]
        yield _program("autoencoder", name, "digits", layers, loss, epochs=30, options={"autoencoder": True})
    for rate in (0.0001, 0.001):
        yield _program("l2", f"{rate}", "digits", digits, classes, epochs=30, options={"l2": rate}, stacks=STACKS[:2])
    for width in (16, 64):
        yield _program(
            "deep-tanh",
            f"{width}",
            "circle",
            _mlp((width,) * 8, "tanh", (1, "sigmoid")),
            "binary_crossentropy",
            epochs=60,
            options={"init": "glorot_uniform"},
        )
    for optimizer in ("adam", "adamw"):
        yield _program(
            "deep-bn",
            optimizer,
            "digits",
            [*[("dense", 64, "linear"), ("bn",), ("activation", "relu")] * 6, ("dense", 10, "softmax")],
            classes,
            epochs=20,
            optimizer=(optimizer, 0.002, {}),
        )


def _special() -> Iterator[Program]:
    """Programs with a training loop of their own, in PyTorch.

    Until validation turns for the better, a warning of overfitting is right; a problem is not.
    """
    for name, count in (("gan", 6), ("reinforce", 6), ("grokking", 4), ("double_descent", 4), ("autoregressive", 4)):
        for number in range(count):
            yield Program(
                id=f"{name}-{number}",
                kind="healthy",
                family=name,
                data="none",
                layers=name,
                loss="none",
                epochs=0,
                options={"variant": number},
                allow=("overfitting", "random_labels") if name in {"grokking", "double_descent"} else (),
                stacks=("torch",),
            )
