"""Write a training to trackio's local database; then: trackio show --project examples.

python examples/track_trackio.py
"""

import os

os.environ.setdefault("TRACKIO_DIR", "runs/trackio")  # trackio looks when it is imported

from monitor_core import Loop
from monitor_core.trackers import Trackio


def main() -> None:
    tracker = Trackio("examples", per_batch=True, config={"rate": 0.1, "batch": 32})
    with Loop(tracker) as loop:
        for epoch in loop.epochs(5):
            for batch in loop.batches(range(100)):
                loop.log(loss=1 / (1 + epoch + batch / 100))
            loop.log(val_loss=1 / (1 + epoch))
    print(f"{tracker.delivered} messages were delivered to {os.environ['TRACKIO_DIR']}")


if __name__ == "__main__":
    main()
