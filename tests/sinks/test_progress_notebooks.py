"""Progress: notebooks."""

import io
import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest

from monitor_core import Loop, on
from monitor_core.sinks import progress_bars as bars
from monitor_core.sinks.progress import Progress
from progress_support import (
    clock,  # noqa: F401 (fixtures)
    open_bars,
    train,
)


@pytest.fixture
def widgets(monkeypatch):
    """Let tqdm.auto be what it is in a notebook; return a list of the bars that are made."""
    import tqdm.auto

    made = []

    class Widget(tqdm.auto.tqdm):
        __module__ = "tqdm.notebook"

        def __init__(self, **options):
            made.append((options["desc"], "file" in options))
            super().__init__(file=io.StringIO(), **options)

    monkeypatch.setattr(tqdm.auto, "tqdm", Widget)
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    return made


def test_a_notebook_keeps_its_bar_of_batches(widgets, clock):
    """In a notebook one bar serves the batches of all epochs, as each closed bar would leave an empty output."""
    clock.step = 0.5
    with Loop(Progress()) as loop:
        train(loop, 2, 300)
    assert (widgets, open_bars()) == ([("Epochs", False), ("Epoch 1/2", False)], [])


class Handle:
    """Stands in for IPython's handle of an output of the cell, which tests read from `outputs`."""

    outputs: ClassVar[list[str]] = []

    def display(self, bundle, raw):
        self._number = len(self.outputs)
        self.outputs.append(bundle["text/plain"])

    def update(self, bundle, raw):
        self.outputs[self._number] = bundle["text/plain"]


def test_a_notebook_gets_tqdms_widgets_and_its_lines_in_one_output(widgets, capsys, clock, monkeypatch):
    """Both bars are there before the first line, and what another sink shows does not come between the lines."""
    import IPython.display

    monkeypatch.setattr(IPython.display, "DisplayHandle", Handle)
    monkeypatch.setattr(Handle, "outputs", [])
    plot = on("epoch_end", lambda run, epoch, logs: epoch == 0 and Handle.outputs.append("a plot"))
    with Loop(Progress(), plot) as loop:
        train(loop, 2)
    assert widgets == [("Epochs", False), ("Epoch 1/2", False)]
    assert capsys.readouterr() == ("", "")
    assert Handle.outputs == [
        (
            "epoch 1/2 · 0 ms left    · 2 batches · 0 ms  · loss 0.75   · val_loss 2.56\n"
            "epoch 2/2 · 0 ms in all  · 2 batches · 0 ms  · loss 0.75   · val_loss 3.56"
        ),
        "a plot",
    ]


def test_a_notebook_gets_lines_without_bars_in_one_output(capsys, clock, monkeypatch):
    """Without bars too, the lines share an output of the cell, up to a number of them."""
    import IPython.display

    monkeypatch.setattr(IPython.display, "DisplayHandle", Handle)
    monkeypatch.setattr(Handle, "outputs", [])
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(bars, "LINES_PER_OUTPUT", 3)
    with Loop(Progress(bars=False)) as loop:
        train(loop, 5)
    assert capsys.readouterr() == ("", "")
    assert [[line[:9] for line in output.splitlines()] for output in Handle.outputs] == [
        ["epoch 1/5", "epoch 2/5", "epoch 3/5"],
        ["epoch 4/5", "epoch 5/5"],
    ]
