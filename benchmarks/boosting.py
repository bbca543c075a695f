"""What attaching sinks adds to a round of boosting, XGBoost's and LightGBM's, beyond a callback that does nothing.

Each variant trains the same small booster in turn, with a training and a validation set and one metric, which costs
nothing. "In hooks" is the time that a round spends in the variant's callbacks, "typical" that of a round in the middle.
The full stack is a history, an early stop, a CSV file, a journal and progress as lines. The first table has the hooks
alone, called by a loop that trains nothing; frameworks that are not installed have none.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from harness import CONTROL, arguments, machine, report, rows
from monitor_core import CSVLogger, EarlyStopping, History, Journal, Progress
from monitor_core.loop.rounds import Rounds
from support.timing import Stopwatch, Times, collector, turns

FLOOR, FULL = "a callback that does nothing", "full stack"
NEVER = 10**9
Train = Callable[[list[Any] | None, int], tuple[float, list[float]]]
"""Trains so many rounds with sinks, or with a callback that does nothing; returns the seconds of all and in hooks."""


def sinks(folder: Path) -> dict[str, Any]:
    """Return new sinks by name; the metric is ``m``."""
    return {
        "History": History(),
        "EarlyStopping": EarlyStopping("valid_m", mode="min", patience=NEVER),
        "CSVLogger": CSVLogger(folder / "log.csv"),
        "Journal": Journal(folder / "journal"),
        "Progress, lines": Progress(file=io.StringIO()),
    }


def alone(folder: Path) -> dict[str, list[Any] | None]:
    """Return the variants: nothing, the full stack and each of its sinks."""
    names = list(sinks(folder))
    return {FLOOR: None, FULL: list(sinks(folder).values()), **{name: [sinks(folder)[name]] for name in names}}


def timed(hook: Callable[..., Any], spent: list[float], *, adds: bool) -> Callable[..., Any]:
    """Return a hook whose time is appended, or added to the last one."""

    def call(*args: Any, **kwargs: Any) -> Any:
        began = perf_counter()
        try:
            return hook(*args, **kwargs)
        finally:
            took = perf_counter() - began
            if adds and spent:
                spent[-1] += took
            else:
                spent.append(took)

    return call


def data() -> tuple[Any, Any]:
    """Return samples and targets."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 10))
    return x, x[:, 0] * x[:, 1] + rng.normal(size=2000)


def train_nothing(attached: list[Any] | None, count: int) -> tuple[float, list[float]]:
    """Call the hooks of rounds, as adapters do."""
    fed, spent = Rounds(tuple(attached or ())), []
    begin = timed(fed.begin_round if attached else lambda: None, spent, adds=False)
    end = timed(fed.end_round if attached else lambda *_: None, spent, adds=True)
    fed.begin(None, count)
    watch = Stopwatch()
    for _ in range(count):
        begin()
        end({"m": 0.5}, {"valid": {"m": 0.6}})
    took = watch.read()[0]
    fed.end()
    return took, spent


def xgboost_trainer() -> Train:
    """Return what trains with XGBoost."""
    import xgboost

    from monitor_core.adapters.xgboost import XGBoostAdapter

    x, y = data()
    sets = [(xgboost.DMatrix(x[:1500], y[:1500]), "train"), (xgboost.DMatrix(x[1500:], y[1500:]), "valid")]

    def train(attached: list[Any] | None, count: int) -> tuple[float, list[float]]:
        callback = xgboost.callback.TrainingCallback() if attached is None else XGBoostAdapter(*attached)
        spent: list[float] = []
        callback.before_iteration = timed(callback.before_iteration, spent, adds=False)  # type: ignore[method-assign]
        callback.after_iteration = timed(callback.after_iteration, spent, adds=True)  # type: ignore[method-assign]
        params = {"max_depth": 3, "nthread": 1, "eta": 0.01, "disable_default_eval_metric": 1}
        watch = Stopwatch()
        xgboost.train(
            params,
            sets[0][0],
            count,
            evals=sets,
            custom_metric=lambda predicted, _: ("m", float(predicted[0])),
            callbacks=[callback],
            verbose_eval=False,
        )
        return watch.read()[0], spent

    return train


def lightgbm_trainer() -> Train:
    """Return what trains with LightGBM."""
    import lightgbm

    from monitor_core.adapters.lightgbm import LightGBMAdapter

    x, y = data()
    options = {
        "objective": "l2",
        "metric": "none",
        "num_leaves": 7,
        "num_threads": 1,
        "verbosity": -1,
        "learning_rate": 0.01,
    }

    def nothing() -> Iterator[Callable[[Any], None]]:
        for before in (True, False):
            callback: Any = functools.partial(bool)  # which can have attributes
            callback.before_iteration, callback.order = before, 20
            yield callback

    def train(attached: list[Any] | None, count: int) -> tuple[float, list[float]]:
        spent: list[float] = []
        callbacks = []
        for each in nothing() if attached is None else LightGBMAdapter(*attached):
            callback: Any = timed(each, spent, adds=not each.before_iteration)
            callback.before_iteration, callback.order = each.before_iteration, each.order
            callbacks.append(callback)
        own = lightgbm.Dataset(x[:1500], y[:1500], params=options)
        valid = lightgbm.Dataset(x[1500:], y[1500:], reference=own)
        watch = Stopwatch()
        lightgbm.train(
            options,
            own,
            count,
            valid_sets=[own, valid],
            valid_names=["train", "valid"],
            feval=lambda predicted, _: ("m", float(predicted[0]), False),
            callbacks=callbacks,
        )
        return watch.read()[0], spent

    return train


def measure(train: Train, count: int, rounds: int) -> list[dict]:
    """Return a row for each variant."""
    times: dict[str, Times] = {}
    with tempfile.TemporaryDirectory() as folder, collector(on=True):
        names = [*alone(Path(folder) / "names"), CONTROL]
        for number, name in enumerate(turns(names, rounds + 1)):
            attached = alone(Path(folder) / str(number))[FLOOR if name == CONTROL else name]
            wall, hooks = train(attached, count)
            own = times.setdefault(name, Times())
            own.wall.append(wall)
            own.hooks.append(sum(hooks))
            own.typical.append(statistics.median(hooks))
    return rows(times, FLOOR, count)


def main() -> None:
    options = arguments(__doc__, rounds=11)
    count = 20 if options.quick else 500
    trainers: dict[str, Callable[[], Train]] = {"xgboost": xgboost_trainer, "lightgbm": lightgbm_trainer}
    tables = {"hooks alone": measure(train_nothing, count, options.rounds)}
    for name, make in trainers.items():
        if importlib.util.find_spec(name):
            tables[f"a round of {name}"] = measure(make(), count, options.rounds)
    report(tables, machine("xgboost-cpu", "xgboost", "lightgbm", "numpy", "attrs"), as_json=options.json)


if __name__ == "__main__":
    main()
