"""scikit-learn passes the contract of adapters, by its callbacks as far as they go and by loops of ``partial_fit``."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from monitor_core import Loop
from monitor_core.testing import AdapterContract, HandleContract, HostReads, Trained

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from monitor_core.adapters.sklearn import SklearnAdapter, SklearnModel

PAGE = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"
RNG = np.random.default_rng(1)
X = RNG.normal(size=(96, 24)) * np.geomspace(1, 100, 24)
Y = (X[:, 0] + X[:, 1] / 2 > RNG.normal(size=96)).astype(int)
TRAIN, VALID = slice(64), slice(64, 96)
NOT_BY_PARTS = {
    "a_skipped_step_is_not_a_step": "there is no loss scaling in scikit-learn",
    "a_compiled_step_is_not_compiled_again": "nothing is compiled",
}
NOT_BY_CALLBACKS = {
    "events_come_in_order": "L-BFGS begins one more iteration than it makes",
    "a_skipped_step_is_not_a_step": "there is no loss scaling in scikit-learn",
    "a_compiled_step_is_not_compiled_again": "nothing is compiled",
    "the_rate_can_be_read": "L-BFGS has no learning rate",
    "the_rate_can_be_set": "L-BFGS has no learning rate",
    "resume_continues": "a fit begins from scratch",
    "a_stop_is_obeyed[on_train_begin]": "L-BFGS makes one iteration before a callback can stop it",
    "an_exception_of_the_training_ends_the_run[batch]": "no code of the user runs within an iteration",
    "ctrl_c_in_the_training_ends_the_run[batch]": "no code of the user runs within an iteration",
}


class NoValues(AdapterContract):
    """What both have: values that are NumPy's and Python's own numbers, which are on the host."""

    documented_in = PAGE
    metric, evaluation_metric = "log_loss", "val_log_loss"

    def values(self):
        """Return a counter of no type."""
        return HostReads(type("Value", (), {}))


class TestPartialFit(NoValues):
    """A `Loop` around ``partial_fit``, with the handle that it makes of an estimator."""

    cannot = NOT_BY_PARTS

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return train_by_parts


class TestCallbacks(NoValues):
    """`SklearnAdapter` on an estimator with callbacks."""

    cannot = NOT_BY_CALLBACKS

    def epochs(self, plan):
        """An iteration is an epoch of one step."""
        return [1] * (plan.epochs * plan.steps)

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return train_with_callbacks


def train_by_parts(sinks, plan):
    """Train an SGD classifier, a step for each batch."""
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=plan.rate, random_state=0)
    losses, evaluations, made = [], [], []

    def step(number):
        for part in range(plan.accumulation):
            plan.visit("batch")
            rows = slice(8 * (number % 8) + part, 8 * (number % 8) + part + 4)
            model.partial_fit(X[rows] / 100, Y[rows], classes=[0, 1])
        made.append(number)
        losses.append(float(log_loss(Y[TRAIN], model.predict_proba(X[TRAIN] / 100))))
        return losses[-1]

    def evaluate():
        plan.visit("evaluation")
        evaluations.append(float(log_loss(Y[VALID], model.predict_proba(X[VALID] / 100))))
        return evaluations[-1]

    before = 0
    if sinks is None:
        for _ in range(plan.epochs):
            for number in range(plan.steps):
                step(number)
            evaluate()
    else:
        with Loop(*sinks, model=model, resume=plan.folder) as loop:
            before = loop.run.step
            for _ in loop.epochs(plan.epochs):
                for number in loop.batches(range(plan.steps)):
                    loop.log(log_loss=step(number))
                if plan.evaluates and not loop.run.stopped:
                    with loop.evaluation():
                        loop.log(log_loss=evaluate())
    weights = SklearnModel(model).get_weights()
    return Trained(
        weights=weights, steps=before + len(made), losses=losses, evaluations=evaluations, rate=float(model.eta0)
    )


def train_with_callbacks(sinks, plan):
    """Fit a logistic regression, whose iterations are the steps."""
    model = LogisticRegression(max_iter=plan.epochs * plan.steps, tol=1e-30, C=1e4)
    losses, evaluations = [], []
    valid = (X[VALID], Y[VALID])

    def score(fitted, x, y):
        values = losses if len(y) == 64 else evaluations
        if len(y) != 64:
            plan.visit("evaluation")
        values.append(float(log_loss(y, fitted.predict_proba(x))))
        return {"log_loss": values[-1]}

    if sinks is not None:
        SklearnAdapter(*sinks, scoring=score, validation_data=valid if plan.evaluates else None).attach(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X[TRAIN], Y[TRAIN])
    return Trained(
        weights=SklearnModel(model).get_weights(),
        steps=int(model.n_iter_[0]),
        losses=losses,
        evaluations=evaluations,
    )


class TestSklearnModel(HandleContract):
    """The handle of a linear classifier."""

    x, y, file = X[:3], Y[:3], "model.npz"

    @pytest.fixture
    def handle(self):
        """Return the handle of a small classifier."""
        model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.125)
        return SklearnModel(model.partial_fit(X, Y, classes=[0, 1]))


class TestSklearnModelOfNetwork(HandleContract):
    """The handle of a network, whose weights are lists."""

    x, y, file = X[:3], Y[:3], "model.npz"

    @pytest.fixture
    def handle(self):
        """Return the handle of a small network."""
        return SklearnModel(MLPClassifier((4,), random_state=0).partial_fit(X, Y, classes=[0, 1]))
