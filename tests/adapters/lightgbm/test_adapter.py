"""What the LightGBM adapter makes of sets, trainings, stops and failures."""

import copy
import gc
import pickle
import warnings
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from monitor_core import EarlyStopping, History, LearningRateScheduler, Loop, ModelCheckpoint, Sink
from monitor_core import open_run as open_recorded
from monitor_core.errors import SetupError
from recorders import Recorder

lightgbm = pytest.importorskip("lightgbm")

from monitor_core.adapters.lightgbm import LightGBMAdapter, LightGBMModel  # noqa: E402 (it imports lightgbm)

RNG = np.random.default_rng(3)
X = RNG.normal(size=(120, 4))
Y = (X[:, 0] + RNG.normal(size=120) > 0).astype(int)
PARAMS = {"objective": "binary", "metric": ["binary_logloss", "auc"], "num_leaves": 4, "verbosity": -1}
PARAMS |= {"num_threads": 1, "min_data_in_leaf": 5}


def datasets():
    data = lightgbm.Dataset(X[:80], Y[:80])
    return data, lightgbm.Dataset(X[80:], Y[80:], reference=data)


def train(callbacks=None, rounds=5, names=("train", "valid"), params=PARAMS, **options):
    data, valid = datasets()
    sets = [data, valid][: len(names)]
    return lightgbm.train(params, data, rounds, valid_sets=sets, valid_names=[*names], callbacks=callbacks, **options)


