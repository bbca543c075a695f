"""Send a training to MLflow, in a database without a server.

python examples/track_mlflow.py                           # then: mlflow ui --backend-store-uri sqlite:///mlflow.db
python examples/track_mlflow.py http://localhost:5000     # to a server
"""

import sys

from monitor_core import EarlyStopping, Loop
from monitor_core.trackers import MLflow


def main() -> None:
    uri = sys.argv[1] if len(sys.argv) > 1 else "sqlite:///mlflow.db"
    tracker = MLflow(uri, experiment="examples", per_batch=True, config={"rate": 0.1, "batch": 32})
    with Loop(tracker, EarlyStopping("val_loss", patience=2)) as loop:
        for epoch in loop.epochs(10):
            for batch in loop.batches(range(100)):
                loop.log(loss=1 / (1 + epoch + batch / 100))
            loop.log(val_loss=(epoch - 5) ** 2 / 25)
    print(f"run {tracker.run_id} in {uri}: {loop.run.stop_reason}; {tracker.delivered} messages were delivered")


if __name__ == "__main__":
    main()
