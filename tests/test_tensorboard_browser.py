"""What each of TensorBoard's tabs shows of one of our runs: with the real server, and a real browser.

The run is that of ``examples/text_embeddings.py``, with every output enabled. A screenshot of each tab is saved in the
folder that the environment variable ``MONITOR_CORE_ARTIFACTS`` names, else in pytest's temporary one. Without a
browser the tests are skipped, unless ``MONITOR_CORE_BROWSER=1`` says that there is one.
"""

import importlib.util
import itertools
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from boards_reader import scalars

from browser import Tab, browser, tensorboard, what_is_missing

MISSING = what_is_missing()
IS_REQUIRED = os.environ.get("MONITOR_CORE_BROWSER") == "1"
EXAMPLE = Path(__file__).parents[1] / "examples" / "text_embeddings.py"
EPOCHS = 3
LAST_EMBEDDING = f"embeddings/epoch-{EPOCHS - 1:04d}"
RECTIFIED = ["phrases", "strongest", "passages", "strongest_of_all"]
LAYERS = ["embed", "phrases", "strongest", "passages", "strongest_of_all", "praise"]
WEIGHTS = ["reader/embed/embeddings"] + [
    f"reader/{layer}/{weight}" for layer in ("phrases", "passages", "praise") for weight in ("kernel", "bias")
]

