"""The report in a real browser: what it draws, what it loads, what it runs, and who can read it."""

import subprocess
import sys
from pathlib import Path

import pytest

from monitor_core import Journal, Loop, open_run
from monitor_core.journal.facts import End
from monitor_core.page import write_report
from page_support import AXE, IS_REQUIRED, MISSING, noisy_run

pytestmark = pytest.mark.skipif(bool(MISSING) and not IS_REQUIRED, reason=f"there is not {', '.join(MISSING)}")
BLUE, RED = [0, 114, 178], [179, 38, 30]
HOSTILE = "</script><script>window.owned=1</script><img src=x onerror='window.owned=1'>"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the report of a noisy run."""
    folder = tmp_path_factory.mktemp("runs")
    return write_report(noisy_run(folder / "noisy", metrics=3), folder / "noisy.html")


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_a_spike_and_nan_are_seen_at_full_zoom_out(report, width, sheet):
    """One spike and 50 NaN among 100,000 steps, on every screen, which the page fits."""
    with sheet(width) as shown:
        shown.open(report)
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        chart = "[data-chart=metric-0]"
        inside = shown.page.evaluate(
            f"(() => {{ const over = document.querySelector('{chart} .u-over'); const wrap = "
            f"document.querySelector('{chart} .u-wrap'); return [over.offsetLeft, over.offsetWidth, over.offsetTop, "
            f"over.offsetHeight]; }})()"
        )
        left, wide, top, high = inside
        spike = left + wide * 50_018 / 100_000
        dots = [(x, y) for x, y in shown.pixels(chart, BLUE) if abs(x - spike) < 4]
        assert min(y for _, y in dots) < top + 0.15 * high
        lost = [(x, y) for x, y in shown.pixels(chart, RED) if y > top + high - 10]
        place = left + wide * 50_325 / 100_000
        assert lost
        assert all(abs(x - place) < 4 for x, _ in lost)


def test_nothing_is_requested_and_nothing_fails(report, sheet):
    """The file itself, and no more."""
    with sheet() as shown:
        shown.open(report)
        shown.page.mouse.wheel(0, 5000)
        shown.page.wait_for_timeout(200)
        assert shown.requests == [report.resolve().as_uri()]
        assert shown.problems == []


def test_a_drag_zooms_and_the_button_returns(report, sheet):
    """The readout names step and value at the cursor."""
    with sheet() as shown:
        shown.open(report)
        box = shown.page.locator("[data-chart=metric-0] .u-over").bounding_box()
        y = box["y"] + 100
        shown.page.mouse.move(box["x"] + box["width"] * 0.5, y)
        shown.page.mouse.down()
        shown.page.mouse.move(box["x"] + box["width"] * 0.501, y, steps=3)
        shown.page.mouse.move(box["x"] + box["width"] * 0.51, y, steps=3)
        shown.page.mouse.up()
        reset = shown.page.locator("[data-chart=metric-0] .reset")
        assert reset.is_visible()
        shown.page.mouse.move(box["x"] + box["width"] * 0.3, y)
        assert "step 50,2" in shown.text("[data-chart=metric-0] .readout")
        reset.click()
        assert reset.is_hidden()


def test_a_chart_is_read_by_the_keyboard(report, sheet):
    """Tab to it, arrows move the cursor, plus zooms, and values are in a live region."""
    with sheet() as shown:
        shown.open(report)
        plot = shown.page.locator("[data-chart=metric-0] .plot")
        plot.focus()
        readout = shown.page.locator("[data-chart=metric-0] .readout")
        assert readout.get_attribute("aria-live") == "polite"
        shown.page.keyboard.press("Home")
        first = shown.text("[data-chart=metric-0] .readout")
        shown.page.keyboard.press("ArrowRight")
        assert shown.text("[data-chart=metric-0] .readout") != first
        assert first.startswith("step 1 · loss")
        shown.page.keyboard.press("+")
        assert shown.page.locator("[data-chart=metric-0] .reset").is_visible()
        shown.page.keyboard.press("0")
        assert shown.page.locator("[data-chart=metric-0] .reset").is_hidden()


def test_a_finding_opens_where_it_speaks_and_the_whole_curve_is_a_key_away(report, sheet):
    """The marked stretch is shaded; keyboard, button and double click lead to the whole range, and back."""
    chart = "[data-chart=finding-0]"
    with sheet() as shown:
        shown.open(report)
        figure = shown.page.locator(chart)
        reset, plot = figure.locator(".reset"), figure.locator(".plot")
        assert "Marked: steps 40,000 to 50,000; shown first: steps 35,000 to 55,000" in shown.text(
            f"{chart} figcaption"
        )

        def ends():
            plot.focus()
            shown.page.keyboard.press("Home")
            first = shown.text(f"{chart} .readout").split()[1]
            shown.page.keyboard.press("End")
            return first, shown.text(f"{chart} .readout").split()[1]

        def shaded():
            left, wide, end = figure.locator(".u-over").evaluate(
                "(over) => [over.offsetLeft, over.offsetWidth, over.offsetTop + over.offsetHeight]"
            )
            places = [x for x, y in shown.pixels(chart, RED) if y > end - 4]
            return [(each - left) / wide for each in (min(places), max(places))]

        near = ends()
        assert near[0] == "35,000"
        assert near[1].startswith("54,9")
        assert shaded() == pytest.approx([0.25, 0.75], abs=0.03)
        assert reset.inner_text() == "Whole range"
        shown.page.keyboard.press("0")
        whole = ends()
        assert whole[0] == "1"
        assert shaded() == pytest.approx([0.4, 0.5], abs=0.03)
        assert reset.inner_text() == "Zoom to the finding"
        shown.page.keyboard.press("f")
        assert ends() == near
        reset.click()
        assert ends() == whole
        reset.click()
        assert ends() == near
        figure.locator(".u-over").dblclick()
        assert ends() == whole
        assert shown.problems == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_spike_and_nan_are_seen_in_a_thinned_report(report, tmp_path, width, sheet):
    """Of 100,000 values it holds 2,000, these among them."""
    chart = "[data-chart=metric-0]"
    with sheet(width) as shown:
        shown.open(write_report(report.with_name("noisy"), tmp_path / "a.html", points=2000))
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        left, wide, top, high = shown.page.locator(f"{chart} .u-over").evaluate(
            "(over) => [over.offsetLeft, over.offsetWidth, over.offsetTop, over.offsetHeight]"
        )
        spike = [y for x, y in shown.pixels(chart, BLUE) if abs(x - left - wide * 50_018 / 100_000) < 4]
        assert min(spike) < top + 0.15 * high
        lost = [x for x, y in shown.pixels(chart, RED) if y > top + high - 10]
        assert lost
        assert all(abs(x - left - wide * 50_325 / 100_000) < 4 for x in lost)
        assert "Curves of more than 2,000 values are thinned on this page" in shown.text("#curves")


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violation_in_a_thinned_report(report, tmp_path, width, sheet):
    """Which says that it is."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-page")
    with sheet(width) as shown:
        shown.open(write_report(report.with_name("noisy"), tmp_path / "a.html", points=2000))
        assert violations(shown) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [([3e-50, 2e-50, 1e-50], "1e-50"), ([1e300, -1e300, 5e299], "5e299"), ([1.7e308, -1.7e308, 2.0], "2")],
)
def test_tiny_and_huge_values_are_said_and_drawn(tmp_path, values, said, sheet):
    """As they were logged, by a line that is somewhere else at each epoch."""
    with Loop(Journal(tmp_path / "a")) as loop:
        for epoch in loop.epochs(3):
            loop.log(loss=values[epoch])
    with sheet() as shown:
        shown.open(write_report(tmp_path / "a", tmp_path / "a.html"))
        box = shown.page.locator("[data-chart=metric-0] .u-over").bounding_box()
        heights = [y for _, y in shown.pixels("[data-chart=metric-0]", BLUE)]
        assert max(heights) - min(heights) > box["height"] / 2
        shown.page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 50)
        assert shown.text("[data-chart=metric-0] .readout").split()[-1] == said
        assert shown.problems == []


