"""Frameworks that other packages add by entry points: found by type, loaded when needed; a broken one is left out."""

import importlib
import sys

import pytest

from monitor_core import History, Loop, frameworks
from monitor_core.frameworks import plugins

LIBRARY = """
class Tensor:
    fetched = []
    shape = ()
    def __init__(self, value): self.value = value
    def __float__(self): raise RuntimeError("one by one")

class Model:
    weight = 3.0
"""

PLUGIN = """
import numpy as np
from monitor_core.frameworks.base import Framework

class Handle:
    framework = "tinylib"
    def __init__(self, model): self.model = model
    def get_weights(self): return [np.array(self.model.weight)]

class Tiny(Framework):
    name = "tinylib"
    title = "Tiny"
    packages = frozenset({"tinylib"})
    handle = "tinylib_monitor:Handle"
    def is_array(self, kind): return kind.__name__ == "Tensor"
    def fetch(self, values):
        values[0].fetched.append(len(values))
        return np.array([each.value for each in values])
    def is_model(self, kind): return kind.__name__ == "Model"

TINY = Tiny()
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a library and, as another package, its framework."""

    def installed(plugin, target="tinylib_monitor:TINY"):
        (tmp_path / "tinylib.py").write_text(LIBRARY)
        (tmp_path / "tinylib_monitor.py").write_text(plugin)
        info = tmp_path / "tinylib_monitor-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tinylib-monitor\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[monitor_core.frameworks]\ntinylib = {target}\n")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        plugins._entries.cache_clear()
        return importlib.import_module("tinylib")

    yield installed
    for name in ("tinylib", "tinylib_monitor"):
        sys.modules.pop(name, None)
    plugins._entries.cache_clear()
    plugins._loaded.clear()


def test_values_are_fetched_together(install):
    """A block of the library's tensors is one call of its framework."""
    tinylib = install(PLUGIN)
    history = History(per_batch=True)
    with Loop(history) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 2.0, 3.0]):
                loop.log(loss=tinylib.Tensor(x))
    assert (history.batches["loss"].tolist(), history["loss"].tolist()) == ([1.0, 2.0, 3.0], [2.0])
    assert sum(tinylib.Tensor.fetched) == 3


def test_a_model_gets_its_handle(install):
    """As a model of PyTorch does."""
    tinylib = install(PLUGIN)
    with Loop(model=tinylib.Model()) as loop:
        assert type(loop.run.model).__name__ == "Handle"
        assert frameworks.of_handle(loop.run.model).title == "Tiny"


def test_it_is_not_imported_before_it_is_needed(install):
    """Logging Python's and NumPy's numbers loads no plugin."""
    install(PLUGIN)
    with Loop(History(per_batch=True)) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0]):
                loop.log(loss=x)
    assert "tinylib_monitor" not in sys.modules


@pytest.mark.parametrize(
    ("plugin", "target", "why"),
    [
        ("raise RuntimeError('too old')", "tinylib_monitor:TINY", "RuntimeError: too old"),
        (PLUGIN, "tinylib_monitor:NONE", "AttributeError: module 'tinylib_monitor' has no attribute 'NONE'"),
        ("TINY = 3", "tinylib_monitor:TINY", "TypeError: it is 3, and not a Framework object"),
    ],
)
def test_a_broken_one_is_named_once_and_left_out(install, warned, plugin, target, why):
    """Its values are converted one by one, or skipped."""
    tinylib = install(plugin, target)
    with Loop(History(per_batch=True)) as loop:
        for _ in loop.epochs(1):
            for x in loop.batches([1.0, 2.0]):
                loop.log(loss=x, other=tinylib.Tensor(x))
    [warning] = [each for each in warned() if "entry point" in each]
    assert warning == (
        f"the entry point '{target}' of tinylib-monitor cannot be used, so values of 'tinylib' are converted one by "
        f"one: {why}"
    )
