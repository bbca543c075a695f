"""What the scikit-learn adapter makes of fits, pipelines and searches, in this process and in others."""

import functools
import gc
import pickle
import weakref

import numpy as np
import pytest

from monitor_core import CSVLogger, EarlyStopping, History, open_run
from monitor_core.errors import SetupError
from recorders import Recorder

sklearn = pytest.importorskip("sklearn", minversion="1.9")

from sklearn.exceptions import ConvergenceWarning, FitFailedWarning  # noqa: E402 (the group's environment has it)
from sklearn.linear_model import LogisticRegression, SGDClassifier  # noqa: E402
from sklearn.metrics import accuracy_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from monitor_core.adapters.sklearn import SklearnAdapter  # noqa: E402

RNG = np.random.default_rng(3)
X = RNG.normal(size=(120, 4)) * [1, 5, 10, 0.1]
Y = (X[:, 0] + RNG.normal(size=120) > 0).astype(int)
TRAIN, VALID = (X[:80], Y[:80]), (X[80:], Y[80:])


def pipeline():
    return make_pipeline(StandardScaler(), LogisticRegression())


def search(n_jobs=None, estimator=None, **options):
    return GridSearchCV(
        pipeline() if estimator is None else estimator,
        {"logisticregression__C": [0.1, 1.0]} if estimator is None else {"alpha": [0.1, 1.0]},
        cv=2,
        n_jobs=n_jobs,
        **options,
    )


def csv_in(folder, name):
    """Return the sinks of a child run."""
    return [CSVLogger(folder / f"{name.replace('/', '-')}.csv")]


# --- a fit ------------------------------------------------------------------------------------------------------------


def test_each_iteration_is_an_epoch_with_scores():
    """On the training data, and on the validation data as an evaluation; all of them improve by rising."""
    adapter = SklearnAdapter(history := History(), scoring=["accuracy", "neg_log_loss"], validation_data=VALID)
    model = adapter.attach(LogisticRegression()).fit(*TRAIN)
    assert list(history) == ["accuracy", "neg_log_loss", "val_accuracy", "val_neg_log_loss"]
    assert history.epoch == list(range(model.n_iter_[0]))
    assert history["val_accuracy"][-1] == model.score(*VALID)
    assert adapter.run.status == "completed"
    assert adapter.run.step == model.n_iter_[0]


def test_the_iterations_can_be_unscored():
    """Nothing is computed then."""
    adapter = SklearnAdapter(recorder := Recorder("on_epoch_end"), scoring=(), validation_data=VALID)
    model = adapter.attach(LogisticRegression()).fit(*TRAIN)
    assert recorder.events == [("epoch_end", epoch, {}) for epoch in range(model.n_iter_[0])]


def test_a_callable_scores_too():
    """A scorer of one value is named score."""

    def score(model, x, y):
        return accuracy_score(y, model.predict(x))

    SklearnAdapter(history := History(), scoring=score).attach(model := LogisticRegression())
    assert history is not None
    model.fit(*TRAIN)
    assert history["score"][-1] == model.score(*TRAIN)


def test_weights_of_samples_reach_the_scorer():
    """As they reach the fit."""
    weight = np.linspace(0, 1, 80)
    SklearnAdapter(history := History()).attach(model := LogisticRegression())
    model.fit(*TRAIN, sample_weight=weight)
    assert history["score"][-1] == model.score(*TRAIN, sample_weight=weight)


def test_a_stop_is_obeyed_by_scipys_means():
    """scikit-learn 1.9 itself ignores what the callback returns."""
    adapter = SklearnAdapter(EarlyStopping("val_score", stopping_threshold=0.1), validation_data=VALID)
    with pytest.warns(ConvergenceWarning, match="StopIteration"):
        model = adapter.attach(LogisticRegression()).fit(*TRAIN)
    assert model.n_iter_[0] == adapter.run.step == 1
    assert adapter.run.status == "stopped"


def test_an_older_scipy_is_not_stopped(monkeypatch):
    """It would let the exception through; the fit goes to its end, and nothing more is recorded."""
    monkeypatch.setattr("scipy.__version__", "1.10.1")
    adapter = SklearnAdapter(EarlyStopping("val_score", stopping_threshold=0.1), validation_data=VALID)
    model = adapter.attach(LogisticRegression()).fit(*TRAIN)
    assert (adapter.run.step, adapter.run.status) == (1, "stopped")
    assert model.n_iter_[0] > 1


