"""What the XGBoost adapter makes of sets, trainings, stops and failures."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

from monitor_core import EarlyStopping, History, LearningRateScheduler, Loop, ModelCheckpoint, Sink, TerminateOnNaN, on
from monitor_core import open_run as open_recorded
from monitor_core.errors import SetupError
from recorders import Recorder

xgboost = pytest.importorskip("xgboost")

from monitor_core.adapters.xgboost import XGBoostAdapter, XGBoostModel  # noqa: E402 (it imports xgboost)

RNG = np.random.default_rng(3)
X = RNG.normal(size=(120, 4))
Y = (X[:, 0] + RNG.normal(size=120) > 0).astype(int)
DATA, VALID = xgboost.DMatrix(X[:80], Y[:80]), xgboost.DMatrix(X[80:], Y[80:])
PARAMS = {"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "max_depth": 2, "nthread": 1}


def train(*callbacks, rounds=5, data=DATA, evals=((DATA, "train"), (VALID, "valid")), params=PARAMS, **options):
    return xgboost.train(
        params, data, rounds, evals=list(evals), callbacks=list(callbacks), verbose_eval=False, **options
    )


class StopAt(Sink):
    """Stop at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, run, epoch, logs):
        if epoch == self.epoch:
            run.stop("enough")


# --- sets and their names ---------------------------------------------------------------------------------------------


def test_each_round_is_an_epoch_of_one_step_with_an_evaluation_of_each_set():
    """The training data's metrics have their own names, those of another set its prefix."""
    recorder, results = Recorder(), {}
    train(XGBoostAdapter(recorder, strict=True), rounds=1, evals_result=results)
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
    """A set is the training data if it is the same object, not by its name."""
    train(XGBoostAdapter(history := History()), evals=[(DATA, "all"), (VALID, "train")])
    assert list(history) == ["logloss", "auc", "train_logloss", "train_auc"]


def test_rounds_without_sets_are_counted():
    """Nothing is evaluated, and every round is there."""
    recorder = Recorder("on_epoch_end")
    train(adapter := XGBoostAdapter(recorder), rounds=3, evals=[])
    assert recorder.events == [("epoch_end", epoch, {}) for epoch in range(3)]
    assert adapter.run.status == "completed"


def test_sets_that_share_a_name_cause_one_warning(warned):
    """XGBoost keeps one list for both, so that only the last one's results can be told."""
    train(XGBoostAdapter(history := History()), rounds=2, evals=[(VALID, "valid"), (DATA, "valid"), (VALID, "v")])
    assert [text for text in warned() if "evals" in text] == [
        "several sets of evals have the name 'valid': only the results of the last one arrive"
    ]
    assert len(history["v_logloss"]) == 2


def test_estimators_name_their_sets():
    """The training data are recognized if `eval_set` has the same objects as `fit`."""
    x, y = X[:80], Y[:80]
    model = xgboost.XGBClassifier(
        n_estimators=4, eval_metric="logloss", callbacks=[XGBoostAdapter(history := History())]
    )
    model.fit(x, y, eval_set=[(x, y), (X[80:], Y[80:])], verbose=False)
    assert list(history) == ["logloss", "validation_1_logloss"]
    assert history["validation_1_logloss"].tolist() == model.evals_result()["validation_1"]["logloss"]


def test_cross_validation_gives_means_and_deviations():
    """The mean has the metric's name, so that sinks work as in a training."""
    found = xgboost.cv(PARAMS, DATA, 4, callbacks=[XGBoostAdapter(history := History())], as_pandas=False)
    names = ["logloss", "logloss_std", "auc", "auc_std", *(f"test_{name}" for name in ("logloss", "logloss_std"))]
    assert list(history)[:6] == names
    assert history["test_logloss"].tolist() == found["test-logloss-mean"]
    assert history["test_logloss_std"].tolist() == found["test-logloss-std"]


# --- stops and the best round -----------------------------------------------------------------------------------------


