"""What a cell of a real notebook shows: bars, lines and a plot in one output each, which are updated in place."""

import json
import re
import sys

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("ipywidgets")
pytest.importorskip("matplotlib")
pytest.importorskip("tqdm")

TRAIN = """
import time

from monitor_core import Loop, Progress
from monitor_core.plotting import LivePlot

live = LivePlot(every=0)
with Loop({sinks}) as loop:
    for epoch in loop.epochs(4):
        for step in loop.batches(range(5)):
            loop.log(loss=1 / (step + epoch + 1))
            time.sleep(0.2 if epoch == 1 else 0)  # long enough for the bar of the batches
"""
FOUR_EPOCHS = "\n".join(rf"epoch {epoch}/4 · .* · 5 batches · .* · loss .*" for epoch in (1, 2, 3, 4))


@pytest.fixture
def run_cells(tmp_path, monkeypatch):
    """Return a function that runs cells in a new kernel of this environment, and returns each cell's outputs."""
    kernel = tmp_path / "jupyter" / "kernels" / "here"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "here", "language": "python"}))
    for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))

    def run(*cells):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="here").execute(cwd=str(tmp_path))
        return [[shown(output) for output in cell.outputs] for cell in notebook.cells]

    return run


def shown(output):
    """Return the kind of an output, and its text."""
    data = output.get("data", {})
    kinds = {"application/vnd.jupyter.widget-view+json": "bar", "image/png": "plot"}
    kind = next((kind for mime, kind in kinds.items() if mime in data), output.output_type)
    return kind, output.get("text") or data.get("text/plain")


def test_bars_lines_and_the_plot_stay_apart(run_cells):
    """Over all epochs there are the two bars, the lines together, and one plot, which shows the last epoch."""
    points = "print(live.figure.axes[0].lines[0].get_xdata().tolist())"
    outputs, (printed,) = run_cells(TRAIN.format(sinks="Progress(), live"), points)
    assert [kind for kind, _ in outputs] == ["bar", "bar", "display_data", "plot"]
    assert re.fullmatch(FOUR_EPOCHS, outputs[2][1])
    assert printed == ("stream", "[1.0, 2.0, 3.0, 4.0]\n")


def test_each_cell_has_its_own_outputs(run_cells):
    """A second training does not write above its cell, whichever sink comes first."""
    cell = TRAIN.format(sinks="live, Progress(batches=False)")
    for outputs in run_cells(cell, cell):
        assert sorted(kind for kind, _ in outputs) == ["bar", "display_data", "plot"]
        assert re.fullmatch(FOUR_EPOCHS, next(text for kind, text in outputs if kind == "display_data"))
