"""Offer a training's latest values to Prometheus, and in a file for the node exporter; one scrape is printed.

python examples/track_prometheus.py          # at http://127.0.0.1:9464/metrics
python examples/track_prometheus.py 0        # at any free port
"""

import sys
import urllib.request

from monitor_core import Loop
from monitor_core.trackers import Prometheus


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9464
    tracker = Prometheus(port, textfile="training.prom", run_name="example", per_batch=True)
    with Loop(tracker) as loop:
        for epoch in loop.epochs(5):
            for batch in loop.batches(range(100)):
                loop.log(loss=1 / (1 + epoch + batch / 100))
    print(urllib.request.urlopen(tracker.url).read().decode())  # noqa: S310 - our own


if __name__ == "__main__":
    main()
