"""Programs of our own with one mistake each, on several datasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from programs.spec import STACKS, Program

_KERAS = STACKS[:2]
_CLASSES = "categorical_crossentropy"


def faults() -> Iterator[Program]:
    """Yield the programs."""
    for base in (_DIGITS, _WINE, _CLASSIFICATION):
        yield from _of_classes(*base)
    for base in (_MOONS, _CANCER):
        yield from _of_two_classes(*base)
    for base in (_FRIEDMAN, _DIABETES):
        yield from _of_numbers(*base)


def _relu(*widths: int) -> list[Any]:
    return [("dense", width, "relu") for width in widths]


_DIGITS = ("digits", _relu(64), 10, 25)
_WINE = ("wine", _relu(32, 32), 3, 40)
_CLASSIFICATION = ("classification", _relu(64, 32), 4, 40)
_MOONS = ("moons", _relu(32, 32), 60)
_CANCER = ("cancer", _relu(16), 40)
_FRIEDMAN = ("friedman", _relu(64, 64), 40)
_DIABETES = ("diabetes", _relu(32), 60)


def _fault(data: str, name: str, layers: list[Any], loss: str, epochs: int, *expect: str, **more: Any) -> Program:
    return Program(
        id=f"own-{data}-{name}",
        kind="fault",
        family=f"own-{data}",
        data=data,
        layers=layers,
        loss=loss,
        epochs=epochs,
        expect=expect,
        **more,
    )


def _of_classes(data: str, hidden: list[Any], classes: int, epochs: int) -> Iterator[Program]:
    good = [*hidden, ("dense", classes, "softmax")]
    deep = [("dense", 16, "sigmoid")] * 10

    def made(name: str, layers: list[Any], *expect: str, **more: Any) -> Program:
        return _fault(data, name, layers, more.pop("loss", _CLASSES), epochs, *expect, **more)

    mismatch = ("loss_output_mismatch",)
    yield made(
        "no-softmax",
        [*hidden, ("dense", classes, "linear")],
        *mismatch,
        is_static=True,
        stacks=_KERAS,
        allow=("non_finite", "not_learning"),
    )
    yield made("softmax-twice", good, *mismatch, is_static=True, options={"from_logits": True})
    yield made(
        "relu-output",
        [*hidden, ("dense", classes, "relu")],
        *mismatch,
        is_static=True,
        stacks=_KERAS,
        allow=("non_finite", "not_learning", "dead_units", "zero_gradient"),
    )
    yield made(
        "binary-loss",
        [*hidden, ("dense", classes, "softmax")],
        *mismatch,
        is_static=True,
        stacks=_KERAS,
        loss="binary_crossentropy",
        options={"one_hot": True},
    )
    yield made(
        "linear-layers",
        [("dense", 64, "linear"), ("dense", 64, "linear"), ("dense", classes, "softmax")],
        "missing_nonlinearity",
        is_static=True,
    )
    yield made(
        "unscaled",
        good,
        "unscaled_input",
        is_static=True,
        options={"data": {"scale": 1000.0}},
        allow=("bad_init", "dead_units", "lr_too_high", "exploding", "oscillation"),
    )
    yield made(
        "tiny-inputs",
        good,
        "input_scale_low",
        is_static=True,
        options={"data": {"scale": 0.0005}},
        allow=("not_learning", "lr_too_low", "undertrained"),
    )
    yield made(
        "rate-high",
        good,
        "lr_too_high",
        "oscillation",
        "non_finite",
        "exploding",
        optimizer=("adam", 0.3, {}),
        allow=("dead_units", "not_learning", "loss_rising", "constant_output", "zero_gradient"),
    )
    yield made("rate-low", good, "lr_too_low", "undertrained", optimizer=("adam", 3e-6, {}), allow=("not_learning",))
    yield made("rate-zero", good, "untrained", optimizer=("sgd", 0.0, {}), is_static=True, allow=("not_learning",))
    yield made(
        "deep-sigmoid",
        [*deep, ("dense", classes, "softmax")],
        "vanishing_gradient",
        allow=("not_learning", "constant_output", "saturated"),
    )
    yield made(
        "zeros",
        good,
        "symmetric_units",
        "zero_gradient",
        options={"init": "zeros"},
        allow=("not_learning", "constant_output", "dead_units", "vanishing_gradient"),
    )
    yield made(
        "constant-init",
        good,
        "symmetric_units",
        is_static=True,
        options={"init": ("constant", 0.05)},
        allow=("not_learning", "constant_output"),
    )
    yield made(
        "wide-init",
        [*hidden, *hidden, ("dense", classes, "softmax")],
        "bad_init",
        "exploding",
        options={"init": ("normal", 3.0)},
        allow=("lr_too_high", "non_finite", "dead_units", "oscillation"),
    )
    yield made(
        "dead",
        good,
        "dead_units",
        options={"bias": -8.0},
        allow=("not_learning", "zero_gradient", "constant_output", "vanishing_gradient"),
    )
    yield made(
        "random-labels",
        good,
        "random_labels",
        "overfitting",
        "not_learning",
        options={"data": {"shuffle_features": True}},
    )
    yield made("nan-inputs", good, "non_finite", is_static=True, options={"data": {"nan": 0.01}})
    yield made(
        "constant-inputs",
        good,
        "constant_input",
        is_static=True,
        options={"data": {"constant": 1.0}},
        allow=("not_learning", "constant_output", "symmetric_units"),
    )
    yield made("frozen", good, "untrained", is_static=True, options={"frozen": len(good)}, allow=("not_learning",))
    yield made(
        "overfit",
        [("dense", 256, "relu"), ("dense", 256, "relu"), ("dense", classes, "softmax")],
        "overfitting",
        options={"data": {"noisy_labels": 0.3}, "epochs": 3},
        optimizer=("adam", 0.002, {}),
    )
    yield made(
        "dropout",
        [*hidden, ("dropout", 0.95), ("dense", classes, "softmax")],
        "high_dropout",
        is_static=True,
        allow=("not_learning", "undertrained"),
    )
    yield made(
        "dropout-output",
        [*good[:-1], ("dense", classes, "linear"), ("dropout", 0.5), ("activation", "softmax")],
        "dropout_on_logits",
        is_static=True,
    )
    yield made(
        "leak",
        [*good],
        "label_leak",
        is_static=True,
        options={"data": {"share_validation": True}},
        allow=("overfitting",),
    )
    yield made(
        "validation-scale",
        good,
        "train_validation_shift",
        is_static=True,
        options={"data": {"scale_validation": 30.0}},
        allow=("overfitting",),
    )
    yield made(
        "penalty",
        good,
        "overwhelming_regularization",
        options={"l2": 1.0},
        stacks=_KERAS,
        allow=("not_learning", "constant_output", "dead_units", "vanishing_gradient"),
    )
    normalized: list[Any] = []
    for layer in hidden:
        normalized += [("dense", layer[1], "linear"), ("bn", 1e-4), ("activation", "relu")]
    yield made(
        "moving-statistics",
        [*normalized, ("dense", classes, "softmax")],
        "train_eval_mismatch",
        allow=("overfitting", "train_validation_shift"),
    )
    yield made("imbalance", good, "class_imbalance", is_static=True, options={"data": {"thin": 0.02}})
    yield made(
        "missing-class",
        [*hidden, ("dense", classes + 5, "softmax")],
        "class_imbalance",
        is_static=True,
        options={"classes": classes + 5},
    )
    yield made(
        "flipped",
        good,
        "exploding",
        "non_finite",
        "loss_rising",
        options={"flip_sign": True},
        allow=("lr_too_high", "dead_units", "negative_loss"),
    )


def _of_two_classes(data: str, hidden: list[Any], epochs: int) -> Iterator[Program]:
    loss = "binary_crossentropy"

    def made(name: str, layers: list[Any], *expect: str, **more: Any) -> Program:
        return _fault(data, name, layers, more.pop("loss", loss), epochs, *expect, **more)

    good = [*hidden, ("dense", 1, "sigmoid")]
    yield made("one-softmax", [*hidden, ("dense", 1, "softmax")], "loss_output_mismatch", is_static=True, stacks=_KERAS)
    yield made(
        "one-softmax-classes",
        [*hidden, ("dense", 1, "softmax")],
        "loss_output_mismatch",
        is_static=True,
        loss=_CLASSES,
        options={"integer_labels": True},
        stacks=_KERAS,
    )
    yield made(
        "no-sigmoid",
        [*hidden, ("dense", 1, "linear")],
        "loss_output_mismatch",
        is_static=True,
        stacks=_KERAS,
        allow=("non_finite", "exploding", "not_learning"),
    )
    yield made("sigmoid-twice", good, "loss_output_mismatch", is_static=True, options={"from_logits": True})
    yield made(
        "tanh-output",
        [*hidden, ("dense", 1, "tanh")],
        "loss_output_mismatch",
        is_static=True,
        stacks=_KERAS,
        allow=("non_finite", "exploding", "not_learning"),
    )
    yield made(
        "labels-one-two",
        good,
        "loss_output_mismatch",
        is_static=True,
        options={"data": {"shift_targets": 1}},
        allow=("negative_loss", "exploding", "saturated"),
    )
    yield made(
        "rate-high",
        good,
        "lr_too_high",
        "oscillation",
        "non_finite",
        "exploding",
        optimizer=("adam", 0.5, {}),
        allow=("dead_units", "not_learning", "loss_rising", "constant_output", "zero_gradient"),
    )
    yield made("rate-low", good, "lr_too_low", "undertrained", optimizer=("adam", 3e-6, {}), allow=("not_learning",))
    yield made(
        "no-hidden-activation",
        [("dense", 32, "linear"), ("dense", 32, "linear"), ("dense", 1, "sigmoid")],
        "missing_nonlinearity",
        is_static=True,
    )
    yield made(
        "deep-sigmoid",
        [*[("dense", 8, "sigmoid")] * 10, ("dense", 1, "sigmoid")],
        "vanishing_gradient",
        allow=("not_learning", "constant_output"),
    )
    yield made(
        "dead",
        good,
        "dead_units",
        options={"bias": -8.0},
        allow=("not_learning", "zero_gradient", "constant_output", "vanishing_gradient"),
    )
    yield made(
        "constant-init",
        good,
        "symmetric_units",
        is_static=True,
        options={"init": ("constant", 0.05)},
        allow=("not_learning", "constant_output"),
    )
    yield made("target-leak", good, "label_leak", is_static=True, options={"data": {"leak": True}})


def _of_numbers(data: str, hidden: list[Any], epochs: int) -> Iterator[Program]:
    loss = "mean_squared_error"

    def made(name: str, layers: list[Any], *expect: str, **more: Any) -> Program:
        return _fault(data, name, layers, more.pop("loss", loss), epochs, *expect, **more)

    good = [*hidden, ("dense", 1, "linear")]
    yield made(
        "sigmoid-output",
        [*hidden, ("dense", 1, "sigmoid")],
        "output_range_mismatch",
        is_static=True,
        allow=("saturated", "not_learning"),
    )
    yield made(
        "tanh-output",
        [*hidden, ("dense", 1, "tanh")],
        "output_range_mismatch",
        is_static=True,
        allow=("saturated", "not_learning"),
    )
    yield made(
        "relu-output",
        [*hidden, ("dense", 1, "relu")],
        "output_range_mismatch",
        is_static=True,
        options={"data": {"shift_targets": -20.0}},
        allow=("not_learning", "dead_units", "zero_gradient", "constant_output"),
    )
    yield made(
        "softmax-output",
        [*hidden, ("dense", 1, "softmax")],
        "loss_output_mismatch",
        "output_range_mismatch",
        is_static=True,
        stacks=_KERAS,
        allow=("not_learning",),
    )
    yield made(
        "accuracy", good, "accuracy_on_regression", is_static=True, options={"metrics": ["accuracy"]}, stacks=_KERAS
    )
    yield made(
        "unscaled-targets",
        good,
        "unscaled_target",
        is_static=True,
        options={"data": {"scale_targets": 5000.0}},
        allow=("undertrained", "lr_too_low", "not_learning", "exploding"),
    )
    yield made(
        "unscaled",
        good,
        "unscaled_input",
        is_static=True,
        options={"data": {"scale": 3000.0}},
        allow=("bad_init", "exploding", "lr_too_high", "dead_units", "oscillation"),
    )
    yield made(
        "rate-high",
        good,
        "lr_too_high",
        "oscillation",
        "non_finite",
        "exploding",
        optimizer=("sgd", 2.0, {}),
        allow=("dead_units", "not_learning", "loss_rising", "constant_output", "zero_gradient"),
    )
    yield made("rate-low", good, "lr_too_low", "undertrained", optimizer=("adam", 3e-6, {}), allow=("not_learning",))
    yield made(
        "linear-layers",
        [("dense", 64, "linear"), ("dense", 64, "linear"), ("dense", 1, "linear")],
        "missing_nonlinearity",
        is_static=True,
    )
    yield made(
        "random-targets",
        good,
        "random_labels",
        "overfitting",
        "not_learning",
        options={"data": {"shuffle_features": True}, "epochs": 3},
    )
    yield made(
        "broadcast",
        good,
        "shape_mismatch",
        is_static=True,
        options={"broadcast": True},
        stacks=("torch",),
        allow=("not_learning",),
    )
    yield made(
        "dead",
        good,
        "dead_units",
        options={"bias": -12.0},
        allow=("not_learning", "zero_gradient", "constant_output", "vanishing_gradient"),
    )
    yield made(
        "penalty",
        good,
        "overwhelming_regularization",
        options={"l2": 1.0},
        stacks=_KERAS,
        allow=("not_learning", "constant_output", "dead_units", "vanishing_gradient"),
    )
    yield made(
        "outliers",
        good,
        "outlier_targets",
        is_static=True,
        options={"data": {"outlier_targets": 5000.0}},
        allow=("unscaled_target", "exploding", "oscillation"),
    )
