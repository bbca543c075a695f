"""Builds and trains a program in Keras, on the backend that the process was started with."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from monitor_core import LearningRateScheduler
from monitor_core.adapters.keras import KerasAdapter
from programs.datasets import load
from programs.schedules import SCHEDULES
from programs.spec import Program

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "adagrad": keras.optimizers.Adagrad,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
}


def train(program: Program, seed: int, sink: Any) -> dict[str, float]:
    """Train a program with a sink; return the last epoch's results."""
    keras.utils.set_random_seed(seed)
    x, y, xv, yv = load(program, seed)
    options = program.options
    if options.get("autoencoder"):
        y, yv = x, xv
    model = _model(program, x)
    model.compile(_optimizer(program), _loss(program, y), metrics=_metrics(program))
    sinks = [sink, *_schedule(program)]
    weights = {0: 1.0, 1: options["class_weight"]} if "class_weight" in options else None
    adapter = KerasAdapter(*sinks)
    history = adapter.fit(
        model,
        x,
        y,
        epochs=program.epochs * options.get("epochs", 1),
        batch_size=program.batch,
        validation_data=(xv, yv),
        class_weight=weights,
        verbose=0,
    )
    return {name: values[-1] for name, values in history.history.items() if values}


def _model(program: Program, x: Any) -> Any:
    options = program.options
    layers = [keras.Input(x.shape[1:], dtype=x.dtype)]
    made = [_layer(each, index, program) for index, each in enumerate(program.layers)]
    model = keras.Sequential([*layers, *made])
    frozen = options.get("frozen", 0)
    for layer in [each for each in model.layers if each.weights][:frozen]:
        layer.trainable = False
    return model


def _layer(spec: tuple[Any, ...], index: int, program: Program) -> Any:
    kind, *args = spec
    if kind == "dense":
        return keras.layers.Dense(args[0], args[1], **_weights(program, index))
    if kind == "conv":
        return keras.layers.Conv2D(args[0], args[1], activation=args[2], padding="same", **_weights(program, index))
    if kind == "bn" and args:
        return keras.layers.BatchNormalization(momentum=1 - args[0])
    simple = {
        "maxpool": keras.layers.MaxPooling2D,
        "flatten": keras.layers.Flatten,
        "dropout": keras.layers.Dropout,
        "bn": keras.layers.BatchNormalization,
        "activation": keras.layers.Activation,
        "embedding": keras.layers.Embedding,
        "meanpool": keras.layers.GlobalAveragePooling1D,
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
    }
    return simple[kind](*args)


def _weights(program: Program, index: int) -> dict[str, Any]:
    options = program.options
    init = options.get("first_init") if index == 0 and "first_init" in options else options.get("init")
    found: dict[str, Any] = {"kernel_initializer": _initializer(init)} if init is not None else {}
    if options.get("l2"):
        found["kernel_regularizer"] = keras.regularizers.L2(options["l2"])
    is_hidden = index < len(program.layers) - 1
    if "bias" in options and is_hidden:
        found["bias_initializer"] = keras.initializers.Constant(options["bias"])
    return found


def _initializer(init: Any) -> Any:
    if isinstance(init, str):
        return init
    kind, value = init
    return keras.initializers.Constant(value) if kind == "constant" else keras.initializers.RandomNormal(0.0, value)


def _optimizer(program: Program) -> Any:
    name, rate, options = program.optimizer
    kind = _OPTIMIZERS[name]
    return (_flipped(kind) if program.options.get("flip_sign") else kind)(rate, **options)


def _flipped(kind: Any) -> Any:
    """Return an optimizer that climbs."""

    def update_step(self: Any, gradient: Any, variable: Any, learning_rate: Any) -> None:
        kind.update_step(self, -gradient, variable, learning_rate)

    return type(kind.__name__, (kind,), {"update_step": update_step})


def _loss(program: Program, y: Any) -> Any:
    options = program.options
    if options.get("sum_loss"):
        loss = keras.losses.get(program.loss)
        return lambda true, given: keras.ops.sum(loss(true, given)) * np.prod(np.shape(y)[1:] or (1,)).astype("float32")
    if options.get("from_logits") or options.get("label_smoothing"):
        kinds = {"categorical_crossentropy": "CategoricalCrossentropy", "binary_crossentropy": "BinaryCrossentropy"}
        kind = getattr(keras.losses, kinds[program.loss])
        return kind(from_logits=bool(options.get("from_logits")), label_smoothing=options.get("label_smoothing", 0.0))
    return program.loss


def _metrics(program: Program) -> list[str]:
    if "metrics" in program.options:
        return list(program.options["metrics"])
    return ["accuracy"] if "crossentropy" in program.loss and not program.options.get("autoencoder") else ["mae"]


def _schedule(program: Program) -> list[Any]:
    name = program.options.get("schedule")
    return [] if name is None else [LearningRateScheduler(SCHEDULES[name](program.optimizer[1], program.epochs))]
