"""What TensorBoard's values stand over."""

import pytest

from monitor_core import Run
from monitor_core.tensorboard.parts.numbering import BoardNumbering, counts_epochs


@pytest.mark.parametrize(
    ("tag", "is_over_epochs"),
    [
        ("epoch_loss", True),
        ("dense/kernel/histogram", True),
        ("dense/kernel/image", True),
        ("dense/activations", True),
        ("0.weight/gradient", True),
        ("dense/activations/not_finite", True),
        ("pr_curve/cat", True),
        ("confusion_matrix", True),
        (" x/image_0123abcd", True),
        ("batch_loss", False),
        ("evaluation_loss_vs_iterations", False),
        ("keras", False),
        ("my/epoch_loss", False),
        ("histogram", False),
        ("a/image/b", False),
    ],
)
def test_a_tag_tells_what_it_counts(tag, is_over_epochs):
    """Whether a value's step is an epoch is known by its tag alone, also of files of earlier processes."""
    assert counts_epochs(tag) is is_over_epochs


def test_what_is_written_now_stands_at_the_epoch_or_the_step():
    """By default a value stands at how many batches have ended, or, where its tag says so, at the epoch."""
    numbers, run = BoardNumbering(), Run()
    assert (numbers.present(None, "mine"), numbers.present(None, "epoch_mine")) == (0, 0)
    numbers.settle(0, 0)
    run.epoch, run.step = 1, 4
    assert (numbers.present(run, "mine"), numbers.present(run, "epoch_mine")) == (4, 1)
