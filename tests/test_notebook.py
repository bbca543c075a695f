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


HOSTILE = "<script>alert(1)</script>"
OBJECTS = f"""
from monitor_core import EarlyStopping, History, Journal, Loop, diagnose, open_run
from monitor_core.runs import compare, find_runs

with Loop(history := History(), Journal("runs/{HOSTILE.replace("/", "")}", config={{"{HOSTILE}": "{HOSTILE}"}}),
          EarlyStopping(patience=2)) as loop:
    for epoch in loop.epochs(9):
        for _ in loop.batches(range(2)):
            loop.log({{"loss": 1 / (1 + epoch), "{HOSTILE}": 1.0}})
        loop.log(val_loss=[3.0, 2.0, 4.0, 5.0][min(epoch, 3)])
recorded = open_run(find_runs("runs")[0].path)
"""


@pytest.fixture
def shown_html(run_cells, monkeypatch):
    """Return a function that returns the HTML and the plain text that a kernel shows for expressions."""

    def both(*expressions):
        monkeypatch.setattr(
            sys.modules[__name__],
            "shown",
            lambda output: (output["data"].get("text/html"), output["data"].get("text/plain")),
        )
        return [outputs[-1] for outputs in run_cells(OBJECTS, *expressions)[1:]]

    return both


def test_objects_show_themselves(shown_html):
    """A small curve, last and best values, and how it ended; names are escaped, and plain text is a repr."""
    expressions = (
        "history", "loop.run", "recorded", "find_runs('runs')", "loop.bus.cost()", "diagnose(recorded)",
        "compare(['runs'])",
    )  # fmt: skip
    shown_ones = dict(zip(expressions, shown_html(*expressions), strict=True))
    for html_text, _ in shown_ones.values():
        assert "<script" not in html_text
        assert "<table" in html_text
    for name in ("history", "recorded", "compare(['runs'])"):
        assert '<svg role="img" aria-label="' in shown_ones[name][0], name
    assert "stopped, 4 epochs" in shown_ones["history"][0]
    assert '<td style="text-align: right; padding: 1px 8px">2</td>' in shown_ones["history"][0]  # the best val_loss
    assert "&lt;script&gt;alert(1)&lt;/script&gt;: &lt;script&gt;" in shown_ones["recorded"][0]
    assert "val_loss did not improve for 2 epochs" in shown_ones["loop.run"][0]
    assert "EarlyStopping" in shown_ones["loop.bus.cost()"][0]
    assert shown_ones["history"][1].startswith("History(4 epochs: ")
    assert shown_ones["recorded"][1].startswith("RecordedRun('runs/<script>")
