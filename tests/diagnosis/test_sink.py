"""The sink: when it looks, what it reports, and what it leaves alone."""

import logging
import math

import numpy as np
import pytest
from diagnosis_support import blobs, severe, symptoms

from monitor_core import Bus, Diagnosis, Finding, Journal, Loop, diagnose, open_run
from monitor_core.diagnosis.examination import Examination
from monitor_core.model.probe import Probe
from monitor_core.testing import Epoch, NumpyModel, Recorder, SinkContract, play

NAN = [Epoch(logs={"loss": value}) for value in (0.9, 0.5, math.nan, math.nan, math.nan)]


class TestContract(SinkContract):
    """It behaves as every sink must."""

    @pytest.fixture
    def make_sink(self):
        return Diagnosis


def test_a_finding_reaches_run_sinks_and_log(caplog):
    """Once, though the metric stays NaN."""
    caplog.set_level(logging.INFO, "monitor_core")
    diagnosis, recorder = Diagnosis(), Recorder("on_finding")
    with Loop(recorder, diagnosis) as loop:
        for epoch in loop.epochs(5):
            loop.log(NAN[epoch].logs)
    assert symptoms(loop.run.findings) == ["non_finite"]
    assert loop.run.findings == list(diagnosis.findings) == [event[1] for event in recorder.events]
    (message,) = [each.message for each in caplog.records if "non_finite" in each.message]
    assert message == (
        "problem (non_finite): Epoch 3: loss became NaN at the end of epoch 3. It was 0.9 and 0.5 before. Look for a "
        "division by 0 or a logarithm of 0 in the loss, for NaN in the data, and try a lower rate."
    )


def test_a_problem_is_reported_again_once_it_was_over():
    """NaN, then numbers for some epochs, then NaN."""
    values = [0.9, math.nan, 0.8, 0.7, 0.6, 0.5, math.nan]
    played = play(diagnosis := Diagnosis(), [{"val_auc": value} for value in values])
    assert [finding.epoch for finding in diagnosis.findings] == [1, 6]
    assert played.failures == []


def test_stop_on_a_problem():
    """The run ends as failed, with the message as its reason."""
    played = play(Diagnosis(on_problem="stop"), NAN)
    assert (played.run.status, len(played.epochs)) == ("failed", 3) if played.epochs else True
    assert played.run.stop_reason.startswith("non_finite: loss became NaN at the end of epoch 3.")


def test_a_function_gets_run_and_finding():
    """Of problems only."""
    got = []
    play(Diagnosis(on_problem=lambda run, finding: got.append((run.epoch, finding.symptom))), NAN)
    assert got == [(2, "non_finite")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 3}, r"sample must be \(x, y\), the inputs and targets as arrays \(got int\)"),
        ({"on_problem": "halt"}, "on_problem must be 'stop', a function of run and finding, or None"),
    ],
)
def test_wrong_arguments(options, message):
    """Each error names the argument, the rule and the value."""
    with pytest.raises(TypeError, match=message):
        Diagnosis(**options)


def test_a_nan_batch_is_found_at_its_step():
    """Within an epoch, from the batches' values."""
    batches = [{"loss": 1.0}] * 40 + [{"loss": math.nan}] + [{"loss": 1.0}] * 9
    play(diagnosis := Diagnosis(), [batches])
    assert [(each.symptom, each.step, each.epoch) for each in diagnosis.findings][:1] == [("non_finite", 41, -1)]
    assert "at step 41, in epoch 1" in diagnosis.findings[0].message


def test_a_metric_with_gaps_is_judged_where_it_is_logged():
    """A value that is missing is not NaN."""
    batches = [{"loss": 1.0, "norm": 0.5} if step % 3 == 0 else {"loss": 1.0} for step in range(60)]
    play(diagnosis := Diagnosis(), [batches, {"loss": 0.5}, {"loss": 0.4, "f1": 0.2}])
    assert severe(diagnosis.findings) == []


def test_a_spike_and_its_recovery():
    """Batches with values of their own: a note that names the step."""
    values = np.random.default_rng(0).normal(1, 0.05, 256)
    values[150] = 60
    diagnosis = Diagnosis()
    with Loop(diagnosis, model=NumpyModel()) as loop:
        for _ in loop.epochs(1):
            for value in loop.batches(values):
                loop.log(loss=value)
    found = [each for each in diagnosis.findings if each.symptom == "spike"]
    assert [(each.severity, each.step) for each in found] == [("note", 151)]


