"""Train XGBoost with sinks: rounds in a table, stop by a validation set, the best rounds saved.

python examples/xgboost_rounds.py
"""

import tempfile
from pathlib import Path

import numpy as np
import xgboost

from monitor_core import CSVLogger, EarlyStopping, History, ModelCheckpoint, Progress
from monitor_core.adapters.xgboost import XGBoostAdapter


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 6))
    y = x[:, 0] * x[:, 1] + np.sin(x[:, 2]) + rng.normal(scale=0.3, size=1000)
    train, valid = xgboost.DMatrix(x[:700], y[:700]), xgboost.DMatrix(x[700:], y[700:])

    with tempfile.TemporaryDirectory() as folder:
        sinks = [
            history := History(),
            Progress(),
            CSVLogger(Path(folder) / "rounds.csv"),
            EarlyStopping("valid_rmse", patience=5),
            ModelCheckpoint(Path(folder) / "best.ubj", "valid_rmse", save_best_only=True),
        ]
        with XGBoostAdapter(*sinks) as adapter:
            booster = xgboost.train(
                {"max_depth": 4, "eta": 0.3, "nthread": 1},
                train,
                500,
                evals=[(train, "train"), (valid, "valid")],
                callbacks=[adapter],
                verbose_eval=False,
            )
        best = xgboost.Booster(model_file=Path(folder) / "best.ubj")

    print(f"{adapter.run.status}: {adapter.run.stop_reason}")
    print(f"the best of {len(history)} rounds is number {booster.best_iteration}, counted from 0")
    print(f"the saved booster has {best.num_boosted_rounds()} rounds")


if __name__ == "__main__":
    main()
