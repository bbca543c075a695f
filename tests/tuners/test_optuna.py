"""OptunaPruning against Optuna itself: its own callback decides the same, and each trial is a run."""

import math
import random

import pytest

from monitor_core import EarlyStopping, Journal, Loop, SetupError, open_run
from monitor_core.runs.catalogue import find_runs
from monitor_core.testing import Recorder

pytest.importorskip("optuna")

import optuna

from monitor_core.tuners import OptunaPruning

optuna.logging.set_verbosity(optuna.logging.ERROR)

PRUNERS = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=1),
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    "percentile": lambda: optuna.pruners.PercentilePruner(25.0, n_startup_trials=2, interval_steps=2),
    "threshold": lambda: optuna.pruners.ThresholdPruner(upper=0.9),
    "patient": lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=1), patience=0),
}


def drawn(seed):
    """Return the values of each epoch of some trials; None for an epoch without the metric."""
    draw = random.Random(seed)
    some = [None, math.nan, math.inf, 0.0, 1.0]
    return [
        [draw.random() if draw.random() < 0.85 else draw.choice(some) for _ in range(draw.randint(1, 8))]
        for _ in range(12)
    ]


def train(loop, values):
    """Train epochs with these values of ``val_loss``; one without it has another metric."""
    for epoch in loop.epochs(len(values)):
        loop.log(loss=0.0) if values[epoch] is None else loop.log(val_loss=values[epoch])


def studied(pruner, objective, trials):
    """Return what becomes of trials."""
    study = optuna.create_study(pruner=pruner)
    study.optimize(objective, n_trials=trials)
    return [(trial.state.name, repr(sorted(trial.intermediate_values.items()))) for trial in study.trials]


@pytest.mark.filterwarnings(
    "ignore:The metric 'val_loss' is not in the evaluation logs:UserWarning",
    "ignore:PatientPruner is experimental",
    "ignore:All-NaN:RuntimeWarning",  # of pruners, as the next
    "ignore:invalid value encountered:RuntimeWarning",
)
@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("name", PRUNERS)
def test_the_same_trials_are_pruned_at_the_same_epochs_as_by_optunas_callback(name, interval):
    """On random sequences, with values that are missing, NaN and infinite; the last epoch's counts too."""
    pytest.importorskip("keras")
    from optuna_integration import KerasPruningCallback

    pruned = 0
    for seed in range(12):
        sequences = drawn(seed)

        def by_callback(trial, sequences=sequences):
            callback = KerasPruningCallback(trial, "val_loss", interval=interval)
            for epoch, value in enumerate(sequences[trial.number]):
                callback.on_epoch_end(epoch, {} if value is None else {"val_loss": value})
            return 0.0

        def by_sink(trial, sequences=sequences):
            with Loop(OptunaPruning(trial, "val_loss", interval=interval)) as loop:
                train(loop, sequences[trial.number])
            return 0.0

        theirs = studied(PRUNERS[name](), by_callback, len(sequences))
        assert studied(PRUNERS[name](), by_sink, len(sequences)) == theirs
        pruned += sum(state == "PRUNED" for state, _ in theirs)
    assert pruned > 5  # else nothing was compared


def test_a_fit_is_pruned_where_it_is_by_optunas_callback():
    """Real trainings with Keras, of equal weights and data."""
    keras = pytest.importorskip("keras")
    import numpy as np
    from optuna_integration import KerasPruningCallback

    from monitor_core.adapters.keras import KerasAdapter

    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)

    def fitted(trial, callbacks):
        keras.utils.set_random_seed(trial.number)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        rate = [0.1, 0.01, 0.2, 1e-4, 0.05][trial.number]
        model.compile(optimizer=keras.optimizers.SGD(rate), loss="mse")
        model.fit(x, y, epochs=4, batch_size=16, shuffle=False, verbose=0, callbacks=callbacks)
        return 0.0

    pruner = optuna.pruners.MedianPruner(n_startup_trials=1)
    theirs = studied(pruner, lambda trial: fitted(trial, [KerasPruningCallback(trial, "loss")]), 5)
    ours = studied(pruner, lambda trial: fitted(trial, KerasAdapter(OptunaPruning(trial, "loss"))), 5)
    in_a_list = studied(pruner, lambda trial: fitted(trial, [KerasAdapter(OptunaPruning(trial, "loss"))]), 5)
    assert ours == theirs == in_a_list
    assert {state for state, _ in theirs} == {"PRUNED", "COMPLETE"}


