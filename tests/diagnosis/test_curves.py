"""The rules on curves: each finds what it is for, and stays silent on what only looks like it."""

import numpy as np
import pytest
from diagnosis_support import blobs, chain, examined, of_curves, severe, symptoms

from monitor_core.diagnosis.data import summarize

EPOCHS = np.arange(40)
GOOD = 2.3 * np.exp(-EPOCHS / 6) + 0.1
CLASSES = chain((16, "relu"), (3, "softmax"), loss="sparse_categorical_crossentropy", from_logits=False)
LABELS = summarize(*blobs())


def noisy(values, share=0.02, seed=0):
    """Return values with noise relative to their size."""
    return values * (1 + share * np.random.default_rng(seed).normal(size=len(values)))


# --- what is healthy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "curves",
    {
        "a good training": {"loss": noisy(GOOD), "val_loss": noisy(1.1 * GOOD)},
        "dropout: training is worse than validation": {"loss": noisy(GOOD + 0.4), "val_loss": noisy(GOOD)},
        "warm-up": {"loss": noisy(np.concatenate([np.linspace(2.3, 2.25, 5), GOOD[:35]]))},
        "cosine restarts": {"loss": noisy(GOOD + 0.1 * (1 + np.cos(np.pi * (EPOCHS % 10) / 10)))},
        "a step schedule": {"loss": noisy(np.repeat([1.5, 0.6, 0.3, 0.25], 10))},
        "double descent": {
            "loss": noisy(GOOD),
            "val_loss": noisy(
                np.concatenate([np.linspace(2, 1, 10), np.linspace(1, 1.9, 15), np.linspace(1.9, 0.8, 15)])
            ),
        },
        "late generalization": {
            "loss": GOOD - 0.09,
            "val_loss": np.concatenate([np.full(30, 2.4), np.linspace(2.4, 0.1, 10)]),
        },
        "a small noisy validation set": {"loss": noisy(GOOD), "val_loss": noisy(GOOD + 0.3, 0.2)},
        "a generator and a critic": {
            "generator_loss": noisy(1 + 0.2 * np.sin(EPOCHS), 0.2),
            "critic_loss": noisy(0.7 + 0.1 * np.cos(EPOCHS), 0.2),
        },
        "a policy's loss": {
            "loss": noisy(-0.4 + 0.3 * np.exp(-EPOCHS / 8), 0.1),
            "reward": noisy(1 - np.exp(-EPOCHS / 9)),
        },
        "label smoothing: the loss ends far from 0": {"loss": noisy(0.6 + GOOD)},
        "an early epoch": {"loss": [2.3], "val_loss": [2.2]},
        "two early epochs": {"loss": [2.3, 2.1], "val_loss": [2.3, 2.2]},
    }.items(),
    ids=lambda item: item[0],
)
def test_healthy_curves_give_no_problem(curves):
    """None of these may give a problem; all but the two whose validation turns give no warning either."""
    found = of_curves(**curves[1])
    assert symptoms(found, "problem") == []
    if "descent" not in curves[0] and "late" not in curves[0]:
        assert severe(found) == []


def test_a_rate_that_stays_at_0():
    """A warm-up may begin there; after two epochs it is a problem."""
    model = chain((16, "relu"), (3, "softmax"), learning_rate=0.0)
    found = examined({"loss": [1.0, 1.01, 1.0, 1.01]}, model=model)
    assert [(each.symptom, each.severity, each.epoch) for each in found] == [
        ("untrained", "warning", -1),
        ("untrained", "problem", 1),
    ]
    warmed_up = examined({"loss": [1.0, 0.9, 0.8], "learning_rate": [0.0, 0.01, 0.02]}, model=model)
    assert [(each.symptom, each.severity) for each in warmed_up] == [("untrained", "warning")]


# --- not finite ----------------------------------------------------------------------------------------------------


def test_a_loss_that_becomes_nan():
    """The finding says when, and what came before."""
    found = of_curves(loss=[0.9, 2.5, 40.0, np.nan, np.nan])
    assert symptoms(found) == ["non_finite"]
    assert found[0].message == "loss became NaN at the end of epoch 4. It was 0.9, 2.5 and 40 before."
    assert "grew first" in found[0].advice
    assert (found[0].severity, found[0].epoch) == ("problem", 3)


def test_another_metric_that_is_nan_is_a_warning():
    """Some metrics are not defined for some data."""
    found = of_curves(loss=GOOD[:4], val_auc=[np.nan] * 4)
    assert [(each.symptom, each.severity) for each in found] == [("non_finite", "warning")]


# --- rising --------------------------------------------------------------------------------------------------------


def test_a_loss_that_rises():
    """Above where it began, for some epochs."""
    found = of_curves(loss=np.linspace(1.0, 4.0, 12))
    assert symptoms(found, "problem") == ["loss_rising"]


def test_a_loss_that_explodes():
    """By more than a hundredfold."""
    found = of_curves(loss=[1.0, 5.0, 400.0, 9e6])
    assert symptoms(found) == ["exploding"]
    assert "it was 1 at the start and is 400 after 3 epochs" in found[0].message


def test_a_single_bad_epoch_is_not_rising():
    """The loss comes back."""
    assert severe(of_curves(loss=[1.0, 0.6, 1.8, 0.5, 0.4, 0.35, 0.3, 0.29])) == []


# --- not learning --------------------------------------------------------------------------------------------------


def test_a_loss_at_that_of_a_constant_answer():
    """The labels' entropy is the reference, and the model had time."""
    found = examined({"loss": noisy(np.full(20, LABELS.entropy * 1.005), 0.002)}, model=CLASSES, data=LABELS)
    assert symptoms(found, "problem") == ["not_learning"]
    assert found[0].evidence["reference"] == pytest.approx(LABELS.entropy)
    assert "always giving the labels' frequencies" in found[0].message


