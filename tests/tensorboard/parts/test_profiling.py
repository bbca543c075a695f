"""Profiles of chosen steps, by the profiler of this process's Keras backend (`KERAS_BACKEND`) and by PyTorch's."""

import keras
import numpy as np
import pytest

from monitor_core import Run
from monitor_core.adapters.keras import KerasModel
from monitor_core.frameworks.base import Framework
from monitor_core.tensorboard.parts import profiling
from monitor_core.tensorboard.parts.profiling import Profile, framework_of

BACKEND = keras.backend.backend()
WRITTEN = {
    "jax": "plugins/profile/*/*.xplane.pb",
    "tensorflow": "plugins/profile/*/*.xplane.pb",
    "torch": "*.pt.trace.json",
}


def steps(profile, run, numbers, work=lambda: None):
    """Run these steps."""
    for step in numbers:
        profile.begin_batch(run, step)
        work()
        profile.end_batch(step)


def recording(monkeypatch, fails=()):
    """A framework that records, and raises at the named starts or stops."""
    events = []

    def act(what):
        events.append(what)
        if what in fails:
            raise RuntimeError(f"no {what}")

    class Recording(Framework):
        def start_profile(self, folder):
            act("start")
            return lambda: act("stop")

    monkeypatch.setattr(profiling, "framework_of", lambda model: Recording())
    return events


def test_the_framework_is_that_of_the_handle():
    """A Keras model's framework is Keras's backend."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert framework_of(KerasModel(model)).name == BACKEND


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_keras_model_is_profiled(tmp_path):
    """The backend's profiler writes its file into the folder."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    profile = Profile(2, 3, tmp_path / "train")
    data = np.ones((2, 4)), np.ones((2, 2))
    steps(profile, Run(model=KerasModel(model)), range(1, 5), lambda: model.train_on_batch(*data))
    (found,) = (tmp_path / "train").glob(WRITTEN[BACKEND])
    assert found.stat().st_size > 1000


def test_a_torch_module_is_profiled(tmp_path):
    """PyTorch's profiler writes a trace with the module's operations."""
    torch = pytest.importorskip("torch")
    from monitor_core.adapters.torch import TorchModel

    module = torch.nn.Linear(2, 1)
    assert framework_of(TorchModel(module)).name == "torch"
    profile = Profile(1, 1, tmp_path)
    steps(profile, Run(model=TorchModel(module)), [1, 2], lambda: module(torch.ones(2, 2)))
    (found,) = tmp_path.glob("*.pt.trace.json")
    assert "aten::linear" in found.read_text()


def test_only_the_requested_steps_are_profiled(tmp_path, monkeypatch):
    """The profile starts with the first step, stops after the last, and is made once, even if steps jump."""
    events = recording(monkeypatch)
    profile = Profile(2, 4, tmp_path)
    steps(profile, Run(), [1])
    assert events == []
    steps(profile, Run(), [3])
    assert events == ["start"]
    steps(profile, Run(), [6, 2, 3, 4])
    assert events == ["start", "stop"]


def test_a_run_that_ends_within_the_profile_ends_it(tmp_path, monkeypatch):
    """If the run ends early, what was profiled until then is written."""
    events = recording(monkeypatch)
    profile = Profile(1, 10, tmp_path)
    steps(profile, Run(), [1, 2])
    profile.end()
    profile.end()
    assert events == ["start", "stop"]


@pytest.mark.parametrize("fails", ["start", "stop"])
def test_a_profiler_that_fails_is_warned_about_once(tmp_path, monkeypatch, warned, fails):
    """A failing profiler is not tried again, and training continues."""
    recording(monkeypatch, fails)
    profile = Profile(1, 2, tmp_path)
    steps(profile, Run(), [1, 2, 1, 2])
    assert warned() == [f"TensorBoard cannot write the profile: RuntimeError: no {fails}; training continues"]


def test_without_a_framework_there_is_no_profile(tmp_path, monkeypatch, warned):
    """A loop without any framework gets one warning."""
    monkeypatch.setattr(profiling, "framework_of", lambda model: None)
    steps(Profile(1, 2, tmp_path), Run(), [1, 2])
    assert warned() == [
        "TensorBoard cannot write the profile: ValueError: there is no profiler for None; training continues"
    ]