def test_each_trial_is_a_run_of_the_study(tmp_path):
    """In a folder of its own, with its parameters and how it ended; the trial knows the run."""

    def objective(trial):
        rate = trial.suggest_float("rate", 0.0, 1.0)
        with Loop(OptunaPruning(trial, "val_loss"), record=tmp_path) as loop:
            train(loop, [rate] * 3)
        return rate

    study = optuna.create_study(study_name="widths", pruner=optuna.pruners.ThresholdPruner(upper=0.5))
    for rate in (0.25, 0.75):
        study.enqueue_trial({"rate": rate})
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    runs = [open_run(tmp_path / f"trial-{number}") for number in range(2)]
    assert [(run.begin.parent, run.config) for run in runs] == [("widths", {"rate": 0.25}), ("widths", {"rate": 0.75})]
    assert [(run.status, len(run.history)) for run in runs] == [("completed", 3), ("stopped", 1)]
    assert [str(each.reason) for each in runs[1].decisions] == ["Optuna pruned trial 1: val_loss was 0.75 in epoch 1"]
    assert [trial.user_attrs["monitor_core.run"] for trial in study.trials] == [run.begin.id for run in runs]
    assert {run.summary.parent for run in find_runs(tmp_path, cache=tmp_path / "cache")} == {"widths"}


def test_trials_side_by_side_on_threads_are_runs_of_their_own(tmp_path):
    """As ``n_jobs`` runs them."""

    def objective(trial):
        with Loop(OptunaPruning(trial, "val_loss"), record=tmp_path) as loop:
            train(loop, [float(trial.number)] * 3)
        return 0.0

    optuna.create_study(pruner=optuna.pruners.NopPruner()).optimize(objective, n_trials=8, n_jobs=4)
    found = {folder.name: open_run(folder).history["val_loss"].tolist() for folder in tmp_path.iterdir()}
    assert found == {f"trial-{number}": [float(number)] * 3 for number in range(8)}


def asked(upper=0.5):
    """Return a trial that is pruned once a value is above this."""
    return optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=upper)).ask()


def test_every_sink_has_its_train_end_before_the_trial_is_pruned():
    """And the run was stopped: nothing raised."""
    recorder = Recorder()
    pruning = OptunaPruning(asked(), "val_loss")
    with pytest.raises(optuna.TrialPruned, match=r"^Optuna pruned trial 0: "), Loop(pruning, recorder) as loop:
        train(loop, [0.1, 0.9, 0.1])
    assert (loop.run.status, loop.run.epoch, pruning.pruned) == ("stopped", 1, True)
    assert recorder.events[-1][0] == "train_end"


def test_a_trial_that_another_sink_stops_too_is_pruned():
    """As by Optuna's callback, which raises whatever else happens."""
    stopping = EarlyStopping("val_loss", divergence_threshold=0.8)
    with pytest.raises(optuna.TrialPruned), Loop(stopping, OptunaPruning(asked(), "val_loss")) as loop:
        train(loop, [0.9, 0.9])
    assert loop.run.status == "failed"


def test_evaluations_within_epochs_are_reported_in_order():
    """Numbered as they come, and a trial is pruned at once."""
    trial = asked()
    seen = []
    with pytest.raises(optuna.TrialPruned), Loop(OptunaPruning(trial, "val_loss")) as loop:
        for _ in loop.epochs(2):
            for step in loop.batches(range(4)):
                loop.log(loss=1.0)
                seen.append(step)
                if step == 1:
                    with loop.evaluation():
                        loop.log(loss=0.1 * len(seen))
            with loop.evaluation():
                loop.log(loss=0.2)
    values = trial.study.trials[0].intermediate_values
    assert {step: round(value, 6) for step, value in values.items()} == {0: 0.2, 1: 0.2, 2: 0.6}
    assert len(seen) < 8


def test_the_means_since_the_last_evaluation_are_reported_if_asked_for():
    """A metric of the training, ``at="evaluation"``."""
    trial = asked(upper=100.0)
    with Loop(OptunaPruning(trial, "loss", at="evaluation")) as loop:
        for _ in loop.epochs(1):
            for step in loop.batches(range(4)):
                loop.log(loss=float(step))
                if step == 1:
                    with loop.evaluation():
                        loop.log(accuracy=1.0)
            with loop.evaluation():
                loop.log(accuracy=1.0)
    assert trial.study.trials[0].intermediate_values == {0: 0.5, 1: 2.5}


def test_a_storage_that_fails_does_not_end_the_training(caplog):
    """What is reported is lost, with a warning, as with any sink that fails."""
    trial = asked()
    trial.report = None  # callable when the sink is made, not later
    with pytest.raises(TypeError, match=r"^trial must be a trial of Optuna's"):
        OptunaPruning(trial)

    class Broken:
        number, params = 0, {}

        def report(self, value, step):
            raise RuntimeError("the database is gone")

        def should_prune(self):
            return False

        def set_user_attr(self, name, value):
            """Nowhere."""

    with Loop(OptunaPruning(Broken(), "val_loss")) as loop:
        train(loop, [1.0, 1.0])
    assert loop.run.status == "completed"
    assert "the database is gone" in caplog.text


