"""Runs that are killed at random moments and continue with ``resume``, compared with an uninterrupted run."""

import json
import math
import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monitor_core import open_run
from tests import boards_reader

CHILDREN = Path(__file__).with_name("resumable.py")
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
LONG = 5 if os.environ.get("MONITOR_CORE_LONG") else 1
FITS = 3 if BACKEND == "jax" else 8  # there each start takes seconds
KILLS = {"keras_fit": FITS * LONG, "many_fits": FITS * LONG}
WITHOUT_KERAS = {"tensorflow": {"manual": 26 * LONG}, "torch": {"torch_loop": 12 * LONG}}  # each runs with one backend
KILLS |= WITHOUT_KERAS.get(BACKEND, {})


class Children:
    """Starts trainings, and kills them."""

    def __init__(self, kind):
        self.kind = kind
        self.server = subprocess.Popen(
            [sys.executable, CHILDREN, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, folder, delay=math.inf):
        """Train, and be killed after a delay in seconds; return the exit code and how long it has trained."""
        self.server.stdin.write(f"{self.kind} {delay} {folder}\n")
        self.server.stdin.flush()
        answers, _, _ = select.select([self.server.stdout], [], [], 100)
        assert answers, "it hangs"
        code, seconds = self.server.stdout.readline().split()
        return int(code), float(seconds)

    def close(self):
        """End the server."""
        os.killpg(self.server.pid, signal.SIGKILL)
        self.server.communicate()


@pytest.fixture
def children(request):
    served = Children(request.param)
    yield served
    served.close()


def outcome(folder):
    """Return all that a run has left: results, files, curves and the journal."""
    recorded = open_run(folder)
    board = folder / "board"
    return {
        "result": json.loads((folder / "result.json").read_text()),
        "csv": [(folder / name).read_bytes() for name in ("epochs.csv", "batches.csv")],
        "curves": {run: boards_reader.scalars(board / run) for run in boards_reader.tree(board)},
        "journal": (recorded.history.history, recorded.history.epoch, recorded.batches["loss"].tolist()),
        "steps": (recorded.history.steps.tolist(), recorded.batches.steps.tolist()),
        "decisions": [(each.reason, each.epoch, each.step) for each in recorded.decisions],
        "status": (recorded.status, len(recorded.runs), recorded.damage),
    }


@pytest.mark.parametrize(("children", "kills"), KILLS.items(), indirect=["children"], ids=KILLS)
def test_a_killed_run_continues_as_if_it_had_not_been(children, kills, tmp_path):
    """History, steps, curves, files, decisions and weights are those of the run that was never cut."""
    (whole := tmp_path / "whole").mkdir()
    code, duration = children.run(whole)
    assert code == 0
    expected = outcome(whole)
    seed = random.randrange(10**6)
    moments = random.Random(seed)
    chains = []
    while kills:
        chains.append(folder := tmp_path / f"cut{len(chains)}")
        folder.mkdir()
        code, trained = -signal.SIGKILL, 0.0
        while code:
            code, seconds = children.run(folder, moments.uniform(0.0, 0.8 * duration) if kills else math.inf)
            assert code in (0, -signal.SIGKILL)
            kills -= code != 0
            trained += seconds
        duration = min(duration, trained)  # the first run may have been far slower: then few kills would come in time
        assert outcome(folder) == expected, f"seed {seed}, chain {len(chains)}"
        assert len(chains) < 50 * LONG
