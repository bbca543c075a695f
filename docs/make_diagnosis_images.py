"""Make the images of the page on the diagnosis from recorded programs, ``docs/images/diagnosis``. For maintainers.

    python docs/make_diagnosis_images.py

Each image is what a real run with the symptom looks like: its curves, or what was seen inside the model, and the
finding. The recordings are those of ``benchmarks/diagnosis.py``.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from monitor_core import Finding

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images" / "diagnosis"
sys.path.insert(0, str(ROOT / "benchmarks"))

SIZE = (6.4, 2.6)
TRAINING, VALIDATION, MARK = "#0072b2", "#d55e00", "#444444"

CURVES = {
    "loss_output_mismatch": "own-wine-no-softmax",
    "output_range_mismatch": "own-friedman-sigmoid-output",
    "unscaled_input": "own-friedman-unscaled",
    "symmetric_units": "own-digits-zeros",
    "loss_rising": "tdc-reg-flipped-sign",
    "not_learning": "own-digits-tiny-inputs",
    "lr_too_low": "own-digits-rate-low",
    "lr_too_high": "own-classification-rate-high",
    "oscillation": "own-wine-dropout",
    "plateau": "own-moons-no-hidden-activation",
    "overfitting": "own-digits-overfit",
    "random_labels": "own-classification-random-labels",
    "train_validation_shift": "own-wine-validation-scale",
    "validation_better": "dropout-strong",
    "overwhelming_regularization": "own-diabetes-penalty",
    "train_eval_mismatch": "own-digits-moving-statistics",
}
"""For each symptom, a program whose curves show it."""

INSIDE = {
    "dead_units": ("at-circle-14989730", "dead"),
    "vanishing_gradient": ("own-digits-deep-sigmoid", "gradient"),
}
"""For each symptom, a program and what is seen inside its model."""

LOGARITHMIC = {"loss_rising", "unscaled_input"}


def recorded(name: str, symptom: str) -> tuple[list[Any], Finding]:
    """Return what was observed of a program, and its first finding with a symptom."""
    from programs.running import path_of, programs
    from programs.scoring import Recording, score

    program = next(each for each in programs() if each.id == name)
    recording = Recording.read(program, 0, path_of(program, 0))
    return recording.events, next(each for each in score(recording).findings if each.symptom == symptom)


def curves(symptom: str, name: str) -> None:
    """Plot the losses of a run, and when the finding came."""
    events, finding = recorded(name, symptom)
    epochs = [event for event in events if event[0] == "epoch"]
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    for metric, color, label in (("loss", TRAINING, "training"), ("val_loss", VALIDATION, "validation")):
        points = [(event[1] + 1, event[4][metric]) for event in epochs if metric in event[4]]
        if points:
            axes.plot(*zip(*points, strict=True), color=color, label=label, linewidth=1.5)
    axes.axvline(max(finding.epoch + 1, 0), color=MARK, linestyle=":", linewidth=1.2, label="found")
    if symptom in LOGARITHMIC:
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, axes, symptom, finding)


def inside(symptom: str, name: str, what: str) -> None:
    """Plot layers over looks into the model: the share of dead units, or the gradients of weights."""
    events, finding = recorded(name, symptom)
    probes = [event[1] for event in events if event[0] == "probe"]
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    if what == "dead":
        table = np.array([[layer["dead"] for layer in probe["layers"]] for probe in probes]).T
        shown = axes.imshow(table, aspect="auto", cmap="magma_r", vmin=0, vmax=1, interpolation="nearest")
        label = "share of dead units"
    else:
        kernels = [[each for each in probe["weights"] if each["axes"] > 1 and each["gradient"]] for probe in probes]
        table = np.array([[np.log10(each["gradient"]) for each in row] for row in kernels]).T
        shown = axes.imshow(table, aspect="auto", cmap="viridis", interpolation="nearest")
        label = "gradient, power of 10"
    figure.colorbar(shown, ax=axes, label=label)
    axes.set_xticks(range(len(probes)), [str(probe["epoch"] + 1) for probe in probes])
    axes.set_xlabel("after epoch")
    axes.set_ylabel("layer, from the input")
    axes.set_yticks(range(0, len(table), 2), [str(number + 1) for number in range(0, len(table), 2)])
    _save(figure, axes, symptom, finding)


def _save(figure: Any, axes: Any, symptom: str, finding: Finding) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(textwrap.fill(str(finding).removesuffix(f" {finding.advice}"), 96), fontsize=8, loc="left")
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / f"{symptom.replace('_', '-')}.png", dpi=90)
    plt.close(figure)


def main() -> None:
    """Make all images."""
    for symptom, name in CURVES.items():
        curves(symptom, name)
    for symptom, (name, what) in INSIDE.items():
        inside(symptom, name, what)


if __name__ == "__main__":
    main()