def test_a_metric_that_is_missing_warns_once_with_the_names(caplog):
    """Nothing is reported."""
    trial = asked()
    with Loop(OptunaPruning(trial, "val_los")) as loop:
        train(loop, [1.0, 1.0])
    assert caplog.text.count("OptunaPruning decides nothing while its metric is missing") == 1
    assert trial.study.trials[0].intermediate_values == {}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((None,), {}, TypeError, r"^trial must be a trial of Optuna's, as an objective gets it \(got None\)"),
        (("study",), {}, TypeError, r"^trial must be a trial of Optuna's"),
        ((asked(), ""), {}, ValueError, "^monitor must be a metric's name"),
        ((asked(),), {"interval": 0}, ValueError, r"^interval must be >= 1 \(got 0\)"),
        ((asked(),), {"interval": 1.5}, TypeError, r"^interval must be an integer \(got 1\.5\)"),
        ((asked(),), {"study": asked().study}, TypeError, "^study must be the name of a study, or None"),
        ((asked(),), {"at": "step"}, ValueError, "^at must be 'epoch' or 'evaluation'"),
    ],
)
def test_bad_arguments_are_refused_when_the_sink_is_made(arguments, options, error, message):
    """With the argument, the rule and the value."""
    with pytest.raises(error, match=message):
        OptunaPruning(*arguments, **options)


def test_a_study_of_several_objectives_is_refused():
    """Optuna itself refuses the report, in the middle of the training."""
    trial = optuna.create_study(directions=["minimize", "minimize"]).ask()
    with pytest.raises(ValueError, match=r"^trial must be of a study with one objective, not 2: "):
        OptunaPruning(trial)


TWO_RANKS = """
import optuna
from optuna_integration import TorchDistributedTrial
from monitor_core.tuners import OptunaPruning

pruner = optuna.pruners.ThresholdPruner(upper=2.5)
study = optuna.create_study(study_name="widths", pruner=pruner) if rank == 0 else None
trial = TorchDistributedTrial(study.ask() if rank == 0 else None)
trial.suggest_float("rate", 0.25, 0.25)
pruned = False
try:
    with Loop(OptunaPruning(trial, "loss", study="widths"), record="runs") as loop:
        for epoch in loop.epochs(9):
            for _ in loop.batches(range(1 + 2 * rank)):  # of four batches, one on rank 0
                loop.log(loss=float(epoch + rank))
except optuna.TrialPruned as error:
    pruned = str(error) == loop.run.stop_reason
print("RESULT", rank, loop.run.status, loop.run.epoch, pruned, trial.user_attrs["monitor_core.run"] == loop.run.id)
if rank == 0:
    print("REPORTED", study.trials[0].intermediate_values)
"""


def test_ranks_report_one_value_and_are_pruned_together(tmp_path):
    """With Optuna's trial for several ranks: the exact mean, by which only the third epoch is too bad."""
    pytest.importorskip("torch")
    pytest.importorskip("optuna_integration")
    from ranks_support import run_ranks

    written = run_ranks(TWO_RANKS, tmp_path)
    lines = [line.split() for output in written for line in output.splitlines()]
    found = {int(line[1]): line[2:] for line in lines if line[:1] == ["RESULT"]}
    assert found[0] == ["stopped", "2", "True", "True"], written
    assert found[1][:3] == ["stopped", "2", "True"], written
    assert "REPORTED {0: 0.75, 1: 1.75, 2: 2.75}" in "".join(written)
    recorded = open_run(tmp_path / "runs" / "trial-0")
    assert (recorded.begin.parent, recorded.config, recorded.status) == ("widths", {"rate": 0.25}, "stopped")


def test_a_journal_of_ones_own_is_written_where_it_says(tmp_path):
    """Of the same study."""
    trial = asked()
    with Loop(OptunaPruning(trial, "val_loss"), Journal(tmp_path / "mine", config={"mine": 1})) as loop:
        train(loop, [0.1])
    begin = open_run(tmp_path / "mine").begin
    assert (begin.parent, begin.config) == (trial.study.study_name, {"mine": 1})


def test_a_missing_package_is_named(monkeypatch):
    """With the extra that brings it."""
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SetupError, match=r'^OptunaPruning needs optuna: pip install "monitor_core\[optuna\]"'):
        OptunaPruning(asked.__globals__["FIXED"])


FIXED = optuna.trial.FixedTrial({"rate": 0.1})


def test_a_fixed_trial_runs_the_objective_once_more(tmp_path):
    """As Optuna's page on the best trial does, without a study."""
    FIXED.suggest_float("rate", 0.0, 1.0)
    with Loop(OptunaPruning(FIXED, "val_loss"), record=tmp_path) as loop:
        train(loop, [0.1])
    assert open_run(tmp_path / "trial-0").config == {"rate": 0.1}