def test_findings_do_not_depend_on_how_batches_arrive():
    """Flushed one by one, or as whole blocks: the same."""

    def found(*, flush):
        rng = np.random.default_rng(0)
        diagnosis = Diagnosis()
        with Loop(diagnosis, model=NumpyModel()) as loop:
            for epoch in loop.epochs(6):
                for value in loop.batches(rng.normal(1 + epoch**3, 0.05, 300)):
                    loop.log(loss=80 * value if value < 0.87 else value)
                    if flush:
                        loop.bus.flush()
        return [
            (each.symptom, each.severity, each.epoch, each.step) for each in diagnosis.findings
        ]  # means differ by 1e-16

    assert found(flush=False) == found(flush=True) != []


def test_the_first_batch_of_a_loop_is_the_sample():
    """It is looked at before it is trained on, and nothing is drawn twice."""
    x, y = blobs(64)
    drawn, seen = [], []
    diagnosis = Diagnosis()

    def batches():
        for first in range(0, 64, 32):
            drawn.append(first)
            yield 1000 * x[first : first + 32], y[first : first + 32]

    with Loop(diagnosis) as loop:
        for _ in loop.epochs(1):
            for _ in loop.batches(batches()):
                seen.append(symptoms(diagnosis.findings))
                loop.log(loss=1.0)
    assert drawn == [0, 32]
    assert seen == [["unscaled_input"]] * 2


def test_a_sample_that_is_given_is_looked_at_at_train_begin():
    """Before any batch."""
    x, y = blobs(64)
    diagnosis = Diagnosis(sample=(1000 * x, y))
    with Loop(diagnosis):
        assert symptoms(diagnosis.findings) == ["unscaled_input"]


def test_what_is_not_looked_at_is_listed_with_what_would_help():
    """In a loop that logs numbers alone."""
    play(diagnosis := Diagnosis(), [{"loss": 1.0}] * 2)
    reasons = {each.symptom: each.reason for each in diagnosis.not_looked_at}
    assert "pass model=..." in reasons["untrained"]
    assert "pass Diagnosis(sample=(x, y))" in reasons["unscaled_input"]
    assert "not_learning" not in reasons


def test_data_that_cannot_be_sampled():
    """The rules that need it are listed with the reason; the training continues."""
    diagnosis = Diagnosis()
    with Loop(diagnosis) as loop:
        for _ in loop.epochs(2):
            for _ in loop.batches([object(), object()]):
                loop.log(loss=1.0)
    assert loop.run.status == "completed"
    assert any("TypeError" in each.reason for each in diagnosis.not_looked_at if each.symptom == "unscaled_input")


def test_a_second_run_begins_fresh():
    """Findings are those of the current run."""
    diagnosis = Diagnosis()
    play(diagnosis, NAN)
    play(diagnosis, [{"loss": 1.0}, {"loss": 0.5}])
    assert diagnosis.findings == []


def test_a_rewind_drops_what_came_after():
    """Epochs after the checkpoint are judged again."""
    bus = Bus(diagnosis := Diagnosis())
    bus.train_begin()
    for epoch, loss in enumerate((0.9, math.nan, 0.45)):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": loss})
    bus.rewind(1, 0)
    assert diagnosis._examination.seen.curve("loss").values.tolist() == [0.9]
    bus.train_end()


def test_a_partial_epoch_is_not_judged():
    """Its means are of fewer batches."""
    diagnosis = Diagnosis()
    with Loop(diagnosis) as loop:
        for _ in loop.epochs(1):
            for step in loop.batches(range(10)):
                loop.log(loss=1.0)
                if step == 3:
                    break
            break
    assert diagnosis._examination.seen.names == []


# --- afterwards ----------------------------------------------------------------------------------------------------


def recorded(folder, *sinks):
    """Record a run that goes wrong in several ways."""
    losses = [1.0, 0.8, 0.6, 0.5, 3.0, 9.0, 90.0, math.nan]
    with Loop(*sinks, Journal(folder)) as loop:
        for epoch in loop.epochs(8):
            for step in loop.batches(range(20)):
                loop.log(loss=losses[epoch] * (1 + 0.001 * step))


