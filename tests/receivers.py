"""A server without a network, for what puts messages into an outbox."""

import threading


class Server:
    """Take messages, or fail on request.

    Args:
        *errors: What to raise in turn; None means a success.
        forever: What to raise after these.
        gate: What to wait for at each message.
    """

    def __init__(self, *errors, forever=None, gate=None):
        self.errors, self.forever, self.gate = list(errors), forever, gate
        self.taken = []
        self.tried = []
        self.entered = threading.Event()
        self.threads = set()

    def __call__(self, message):
        """Take a message."""
        self.tried.append(message)
        self.threads.add(threading.current_thread())
        self.entered.set()
        if self.gate is not None:
            self.gate.wait(30)
        error = self.errors.pop(0) if self.errors else self.forever
        if error is not None:
            raise error
        self.taken.append(message)
