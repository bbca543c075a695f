"""The XGBoost adapter passes the contract that authors of adapters get, and its handle that of handles."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from monitor_core.testing import AdapterContract, HandleContract, HostReads, Plan, Trained

xgboost = pytest.importorskip("xgboost")

from monitor_core.adapters.xgboost import XGBoostAdapter, XGBoostModel  # noqa: E402 (it imports xgboost)

PAGE = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"
X = np.random.default_rng(1).normal(size=(48, 3)).astype("float32")
Y = X[:, 0] * X[:, 1] + X[:, 2]
CANNOT = {
    "a_skipped_step_is_not_a_step": "there is no loss scaling in boosting",
    "a_compiled_step_is_not_compiled_again": "a round is not compiled",
}


def trees_of(booster):
    """Return the trees as bytes, apart from the attributes."""
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    return [np.frombuffer(json.dumps(model, sort_keys=True).encode(), "uint8")]


class Session:
    """A training that follows a plan: an objective and a metric in Python, which visit its places."""

    def __init__(self, plan):
        self.plan = plan
        self.data, self.valid = xgboost.DMatrix(X[:32], Y[:32]), xgboost.DMatrix(X[32:], Y[32:])
        self.losses, self.evaluations = [], []

    def objective(self, predicted, data):
        for _ in range(self.plan.accumulation):
            self.plan.visit("batch")
        return predicted - data.get_label(), np.ones_like(predicted)

    def metric(self, predicted, data):
        values = self.losses if data is self.data else self.evaluations
        if data is self.valid:
            self.plan.visit("evaluation")
        values.append(float(np.mean((predicted - data.get_label()) ** 2)))
        return "mse", values[-1]

    def train(self, sinks):
        plan = self.plan
        adapter = nullcontext() if sinks is None else XGBoostAdapter(*sinks, resume=plan.folder)
        sets = [(self.data, "train"), (self.valid, "val")]
        with adapter:
            booster = xgboost.train(
                {"max_depth": 2, "eta": plan.rate, "base_score": 0.0, "disable_default_eval_metric": 1, "nthread": 1},
                self.data,
                plan.epochs * plan.steps,
                evals=sets if plan.evaluates else sets[:1],
                obj=self.objective,
                custom_metric=self.metric,
                callbacks=None if sinks is None else [adapter],
                verbose_eval=False,
            )
        return Trained(
            weights=trees_of(booster),
            steps=booster.num_boosted_rounds(),
            losses=self.losses,
            evaluations=self.evaluations,
            rate=XGBoostModel(booster).learning_rates[0],
        )


class TestXGBoost(AdapterContract):
    """``xgboost.train`` with the adapter."""

    cannot = CANNOT
    documented_in = PAGE
    metric, evaluation_metric = "mse", "val_mse"

    def epochs(self, plan: Plan):
        """A round is an epoch of one step."""
        return [1] * (plan.epochs * plan.steps)

    def values(self):
        """Return a counter of no type: XGBoost's values are Python's own numbers, which are on the host."""
        return HostReads(type("Value", (), {}))

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return lambda sinks, plan: Session(plan).train(sinks)


class TestXGBoostModel(HandleContract):
    """The handle of a booster."""

    x, y, file = X[:3], Y[:3], "model.json"

    @pytest.fixture
    def handle(self):
        """Return the handle of a small booster."""
        return XGBoostModel(xgboost.train({"max_depth": 2}, xgboost.DMatrix(X, Y), 3))
