"""A sink that raises, in each hook: the training continues, the other sinks are called, and a warning is logged."""

import contextlib

import pytest

from faults.support import Recording
from monitor_core import Loop
from monitor_core.bus.dispatch import FAILURES_IN_A_ROW
from monitor_core.bus.finding import Finding
from monitor_core.bus.hooks import HOOKS
from monitor_core.model.probe import Probe
from recorders import Raiser

RUNS = 4
"""More than it takes to disable a sink whose hook is called once a run."""
AT_THE_ENDS = {"on_train_end"}
"""A disabled sink still receives the end of the training, to close its files."""


@pytest.fixture(autouse=True)
def _unflushed(monkeypatch):
    """The files of these tests need not survive a power cut."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


class CrashError(Exception):
    """What the training raises."""


def train(loop):
    """Drive a run in which every hook is called, and which ends by an exception."""
    with loop:
        for total in (2, 4):
            for epoch in loop.epochs(total):
                for batch in loop.batches(range(3)):
                    loop.log(loss=epoch + batch / 4, accuracy=batch)
                    if batch == 0:
                        loop.run.report(Finding(symptom="odd", severity="note", message="Odd.", epoch=epoch))
                        loop.run.show(Probe(epoch=epoch, step=loop.run.step, samples=0))
                        with loop.evaluation(name="early"):
                            loop.log(loss=batch)
                with loop.evaluation():
                    for batch in loop.batches(range(2)):
                        loop.log(loss=batch)
                with loop.prediction():
                    for batch in loop.batches(range(2)):
                        loop.log(outputs=[batch])
            loop.bus.rewind(loop.next_epoch, loop.run.step)
        raise CrashError


def train_often(folder, *others):
    """Drive several runs of one loop with all sinks that record, and others; return the loop and the records."""
    recording = Recording(folder)
    loop = Loop(*others, *recording.sinks)
    for _ in range(RUNS):
        with pytest.raises(CrashError):
            train(loop)
    return loop, recording.records()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return what is recorded where no sink raises."""
    return train_often(tmp_path_factory.mktemp("undisturbed"))[1]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_sink_that_always_raises_harms_no_other_and_is_disabled(tmp_path, undisturbed, warned, hook):
    """Whatever hook it is: one warning, the other sinks have the same records, and the end of each run says so."""
    raiser = Raiser(hook, forever=ValueError("broken"), name="Broken")
    loop, records = train_often(tmp_path, raiser)
    assert records == undisturbed
    assert len(raiser.events) == (RUNS if hook in AT_THE_ENDS else FAILURES_IN_A_ROW)
    assert [(each.sink, each.hook) for each in loop.bus.failures] == [("Broken", hook)] * len(raiser.events)
    told = [message for message in warned() if "Broken" in message]
    assert sum("training continues" in message for message in told) == 1
    assert sum("is disabled at step" in message for message in told) == len(raiser.events) - FAILURES_IN_A_ROW + 1
    ends = [message for message in told if "; see failures" in message or "was not called in this run" in message]
    assert len(ends) == RUNS
    assert any("and was disabled at step" in message for message in ends)


def test_a_disabled_sink_receives_no_train_begin(tmp_path):
    """As the warning at each later run's end says."""
    raiser = Raiser("on_train_begin", forever=ValueError("broken"))
    train_often(tmp_path, raiser)
    assert len(raiser.events) == FAILURES_IN_A_ROW


@pytest.mark.parametrize("hook", HOOKS)
def test_a_sink_that_raises_now_and_then_stays(tmp_path, undisturbed, warned, hook):
    """Two failures and a success, again and again: it is called every time, and one warning is logged."""
    errors = [error for _ in range(20) for error in (ValueError("broken"), ValueError("broken"), None)]
    raiser = Raiser(hook, *errors, name="Broken")
    whole = Raiser(hook, name="Whole")
    _, records = train_often(tmp_path, raiser, whole)
    assert records == undisturbed
    assert raiser.events == whole.events
    assert sum("training continues" in message for message in warned()) == 1
    assert not any("disabled" in message for message in warned())


@pytest.mark.parametrize("hook", HOOKS)
def test_a_critical_sink_ends_the_training_with_all_in_the_files(tmp_path, hook):
    """What had ended before is recorded, in memory and on disk, and the journal says how the run ended."""
    error = ValueError("critical")
    recording = Recording(tmp_path)
    loop = Loop(Raiser(hook, None, error, critical=True), *recording.sinks)
    with pytest.raises(ValueError, match="critical") as raised:
        for _ in range(2):
            with contextlib.suppress(CrashError):
                train(loop)
    assert raised.value is error
    records = recording.records()
    first_run = 12
    steps = list(range(1, first_run + 1)) if hook in ONCE_A_RUN else []
    begun = [] if hook == "on_train_begin" else list(range(1, loop.run.step + 1))
    assert records["labels"][2] == steps + begun
    assert [int(row[1]) for row in records["batches.csv"][1:]] == list(range(1, len(steps + begun) + 1))
    assert [step for step, tag, _ in records["board"]["train"] if tag == "batch_loss"] == list(
        range(1, len(steps + begun) + 1)
    )
    assert records["journal"]["steps"][1] == steps + begun
    assert records["journal"]["status"] == "failed"


ONCE_A_RUN = ("on_train_begin", "on_train_end", "on_exception")


def test_a_keras_fit_continues_with_a_broken_sink_for_each_hook(tmp_path, warned):
    """All at once: the fit ends as it would, and the other sinks have the same records."""
    keras = pytest.importorskip("keras")
    np = pytest.importorskip("numpy")
    from monitor_core.adapters.keras import KerasAdapter

    def fit(folder, *others):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
        recording = Recording(folder)
        adapter = KerasAdapter(*others, *recording.sinks, model=model, epochs=5)
        history = model.fit(
            x, x[:, :1], epochs=5, batch_size=8, validation_split=0.2, shuffle=False, verbose=0, callbacks=adapter
        )
        return history.history, recording.records()

    broken = [Raiser(hook, forever=ValueError("broken"), name=f"Broken {hook}") for hook in HOOKS]
    undisturbed = fit(tmp_path / "undisturbed")
    assert fit(tmp_path / "disturbed", *broken) == undisturbed
    called = [raiser for raiser in broken if raiser.events]
    assert len(called) == len(HOOKS) - sum("prediction" in hook for hook in HOOKS) - len(
        {"on_exception", "on_rewind", "on_midepoch_evaluation", "on_finding", "on_probe"}
    )
    for raiser in called:
        assert sum("training continues" in message for message in warned() if f"{raiser.name}." in message) == 1
