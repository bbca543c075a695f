"""What is found before the first step: each mistake, and the same training without it."""

import numpy as np
import pytest
from diagnosis_support import begun, blobs, chain, severe, symptoms

from monitor_core.diagnosis.data import DataSummary, shared_rows, summarize
from monitor_core.diagnosis.examination import Examination
from monitor_core.diagnosis.seen import Seen
from monitor_core.model.summary import LayerSummary, ModelSummary

X, Y = blobs()
RNG = np.random.default_rng(0)
REAL = RNG.normal(size=400).astype("float32")
BINARY = (Y > 0).astype(int)
ONE_HOT = np.eye(3)[Y]


def classes(*layers, **more):
    """Return a model with the loss of integer labels."""
    return chain(*layers, **{"loss": "sparse_categorical_crossentropy", "from_logits": False, **more})


def regression(*layers, **more):
    """Return a model with the mean squared error."""
    return chain(*layers, **{"loss": "mean_squared_error", **more})


GOOD = {
    "integer labels": (classes((16, "relu"), (3, "softmax")), X, Y),
    "one-hot labels": (classes((16, "relu"), (3, "softmax"), loss="categorical_crossentropy"), X, ONE_HOT),
    "logits": (classes((16, "relu"), (3, "linear"), from_logits=True), X, Y),
    "binary": (chain((16, "relu"), (1, "sigmoid"), loss="binary_crossentropy", from_logits=False), X, BINARY),
    "binary with smoothed labels": (
        chain((16, "relu"), (1, "sigmoid"), loss="binary_crossentropy", from_logits=False),
        X,
        0.1 + 0.8 * BINARY,
    ),
    "regression": (regression((16, "relu"), (1, "linear")), X, REAL),
    "regression onto 0 to 1 with sigmoid": (regression((16, "relu"), (1, "sigmoid")), X, np.abs(REAL) / 5),
    "a linear model": (regression((1, "linear")), X, REAL),
    "a logistic regression": (chain((1, "sigmoid"), loss="binary_crossentropy", from_logits=False), X, BINARY),
    "a bottleneck": (regression((2, "linear"), (16, "linear")), X, REAL),
    "images of 0 to 1": (classes((16, "relu"), (3, "softmax")), RNG.random((400, 8, 8, 1)), Y),
    "raw columns that the model normalizes": (
        ModelSummary(layers=(LayerSummary(name="norm", kind="Normalization", role="normalization"),)),
        1000 * X,
        Y,
    ),
    "two classes, nine to one": (
        chain((1, "sigmoid"), loss="binary_crossentropy", from_logits=False),
        X,
        (np.arange(400) % 10 == 0).astype(int),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_right_gives_nothing(name):
    """No finding of any severity."""
    assert begun(*GOOD[name]) == []


WRONG = {
    "a softmax over one unit": (
        chain((16, "relu"), (1, "softmax"), loss="binary_crossentropy", from_logits=False),
        X,
        BINARY,
        "loss_output_mismatch",
        "dense_2 is a softmax over one unit, so the output is 1 for every input.",
    ),
    "softmax twice": (
        classes((16, "relu"), (3, "softmax"), from_logits=True),
        X,
        Y,
        "loss_output_mismatch",
        "The loss applies softmax itself, and dense_2 has applied softmax already",
    ),
    "no softmax": (
        classes((16, "relu"), (3, "linear")),
        X,
        Y,
        "loss_output_mismatch",
        "expects probabilities, but dense_2's output has no activation",
    ),
    "tanh with binary cross-entropy": (
        chain((16, "relu"), (1, "tanh"), loss="binary_crossentropy", from_logits=False),
        X,
        BINARY,
        "loss_output_mismatch",
        "dense_2's output has the activation tanh",
    ),
    "one-hot labels for a loss of integers": (
        classes((16, "relu"), (3, "softmax")),
        X,
        ONE_HOT,
        "loss_output_mismatch",
        "The labels are one-hot rows",
    ),
    "integers for a loss of one-hot labels": (
        classes((16, "relu"), (3, "softmax"), loss="categorical_crossentropy"),
        X,
        Y,
        "loss_output_mismatch",
        "The labels are integers",
    ),
    "a squared error on a softmax": (
        regression((16, "relu"), (3, "softmax")),
        X,
        ONE_HOT,
        "loss_output_mismatch",
        "dense_2 is a softmax over 3 classes, and the loss is a mean squared error",
    ),
    "labels out of range": (
        classes((16, "relu"), (3, "softmax")),
        X,
        Y + 1,
        "loss_output_mismatch",
        "The labels go from 1 to 3, and the output has 3 units, for classes 0 to 2.",
    ),
    "labels of -1 and 1": (
        chain((16, "relu"), (1, "sigmoid"), loss="binary_crossentropy", from_logits=False),
        X,
        2 * BINARY - 1,
        "loss_output_mismatch",
        "The targets go from -1 to 1",
    ),
    "targets out of the output's range": (
        regression((16, "relu"), (1, "sigmoid")),
        X,
        REAL,
        "output_range_mismatch",
        "but dense_2 ends in sigmoid, whose output is from 0 to 1.",
    ),
    "negative targets of a rectified output": (
        regression((16, "relu"), (1, "relu")),
        X,
        REAL,
        "output_range_mismatch",
        "whose output is not below 0",
    ),
    "accuracy of a regression": (
        regression((16, "relu"), (1, "linear"), metrics=("accuracy",)),
        X,
        REAL,
        "accuracy_on_regression",
        "The metric accuracy counts how often the output equals the target",
    ),
    "broadcasting in PyTorch": (
        regression((16, "relu"), (1, "linear"), loss_broadcasts=True),
        X,
        REAL,
        "shape_mismatch",
        "the targets have (n,)",
    ),
    "no nonlinearity": (
        regression((16, "linear"), (16, "linear"), (1, "linear")),
        X,
        REAL,
        "missing_nonlinearity",
        "and between dense_2 and dense_3 there is no activation: the whole network",
    ),
    "nothing trainable": (
        classes((16, "relu"), (3, "softmax"), trainable=0),
        X,
        Y,
        "untrained",
        "No weight of the model is trainable",
    ),
    "a rate of 0": (
        classes((3, "softmax"), learning_rate=0.0),
        X,
        Y,
        "untrained",
        "The learning rate is 0, so no weight changes.",
    ),
    "a rate of 1 for Adam": (
        classes((3, "softmax"), learning_rate=1.0),
        X,
        Y,
        "lr_too_high",
        "A learning rate of 1 is far above what Adam",
    ),
    "NaN in the inputs": (
        classes((3, "softmax")),
        np.where(X > 1, np.nan, X),
        Y,
        "non_finite",
        "of the inputs are NaN or infinite",
    ),
    "raw inputs": (classes((3, "softmax")), 1000 * X, Y, "unscaled_input", "which is far from unit scale"),
    "inputs scaled twice": (classes((3, "softmax")), X / 1000, Y, "input_scale_low", "hardly any scale at all"),
    "constant inputs": (classes((3, "softmax")), np.ones_like(X), Y, "constant_input", "the same in every row"),
    "constant targets": (classes((3, "softmax")), X, np.zeros(400, int), "class_imbalance", "the same in every row"),
    "raw targets": (regression((1, "linear")), X, 5000 * REAL, "unscaled_target", "a standard deviation of"),
    "an outlier among the targets": (
        regression((1, "linear")),
        X,
        np.where(np.arange(400) == 7, 9000, REAL),
        "outlier_targets",
        "from the median",
    ),
    "a missing class": (
        classes((16, "relu"), (4, "softmax")),
        X,
        Y,
        "class_imbalance",
        "the data has no row of class 3",
    ),
    "99 to 1": (
        chain((1, "sigmoid"), loss="binary_crossentropy", from_logits=False),
        X,
        (np.arange(400) % 100 == 0).astype(int),
        "class_imbalance",
        "Class 0 has 396 rows and class 1 4: 99 to 1.",
    ),
    "a feature that is the target": (
        regression((1, "linear")),
        np.column_stack([X, REAL]),
        REAL,
        "label_leak",
        "Feature 2 determines the target",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_found_before_the_first_step(name):
    """With a sentence that has the numbers, and nothing else is found."""
    model, x, y, symptom, words = WRONG[name]
    found = begun(model, x, y)
    assert symptoms(found) == [symptom]
    assert words in found[0].message
    assert found[0].advice
    assert (found[0].epoch, found[0].step) == (-1, 0)


def test_sorted_data_that_is_not_shuffled():
    """It is found only where it is known that nothing shuffles."""
    model = classes((16, "relu"), (3, "softmax"))
    order = np.argsort(Y, kind="stable")
    assert severe(begun(model, X[order], Y[order], fit_shuffles=False)) == ["unshuffled"]
    assert severe(begun(model, X[order], Y[order], fit_shuffles=True)) == []
    assert severe(begun(model, X[order], Y[order])) == []


def test_high_dropout_and_dropout_on_the_output():
    """Each names the layer."""
    drop = LayerSummary(name="drop", kind="Dropout", role="dropout", rate=0.9)
    last = LayerSummary(name="out", kind="Dense", role="linear", activation="linear", weights=("out/kernel",))
    softmax = LayerSummary(name="softmax", kind="Softmax", role="activation", activation="softmax")

    def found(*layers):
        return begun(ModelSummary(layers=layers, is_chain=True, trainable=1), X, Y)

    assert [(each.symptom, each.layer) for each in found(drop, last)] == [("high_dropout", "drop")]
    mild = LayerSummary(name="drop", kind="Dropout", role="dropout", rate=0.3)
    assert [(each.symptom, each.layer) for each in found(last, mild, softmax)] == [("dropout_on_logits", "drop")]
    assert found(mild, last, softmax) == []


def test_softmax_in_two_layers():
    """One after the other; a hidden gate does not count as the second."""
    dense = LayerSummary(name="dense", kind="Dense", role="linear", activation="softmax", weights=("dense/kernel",))
    softmax = LayerSummary(name="softmax", kind="Softmax", role="activation", activation="softmax")
    known = {"is_chain": True, "trainable": 1}
    found = begun(ModelSummary(layers=(dense, softmax), **known), X, Y)
    assert [(each.symptom, each.layer) for each in found] == [("loss_output_mismatch", "softmax")]
    assert begun(ModelSummary(layers=(dense, dense), **known), X, Y) == []


def test_validation_that_shares_rows():
    """The share is that of validation rows that are in the training data."""
    assert shared_rows(X, X[:40]) == 1.0
    assert shared_rows(X, np.concatenate([X[:30], X[:10] + 1])) == 0.75
    assert shared_rows(X[:200], X[200:]) == 0.0
    assert shared_rows(X[:, :1], X[:, :1]) is None  # single numbers repeat by chance


def test_validation_on_another_scale():
    """And the same scale gives nothing."""
    model = classes((16, "relu"), (3, "softmax"))
    for factor, expected in ((1, []), (30, ["train_validation_shift"])):
        seen = Seen(model=model, data=summarize(X, Y), validation=summarize(factor * X[:100], Y[:100]))
        assert severe(Examination(seen=seen).begin()) == expected


def test_a_summary_survives_json():
    """What is recorded is what was seen."""
    for x, y in ((X, Y), (X, ONE_HOT), (X, REAL), (X, None), (np.full((3, 2), np.nan), np.zeros(3))):
        summary = summarize(x, y)
        assert DataSummary.from_json(summary.to_json()) == summary
    model = classes((16, "relu"), (3, "softmax"), metrics=("accuracy",))
    assert ModelSummary.from_json(model.to_json()) == model


def test_constant_losses():
    """The loss of the best constant answer, by the loss's name."""
    labels, numbers = summarize(X, Y), summarize(X, REAL)
    shares = np.bincount(Y) / len(Y)
    assert labels.constant_loss("sparse_categorical_crossentropy") == pytest.approx(-(shares * np.log(shares)).sum())
    assert summarize(X, ONE_HOT).constant_loss("categorical_crossentropy") == pytest.approx(labels.entropy)
    assert numbers.constant_loss("mean_squared_error") == pytest.approx(REAL.var(), rel=1e-5)
    assert summarize(X, BINARY).constant_loss("binary_crossentropy") == pytest.approx(
        -sum(p * np.log(p) for p in (BINARY.mean(), 1 - BINARY.mean()))
    )
    assert numbers.constant_loss("hinge") is None


def test_data_that_cannot_be_read():
    """The error says what is missing."""
    with pytest.raises(ValueError, match="must have an array of inputs or of targets"):
        summarize({"a": X})
    with pytest.raises(ValueError, match="must have at least one sample"):
        summarize(X[:0], Y[:0])
    with pytest.raises(ValueError, match="as many targets as inputs"):
        summarize(X, Y[:5])


def test_many_rows_are_looked_at_evenly():
    """A part of the inputs, and more of the targets, so that rare classes are not taken for missing ones."""
    x, y = RNG.random((30_000, 400), np.float32), np.arange(30_000) % 300
    summary = summarize(x, y)
    assert summary.rows == 30_000
    assert len(summary.classes) == 300
    assert begun(classes((16, "relu"), (300, "softmax")), x, y) == []