def test_a_fit_that_raises_ends_the_run():
    """Sinks get the exception, though scikit-learn's callbacks do not."""

    def fail(model, x, y):
        raise OSError("no data")

    adapter = SklearnAdapter(recorder := Recorder("on_exception"), scoring=fail)
    with pytest.raises(OSError, match="no data"):
        adapter.attach(LogisticRegression()).fit(*TRAIN)
    assert adapter.run.status == "failed"
    assert [event[0] for event in recorder.events] == ["exception"]


def test_a_second_fit_is_a_run_of_its_own():
    """The history has both."""
    model = SklearnAdapter(history := History()).attach(LogisticRegression())
    count = model.fit(*TRAIN).fit(*TRAIN).n_iter_[0]
    assert history.run.tolist() == [0] * count + [1] * count


def test_the_estimator_is_a_handle_while_it_is_fitted():
    """Sinks can look at it; afterwards nothing keeps it."""
    adapter = SklearnAdapter(scoring=())
    reference = weakref.ref(adapter.attach(model := LogisticRegression()).fit(*TRAIN))
    assert adapter.run.model.estimator is model
    del model
    gc.collect()  # scikit-learn's own tree of tasks has circles
    assert (reference(), adapter.run.model) == (None, None)


def test_a_finished_search_keeps_nothing(tmp_path):
    """Neither the adapter nor this module holds its fits."""
    from monitor_core.adapters.sklearn import fits

    adapter = SklearnAdapter(record=tmp_path)
    adapter.attach(search()).fit(X, Y)
    assert (adapter._fits._open, [each for each in fits._children.values() if each]) == ({}, [])


def test_a_copy_of_the_adapter_has_no_sinks():
    """What other processes get is the options."""
    adapter = SklearnAdapter(History(), scoring="accuracy")
    copied = pickle.loads(pickle.dumps(adapter))  # noqa: S301 (it is our own)
    assert (len(copied.bus.sinks), copied._scoring) == (0, "accuracy")


# --- pipelines --------------------------------------------------------------------------------------------------------


def test_a_pipeline_is_one_run():
    """Its last step's iterations are the rounds, and validation data pass through the steps before."""
    adapter = SklearnAdapter(history := History(), validation_data=VALID)
    model = adapter.attach(pipeline()).fit(*TRAIN)
    assert len(history) == model[-1].n_iter_[0]
    assert history["val_score"][-1] == model.score(*VALID)