def test_a_stopped_cross_validation_keeps_the_best_rounds():
    """As after XGBoost's own early stopping."""
    own = xgboost.callback.EarlyStopping(rounds=2, data_name="test", metric_name="auc")
    expected = xgboost.cv(PARAMS, DATA, 30, callbacks=[own], as_pandas=False)
    adapter = XGBoostAdapter(EarlyStopping("test_auc", patience=2))
    assert xgboost.cv(PARAMS, DATA, 30, callbacks=[adapter], as_pandas=False) == expected
    assert adapter.run.status == "stopped"


def test_a_cross_validation_that_another_sink_stops_keeps_all_rounds():
    """XGBoost itself raises a TypeError if a callback stops it without a best round."""
    found = xgboost.cv(PARAMS, DATA, 30, callbacks=[XGBoostAdapter(StopAt(3))], as_pandas=False)
    assert len(found["test-auc-mean"]) == 4


def test_an_estimator_predicts_with_the_best_rounds():
    """The booster has the same attributes as from XGBoost's own early stopping."""
    fitted = []
    for options in (
        {"early_stopping_rounds": 3},
        {"callbacks": [XGBoostAdapter(EarlyStopping("validation_0_logloss", patience=3))]},
    ):
        model = xgboost.XGBClassifier(n_estimators=60, eval_metric="logloss", **options)
        fitted.append(model.fit(X[:80], Y[:80], eval_set=[(X[80:], Y[80:])], verbose=False))
    own, ours = fitted
    assert (ours.best_iteration, ours.best_score) == (own.best_iteration, pytest.approx(own.best_score))
    assert ours.get_booster().num_boosted_rounds() == own.get_booster().num_boosted_rounds()
    np.testing.assert_array_equal(ours.predict_proba(X), own.predict_proba(X))


def test_save_best_returns_the_rounds_up_to_the_best():
    """As XGBoost's `save_best` does."""
    booster = train(XGBoostAdapter(sink := EarlyStopping("valid_auc", patience=3), save_best=True), rounds=50)
    own = xgboost.callback.EarlyStopping(rounds=3, data_name="valid", metric_name="auc", save_best=True)
    expected = train(own, rounds=50)
    assert booster.get_dump() == expected.get_dump()
    assert (booster.num_boosted_rounds(), booster.best_iteration) == (sink.best_epoch + 1, sink.best_epoch)


def test_a_sink_that_only_watches_sets_no_best_round(tmp_path):
    """A checkpoint does not change what an estimator predicts with."""
    booster = train(XGBoostAdapter(ModelCheckpoint(tmp_path / "best.json", "valid_auc", save_best_only=True)))
    assert booster.attributes() == {}


def test_the_round_in_which_an_earlier_callback_stops_is_recorded():
    """XGBoost skips the callbacks after it in that round; the training's end makes up for it."""
    own = xgboost.callback.EarlyStopping(rounds=2, data_name="valid", metric_name="auc")
    results = {}
    train(own, adapter := XGBoostAdapter(history := History()), rounds=50, evals_result=results)
    assert history["valid_auc"].tolist() == results["valid"]["auc"]
    assert adapter.run.status == "stopped"
    assert adapter.run.stop_reason == f"another callback stopped the training after round {len(history)}"


def test_a_round_that_another_callback_prevents_is_not_recorded():
    """One that was begun and not trained leaves nothing."""

    class Prevent(xgboost.callback.TrainingCallback):
        def before_iteration(self, model, epoch, evals_log):
            return epoch == 2

    train(adapter := XGBoostAdapter(recorder := Recorder("on_epoch_end")), Prevent())
    assert [event[1] for event in recorder.events] == [0, 1]
    assert (adapter.run.epoch, adapter.run.status) == (1, "stopped")


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_training_that_continues_a_booster_is_a_run_of_its_own():
    """XGBoost counts its rounds from 0 again; the best round is one of the whole booster."""
    first = train(XGBoostAdapter(history := History()), rounds=3)
    adapter = XGBoostAdapter(history, EarlyStopping("auc", patience=9))
    second = train(adapter, rounds=4, xgb_model=first)
    assert history.epoch == [0, 1, 2, 0, 1, 2, 3]
    assert second.best_iteration == 3 + int(np.argmax(history["auc"][3:]))


