"""Train LightGBM with sinks: a cross-validation finds the number of rounds, a training with a schedule uses it.

python examples/lightgbm_rounds.py
"""

import lightgbm
import numpy as np

from monitor_core import EarlyStopping, History, LearningRateScheduler, Progress
from monitor_core.adapters.lightgbm import LightGBMAdapter


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 6))
    y = (x[:, 0] * x[:, 1] + np.sin(x[:, 2]) + rng.normal(scale=0.5, size=1000) > 0).astype(int)
    params = {"objective": "binary", "metric": "auc", "num_leaves": 7, "learning_rate": 0.2}
    params |= {"num_threads": 1, "verbosity": -1}

    with LightGBMAdapter(folds := History(), EarlyStopping("valid_auc", patience=10)) as adapter:
        lightgbm.cv(params, lightgbm.Dataset(x, y), 300, nfold=3, stratified=False, callbacks=adapter)
    best = int(np.argmax(folds["valid_auc"]))
    print(f"{adapter.run.stop_reason}")
    print(f"AUC {folds['valid_auc'][best]:.3f} +- {folds['valid_auc_std'][best]:.3f} after {best + 1} rounds")

    schedule = LearningRateScheduler(lambda epoch: 0.3 * 0.97**epoch)
    data = lightgbm.Dataset(x, y)
    with LightGBMAdapter(history := History(), schedule, Progress()) as adapter:
        lightgbm.train(params, data, best + 1, valid_sets=[data], callbacks=adapter)
    print(f"{adapter.run.status}: rates from {history['learning_rate'][0]:.2f} to {history['learning_rate'][-1]:.2f}")


if __name__ == "__main__":
    main()
