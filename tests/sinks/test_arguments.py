"""What every sink's constructor says to an argument that it has not, and what a sink says to Keras's attributes."""

import copy
import inspect

import attrs
import pytest

from monitor_core import CSVLogger, EarlyStopping, History, ReduceLROnPlateau, Run, Sink


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (
            EarlyStopping,
            {"moniter": "loss"},
            r"EarlyStopping has no argument 'moniter' \(did you mean 'monitor'\?\); it",
        ),
        (
            EarlyStopping,
            {"verbose": 1},
            r"'verbose' \(what a sink decides is logged at INFO by the logger 'monitor_core'",
        ),
        (
            History,
            {"batches": True},
            r"History has no argument 'batches' \(did you mean 'per_batch'\?\); it has per_batch$",
        ),
        (CSVLogger, {"filename": "a", "x": 1}, r"no argument 'x'; it has filename, separator, append, per_batch$"),
    ],
)
def test_an_unknown_argument_gets_the_nearest(kind, arguments, message):
    """A misspelt or foreign argument is a TypeError with the nearest name and the list of all."""
    with pytest.raises(TypeError, match=message):
        kind(**arguments)


def test_a_custom_sink_gets_the_same_message_or_keeps_its_own_freedom():
    """A user's sink, attrs class or not, is checked by its own constructor; one that takes anything is left alone."""

    @attrs.define
    class Defined(Sink):
        folder: str = ""

    class Plain(Sink):
        def __init__(self, folder):
            self.folder = folder

    class Free(Sink):
        def __init__(self, **options):
            self.options = options

    for kind in (Defined, Plain):
        with pytest.raises(TypeError, match=r"has no argument 'foldr' \(did you mean 'folder'\?\)"):
            kind(foldr="a")
        assert kind(folder="a").folder == "a"
    assert Free(foldr="a").options == {"foldr": "a"}


def test_the_check_changes_no_signature_and_no_copy():
    """Signatures show the arguments, and a sink can be copied as before."""
    assert list(inspect.signature(ReduceLROnPlateau).parameters)[:3] == ["monitor", "factor", "patience"]
    sink = ReduceLROnPlateau("loss", patience=3)
    for again in (copy.copy(sink), copy.deepcopy(sink)):
        assert (again.monitor, again.patience) == ("loss", 3)


@pytest.mark.parametrize(
    ("name", "place"),
    [("model", r"run\.model\.model"), ("validation_data", r"run\.validation_data"), ("params", r"run\.epochs")],
)
def test_what_a_keras_callback_has_a_sink_finds_on_the_run(name, place):
    """Reading Keras's attributes of a callback from a sink is an AttributeError that says where they are."""
    assert not hasattr(Sink(), name)
    with pytest.raises(AttributeError, match=f"'Sink' object has no attribute '{name}': hooks read .*{place}"):
        getattr(Sink(), name)


def test_stop_training_of_a_run_says_what_to_write():
    """Keras's way to stop, on a run, names ours."""
    run = Run()
    with pytest.raises(AttributeError, match=r"write run\.stop\('why'\)"):
        run.stop_training = True
    with pytest.raises(AttributeError, match=r"read run\.stopped"):
        _ = run.stop_training


def test_an_epoch_in_the_place_of_a_metric_says_what_to_write():
    """A history is indexed by a name, and the message has the expression that was meant."""
    with pytest.raises(TypeError, match=r"indexed by a metric's name \(got 0\): write \['loss'\]\[0\]"):
        History()[0]
