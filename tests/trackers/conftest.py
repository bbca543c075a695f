"""What the tests of trackers share: no telemetry, short pauses, and a training that is killed and resumed."""

import pytest

from monitor_core.network import retries


@pytest.fixture(autouse=True)
def _no_telemetry(monkeypatch):
    """The trackers' packages send nothing to their makers."""
    for name in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture
def quick(monkeypatch):
    """Let pauses between attempts be short."""
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.02)
