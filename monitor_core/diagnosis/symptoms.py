"""The symptoms that a finding may have, and which of them explain others.

A cause is named only where a rule proves it. Where several findings are true at once, the one that explains the others
is reported, and they are not.
"""

from __future__ import annotations

SYMPTOMS: dict[str, str] = {
    "accuracy_on_regression": "accuracy is computed where targets are continuous",
    "bad_init": "the outputs or the loss are huge before the first step",
    "class_imbalance": "a class is missing, or nearly so",
    "constant_input": "inputs that hardly vary",
    "constant_metric": "a metric never changes",
    "constant_output": "the same output for every sample",
    "dead_units": "units that are 0 for every sample",
    "dropout_on_logits": "dropout is applied to the output",
    "exploding": "a loss that grows without bound, or weights and outputs that do",
    "high_dropout": "most of a layer is dropped",
    "input_scale_low": "inputs that hardly differ from 0",
    "label_leak": "a feature gives the target away, or validation rows are training rows",
    "loss_output_mismatch": "the loss does not fit the output's activation or the labels",
    "loss_rising": "the loss ends higher than it began",
    "lr_too_high": "the learning rate is too high",
    "lr_too_low": "the learning rate is too low",
    "missing_nonlinearity": "layers that could be one, because nothing bends between them",
    "negative_loss": "a loss below 0 that cannot be",
    "non_finite": "NaN or infinity",
    "not_learning": "the loss is that of a constant answer, or does not move",
    "oscillation": "the loss goes up and down",
    "outlier_targets": "a few targets far from all others",
    "output_range_mismatch": "targets that the output cannot reach",
    "overfitting": "the validation loss rises while the training loss falls",
    "overwhelming_regularization": "penalties outweigh the data",
    "plateau": "the loss no longer falls",
    "random_labels": "the training data is memorized, and nothing of it carries over",
    "saturated": "sigmoid or tanh units at the end of their range",
    "shape_mismatch": "outputs and targets of different shapes",
    "spike": "a batch whose loss is far above its neighbors",
    "symmetric_units": "units that compute the same",
    "train_validation_shift": "training and validation are far apart from the beginning",
    "undertrained": "the training ended, or is about to, while the loss was still falling fast",
    "unscaled_input": "inputs far from unit scale",
    "unscaled_target": "targets far from unit scale",
    "unshuffled": "the data stands class by class and is not shuffled",
    "untrained": "nothing is trained",
    "validation_better": "validation is better than training",
    "vanishing_gradient": "gradients that shrink from layer to layer",
    "zero_gradient": "gradients that are exactly 0",
    "memory_growth": "memory that grows from epoch to epoch",
    "slowing": "steps that take longer and longer",
    "stalled": "no step has ended for a long time",
    "train_eval_mismatch": "batch normalization computes something else in evaluation than in training",
    "waiting_for_data": "the training waits for its data",
}
"""Each symptom with what it is, in a few words."""

_STUCK = ("not_learning", "undertrained", "plateau", "constant_metric", "lr_too_low", "constant_output")
_WILD = ("oscillation", "loss_rising", "exploding", "spike", "lr_too_high")

EXPLAINS: dict[str, tuple[str, ...]] = {
    "non_finite": (
        *_STUCK,
        *_WILD,
        "dead_units",
        "saturated",
        "zero_gradient",
        "vanishing_gradient",
        "symmetric_units",
    ),
    "untrained": (*_STUCK, "zero_gradient", "vanishing_gradient"),
    "loss_output_mismatch": (*_STUCK, "negative_loss", "zero_gradient", "saturated"),
    "shape_mismatch": _STUCK,
    "output_range_mismatch": (*_STUCK, "saturated", "negative_loss", "zero_gradient"),
    "accuracy_on_regression": ("constant_metric",),
    "exploding": ("loss_rising", "oscillation", "spike", "not_learning", "undertrained", "plateau", "saturated"),
    "symmetric_units": (*_STUCK, "dead_units", "vanishing_gradient", "zero_gradient"),
    "dead_units": (*_STUCK, "zero_gradient", "vanishing_gradient"),
    "vanishing_gradient": (*_STUCK, "saturated", "zero_gradient"),
    "zero_gradient": _STUCK,
    "saturated": (*_STUCK, "vanishing_gradient", "zero_gradient"),
    "lr_too_high": ("oscillation", "loss_rising", "not_learning", "plateau", "spike", "undertrained"),
    "loss_rising": ("not_learning", "oscillation", "plateau"),
    "lr_too_low": ("not_learning", "undertrained", "plateau"),
    "not_learning": ("plateau", "constant_output", "undertrained", "constant_metric", "oscillation"),
    "oscillation": ("plateau", "undertrained", "spike"),
    "random_labels": ("overfitting", "train_validation_shift"),
    "overfitting": ("plateau", "undertrained", "train_validation_shift"),
    "overwhelming_regularization": (*_STUCK, "vanishing_gradient"),
    "unscaled_input": ("bad_init", "saturated", "zero_gradient"),
    "input_scale_low": ("lr_too_low", "undertrained"),
    "unscaled_target": ("bad_init",),
    "high_dropout": ("validation_better", "undertrained"),
    "train_eval_mismatch": ("train_validation_shift", "overfitting"),
}
"""For each symptom, those that it explains."""