def test_lines_are_shown_and_hidden_and_smoothing_says_so(report, sheet):
    """Smoothing and the logarithmic axis are off until asked for."""
    with sheet() as shown:
        shown.open(report)
        assert not shown.page.locator("#logarithmic").is_checked()
        assert shown.page.locator("#smoothing-note").is_hidden()
        shown.page.locator("#smoothing").select_option("0.9")
        assert shown.page.locator("#smoothing-note").is_visible()
        before = len(shown.pixels("[data-chart=metric-0]", BLUE))
        shown.page.locator("[data-chart=metric-0] .key", has_text="loss").first.click()
        assert len(shown.pixels("[data-chart=metric-0]", BLUE)) < before / 4
        shown.page.locator("#logarithmic").check()
        assert shown.problems == []


def violations(shown):
    """Return what axe-core finds, with all tables open."""
    for summary in shown.page.locator("summary").all():
        summary.click()
    found = shown.page.evaluate(AXE.read_text(encoding="utf-8") + "; axe.run().then((done) => done.violations)")
    return [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violation(report, scheme, width, sheet):
    """Contrast, names, roles, order of headings; in light and dark, on a phone and a desk."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-page")
    with sheet(width, color_scheme=scheme) as shown:
        shown.open(report)
        assert violations(shown) == []


EXAMPLE = Path(__file__).parents[2] / "examples" / "mnist_overfitting.py"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo for a few epochs, and return its folder."""
    for name in ("keras", "tensorflow", "mlxtend", "matplotlib", "tensorboard"):
        pytest.importorskip(name)
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(EXAMPLE), "--epochs", "3", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert f"The report, one file for any browser: {(out / 'report.html').resolve().as_uri()}" in done.stdout
    return out


def test_the_demos_report_shows_every_part_with_its_numbers(demo, sheet):
    """Curves, layers, distributions, embedding, model, mistakes, costs and origin, as the journal has them."""
    recorded = open_run(demo / "run")
    snapshot = recorded.snapshot
    with sheet() as shown:
        shown.open(demo / "report.html")
        page = shown.page
        assert page.locator("#curves .chart").count() == 2
        best = f"{recorded.history['val_loss'].min():.4g}"
        assert f"The lowest val_loss is {best}" in shown.text(".story")
        assert "loss goes from" in shown.text("[data-chart=metric-0] figcaption")
        assert page.locator("#heat-gradient .heat-row:not(.heat-axis)").count() == len(recorded.weights.names)
        assert page.locator("#heat-update_ratio .heat-row:not(.heat-axis)").count() == len(recorded.weights.names)
        last = f"{recorded.layers['dead', recorded.layers.names[0]][-1]:.3g}"
        assert shown.text("#heat-dead .heat-last") == last
        assert page.locator("#heat-dead rect").count() == len(recorded.layers) * len(recorded.layers.names)
        kinds = [recorded.histograms[kind] for kind in ("weights", "activations", "gradients")]
        assert page.locator("#distributions .ridge").count() == sum(map(len, kinds))
        assert page.locator("#points .point").count() == len(snapshot.embedding.labels) == 300
        page.locator("#search").fill("7")
        assert shown.text("#found") == f"{snapshot.embedding.labels.count('7')} found"
        assert page.locator("#model .layer").count() == len(snapshot.graph.nodes)
        assert f"{snapshot.graph.parameters:,} parameters" in shown.text("#model figcaption")
        cells = [cell.inner_text() for cell in page.locator(".confusion td").all()]
        assert cells == [str(count) for count in snapshot.confusion.ravel()]
        assert page.locator("#predictions img").count() == len(snapshot.mistakes.places)
        sizes = page.evaluate("[...document.images].map((each) => [each.naturalWidth, each.naturalHeight])")
        assert sizes == [[28, 28]] * len(snapshot.mistakes.places)
        assert "210 steps in" in shown.text("#cost")
        assert page.locator("#cost tbody tr").count() == len(recorded.last.facts(End)[-1].cost["sinks"])
        assert "mnist_overfitting.py --epochs 3" in shown.text("#origin")
        assert page.locator("#missing").count() == 0
        assert [address for address in shown.requests[1:] if not address.startswith("data:")] == []
        assert shown.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_the_demos_report(demo, scheme, sheet):
    """Whose parts are all there."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-page")
    with sheet(color_scheme=scheme) as shown:
        shown.open(demo / "report.html")
        assert violations(shown) == []


def test_hostile_names_do_not_run(tmp_path, sheet):
    """They are shown as they are."""
    with Loop(Journal(tmp_path / "a", config={HOSTILE: HOSTILE})) as loop:
        for _ in loop.epochs(3):
            for _ in loop.batches(range(3)):
                loop.log({HOSTILE: 1.0, "x" * 1_000_000: 2.0})
    with sheet(390) as shown:
        shown.open(write_report(tmp_path / "a"))
        assert shown.page.evaluate("window.owned") is None
        assert shown.text("[data-chart=metric-0] .title").startswith("</script><script>window")
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert shown.problems == []


def test_it_prints_in_black_on_white(report, sheet):
    """Also from a dark screen; controls are left out, and so is nothing else."""
    with sheet(color_scheme="dark") as shown:
        shown.open(report)
        shown.page.emulate_media(media="print", color_scheme="dark")
        shown.page.wait_for_timeout(100)
        assert shown.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
        assert shown.page.locator("#smoothing").is_hidden()
        assert shown.pixels("[data-chart=metric-0]", BLUE)