def test_a_loop_counts_the_rounds_of_all_its_trainings():
    """Rounds, steps and decisions continue from training to training."""
    with Loop(history := History(), model=None) as loop:
        booster = train(XGBoostAdapter(loop), rounds=3)
        train(XGBoostAdapter(loop), rounds=2, xgb_model=booster)
        assert loop.run.step == 5
    assert history.epoch == [0, 1, 2, 3, 4]
    assert loop.run.status == "completed"


def test_a_loop_has_the_booster_of_the_present_training(tmp_path):
    """A checkpoint has the rounds of both."""
    sink = ModelCheckpoint(tmp_path / "last.ubj", "auc")
    with Loop(sink, model=XGBoostModel(xgboost.Booster())) as loop:
        booster = train(XGBoostAdapter(loop), rounds=3)
        train(XGBoostAdapter(loop), rounds=2, xgb_model=booster)
    assert xgboost.Booster(model_file=tmp_path / "last.ubj").num_boosted_rounds() == 5


def test_a_best_round_of_an_earlier_training_is_not_one_of_this(tmp_path):
    """The second booster keeps all of its rounds."""
    values = iter([1.0, 2.0, 3.0, 4.0])
    with Loop(EarlyStopping("valid_m", mode="min", patience=9)) as loop:
        for best in ({"best_iteration": "0", "best_score": "1.0"}, {}):
            booster = train(
                XGBoostAdapter(loop),
                rounds=2,
                evals=[(VALID, "valid")],
                custom_metric=lambda predicted, data: ("m", next(values)),
            )
            assert booster.attributes() == best


def test_a_training_that_raised_leaves_the_loop_usable():
    """The round that was open is not recorded."""

    def metric(predicted, data):
        raise OSError("no data")

    with Loop(history := History()) as loop:
        train(XGBoostAdapter(loop), rounds=2)
        with pytest.raises(OSError, match="no data"), XGBoostAdapter(loop) as adapter:
            train(adapter, custom_metric=metric)
        train(XGBoostAdapter(loop), rounds=1)
    assert history.epoch == [0, 1, 2]


def test_a_loop_has_its_own_sinks():
    """Sinks next to it are an error."""
    with pytest.raises(ValueError, match="a Loop must be the only argument"):
        XGBoostAdapter(Loop(), History())


def test_a_loop_that_was_stopped_trains_no_round():
    """As with every adapter."""
    with Loop(StopAt(1)) as loop:
        train(XGBoostAdapter(loop))
        assert train(XGBoostAdapter(loop)).num_boosted_rounds() == 0


def test_with_ends_the_run_after_an_exception():
    """XGBoost calls no callback after it."""

    def metric(predicted, data):
        raise OSError("no data")

    with pytest.raises(OSError, match="no data"), XGBoostAdapter(recorder := Recorder("on_exception")) as adapter:
        train(adapter, custom_metric=metric)
    assert adapter.run.status == "failed"
    assert [event[0] for event in recorder.events] == ["exception"]


def test_without_with_the_next_training_ends_a_run_that_raised():
    """As interrupted, since nothing is known of the exception."""

    def metric(predicted, data):
        raise OSError("no data")

    adapter = XGBoostAdapter(Recorder("on_train_end"))
    with pytest.raises(OSError, match="no data"):
        train(adapter, custom_metric=metric)
    run = adapter.run
    train(adapter)
    assert (run.status, adapter.run.status) == ("interrupted", "completed")


