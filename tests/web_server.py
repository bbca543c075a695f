"""A real web server on this machine that keeps what is posted to it, and answers as configured."""

import http.server
import json
import socket
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    """Keep what is posted, and answer as the server was configured."""

    def do_POST(self):
        """Take a post."""
        server = self.server
        server.entered.set()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.posts.append((self.path, dict(self.headers), json.loads(body)))
        server.gate.wait(30)
        code, headers = server.answers.pop(0) if server.answers else (200, {})
        try:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
        except OSError:  # the client has left
            pass

    def log_message(self, *args):
        """Say nothing on the terminal."""


class Server(http.server.ThreadingHTTPServer):
    """A server on this machine, at a free port or at the one given."""

    def __init__(self, *answers, port=0):
        self.posts, self.answers = [], [answer if isinstance(answer, tuple) else (answer, {}) for answer in answers]
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        super().__init__(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self):
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def events(self):
        """What was posted, as the event's name and the epoch."""
        return [(body["event"], body["epoch"]) for _, _, body in self.posts]

    def stop(self):
        """Go away."""
        self.gate.set()
        self.shutdown()
        self.server_close()
        self.thread.join(20)


def free_port():
    """Return a port that no server listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, seconds=20):
    """Wait until something holds; fail if it does not for long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
