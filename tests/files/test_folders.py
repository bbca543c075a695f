"""The folder of a template's files: absolute from the start, and no other one's. Ownership: see `test_owners.py`."""

import os

import keras
import pytest

from monitor_core import ActivationDump, Bus, CSVLogger, Journal, Keep, ModelCheckpoint, TensorBoard, open_run
from monitor_core.adapters.keras import KerasModel
from monitor_core.files.folders import TemplateFolder
from monitor_core.files.templates import Template
from monitor_core.plotting import LivePlot


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make a folder the working directory, and return it."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def elsewhere(home):
    """Change the working directory, as a library may do during a run."""
    folder = home.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("{epoch}.npy", "7.npy"),
        ("./runs/{epoch}.npy", "runs/7.npy"),
        ("runs/{epoch}/a.npy", "runs/7/a.npy"),
        ("../home/a.npy", "../home/a.npy"),
    ],
)
def test_a_relative_template_stays_where_it_was_made(home, text, file):
    """Whatever the working directory becomes later."""
    folder = TemplateFolder(Template(text, numbers=["epoch"]), "Owner")
    elsewhere(home)
    assert folder.file({"epoch": 7}, {}) == home / file


def test_an_absolute_template_is_as_given(tmp_path):
    """The folder above all fields is the template's."""
    folder = TemplateFolder(Template(f"{tmp_path}/a/{{epoch}}.npy", numbers=["epoch"]), "Owner")
    assert (folder.path, folder.file({"epoch": 1}, {})) == (tmp_path / "a", tmp_path / "a" / "1.npy")


def model():
    return KerasModel(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))


SINKS = {
    "checkpoint": lambda: ModelCheckpoint("a/{epoch}.keras", "loss", keep=Keep(last=1), save_state=True),
    "fixed checkpoint": lambda: ModelCheckpoint("a/m.keras", "loss"),
    "dump": lambda: ActivationDump("a/{epoch}.npz", keep=1, data=keras.ops.ones((1, 2))),
    "csv": lambda: CSVLogger("a/log.csv"),
    "journal": lambda: Journal("a"),
    "board": lambda: TensorBoard("a"),
    "plot": lambda: LivePlot(to_file="a/live.png"),
}


@pytest.mark.parametrize("sink", SINKS)
def test_a_run_that_changes_its_working_directory_writes_where_it_began(home, sink):
    """Between the sink's construction and the run, and during the run; nothing is written or removed elsewhere."""
    bus = Bus(made := SINKS[sink](), model=model(), strict=True)
    (home / "a").mkdir()
    other = elsewhere(home)
    (other / "a").mkdir()
    precious = [other / "a" / name for name in ("1.keras", "1.npz", "log.csv", "m.keras", "live.png")]
    for path in precious:
        path.write_text("precious")
    bus.train_begin()
    for epoch in range(3):
        os.chdir(home if epoch == 1 else other)
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": 1.0})
    bus.train_end()
    assert sorted(other.rglob("*.*")) == sorted(precious)
    assert {path.read_text() for path in precious} == {"precious"}
    assert list((home / "a").iterdir())
    if sink == "checkpoint":
        assert made.latest_path == home / "a" / "3.keras"
        made.load_latest(model())
    if sink == "journal":
        assert open_run(home / "a").history.epoch == [0, 1, 2]