def fitted(callbacks, rounds=60):
    """Return an estimator that was fitted with a validation set."""
    model = lightgbm.LGBMClassifier(n_estimators=rounds, verbosity=-1, n_jobs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LightGBM renames its own arguments
        return model.fit(X[:80], Y[:80], eval_set=[(X[80:], Y[80:])], callbacks=callbacks)


class StopAt(Sink):
    """Stop at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, run, epoch, logs):
        if epoch == self.epoch:
            run.stop("enough")


class StopFirst(Sink):
    """Stop before the first round."""

    def on_train_begin(self, run):
        run.stop("not today")


# --- sets and their names ---------------------------------------------------------------------------------------------


def test_each_round_is_an_epoch_of_one_step_with_an_evaluation_of_each_set():
    """The training data's metrics have their own names, those of another set its prefix."""
    recorder, results = Recorder(), {}
    adapter = LightGBMAdapter(recorder, strict=True)
    train([*adapter, lightgbm.record_evaluation(results)], rounds=1)
    own, valid = ({name: values[0] for name, values in results[each].items()} for each in ("train", "valid"))
    logs = {**own, **{f"valid_{name}": value for name, value in valid.items()}}
    assert recorder.events == [
        ("train_begin",),
        ("epoch_begin", 0),
        ("batch_begin", 1),
        ("batch_end", 1, own),
        ("block", (0, [(1, own)])),
        ("evaluation_begin",),
        ("evaluation_end", valid),
        ("epoch_end", 0, logs),
        ("train_end", logs),
    ]


def test_the_training_data_are_known_whatever_their_name():
    """LightGBM itself knows which set they are."""
    train(LightGBMAdapter(history := History()), names=("all", "train"))
    assert list(history) == ["binary_logloss", "auc", "train_binary_logloss", "train_auc"]


def test_rounds_without_sets_are_counted():
    """Nothing is evaluated, and every round is there."""
    recorder = Recorder("on_epoch_end")
    train(adapter := LightGBMAdapter(recorder), rounds=3, names=())
    assert recorder.events == [("epoch_end", epoch, {}) for epoch in range(3)]
    assert adapter.run.status == "completed"


def test_sets_that_share_a_name_cause_one_warning(warned):
    """Only the last one's results can be told."""
    data, valid = datasets()
    other = lightgbm.Dataset(X[80:], Y[80:], reference=data)
    adapter = LightGBMAdapter(history := History())
    lightgbm.train(PARAMS, data, 2, valid_sets=[valid, other], valid_names=["v", "v"], callbacks=adapter)
    assert [text for text in warned() if "valid_sets" in text] == [
        "several valid_sets have the name 'v': only the results of the last one arrive"
    ]
    assert len(history["v_auc"]) == 2


def test_estimators_name_their_sets():
    """With LightGBM's default names; the estimator's own record has every round too."""
    model = fitted(LightGBMAdapter(history := History(), StopAt(3)))
    assert list(history) == ["valid_0_binary_logloss"]
    assert history["valid_0_binary_logloss"].tolist() == model.evals_result_["valid_0"]["binary_logloss"]


def test_cross_validation_gives_means_and_deviations():
    """The mean has the metric's name, so that sinks work as in a training."""
    adapter = LightGBMAdapter(history := History())
    found = lightgbm.cv(PARAMS, datasets()[0], 4, callbacks=adapter, eval_train_metric=True)
    assert list(history)[:4] == ["binary_logloss", "binary_logloss_std", "auc", "auc_std"]
    assert history["valid_auc"].tolist() == found["valid auc-mean"]
    assert history["valid_auc_std"].tolist() == found["valid auc-stdv"]


# --- stops and the best round -----------------------------------------------------------------------------------------


def test_a_stopped_cross_validation_keeps_the_best_rounds():
    """As after LightGBM's own early stopping."""
    params = {**PARAMS, "metric": "auc"}
    expected = lightgbm.cv(params, datasets()[0], 30, callbacks=[lightgbm.early_stopping(2, verbose=False)])
    adapter = LightGBMAdapter(EarlyStopping("valid_auc", patience=2))
    assert lightgbm.cv(params, datasets()[0], 30, callbacks=adapter) == expected
    assert adapter.run.status == "stopped"


def test_a_training_that_another_sink_stops_keeps_all_rounds():
    """There is no best round then."""
    assert train(LightGBMAdapter(StopAt(3)), rounds=30).num_trees() == 4


def test_an_estimator_has_the_best_round():
    """As from LightGBM's own early stopping."""
    own = fitted([lightgbm.early_stopping(3, verbose=False)])
    ours = fitted(LightGBMAdapter(EarlyStopping("valid_0_binary_logloss", patience=3)))
    assert (ours.best_iteration_, ours.best_score_) == (own.best_iteration_, own.best_score_)
    np.testing.assert_array_equal(ours.predict_proba(X), own.predict_proba(X))


def test_a_sink_that_only_watches_sets_no_best_round(tmp_path):
    """A checkpoint does not remove rounds."""
    sink = ModelCheckpoint(tmp_path / "best.txt", "valid_auc", save_best_only=True)
    booster = train(LightGBMAdapter(sink))
    assert (booster.best_iteration, booster.num_trees()) == (0, 5)


def test_a_stop_before_the_first_round_leaves_no_tree():
    """LightGBM trains the round all the same; it is taken back."""
    booster = train(adapter := LightGBMAdapter(StopFirst(), recorder := Recorder("on_epoch_begin")))
    assert (booster.num_trees(), recorder.events, adapter.run.status) == (0, [], "stopped")


def test_a_stopped_cross_validation_without_rounds_is_empty():
    """The same there."""
    found = lightgbm.cv(PARAMS, datasets()[0], 4, callbacks=LightGBMAdapter(StopFirst()))
    assert {len(values) for values in found.values()} == {0}


def test_lightgbms_own_early_stopping_ends_the_run():
    """LightGBM calls nothing after it; ``with`` ends the run, and the last round is there."""
    with LightGBMAdapter(history := History()) as adapter:
        results = {}
        own = [lightgbm.early_stopping(2, first_metric_only=True, verbose=False), lightgbm.record_evaluation(results)]
        train([*adapter, *own], rounds=50)
    assert history["valid_auc"].tolist() == results["valid"]["auc"]
    assert adapter.run.status == "stopped"
    assert adapter.run.stop_reason == f"another callback stopped the training after round {len(history)}"


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_training_that_continues_a_booster_is_a_run_of_its_own():
    """LightGBM continues to count, and the run begins with epoch 0; the best round is one of the whole booster."""
    first = train(LightGBMAdapter(history := History()), rounds=3)
    second = train(LightGBMAdapter(history, EarlyStopping("auc", patience=9)), rounds=4, init_model=first)
    assert history.epoch == [0, 1, 2, 0, 1, 2, 3]
    assert second.best_iteration == 3 + int(np.argmax(history["auc"][3:])) + 1


def test_a_loop_counts_the_rounds_of_all_its_trainings():
    """Rounds, steps and decisions continue from training to training."""
    with Loop(history := History()) as loop:
        booster = train(LightGBMAdapter(loop), rounds=3)
        train(LightGBMAdapter(loop), rounds=2, init_model=booster)
        assert loop.run.step == 5
    assert history.epoch == [0, 1, 2, 3, 4]


def fail(predicted, data):
    """Raise, as a metric."""
    raise OSError("no data")


def test_with_ends_the_run_after_an_exception():
    """LightGBM calls no callback after it."""
    with pytest.raises(OSError, match="no data"), LightGBMAdapter(recorder := Recorder("on_exception")) as adapter:
        train(adapter, feval=fail)
    assert adapter.run.status == "failed"
    assert [event[0] for event in recorder.events] == ["exception"]


def test_without_with_the_next_training_ends_a_run_that_raised():
    """As interrupted, since nothing is known of the exception."""
    adapter = LightGBMAdapter(Recorder("on_train_end"))
    with pytest.raises(OSError, match="no data"):
        train(adapter, feval=fail)
    run = adapter.run
    train(adapter)
    assert (run.status, adapter.run.status) == ("interrupted", "completed")


# --- copies -----------------------------------------------------------------------------------------------------------


def test_copies_record_for_themselves():
    """An adapter can be pickled for other processes, and copied deeply."""
    adapter = LightGBMAdapter(History(), EarlyStopping("valid_auc", patience=2))
    for made in (copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))):  # noqa: S301 (it is our own)
        train(made)
        assert len(made.bus.sinks[0]) > 0
    assert len(adapter.bus.sinks[0]) == 0