pytestmark = pytest.mark.skipif(bool(MISSING) and not IS_REQUIRED, reason=f"there is not {MISSING}")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train the example, and return its log folder."""
    assert not MISSING, f"MONITOR_CORE_BROWSER=1, but there is not {MISSING}"
    spec = importlib.util.spec_from_file_location("text_embeddings", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    out = tmp_path_factory.mktemp("run")
    example.main(["--made", "--reviews", "800", "--epochs", str(EPOCHS), "--out", str(out)])
    return out / "tensorboard"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Return the folder for screenshots."""
    folder = Path(os.environ.get("MONITOR_CORE_ARTIFACTS") or tmp_path_factory.mktemp("artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def site(run, tmp_path_factory):
    """Serve the run; return the browser and the server's address."""
    with tensorboard(run, tmp_path_factory.mktemp("server") / "log.txt") as address, browser() as context:
        yield context, address


@pytest.fixture
def tab(site, artifacts, request):
    """Return a page for one test, on which no error may occur, and save a screenshot of how it ended."""
    context, address = site
    shown = Tab(context.new_page(), address, artifacts)
    yield shown
    shown.screenshot(request.node.name)
    shown.page.close()
    assert not shown.problems


def last_values(run, tag):
    """Return the last values of a scalar, training and validation."""
    return [pytest.approx(scalars(run / name)[tag][-1][1], abs=1e-4) for name in ("train", "validation")]


def numbers(text):
    """Return the numbers with decimals in a text."""
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


def test_time_series(tab, run):
    """An epoch's metric is one card with both runs, and the values of the last epoch next to the chart."""
    tab.open("timeseries", "?tagFilter=epoch_(accuracy|loss)$")
    cards = tab.read("card-view:visible", "element.innerText.includes('validation') && element.innerText", 2)
    for card, tag in zip(cards, ("epoch_accuracy", "epoch_loss"), strict=True):
        assert card.startswith(tag)
        assert all(value in numbers(card) for value in last_values(run, tag))
    rows = tab.read("runs-data-table tb-data-table-content-row", "element.textContent.trim()", 4)
    assert all(any(run in row for row in rows) for run in ("train", "validation", LAST_EMBEDDING)), rows


def test_scalars(tab):
    """Each metric is one chart: of batches, of epochs with both runs, of evaluations; rectified layers have zeros."""
    tab.open("scalars")
    shown = tab.read(
        "tf-scalar-card", "element.dataToLoad && [element.tag, element.dataToLoad.map(each => each.run)]", 16
    )
    assert {tag: sorted(runs) for tag, runs in shown} == {
        "batch_accuracy": ["train"],
        "batch_loss": ["train"],
        "epoch_accuracy": ["train", "validation"],
        "epoch_learning_rate": ["train"],
        "epoch_loss": ["train", "validation"],
        "epoch_steps_per_second": ["train"],
        "evaluation_accuracy_vs_iterations": ["validation"],
        "evaluation_loss_vs_iterations": ["validation"],
        **{f"hparams/{name}": ["."] for name in ("accuracy", "loss", "val_accuracy", "val_loss")},
        **{f"zeros/{layer}/activations": ["train"] for layer in RECTIFIED},
    }


HISTOGRAMS = [f"{layer}/activations" for layer in LAYERS] + [
    f"{weight}/{kind}" for weight in WEIGHTS for kind in ("gradient", "histogram")
]


def test_histograms(tab):
    """Weights, gradients and activations have a ridge for each epoch."""
    tab.open("histograms")
    ridges = "element.shadowRoot.querySelector('vz-histogram-timeseries')?.shadowRoot.querySelectorAll('g.histogram')"
    shown = tab.read("tf-histogram-loader", f"{ridges}?.length && [element.tag, {ridges}.length]", len(HISTOGRAMS))
    assert dict(shown) == dict.fromkeys(HISTOGRAMS, EPOCHS)


def test_distributions(tab):
    """The same are there as bands over the epochs."""
    tab.open("distributions")
    shown = tab.read("tf-distribution-loader", "[element.tag, element.run]", len(HISTOGRAMS))
    assert dict(shown) == dict.fromkeys(HISTOGRAMS, "train")


def test_images(tab):
    """Every weight is an image, and so is the confusion matrix; all of them arrive."""
    tab.open("images")
    is_loaded = "element.shadowRoot.querySelector('img')?.naturalWidth > 0"
    shown = tab.read("tf-image-loader", f"{is_loaded} && [element.tag, element.run]", len(WEIGHTS) + 1)
    assert dict(shown) == {f"{weight}/image": "train" for weight in WEIGHTS} | {"confusion_matrix": "validation"}


def test_text(tab):
    """The model's layers are a table, the hyperparameters too, and a user's texts are there."""
    tab.open("text")
    shown = tab.read("tf-text-loader", "element.tag", 4)
    assert set(shown) == {"hparams", "model", "reviews/negative", "reviews/positive"}
    for text in (*LAYERS, "(None, 60, 32)", "rmsprop"):
        tab.page.get_by_text(text, exact=True).first.wait_for(state="attached")


def test_pr_curves(tab):
    """The precision-recall curve is that of the last epoch."""
    tab.open("pr_curves")
    text = "element.shadowRoot.textContent.replace(/\\s+/g, ' ')"
    is_drawn = f"{text}.includes('is at step')"
    (shown,) = tab.read("tf-pr-curve-card", f"{is_drawn} && [element.tag, element.runs, {text}]")
    assert shown[:2] == ["pr_curve", ["validation"]]
    assert f"validation is at step {EPOCHS - 1}" in shown[2]


def test_hparams(tab, run):
    """The run is a row of the table, with its hyperparameters and the last value of each metric asked for."""
    tab.open("hparams")
    tab.page.get_by_text("made", exact=True).first.wait_for()
    cells = tab.page.locator("tf-hparams-table-view vaadin-grid-cell-content").all_text_contents()
    texts = [text.strip() for text in cells if text.strip() not in ("", "Show Metrics")]
    names = texts[: texts.index("reviews") + 5]  # the four metrics come after the hyperparameters
    row = dict(zip(names, texts[len(names) :], strict=False))
    assert row.items() >= {"reviews": "made", "optimizer": "rmsprop", "batch_size": "64.000"}.items()
    for tag in ("loss", "accuracy"):
        shown = [float(row[name]) for name in names if tag in name and name in row]
        assert shown == last_values(run, f"epoch_{tag}")


def test_graphs(tab):
    """The tab opens with the model's layers, each fed by the one before."""
    tab.open("graphs")
    names = ["review", *LAYERS]
    assert sorted(tab.read("tf-graph-scene g.node", "element.dataset.name", len(names))) == sorted(names)
    edges = [f"{source}--{target}" for source, target in itertools.pairwise(names)]
    assert sorted(tab.read("tf-graph-scene g.edge", "element.dataset.edge", len(edges))) == sorted(edges)


def test_projector(tab, run):
    """It opens with the last snapshot: a point for each word, which a column colours; PCA and t-SNE work."""
    tab.open("projector")
    inside = tab.page.frame_locator("iframe[src*=plugin_entry]").frame_locator("iframe[src*=projector_binary]")
    matrix, kinds = snapshot(run / LAST_EMBEDDING)
    tab.read(
        "#total-variance", f"Math.abs(element.textContent.match(/[.0-9]+/) - {variance(matrix)}) < 0.2", inside=inside
    )
    assert tab.read(".numDataPoints", "element.textContent", inside=inside) == [str(len(matrix))]
    choose(inside, "Color by", "sentiment")
    (legend,) = tab.read(
        "vz-projector-legend", "element.shadowRoot.textContent.match(/[a-z]+\\s+[0-9]+/g)", inside=inside
    )
    counts = {name: int(count) for name, count in map(str.split, legend)}
    assert counts | kinds == counts  # next to them are other numbers, such as lengths in pixels
    tab.screenshot("test_projector_pca")
    inside.locator('[data-tab="tsne"]').click()
    tab.read(".run-tsne-iter", "element.textContent > 10", inside=inside)
    tab.screenshot("test_projector_tsne")


def choose(inside, menu, name):
    """Choose from one of the projector's menus."""
    inside.locator(f'vz-projector-data-panel paper-dropdown-menu[label="{menu}"]').click()
    inside.get_by_role("option", name=name).locator("visible=true").first.click()


def snapshot(folder):
    """Return a snapshot's matrix, and how many words it has of each kind, as in its files."""
    labels = [line.split("\t") for line in (folder / "embedding-000-labels.tsv").read_text("utf-8").splitlines()]
    assert labels[0] == ["word", "sentiment"]
    matrix = np.frombuffer((folder / "embedding-000.bytes").read_bytes(), "<f4").reshape(len(labels) - 1, -1)
    return matrix, Counter(kind for _, kind in labels[1:])


def variance(matrix):
    """Return how many percent of a matrix's variance its first three principal components have."""
    shares = np.linalg.svd(matrix - matrix.mean(axis=0), compute_uv=False) ** 2
    return 100 * shares[:3].sum() / shares.sum()