def test_early_epochs_at_a_constant_answers_loss_are_not_judged():
    """A quarter of the planned epochs must have ended."""
    flat = {"loss": np.full(4, LABELS.entropy)}
    assert severe(examined(flat, model=CLASSES, data=LABELS, planned=40)) == []


def test_a_model_that_has_learned_by_its_accuracy_is_learning():
    """Class weights may change the scale of the loss."""
    curves = {"loss": np.full(20, 1.2), "accuracy": np.linspace(0.4, 0.9, 20)}
    assert "not_learning" not in severe(examined(curves, model=CLASSES, data=LABELS))


def test_a_loss_that_is_bitwise_constant():
    """Without a reference, too."""
    found = of_curves(loss=[0.6931] * 15)
    assert [(each.symptom, each.severity) for each in found] == [("not_learning", "problem")]


def test_a_training_that_ends_while_it_falls():
    """As fast at the end as before."""
    found = of_curves(loss=noisy(np.linspace(2.3, 1.6, 20), 0.002))
    assert symptoms(found) == ["undertrained"]
    assert "in the last 6 epochs" in found[0].message


# --- up and down ---------------------------------------------------------------------------------------------------


def test_a_loss_that_oscillates():
    """By large parts of its first value, again and again."""
    values = np.where(EPOCHS % 3 == 0, 2.0, 0.8) + 0.02 * np.sin(EPOCHS)
    assert severe(of_curves(loss=values)) == ["oscillation"]


def test_a_rate_is_named_where_it_is_unusual():
    """The finding is about the rate then."""
    model = chain((16, "relu"), (3, "softmax"), learning_rate=0.1)
    values = np.where(EPOCHS % 3 == 0, 2.0, 0.8) + 0.02 * np.sin(EPOCHS)
    found = [each for each in examined({"loss": values}, model=model) if each.severity == "problem"]
    assert symptoms(found) == ["lr_too_high"]
    assert found[0].advice == "A rate of 0.1 is high for Adam: try 0.001."


def test_small_losses_may_jump():
    """Relative to the first loss, a loss near 0 does not oscillate."""
    values = np.concatenate([GOOD[:20], np.where(EPOCHS[:20] % 2, 0.02, 0.002)])
    assert severe(of_curves(loss=values)) == []


# --- validation ----------------------------------------------------------------------------------------------------


def test_overfitting_with_the_epoch_where_it_turned():
    """A warning, never a problem."""
    val = np.concatenate([np.linspace(2.0, 0.8, 12), np.linspace(0.82, 1.7, 28)])
    found = of_curves(loss=noisy(GOOD - 0.09), val_loss=noisy(val, 0.002))
    assert [(each.symptom, each.severity) for each in found if each.severity != "note"] == [("overfitting", "warning")]
    assert "best in epoch 12" in found[0].message
    assert found[0].evidence["turn"] == 11


def test_validation_noise_is_not_overfitting():
    """A rise within the noise of a small validation set is none."""
    rng = np.random.default_rng(3)
    val = GOOD + 0.5 + rng.normal(0, 0.12, 40)
    assert "overfitting" not in severe(of_curves(loss=GOOD, val_loss=val))


def test_random_labels():
    """Training is memorized, validation never gets below a constant answer's loss."""
    curves = {"loss": GOOD[:30], "val_loss": np.linspace(1.2, 1.3, 30)}
    found = examined(curves, model=CLASSES, data=LABELS)
    assert severe(found)[0] == "random_labels"


def test_validation_far_off_from_the_beginning():
    """And it does not fall."""
    assert severe(of_curves(loss=GOOD[:12], val_loss=noisy(np.full(12, 9.0), 0.01))) == ["train_validation_shift"]


def test_validation_that_is_better_is_a_note_with_the_reason():
    """Dropout explains it."""
    found = of_curves(loss=GOOD + 0.5, val_loss=GOOD)
    assert [(each.symptom, each.severity) for each in found] == [("validation_better", "note")]


def test_a_metric_that_never_changes():
    """An accuracy of 0 in all epochs."""
    found = of_curves(loss=GOOD, accuracy=np.zeros(40))
    assert severe(found) == ["constant_metric"]
    assert found[-1].message == "accuracy has been 0 in each of 10 epochs." or found[0].message.startswith("accuracy")


def test_a_perfect_accuracy_may_stay():
    """1 is as good as it gets."""
    assert severe(of_curves(loss=GOOD, accuracy=np.ones(40))) == []


def test_a_gap_that_closes_is_no_shift():
    """Unevenly too, as while batch normalization's statistics settle."""
    train = [0.9, 0.3, 0.1, 0.05, 0.03, 0.02]
    assert "train_validation_shift" not in severe(of_curves(loss=train, val_loss=[1.4, 1.6, 1.2, 0.9, 0.65, 0.4]))
    assert "train_validation_shift" in severe(of_curves(loss=train, val_loss=[1.4, 1.6, 1.2, 1.5, 1.3, 1.4]))


def test_memorizing_begins():
    """The training loss has come a little below a constant answer's, and the validation loss never does."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(500, 4)), rng.integers(0, 4, 500)
    data = summarize(x, y)
    model = chain((16, "relu"), (4, "softmax"), loss="sparse_categorical_crossentropy")
    train = np.linspace(1.4, 1.2, 10)
    val = np.linspace(1.39, 1.5, 10)
    assert "random_labels" in severe(examined({"loss": train, "val_loss": val}, model=model, data=data))
    carries = np.linspace(1.39, 1.3, 10)
    assert "random_labels" not in severe(examined({"loss": train, "val_loss": carries}, model=model, data=data))