def test_a_cross_validation_of_an_estimator_takes_the_adapter():
    """In other processes too."""
    pytest.importorskip("sklearn")
    from sklearn.model_selection import cross_val_score

    adapter = LightGBMAdapter(history := History())
    model = lightgbm.LGBMClassifier(n_estimators=3, verbosity=-1, n_jobs=1)
    assert len(cross_val_score(model, X, Y, cv=2, n_jobs=2, params={"callbacks": adapter})) == 2
    assert len(history) == 0


def test_the_bus_is_freed_with_the_adapter():
    """Nothing keeps it after a training that raised."""
    adapter = LightGBMAdapter(History())
    with pytest.raises(OSError, match="no data"):
        train(adapter, feval=fail)
    bus = weakref.ref(adapter.bus)
    gc.disable()
    try:
        del adapter
        assert bus() is None
    finally:
        gc.enable()


# --- the handle -------------------------------------------------------------------------------------------------------


def test_a_schedule_gives_the_trees_of_lightgbms_own():
    """Both set the rate before the round that it is for, the first one too."""
    rates = [0.5, 0.25, 0.125, 0.1, 0.1]
    expected = train([lightgbm.reset_parameter(learning_rate=rates)], params={**PARAMS, "learning_rate": 0.9})
    sink = LearningRateScheduler(lambda epoch: rates[epoch])
    found = train(LightGBMAdapter(sink), params={**PARAMS, "learning_rate": 0.9})
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


