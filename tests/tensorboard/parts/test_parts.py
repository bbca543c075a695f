"""Parts fail independently, and read the same samples of a run."""

import numpy as np
import pytest

from monitor_core import Run, SetupError
from monitor_core.tensorboard.parts.files import RunFiles
from monitor_core.tensorboard.parts.parts import Part, Parts, Samples


class Recording(Part):
    """Record the epochs, and raise the given errors."""

    name = "the record"

    def __init__(self, *errors):
        self.errors = list(errors)
        self.epochs = []
        self.begun = 0

    def begin(self, run, files):
        self.begun += 1
        self._raise()

    def end_epoch(self, run, epoch, files):
        self.epochs.append(epoch)
        self._raise()

    def _raise(self):
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path)


def test_a_part_that_fails_stops_no_other(files, warned):
    """A part's exception is logged once, with its name and the reason, and the next part is called."""
    failing, other = Recording(None, OSError("no space"), ValueError("no samples")), Recording()
    parts = Parts(failing, other)
    parts.begin(Run(), files)
    for epoch in range(3):
        parts.call("end_epoch", Run(), epoch, files)
    assert failing.epochs == other.epochs == [0, 1, 2]
    assert warned() == ["TensorBoard cannot write the record: OSError: no space; training continues"]


def test_only_a_setup_error_at_the_begin_propagates(files, warned):
    """At train begin a SetupError propagates, as the user can fix it; later it is a failure like any other."""
    with pytest.raises(SetupError, match="no such layer"):
        Parts(Recording(SetupError("no such layer"))).begin(Run(), files)
    Parts(Recording(ValueError("unbuilt"))).begin(Run(), files)
    Parts(Recording(SetupError("late"))).call("end_epoch", Run(), 0, files)
    assert warned() == [
        "TensorBoard cannot write the record: ValueError: unbuilt; training continues",
        "TensorBoard cannot write the record: SetupError: late; training continues",
    ]


def test_interrupts_are_not_isolated(files):
    """Ctrl-C in a part ends the training."""
    with pytest.raises(KeyboardInterrupt):
        Parts(Recording(KeyboardInterrupt())).call("end_epoch", Run(), 0, files)


def test_samples_are_the_first_of_the_validation_data():
    """All reads in a run give the same first samples, which are loaded once."""
    run, samples = Run(validation_data=(np.arange(10), np.arange(10) % 2)), Samples(3)
    x, y = samples.of(run)
    assert (x.tolist(), y.tolist()) == ([0, 1, 2], [0, 1, 0])
    assert samples.of(run)[0] is x
    samples.forget()
    assert samples.of(run)[0] is not x


def test_inputs_are_available_if_they_are_arrays():
    """Data that would have to be computed, or cannot be read, are not requested."""

    class Batches:
        def __iter__(self):
            raise AssertionError

    assert Samples(2).inputs_at_hand(Run(validation_data=([4, 5, 6], None))) is None
    assert Samples(2).inputs_at_hand(Run(validation_data=(np.arange(3), None))).tolist() == [0, 1]
    assert Samples(2).inputs_at_hand(Run(validation_data=Batches())) is None
    assert Samples(2).inputs_at_hand(Run()) is None


def test_missing_validation_data_say_where_to_give_them():
    """A run without validation data is an error that names the argument."""
    with pytest.raises(ValueError, match=r"validation_data=\(x, y\) to the adapter"):
        Samples(3).of(Run())
