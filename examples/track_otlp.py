"""Post a training to an OpenTelemetry collector; without one, a receiver in this process stands in for it.

python examples/track_otlp.py                                      # prints what arrives
python examples/track_otlp.py http://localhost:4318/v1/metrics     # to a collector
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from monitor_core import Loop
from monitor_core.trackers import OTLP


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = ExportMetricsServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for metric in request.resource_metrics[0].scope_metrics[0].metrics:
            print(f"{metric.name}: {len(metric.gauge.data_points)} points")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=server.serve_forever, daemon=True).start()
    url = sys.argv[1] if len(sys.argv) > 1 else f"http://127.0.0.1:{server.server_port}/v1/metrics"
    tracker = OTLP(url, run_name="example", per_batch=True, config={"rate": 0.1, "batch": 32})
    with Loop(tracker) as loop:
        for epoch in loop.epochs(2):
            for batch in loop.batches(range(100)):
                loop.log(loss=1 / (1 + epoch + batch / 100))
    server.shutdown()
    server.server_close()
    print(f"{tracker.delivered} messages were delivered")


if __name__ == "__main__":
    main()