@pytest.mark.parametrize("name", ["learning_rate", "shrinkage_rate", "eta"])
def test_the_rate_is_read_by_each_of_its_names(name):
    """And set whatever the user called it; without one, it is LightGBM's default."""
    booster = lightgbm.Booster({"verbosity": -1, name: 0.25}, datasets()[0])
    handle = LightGBMModel(booster)
    assert handle.learning_rates == [0.25]
    handle.learning_rates = [0.5]
    assert handle.learning_rates == [0.5]
    assert LightGBMModel(lightgbm.Booster({"verbosity": -1}, datasets()[0])).learning_rates == [0.1]


def test_the_rate_of_a_finished_booster_cannot_be_set():
    """LightGBM would end the process with a segmentation fault."""
    handle = LightGBMModel(train(rounds=2))
    with pytest.raises(ValueError, match="learning_rates cannot be set after the training"):
        handle.learning_rates = [0.5]


def test_checkpoints_hold_the_booster(tmp_path):
    """Each round's file has the rounds up to it, and predicts alike."""
    booster = train(LightGBMAdapter(ModelCheckpoint(tmp_path / "{epoch}.txt", "valid_auc")), rounds=3)
    handle = LightGBMModel(train(rounds=1))
    handle.load(tmp_path / "2.txt")
    assert handle.booster.num_trees() == 2
    handle.load(tmp_path / "3.txt")
    np.testing.assert_array_equal(handle.predict(X), booster.predict(X))


def test_a_damaged_file_replaces_nothing(tmp_path):
    """The error is LightGBM's."""
    (tmp_path / "a.txt").write_text("tree")
    handle = LightGBMModel(train(rounds=2))
    with pytest.raises(lightgbm.basic.LightGBMError):
        handle.load(tmp_path / "a.txt")
    assert handle.booster.num_trees() == 2


def test_an_estimator_is_no_booster():
    """The error says what to pass."""
    with pytest.raises(TypeError, match=r"pass estimator\.booster_"):
        LightGBMModel(lightgbm.LGBMClassifier())


def test_a_finished_run_keeps_no_booster_alive():
    """It is there as long as the caller has it."""
    booster = train(adapter := LightGBMAdapter(History()))
    assert adapter.run.model.booster is booster
    del booster
    assert adapter.run.model is None


# --- bad input --------------------------------------------------------------------------------------------------------


def test_an_adapter_in_a_list_is_explained():
    """LightGBM's own error would be that a list cannot be hashed."""
    with pytest.raises(TypeError, match=r"write callbacks=adapter, or callbacks=\[\*adapter, other\]"):
        train([LightGBMAdapter()])


def test_a_version_that_is_too_old_is_named(monkeypatch):
    """With what to do."""
    monkeypatch.setattr(lightgbm, "__version__", "3.3.5")
    with pytest.raises(SetupError, match=r"needs lightgbm 4\.0 or newer \(got 3\.3\.5\): run pip install -U"):
        LightGBMAdapter()


def test_results_of_older_versions_are_tuples():
    """Before 4.7, results had no names."""
    data, _ = datasets()
    booster = lightgbm.Booster(PARAMS, data)
    booster.update()
    begin, end = LightGBMAdapter(history := History())
    env = {"model": booster, "params": PARAMS, "iteration": 0, "begin_iteration": 0, "end_iteration": 1}
    begin(SimpleNamespace(**env, evaluation_result_list=None))
    end(SimpleNamespace(**env, evaluation_result_list=[("v", "auc", 0.5, True), ("training", "auc", 0.75, True)]))
    assert {name: history[name].tolist() for name in history} == {"auc": [0.75], "v_auc": [0.5]}


def test_a_folder_records_the_run(tmp_path):
    """With all rounds and the end."""
    train(LightGBMAdapter(record=tmp_path), rounds=3)
    recorded = open_recorded(tmp_path)
    assert len(recorded.history["valid_auc"]) == 3
    assert recorded.outcome.status == "completed"
