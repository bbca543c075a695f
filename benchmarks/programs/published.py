"""The published programs, rebuilt from the facts in ``published.jsonl``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from programs.spec import STACKS, Program

ROWS = Path(__file__).with_name("published.jsonl")
_KERAS = STACKS[:2]
_INITIALIZERS = {
    "VarianceScaling(2.0,fan_in,uniform)": "he_uniform",
    "VarianceScaling(2, fan_in)": "he_uniform",
    "VarianceScaling(2.0,fan_in,normal)": "he_normal",
    "VarianceScaling(1.0,fan_in,uniform)": "lecun_uniform",
    "VarianceScaling(1.0,fan_in,normal)": "lecun_normal",
    "VarianceScaling(1.0,fan_avg,uniform)": "glorot_uniform",
    "VarianceScaling(1.0,fan_avg,normal)": "glorot_normal",
    "RandomUniform()": "random_uniform",
    "TruncatedNormal()": "truncated_normal",
    "Zeros()": "zeros",
    "Ones()": "ones",
}


def published() -> Iterator[Program]:
    """Yield the published programs, in the file's order."""
    for line in ROWS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield _autotrainer(row) if row["id"].startswith("at-") else _the_deep_checker(row)


def _labels(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "kind": row["kind"],
        "expect": tuple(row["expect_any"]) if row["kind"] == "fault" else (),
        "allow": tuple(row["allow"]),
    }


# --- AUTOTRAINER's ------------------------------------------------------------------------------------------------


def _autotrainer(row: dict[str, Any]) -> Program:
    count, units, activation, classes, last = re.match(
        r"(\d+) x Dense (\d+) (\w+), Dense (\d+) (\w+)", row["layers"]
    ).groups()
    kernels = row["layers"].partition("; ")[2].removeprefix("kernels ").split(" / ")
    name, rate, betas = re.match(r"(\w+) ([\d.]+)(?:, beta ([\d.]+ [\d.]+))?", row["optimizer"]).groups()
    options = dict(zip(("beta_1", "beta_2"), map(float, betas.split()), strict=True)) if betas else {}
    is_blob = "blob" in row["id"]
    return Program(
        **_labels(row),
        family=f"at-{'blob' if is_blob else 'circle'}-tanh" if row["kind"] == "healthy" else f"at-{activation}",
        data="blob" if is_blob else "circle",
        layers=[*[("dense", int(units), activation)] * int(count), ("dense", int(classes), last)],
        loss="categorical_crossentropy" if is_blob else "binary_crossentropy",
        optimizer=(name.lower(), float(rate), options),
        batch=row["batch"],
        epochs=row["epochs"],
        options={"init": _INITIALIZERS[kernels[-1]], "first_init": _INITIALIZERS[kernels[0]]},
        stacks=_KERAS if is_blob else STACKS,
    )


# --- TheDeepChecker's ---------------------------------------------------------------------------------------------

_REGRESSION = [("dense", 64, "relu"), ("dense", 64, "relu"), ("dense", 1, "linear")]
_CNN = [
    ("conv", 32, 5, "relu"),
    ("maxpool", 2),
    ("conv", 64, 3, "relu"),
    ("maxpool", 2),
    ("flatten",),
    ("dense", 512, "relu"),
    ("dense", 10, "softmax"),
]
_CHANGED: dict[str, dict[str, Any]] = {
    "reg-double-normalization": {"data": {"scale": 0.005}},
    "cnn-double-normalization": {"data": {"scale": 1 / 255}},
    "flipped-sign": {"flip_sign": True},
    "reg-missing-normalization": {"raw": True},
    "cnn-missing-normalization": {"data": {"scale": 255.0}},
    "missing-regularization": {"l2": 1e-12, "epochs": 10},
    "over-regularization": {"l2": 0.1},
    "constant-init": {"init": ("constant", 0.01)},
    "random-init": {"init": ("normal", 1.0)},
    "wrong-labels": {"data": {"shuffle_features": True}},
    "reg-wrong-activation": {"output": "sigmoid"},
    "cnn-wrong-activation": {"hidden": "softmax"},
    "reg-wrong-loss": {"sum_loss": True},
    "cnn-wrong-loss": {"sum_loss": True},
    "over-scaled-outputs": {"data": {"scale_targets": 1000.0}},
    "missing-softmax": {"output": "linear"},
    "redundant-softmax": {"twice": True},
    "mse-for-classes": {"loss": "mean_squared_error"},
    "unbalanced-data": {"data": {"thin": 0.03}},
    "augmentation": {"data": {"erase": 0.5}},
}
_STATIC = {
    "double-normalization",
    "missing-normalization",
    "constant-init",
    "reg-wrong-activation",
    "over-scaled-outputs",
    "missing-softmax",
    "redundant-softmax",
    "mse-for-classes",
    "unbalanced-data",
}


_IN_THE_LOSS = {"over-regularization", "missing-regularization"}
"""What PyTorch's optimizers do outside of the loss."""


def _the_deep_checker(row: dict[str, Any]) -> Program:
    name = row["id"].removeprefix("tdc-")
    kind, _, fault = name.partition("-")
    changes = dict(_CHANGED.get(name) or _CHANGED.get(fault) or {})
    optimizer, rate, *_ = row["optimizer"].replace(",", "").split()
    options: dict[str, Any] = {"l2": 1e-5, "init": "he_normal", **changes}
    layers = list(_REGRESSION if kind == "reg" else _CNN)
    if "output" in changes:
        layers[-1] = (*layers[-1][:-1], changes["output"])
    if "hidden" in changes:
        layers = [(*each[:-1], changes["hidden"]) if each[-1] == "relu" else each for each in layers]
    if changes.get("twice"):
        layers.append(("activation", "softmax"))
    epochs = row["epochs"] * options.pop("epochs", 1)
    if kind == "reg":
        data = "cars" if options.pop("raw", False) else "cars_standardized"
        loss = "mean_squared_error"
    else:
        data, loss = "mnist_image", options.pop("loss", "categorical_crossentropy")
        epochs = min(epochs, 40)  # of the longest, a shorter run shows the same
        if loss == "mean_squared_error":
            options["one_hot"] = True
    return Program(
        **_labels(row),
        family=f"tdc-{kind}",
        data=data,
        layers=layers,
        loss=loss,
        optimizer=(optimizer.lower(), float(rate), {"epsilon": 1e-16} if "epsilon" in row["optimizer"] else {}),
        batch=row["batch"],
        epochs=epochs,
        is_static=fault in _STATIC or name in _STATIC,
        options=options,
        stacks=STACKS if kind == "reg" and fault not in _IN_THE_LOSS else _KERAS,
    )
