"""The LightGBM adapter passes the contract that authors of adapters get, and its handle that of handles."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from monitor_core.testing import AdapterContract, HandleContract, HostReads, Plan, Trained

lightgbm = pytest.importorskip("lightgbm")

from monitor_core.adapters.lightgbm import LightGBMAdapter, LightGBMModel  # noqa: E402 (it imports lightgbm)

PAGE = Path(__file__).parents[3] / "docs" / "frameworks" / "index.md"
X = np.random.default_rng(1).normal(size=(48, 3)).astype("float32")
Y = X[:, 0] * X[:, 1] + X[:, 2]
CANNOT = {
    "resume_continues": "LightGBM cannot load trees into a training: pass init_model",
    "a_skipped_step_is_not_a_step": "there is no loss scaling in boosting",
    "a_compiled_step_is_not_compiled_again": "a round is not compiled",
}


class Session:
    """A training that follows a plan: an objective and a metric in Python, which visit its places."""

    def __init__(self, plan):
        self.plan = plan
        self.data = lightgbm.Dataset(X[:32], Y[:32])
        self.valid = lightgbm.Dataset(X[32:], Y[32:], reference=self.data)
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
        return "mse", values[-1], False

    def train(self, sinks):
        plan, options = self.plan, {"min_data_in_leaf": 1, "min_data_in_bin": 1, "num_threads": 1, "verbosity": -1}
        adapter = nullcontext() if sinks is None else LightGBMAdapter(*sinks)
        number = 2 if plan.evaluates else 1
        with adapter:
            booster = lightgbm.train(
                {"num_leaves": 4, "eta": plan.rate, "objective": self.objective, **options},
                self.data,
                plan.epochs * plan.steps,
                valid_sets=[self.data, self.valid][:number],
                valid_names=["train", "val"][:number],
                feval=self.metric,
                callbacks=None if sinks is None else adapter,
                keep_training_booster=True,  # with all rounds, not only those up to the best one
            )
        return Trained(
            weights=[np.frombuffer(booster.model_to_string(num_iteration=-1).encode(), "uint8")],
            steps=booster.current_iteration(),
            losses=self.losses,
            evaluations=self.evaluations,
            rate=LightGBMModel(booster).learning_rates[0],
        )


class TestLightGBM(AdapterContract):
    """``lightgbm.train`` with the adapter."""

    cannot = CANNOT
    documented_in = PAGE
    metric, evaluation_metric = "mse", "val_mse"

    def epochs(self, plan: Plan):
        """A round is an epoch of one step."""
        return [1] * (plan.epochs * plan.steps)

    def values(self):
        """Return a counter of no type: LightGBM's values are Python's own numbers, which are on the host."""
        return HostReads(type("Value", (), {}))

    @pytest.fixture
    def train(self):
        """Return the function that trains."""
        return lambda sinks, plan: Session(plan).train(sinks)


class TestLightGBMModel(HandleContract):
    """The handle of a booster."""

    x, y, file = X[:3], Y[:3], "model.txt"

    @pytest.fixture
    def handle(self):
        """Return the handle of a small booster that is still trained."""
        booster = lightgbm.Booster({"max_depth": 2, "verbosity": -1}, lightgbm.Dataset(X, Y))
        for _ in range(3):
            booster.update()
        return LightGBMModel(booster)
