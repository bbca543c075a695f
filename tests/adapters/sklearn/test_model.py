"""The handle of an estimator: what it saves, its rate, and that a loop around ``partial_fit`` resumes."""

import numpy as np
import pytest

from monitor_core import EarlyStopping, Loop, ModelCheckpoint, ReduceLROnPlateau

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.cluster import MiniBatchKMeans
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier

from monitor_core.adapters.sklearn import SklearnModel

RNG = np.random.default_rng(3)
X = RNG.normal(size=(80, 4))
Y = np.where(X[:, 0] + RNG.normal(size=80) > 0, "yes", "no")


def sgd(rate=0.125):
    return SGDClassifier(loss="log_loss", learning_rate="constant", eta0=rate, random_state=0)


def step(model):
    return model.partial_fit(X, Y, classes=["no", "yes"])


def test_a_file_brings_back_what_was_learned(tmp_path):
    """In an estimator that was never fitted, with classes that are strings; it then trains on as the first one does."""
    model = step(sgd())
    SklearnModel(model).save(tmp_path / "a.npz")
    again = sgd()
    SklearnModel(again).load(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(step(again).coef_, step(model).coef_)


def test_the_file_of_another_class_is_refused(tmp_path):
    """The error names both."""
    SklearnModel(step(sgd())).save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz must be of a LinearRegression \(got one of SGDClassifier\)"):
        SklearnModel(LinearRegression()).load(tmp_path / "a.npz")


def test_weights_are_named_after_the_attributes():
    """Lists by number; labels and counts are no weights."""
    assert [name for name, _ in SklearnModel(step(sgd())).weights()] == ["coef_", "intercept_"]
    network = MLPClassifier((3,), random_state=0).partial_fit(X, Y, classes=["no", "yes"])
    names = [name for name, _ in SklearnModel(network).weights()]
    assert names == ["coefs_/0", "coefs_/1", "intercepts_/0", "intercepts_/1"]
    assert SklearnModel(sgd()).get_weights() == []


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        (sgd(), 0.125),
        (MLPClassifier(learning_rate_init=0.25), 0.25),
        (GradientBoostingRegressor(learning_rate=0.5), 0.5),
    ],
)
def test_the_rate_is_the_parameter_of_each_family(model, rate):
    """It is read and set."""
    handle = SklearnModel(model)
    assert handle.learning_rates == [rate]
    handle.learning_rates = [rate / 2]
    assert handle.learning_rates == [rate / 2]


@pytest.mark.parametrize("model", [sgd(), MLPClassifier((3,), random_state=0)])
def test_a_rate_that_was_set_is_trained_with(model):
    """With a rate of almost nothing, almost nothing changes."""
    step(model)
    handle = SklearnModel(model)
    before = handle.get_weights()
    handle.learning_rates = [1e-12]
    step(model)
    np.testing.assert_allclose(np.concatenate([each.ravel() for each in before]), _flat(handle), atol=1e-9)


def _flat(handle):
    return np.concatenate([each.ravel() for each in handle.get_weights()])


@pytest.mark.parametrize("model", [SGDClassifier(), LinearRegression(), MiniBatchKMeans()])
def test_a_rate_that_is_none_is_not_there(model):
    """Also where the estimator has a schedule of its own."""
    assert not hasattr(SklearnModel(model), "learning_rates")


def test_scorers_improve_by_rising():
    """Whatever set they are of; other metrics have no known direction here."""
    handle = SklearnModel(sgd())
    names = ["score", "val_score", "mean_test_accuracy", "val_neg_log_loss", "log_loss"]
    assert [handle.direction(name) for name in names] == ["max", "max", "max", "max", None]


def test_an_object_that_is_no_estimator_is_refused():
    """The error names its class."""
    with pytest.raises(TypeError, match=r"estimator must be an estimator of scikit-learn \(got a list\)"):
        SklearnModel([])


def test_a_loop_makes_the_handle(tmp_path):
    """Sinks restore, save and set the rate as with every framework."""
    model, best = sgd(rate=8.0), tmp_path / "best.npz"
    sinks = [
        ReduceLROnPlateau("error", patience=1),
        EarlyStopping("error", patience=4, restore_best_weights=True),
        ModelCheckpoint(best, "error", save_best_only=True),
    ]
    with Loop(*sinks, model=model) as loop:
        for epoch in loop.epochs(30):
            step(model)
            loop.log(error=[0.5, 0.25, 0.125][min(epoch, 2)] + max(0, epoch - 2) / 8)
    assert loop.run.status == "stopped"
    assert model.eta0 < 8.0
    again = SklearnModel(sgd())
    again.load(best)
    np.testing.assert_array_equal(again.estimator.coef_, model.coef_)