def test_a_journal_has_the_findings_that_were_given_live(tmp_path):
    """Field for field, those before the first step too."""
    x, y = blobs(64)
    diagnosis = Diagnosis(sample=(1000 * x, y))
    recorded(tmp_path, diagnosis)
    assert symptoms(diagnosis.findings) == ["unscaled_input", "loss_rising", "non_finite"]
    assert list(diagnose(open_run(tmp_path))) == list(diagnose(tmp_path)) == list(diagnosis.findings)


def test_a_finding_at_the_end_of_the_run_is_recorded(tmp_path):
    """Also where the journal has had its train end already: the number of epochs is not known here."""
    bus = Bus(Journal(tmp_path), diagnosis := Diagnosis())
    bus.train_begin()
    for epoch in range(20):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": 2.3 - 0.03 * epoch})
    bus.train_end()
    assert symptoms(diagnosis.findings) == ["undertrained"]
    assert list(diagnose(tmp_path)) == list(diagnosis.findings)


def test_a_run_that_a_diagnosis_found_nothing_in_is_not_judged_again(tmp_path):
    """With the model and the data it saw more than the record shows."""
    with Loop(Diagnosis(rules=()), Journal(tmp_path)) as loop:
        for _ in loop.epochs(3):
            loop.log(loss=math.nan)
    assert diagnose(tmp_path) == []


def test_a_journal_without_findings_is_judged_as_it_would_have_been_live(tmp_path):
    """Its batches and epochs give the same findings, field for field."""
    diagnosis = Diagnosis()
    recorded(tmp_path / "live", diagnosis)
    recorded(tmp_path / "alone")
    assert list(diagnose(tmp_path / "alone")) == list(diagnosis.findings) != []


def test_curves_in_a_csv_file(tmp_path):
    """The columns that number rows are left out, and so are gaps."""
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,val_loss\n0,0.9,1.0\n1,0.5,\n2,nan,0.9\n")
    assert symptoms(diagnose(path)) == ["non_finite"]


def test_curves_in_an_event_file(tmp_path):
    """The tensorboard package reads it."""
    pytest.importorskip("tensorboard")
    from monitor_core import TensorBoard

    with Loop(TensorBoard(tmp_path)) as loop:
        for value in loop.epochs(3):
            loop.log(loss=[1.0, 500.0, 1e6][value])
    path = next(tmp_path.rglob("*tfevents*"))
    assert "exploding" in symptoms(diagnose(path))


def test_an_object_with_a_history():
    """Such as what Keras's fit returns."""

    class Keras:
        def __init__(self):
            self.history = {"loss": [0.9, math.nan]}

    assert symptoms(diagnose(Keras())) == ["non_finite"]


def test_what_cannot_be_diagnosed():
    """The errors say what can."""
    with pytest.raises(TypeError, match="recorded must be what open_run returned"):
        diagnose(3)
    with pytest.raises(ValueError, match="the values of 'loss' must be numbers"):
        diagnose({"loss": ["a"]})
    with pytest.raises(ValueError, match="must be one number for each epoch"):
        diagnose({"loss": [[1.0]]})
    with pytest.raises(FileNotFoundError, match="No such file"):
        diagnose("nowhere")


def test_findings_as_a_report():
    """In a terminal a line for each, in a notebook a row; what was not looked at comes last."""
    found = diagnose({"loss": [0.9, math.nan]})
    assert str(found).splitlines()[0].startswith("problem  non_finite: Epoch 2: loss became NaN")
    assert "Not looked at" in str(found)
    assert "<script" not in found._repr_html_()
    assert "loss became NaN" in found._repr_html_()
    assert str(diagnose({"loss": [0.9, 0.8]})).startswith("Nothing was found.")
    assert all(isinstance(each, Finding) for each in found.problems)


def test_of_many_probes_some_are_kept():
    """The first, the first within each doubling of the steps, and the last ones: memory is flat."""
    examination = Examination()
    for step in range(0, 5000, 10):
        examination.add_probe(Probe(epoch=0, step=step, samples=1, histograms={"weights": {}}))
    steps = [probe.step for probe in examination.seen.probes]
    assert steps == [0, 10, 20, 40, 70, 130, 260, 520, 1030, 2050, 4100, *range(4920, 5000, 10)]
    assert examination.seen.probes[0].histograms == {}