def test_a_run_continues_with_the_same_trees(tmp_path):
    """A training that failed after its first rounds resumes, with its best round; ``num_boost_round`` is the total."""
    params = {**PARAMS, "eta": 1.0, "max_depth": 6}  # the best round comes early

    def sinks():
        return EarlyStopping("valid_logloss", patience=99), History()

    expected = train(XGBoostAdapter(*sinks()), rounds=12, params=params)

    def metric(predicted, data, calls=[0]):  # noqa: B006 (it counts its calls)
        calls[0] += 1
        if calls[0] == 14:
            raise OSError("the disk is gone")
        return "calls", 0.0

    with pytest.raises(OSError, match="is gone"), XGBoostAdapter(*sinks(), resume=tmp_path / "run") as adapter:
        train(adapter, rounds=12, custom_metric=metric, params=params)
    again = XGBoostAdapter(*sinks(), resume=tmp_path / "run")
    booster = train(again, rounds=12, params=params)
    assert booster.get_dump() == expected.get_dump()
    assert booster.attributes() == expected.attributes()
    assert again.run.id == adapter.run.id
    assert again.bus.sinks[1].epoch[-1] == 11


# --- copies -----------------------------------------------------------------------------------------------------------


def test_copies_record_for_themselves():
    """Estimators are cloned by deep copies, and pickled for other processes."""
    adapter = XGBoostAdapter(History(), EarlyStopping("valid_auc", patience=2), save_best=True)
    for made in (copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))):  # noqa: S301 (it is our own)
        history, stopping = made.bus.sinks
        assert (len(history), stopping.patience, made.run.status) == (0, 2, "pending")


def test_a_cross_validation_of_an_estimator_clones_the_adapter():
    """In other processes too; each fit has sinks of its own, and the original none of it."""
    pytest.importorskip("sklearn")
    from sklearn.model_selection import cross_val_score

    model = xgboost.XGBClassifier(n_estimators=3, callbacks=[XGBoostAdapter(history := History())])
    assert len(cross_val_score(model, X, Y, cv=2, n_jobs=2)) == 2
    assert len(history) == 0


def test_the_bus_is_freed_with_the_adapter():
    """Nothing keeps it, nor the booster, after a training that raised."""

    def metric(predicted, data):
        raise OSError("no data")

    adapter = XGBoostAdapter(History())
    with pytest.raises(OSError, match="no data"):
        train(adapter, custom_metric=metric)
    bus = weakref.ref(adapter.bus)
    gc.disable()
    try:
        del adapter
        assert bus() is None
    finally:
        gc.enable()


# --- the handle -------------------------------------------------------------------------------------------------------


def test_a_schedule_gives_the_trees_of_xgboosts_own():
    """The rate is set before the round that it is for: XGBoost's own callback sets it after the round before."""

    def rate(epoch):
        return 0.5 / (epoch + 1)

    own = xgboost.callback.LearningRateScheduler(lambda epoch: rate(epoch + 1))
    expected = train(own, params={**PARAMS, "eta": rate(0)})
    sink = LearningRateScheduler(rate)
    assert train(XGBoostAdapter(sink), params={**PARAMS, "eta": 0.9}).get_dump() == expected.get_dump()


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_the_rate_is_read_from_every_kind_of_booster(booster):
    """Their configurations differ; the rate is as set from the next round on."""
    rates = []

    @on("epoch_end")
    def halve(run, epoch, logs):
        rates.append(run.learning_rate)
        run.learning_rate = rates[-1] / 2

    train(XGBoostAdapter(halve), params={"booster": booster, "eta": 0.25, "verbosity": 0}, rounds=3)
    assert rates == [0.25, 0.125, 0.0625]


