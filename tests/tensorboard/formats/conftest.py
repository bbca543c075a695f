"""TensorBoard's own readers, as fixtures."""

import json
import time
import warnings

import pytest


@pytest.fixture
def accumulated():
    """Return a function that reads a run's folder, or one file, with TensorBoard's `EventAccumulator`, keeping all."""
    from tensorboard.backend.event_processing import event_accumulator

    def read(path):
        guidance = dict.fromkeys(event_accumulator.DEFAULT_SIZE_GUIDANCE, 0)
        return event_accumulator.EventAccumulator(str(path), size_guidance=guidance).Reload()

    return read


class Board:
    """TensorBoard over a log folder, without a port: it gets the same requests as from a browser.

    Args:
        logdir: The folder.
        fast: Whether data come from the data server written in Rust, as users get it by default, or from Python.
    """

    def __init__(self, logdir, *, fast):
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # TensorBoard's own warnings, and that of the data server, which ends by itself
            from tensorboard import program
            from werkzeug.test import Client

            board = program.TensorBoard(server_class=lambda app, _: app)
            board.configure(
                logdir=str(logdir),
                load_fast=str(fast).lower(),
                reload_interval=0,
                reload_task="blocking",
                samples_per_plugin=dict.fromkeys(("scalars", "images", "histograms", "text"), 10_000),
            )
            self.client = Client(board._make_server())
        self.ingester = board._ingester

    def get(self, path, until=bool, **query):
        """Return an address's response, as soon as it is the wanted one, or after ten seconds."""
        return self._ask(lambda: self.client.get(f"/data/{path}", query_string=query), until)

    def post(self, path, until=bool, **content):
        """Return an address's response to a JSON object, as soon as it is the wanted one, or after ten seconds."""
        return self._ask(lambda: self.client.post(f"/data/{path}", json=content), until)

    def _ask(self, request, until):
        due = time.monotonic() + 10
        while True:
            response = request()
            result = response.data
            if "json" in response.content_type:
                result = json.loads(result)
            if (response.status_code == 200 and until(result)) or time.monotonic() > due:
                assert response.status_code == 200, response.data
                return result
            time.sleep(0.05)

    def scalars(self, run, tag, points):
        """Return a tag's points as pairs of step and value, once there are that many."""
        query = {"run": run, "tag": tag}
        self.get("plugin/scalars/tags", lambda runs: tag in runs.get(run, ()))
        found = self.get("plugin/scalars/scalars", lambda rows: len(rows) >= points, **query)
        return [(step, value) for _, step, value in found]

    def close(self):
        """Stop the server."""
        handle = getattr(self.ingester, "_stdin_handle", None)
        if handle is not None:
            handle.close()


@pytest.fixture
def board():
    """Return a function that opens TensorBoard over a folder."""
    opened = []

    def open_board(logdir, *, fast=True):
        opened.append(Board(logdir, fast=fast))
        return opened[-1]

    yield open_board
    for each in opened:
        each.close()


@pytest.fixture(params=[True, False], ids=["fast", "slow"])
def either_board(board, request):
    """Return a function that opens TensorBoard over a folder; the test runs with both sources of data."""
    return lambda logdir: board(logdir, fast=request.param)
