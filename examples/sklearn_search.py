"""Watch a grid search of scikit-learn in two processes: each fit is a run with a folder of its own.

python examples/sklearn_search.py
"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monitor_core import History, open_run
from monitor_core.adapters.sklearn import SklearnAdapter


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5)) * [1, 10, 100, 0.1, 1]
    y = (x[:, 0] + rng.normal(size=600) > 0).astype(int)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(model, {"logisticregression__C": [0.01, 1.0]}, cv=3, n_jobs=2)

    with tempfile.TemporaryDirectory() as folder:
        adapter = SklearnAdapter(history := History(), record=folder, scoring="neg_log_loss")
        adapter.attach(search).fit(x, y)
        for path in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
            scores = open_run(path).history["neg_log_loss"]
            print(f"{path.name}: {len(scores)} iterations, {scores[0]:.3f} to {scores[-1]:.3f}")

    for candidate, score in zip(search.cv_results_["params"], history["mean_test_score"], strict=True):
        print(f"{candidate}: {score:.3f}")


if __name__ == "__main__":
    main()
