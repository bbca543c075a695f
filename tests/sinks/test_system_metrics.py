"""SystemMetrics: what it samples, when, and where it cannot."""

import sys
import time
import types

import numpy as np
import pytest

from monitor_core import Loop, SetupError
from monitor_core.testing import SinkContract, play

psutil = pytest.importorskip("psutil")

SystemMetrics = pytest.importorskip("monitor_core").SystemMetrics


class TestContract(SinkContract):
    """It behaves as every sink must."""

    @pytest.fixture
    def make_sink(self):
        return SystemMetrics


def test_samples_at_begin_epochs_and_end():
    """With the epoch and the step, and the process's memory in bytes."""
    play(system := SystemMetrics(), [[{"loss": 1.0}] * 3, [{"loss": 0.5}] * 3])
    assert system["epoch"].tolist() == [-1, 0, 1, 1]
    assert system["step"].tolist() == [0, 3, 6, 6]
    assert {"memory", "memory_share", "processor"} <= set(system.keys())
    assert system["memory"][-1] == pytest.approx(psutil.Process().memory_info().rss, rel=0.5)
    assert ((system["memory_share"] > 0) & (system["memory_share"] <= 1)).all()
    assert (np.diff(system["time"]) >= 0).all()


def test_samples_are_taken_while_an_epoch_lasts():
    """By a thread, which ends with the run."""
    system = SystemMetrics(every=0.1)
    with Loop(system) as loop:
        for _ in loop.epochs(1):
            deadline = time.monotonic() + 20
            while len(system) < 3 and time.monotonic() < deadline:
                time.sleep(0.02)
            loop.log(loss=1.0)
    assert len(system) >= 5


def test_gpus_where_their_driver_is_readable(monkeypatch):
    """Two columns for each."""
    driver = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(used=1000 * (handle + 1)),
        nvmlDeviceGetUtilizationRates=lambda handle: types.SimpleNamespace(gpu=50),
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    play(system := SystemMetrics(), [{"loss": 1.0}])
    assert system["gpu1_memory"].tolist() == [2000.0] * 3
    assert system["gpu0_busy"].tolist() == [0.5] * 3


def test_without_psutil_the_run_does_not_begin(monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(SetupError, match="SystemMetrics needs psutil: pip install psutil"):
        play(SystemMetrics(), [{"loss": 1.0}])


def test_an_unknown_column_lists_those_there_are():
    """As of a metric."""
    play(system := SystemMetrics(), [{"loss": 1.0}])
    with pytest.raises(KeyError, match="no column 'gpu9_memory'; there are time, epoch, step, memory"):
        system["gpu9_memory"]


def test_a_second_run_begins_fresh():
    """The samples are those of the current run."""
    system = SystemMetrics()
    play(system, [{"loss": 1.0}] * 5)
    play(system, [{"loss": 1.0}])
    assert len(system) == 3


def test_every_is_checked():
    """It must be 0.1 seconds at least."""
    with pytest.raises(ValueError, match=r"every must be >= 0.1 and finite \(got 0\)"):
        SystemMetrics(every=0)