@pytest.mark.parametrize(("others", "rates"), [([], [0.25] * 3), ([lambda epoch: 1 / (epoch + 1)], [0.25, 1.0, 0.5])])
def test_the_rate_is_read_once_unless_another_callback_may_set_it(others, rates, monkeypatch):
    """XGBoost writes its whole configuration for it."""
    calls, read = [], []
    save = xgboost.Booster.save_config
    monkeypatch.setattr(xgboost.Booster, "save_config", lambda booster: calls.append(0) or save(booster))
    sink = on("batch_end")(lambda run, step, logs: read.append(run.learning_rate))
    schedules = [xgboost.callback.LearningRateScheduler(each) for each in others]
    train(XGBoostAdapter(sink), *schedules, params={**PARAMS, "eta": 0.25}, rounds=3)
    assert (read, len(calls)) == (rates, 3 if others else 1)


def test_checkpoints_hold_the_booster(tmp_path):
    """Each round's file has the rounds up to it, and predicts alike."""
    booster = train(XGBoostAdapter(ModelCheckpoint(tmp_path / "{epoch}.ubj", "valid_auc")), rounds=3)
    handle = XGBoostModel(xgboost.Booster())
    handle.load(tmp_path / "2.ubj")
    assert handle.booster.num_boosted_rounds() == 2
    handle.load(tmp_path / "3.ubj")
    np.testing.assert_array_equal(handle.predict(X), booster.predict(xgboost.DMatrix(X)))


def test_a_damaged_file_replaces_nothing(tmp_path):
    """The error is XGBoost's."""
    (tmp_path / "a.ubj").write_bytes(b"{}")
    handle = XGBoostModel(train(rounds=2))
    with pytest.raises(xgboost.core.XGBoostError):
        handle.load(tmp_path / "a.ubj")
    assert handle.booster.num_boosted_rounds() == 2


def test_an_estimator_is_no_booster():
    """The error says what to pass."""
    with pytest.raises(TypeError, match=r"pass estimator\.get_booster\(\)"):
        XGBoostModel(xgboost.XGBClassifier())


def test_a_finished_run_keeps_no_booster_alive():
    """It is there as long as the caller has it."""
    booster = train(adapter := XGBoostAdapter(History()))
    assert adapter.run.model.booster is booster
    del booster
    assert adapter.run.model is None


# --- bad input --------------------------------------------------------------------------------------------------------


def test_a_version_that_is_too_old_is_named(monkeypatch):
    """With what to do."""
    monkeypatch.setattr(xgboost, "__version__", "1.7.6")
    with pytest.raises(SetupError, match=r'needs xgboost 3\.0 or newer \(got 1\.7\.6\): run pip install -U "monitor_'):
        XGBoostAdapter()


def test_a_metric_without_a_known_direction_needs_a_mode():
    """XGBoost would take it as one that improves by falling."""
    with pytest.raises(SetupError, match="pass mode='min' or mode='max'"):
        train(XGBoostAdapter(EarlyStopping("valid_profit")))


def test_a_name_as_xgboost_prints_it_is_corrected():
    """At train begin, not with a warning after the first round."""
    with pytest.raises(SetupError, match=r"its name here is 'valid_ndcg@5', or 'ndcg@5' if 'valid' are the training"):
        train(XGBoostAdapter(EarlyStopping("valid-ndcg@5")))


def test_a_metric_that_only_one_set_has_is_in_its_place():
    """The other set's column is not there."""

    def metric(predicted, data):
        return [("size", float(data.num_row()))] if data is VALID else []

    train(XGBoostAdapter(history := History()), custom_metric=metric, rounds=2)
    assert history["valid_size"].tolist() == [40.0, 40.0]
    assert "size" not in history


def test_a_value_that_is_nan_stops_the_run_as_failed():
    """As everywhere."""
    adapter = XGBoostAdapter(TerminateOnNaN("bad"))
    train(adapter, custom_metric=lambda predicted, data: ("bad", float("nan")))
    assert (adapter.run.status, adapter.run.epoch) == ("failed", 0)


def test_a_folder_records_the_run(tmp_path):
    """With all rounds and the end."""
    train(XGBoostAdapter(record=tmp_path), rounds=3)
    recorded = open_recorded(tmp_path)
    assert len(recorded.history["valid_auc"]) == 3
    assert recorded.outcome.status == "completed"