# --- searches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_the_fits_of_a_search_record_to_folders_of_their_own(tmp_path, n_jobs):
    """In other processes too; the search's own run has an epoch for each candidate."""
    adapter = SklearnAdapter(history := History(), record=tmp_path)
    model = adapter.attach(search(n_jobs)).fit(X, Y)
    names = [f"fit-{number:04d}" for number in range(4)] + ["refit"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == names
    runs = [open_run(tmp_path / name) for name in names]
    assert {run.outcome.status for run in runs} == {"completed"}
    assert len(runs[-1].history["score"]) == model.best_estimator_[-1].n_iter_[0]
    assert history["mean_test_score"].tolist() == model.cv_results_["mean_test_score"].tolist()
    assert adapter.run.status == "completed"


def test_processes_make_no_difference(tmp_path):
    """The records of one process and of two are the same."""
    scores = []
    for n_jobs in (None, 2):
        SklearnAdapter(record=tmp_path / str(n_jobs), scoring="neg_log_loss").attach(model := search(n_jobs))
        model.fit(X, Y)
        folders = sorted(path for path in (tmp_path / str(n_jobs)).iterdir() if path.is_dir())
        scores.append([open_run(folder).history["neg_log_loss"].tolist() for folder in folders])
    assert scores[0] == scores[1]


def test_the_fits_of_a_search_in_threads_record_too(tmp_path):
    """Each has its own bus."""
    import joblib

    with joblib.parallel_config(backend="threading"):
        SklearnAdapter(History(), record=tmp_path).attach(search(2)).fit(X, Y)
    runs = [open_run(path) for path in tmp_path.iterdir() if path.is_dir()]
    assert [run.outcome.status for run in runs] == ["completed"] * 5


def test_cross_validation_is_a_run_for_each_split(tmp_path):
    """In two processes, which write files of their own in the same folder; sinks stay in this process."""
    model = SklearnAdapter(history := History(), record=tmp_path).attach(LogisticRegression())
    assert len(cross_val_score(model, X, Y, cv=3, n_jobs=2, error_score="raise")) == 3
    assert sorted(set(open_run(tmp_path).history.run.tolist())) == [0, 1, 2]
    assert len(history) == 0


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_child_runs_have_sinks_of_their_own(tmp_path, n_jobs):
    """Made by name in the process that fits."""
    SklearnAdapter(children=functools.partial(csv_in, tmp_path)).attach(model := search(n_jobs))
    model.fit(X, Y)
    names = [f"fit-{number:04d}.csv" for number in range(4)] + ["refit.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_search_without_folder_or_children_has_only_its_own_run():
    """Its fits are not watched then."""
    adapter = SklearnAdapter(recorder := Recorder("on_epoch_begin"))
    adapter.attach(search()).fit(X, Y)
    assert [event[1] for event in recorder.events] == [0, 1]


def test_the_fits_of_a_search_within_a_search_have_folders_in_its_folder(tmp_path):
    """Each level of the tree is a level of folders."""
    outer = GridSearchCV(search(), {"cv": [2]}, cv=2, refit=False)
    SklearnAdapter(record=tmp_path, scoring=()).attach(outer).fit(X, Y)
    inner = sorted(path.name for path in (tmp_path / "fit-0001").iterdir() if path.is_dir())
    assert inner == ["fit-0000", "fit-0001", "fit-0002", "fit-0003", "refit"]
    assert len(open_run(tmp_path / "fit-0001").history["mean_test_score"]) == 2


def test_fits_of_an_estimator_without_callbacks_are_runs_without_rounds(tmp_path):
    """scikit-learn warns; begin and end are there."""
    model = search(estimator=SGDClassifier(random_state=0))
    with pytest.warns(UserWarning, match="does not support callbacks"):
        SklearnAdapter(record=tmp_path).attach(model).fit(X, Y)
    run = open_run(tmp_path / "fit-0000")
    assert (len(run.history), run.outcome.status) == (0, "completed")


@pytest.mark.parametrize("refit", [True, False])
def test_a_fit_of_a_search_that_fails_ends_as_failed(tmp_path, refit):
    """scikit-learn does not say so to callbacks: the next fit, or the search's end, does."""
    one_class, rows = np.flatnonzero(Y == 1), np.arange(120)
    splits = [(one_class, rows), (rows, rows), (one_class, rows)]  # the fits on one class raise
    model = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=splits, error_score=0.0, refit=refit)
    with pytest.warns(FitFailedWarning, match="fits failed"):
        SklearnAdapter(record=tmp_path).attach(model).fit(X, Y)
    runs = [open_run(tmp_path / f"fit-{number:04d}") for number in range(3)]
    assert [run.outcome.status for run in runs] == ["failed", "completed", "failed"]


# --- bad input --------------------------------------------------------------------------------------------------------


def test_an_estimator_without_callbacks_is_refused():
    """The error says what to do instead."""
    with pytest.raises(SetupError, match=r"SGDClassifier takes no callbacks in scikit-learn .* Loop\(\.\.\., model="):
        SklearnAdapter().attach(SGDClassifier())


def test_a_solver_that_calls_nothing_is_refused():
    """scikit-learn itself only warns."""
    with pytest.raises(SetupError, match=r"with solver='lbfgs' only \(got solver='saga'\)"):
        SklearnAdapter().attach(LogisticRegression(solver="saga"))


def test_a_version_that_is_too_old_is_named(monkeypatch):
    """With what to do."""
    monkeypatch.setattr(sklearn, "__version__", "1.8.2")
    with pytest.raises(SetupError, match=r"needs scikit-learn 1\.9 or newer \(got 1\.8\.2\): run pip install -U"):
        SklearnAdapter()


def test_other_callbacks_stay():
    """The adapter is one more, once."""
    from sklearn.callback import ScoringMonitor

    model = LogisticRegression().set_callbacks(monitor := ScoringMonitor(scoring="accuracy"))
    adapter = SklearnAdapter()
    adapter.attach(adapter.attach(model))
    assert model._skl_callbacks == [monitor, adapter]


def test_scikit_learns_callbacks_are_what_they_were():
    """Pins what the adapter works around: SGD calls nothing, and a plain callback sees the fits of no other process."""
    seen = []

    class Plain:
        def setup(self, estimator, context):
            seen.append("setup")

        teardown = on_fit_task_begin = on_fit_task_end = setup

    assert not hasattr(SGDClassifier(), "set_callbacks")
    model = search(2).set_callbacks(Plain())
    model.fit(X, Y)
    assert seen == ["setup"] * 8
