"""The report's text: what it says of a run, and what becomes of names and damage."""

import contextlib
import html
import json
import re

import numpy as np
import pytest

from cli_support import command
from monitor_core import Block, Diagnosis, EarlyStopping, Journal, Loop, TensorBoard, open_run
from monitor_core.journal.arrays import Arrays
from monitor_core.journal.facts import Begin, End, Found
from monitor_core.journal.provenance import describe
from monitor_core.journal.recorded_inside import Histograms, InsideTable
from monitor_core.journal.writer import JournalWriter
from monitor_core.page import report_html, write_report
from monitor_core.page.columns import Columns
from monitor_core.page.layers import heat_maps, ridgelines
from monitor_core.page.overlay import overlay_of
from monitor_core.page.run import PageRun
from page_support import decoded, noisy_run

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\x1b[31m"


def train(folder, losses, *sinks, **options):
    """Record a run with these losses of validation."""
    with Loop(*sinks, Journal(folder, **options)) as loop:
        for epoch in loop.epochs(len(losses)):
            for _ in loop.batches(range(2)):
                loop.log(loss=losses[epoch] / 2)
            loop.log(val_loss=losses[epoch])
    return folder


def text_of(page, section):
    """Return the text of a section."""
    found = re.search(rf'<section id="{section}".*?</section>', page, re.DOTALL)
    return "" if found is None else " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found[0])).split())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the report of a noisy run."""
    return report_html(noisy_run(tmp_path_factory.mktemp("runs") / "noisy", steps=4000, config={"width": 8}))


def test_a_page_is_ascii(tmp_path):
    """Names in any script are there by references, and halves of characters as question marks."""
    with Loop(Journal(tmp_path, config={"名前": "größe \ud800 🙂"})) as loop:
        for _ in loop.epochs(2):
            loop.log(λ=1.0)
    page = report_html(tmp_path)
    assert page.isascii()
    assert "名前 größe ? 🙂" in text_of(page, "origin")
    assert text_of(page, "curves").startswith("Curves")
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', page)[1])
    assert data["charts"]["metric-0"]["lines"][0]["name"] == "λ"


def test_the_story_says_what_was_trained_how_it_ended_and_what_is_wrong(page):
    """In sentences, at the head of the page."""
    assert text_of(page, "story") == (
        "train.py (noisy) trained for 10 epochs (4,000 steps) in 40 s, then a sink stopped it: "
        "val_loss did not improve for 6 epochs. The lowest val_loss is 0.5, in epoch 4; the last is 1.1. "
        "The diagnosis found 1 problem: val_loss has risen by 120% since epoch 4. Stop earlier."
    )


def test_each_chart_has_a_summary_and_a_table(page):
    """For readers who cannot see it: extremes, with their steps, and what is not finite."""
    said = re.search(r'<figcaption id="metric-0-summary"[^>]*>(.*?)</figcaption>', page)[1]
    assert "in 4,000 values" in said
    assert "highest 9 at step 2,018; 50 NaN." in said
    assert "val_loss goes from 0.8 to 1.1 in 10 values; lowest 0.5 at step 1,600, highest 1.1 at step 4,000." in said
    assert "loss: lowest, median, highest" in page


def test_decisions_and_failures_are_listed(page):
    """With their epochs, steps and reasons."""
    said = text_of(page, "curves")
    assert "CSVLogger failed 1 7 CSVLogger failed once in on_block, first: OSError: full" in said
    assert "rate 0.05 5 2,000 the rate was halved (from 0.1)" in said
    assert "stopped 10 4,000 val_loss did not improve for 6 epochs" in said


def test_findings_stand_with_their_evidence(page):
    """Severity, symptom, place, sentence, advice, numbers and source."""
    assert (
        "problem · overfitting · epoch 5, step 2,000 val_loss has risen by 120% since epoch 4. Stop earlier. "
        "turned 4 rise 1.2 metric val_loss Rule: Prechelt 1998"
    ) in text_of(page, "findings")


def test_the_origin_has_command_versions_and_configuration(page):
    """Where the run comes from."""
    said = text_of(page, "origin")
    assert "Command train.py --width=8" in said
    assert "Configuration width 8" in said
    assert re.search(r"Versions python \d", said)


def test_a_run_says_what_it_did_not_record(tmp_path):
    """Each part that is left out has a sentence with the argument that adds it."""
    said = text_of(report_html(train(tmp_path / "a", [1.0, 0.5], per_batch=False)), "missing")
    assert "Journal(per_batch=True)" in said
    assert "Diagnosis()" in said
    assert "Journal(folder, config={...})" in said


def test_a_diagnosed_run_is_not_told_to_add_a_diagnosis(tmp_path):
    """One that saw no model says where a model would be seen."""
    said = text_of(report_html(train(tmp_path / "a", [1.0, 0.5], Diagnosis())), "missing")
    assert "add Diagnosis()" not in said
    assert "Diagnosis() looks into a model that it can reach, as by Loop(model=...)" in said


@pytest.mark.parametrize(
    ("losses", "summary", "best"),
    [
        ([0.5] * 3, "loss is 0.5 in all 3 values.", "The lowest loss is 0.5, in epoch 1; the last is 0.5."),
        ([0.5, np.nan, 0.5], "loss is 0.5 in 2 values; 1 NaN.", "The lowest loss is 0.5, in epoch 1"),
        ([np.inf, np.inf], "loss: 2 infinite.", "No value of loss is finite."),
        ([np.inf, 1.0], "loss has one value, 1, at epoch 2; 1 infinite.", "The lowest loss is 1, in epoch 2"),
    ],
)
def test_constants_and_what_is_never_finite_are_said_as_that(tmp_path, losses, summary, best):
    """A constant has no lowest and highest value, and infinity is not the best one."""
    with Loop(Journal(tmp_path)) as loop:
        for epoch in loop.epochs(len(losses)):
            loop.log(loss=losses[epoch])
    page = report_html(tmp_path)
    assert re.search(r'<figcaption id="metric-0-summary"[^>]*>(.*?)</figcaption>', page)[1] == summary
    assert best in text_of(page, "story")


def test_one_look_at_zeros_is_said_once(tmp_path):
    """The width of their bins is not a value that they have."""
    epochs, steps = np.array([-1]), np.array([0])
    values = {"gradient": np.array([[0.5]]), "update_ratio": np.array([[np.nan]])}
    table = InsideTable(("bias",), tuple(values), epochs, steps, np.array([0.0]), values)
    [shown] = heat_maps(InsideTable((), (), epochs[:0], steps[:0], np.zeros(0), {}), table)
    assert (shown.first, shown.last) == ("start", "")
    zeros = Histograms(epochs, steps, np.linspace(-1e-296, 1e-296, 5)[None], np.array([[0, 0, 7, 0]]))
    [ridges] = ridgelines({"bias": zeros})
    assert (ridges.low, ridges.high, ridges.summary) == ("0", "0", "bias: all values are 0.")
    one = Histograms(epochs, steps, np.linspace(-1.0, 1.0, 5)[None], np.array([[0, 0, 7, 0]]))
    [ridges] = ridgelines({"kernel": one})
    assert ridges.summary == "kernel: from -1 to 1; its middle is at 0.25 before the first epoch."


def test_a_baseline_is_compared(tmp_path):
    """Its values are in a table, its curves in the charts, and what differs in configuration is named."""
    train(tmp_path / "old", [1.0, 0.9], config={"width": 8, "seed": 1})
    train(tmp_path / "new", [1.0, 0.5], config={"width": 16, "seed": 1})
    page = report_html(tmp_path / "new", baseline=tmp_path / "old")
    said = text_of(page, "baseline")
    assert said.startswith("Against old Results against the baseline metric this run baseline difference")
    assert "val_loss, best 0.5 0.9 -0.4" in said
    assert said.endswith("Configuration against the baseline name this run baseline width 16 8")
    charts = json.loads(re.search(r'id="page-data">(.*?)</script>', page)[1])["charts"]
    assert [line["name"] for line in charts["metric-0"]["lines"] if "baseline" in line["name"]] == [
        "baseline: loss",
        "baseline: val_loss",
    ]


def test_a_baseline_with_many_and_long_settings_is_compared(tmp_path):
    """What both have is not listed, wherever it stands; of long values the part that differs is shown."""
    many = {f"k{number:03}": number for number in range(250)} | {"long": "x" * 450 + "A"}
    train(tmp_path / "old", [1.0], config=many)
    train(tmp_path / "new", [1.0], config={**many, "k249": 7, "long": "x" * 450 + "B"})
    said = text_of(report_html(tmp_path / "new", baseline=tmp_path / "old"), "baseline")
    assert said.endswith(f"baseline k249 7 249 long …{'x' * 20}B …{'x' * 20}A")
    assert "k249" not in report_html(tmp_path / "old", baseline=tmp_path / "old")
    runs = [PageRun.of(open_run(tmp_path / name)) for name in ("new", "old")]
    assert overlay_of(runs, "epoch").config[0] == ("k249", "7", "249")


def test_no_configuration_is_not_the_same_configuration(tmp_path):
    """Runs that have none on record are not said to be alike."""
    runs = [PageRun.of(open_run(train(tmp_path / name, [1.0]))) for name in ("a", "b")]
    assert overlay_of(runs, "epoch").same == "None of them has a configuration on record."
    runs = [PageRun.of(open_run(train(tmp_path / name, [1.0], config={"width": 8}))) for name in ("c", "d")]
    assert overlay_of(runs, "epoch").same == "Their configurations are the same."


@pytest.mark.parametrize(
    ("losses", "end"),
    [([0.1, 0.5, 0.1], "epoch 1; the last is 0.1."), ([0.5, 0.1], "epoch 2, the last value."), ([0.1, 0.5], "is 0.5.")],
)
def test_the_best_value_is_the_last_one_only_in_the_last_epoch(tmp_path, losses, end):
    """An equal one is another."""
    with Loop(Journal(tmp_path)) as loop:
        for epoch in loop.epochs(len(losses)):
            loop.log(loss=losses[epoch])
    assert end in text_of(report_html(tmp_path), "story")


def test_a_report_replaces_nothing_but_reports(tmp_path):
    """Neither the run's own files, nor another's, nor a page of the user; an older report is replaced."""
    folder, other = train(tmp_path / "a", [1.0]), train(tmp_path / "b", [1.0])
    log = tmp_path / "log.csv"
    log.write_text("epoch,loss\n0,1.0\n")
    for source, target in ((folder, folder), (folder, other), (log, None)):
        for file in [log] if target is None else sorted(target.iterdir()):
            before = file.read_bytes()
            with pytest.raises(ValueError, match=f"path is a file that is not a report.*{file.name}"):
                write_report(source, file)
            assert file.read_bytes() == before
    (folder / "report.html").write_text("<p>my own</p>")
    with pytest.raises(ValueError, match="path is a file that is not a report"):
        write_report(folder)
    (folder / "report.html").write_text("")
    for _ in range(2):
        assert write_report(folder).read_text().startswith("<!doctype html>")


def test_nothing_of_a_run_is_markup(tmp_path):
    """Names, messages and configuration are text, also within the page's data."""
    with Loop(Journal(tmp_path / "a", config={HOSTILE: HOSTILE})) as loop:
        for _ in loop.epochs(2):
            for _ in loop.batches(range(2)):
                loop.log({HOSTILE: 1.0})
            loop.run.stop(HOSTILE)
    page = report_html(tmp_path / "a")
    assert "<script>document" not in page
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>")


def test_the_policy_allows_this_script_and_nothing_else(page):
    """By their hashes; no host is named."""
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "http" not in policy
    assert "unsafe" not in policy


def test_a_report_is_written_where_it_is_asked_for(tmp_path):
    """To the given file, or into the run's folder."""
    folder = train(tmp_path / "a", [1.0, 0.5])
    assert open_run(folder).report(tmp_path / "b.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert write_report(folder) == folder / "report.html"


def test_a_killed_and_damaged_run_is_shown(tmp_path):
    """A torn journal gives what it holds, and says what it lacks."""
    folder = noisy_run(tmp_path / "a", steps=2000)
    [journal] = folder.glob("*.mcj")
    data = bytearray(journal.read_bytes()[:-100])
    data[3000:3010] = bytes(10)
    journal.write_bytes(data)
    said = text_of(report_html(folder), "story")
    assert "Damaged:" in said
    assert re.match(r"train.py \(a\) (was killed after|recorded|is training)", said)


@pytest.mark.parametrize("values", [[1.0], [float("nan")] * 3, [float("inf"), 1.0, float("-inf")], [1e300, -1e300]])
def test_odd_values_are_shown(tmp_path, values):
    """One epoch, nothing finite, infinities, and values beyond float32."""
    page = report_html(train(tmp_path / "a", values))
    assert f"trained for {len(values)} epoch" in page


PLACE = {"epoch": 0, "step": 1, "time": 1.7e9}
ODD = {
    "half characters": {"logs": {"lo\ud800ss": 1.0}},
    "a moment that is none": {"begin": {"time": float("nan")}},
    "a moment beyond the calendar": {"begin": {"time": 1e30}},
    "steps beyond exact floats": {"begin": {"step": 2**62}, "step": 2**62},
    "a severity of a later release": {
        "fact": Found(symptom="x", severity="<b>", message="m", evidence={}, advice="", source="", layer=None, **PLACE)
    },
    "evidence of any kind": {
        "fact": Found(
            symptom="x",
            severity="note",
            message="m",
            evidence={"a": {"b": [1, None]}, "c": float("nan"), "d": [1] * 50, "e": 10**400},
            advice="",
            source="",
            layer="\x00",
            **PLACE,
        )
    },
    "a cost that is none": {"fact": End(status="completed", cost={"seconds": "x"}, **PLACE)},
    "an endless cost": {
        "fact": End(
            status="completed",
            cost={
                "seconds": float("nan"),
                "steps": 1,
                "sinks": {"<b>": {"h": {"calls": 1, "seconds": float("inf"), "longest": 2}}},
            },
            **PLACE,
        )
    },
    "points that are nowhere": {
        "snapshot": {"embedding": "x", "labels": ["a", "b"]},
        "arrays": {"points": np.full((2, 2), np.nan, np.float32), "explained": np.ones(2)},
    },
    "images without pixels": {
        "arrays": {
            "mistakes": np.array([[0], [0], [1]]),
            "confidence": np.array([0.5]),
            "images": np.zeros((1, 0, 0), np.uint8),
        }
    },
    "a graph of markup": {
        "snapshot": {"graph": {"name": "m", "nodes": [{"name": "a", "kind": "<script>"}], "edges": [["a", "a"]]}}
    },
    "a graph that is none": {"snapshot": {"graph": {"name": 5, "nodes": [{"name": "a", "bogus": 1}]}}},
    "counts beyond sense": {"arrays": {"confusion": np.array([[-5, 2**62], [1, 2]])}},
}


@pytest.mark.parametrize("odd", list(ODD.values()), ids=list(ODD))
def test_a_record_of_anything_makes_a_page(tmp_path, odd):
    """Journals are not trusted: what is odd is shown as text, or left out."""
    writer = JournalWriter(tmp_path)
    begin = {"id": "a", "index": 0, "continues": None, "epoch": -1, "step": 0, "config": {}, "time": 1.7e9}
    writer.fact(Begin(**{**begin, **describe(), **odd.get("begin", {})}))
    writer.epoch(0, odd.get("step", 1), 1.0, odd.get("logs", {"loss": 1.0}))
    if "fact" in odd:
        writer.fact(odd["fact"])
    if "arrays" in odd or "snapshot" in odd:
        about = {"samples": 1, "classes": ["a", "b"], "skipped": [], **odd.get("snapshot", {})}
        writer.arrays(Arrays("snapshot", 0, 1, 1.0, about, odd.get("arrays", {})))
    writer.close()
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>")
    assert "nan" not in page[page.index("<main>") : page.index("</main>")].replace("nan</dd>", "")


def test_thousands_of_metrics_are_listed(tmp_path):
    """The first are drawn, and the number of the others is said."""
    with Loop(Journal(tmp_path / "a")) as loop:
        for _ in loop.epochs(2):
            loop.log({f"metric_{number}": 1.0 for number in range(2000)})
    page = report_html(tmp_path / "a")
    assert page.count('<figure class="chart"') == 120
    assert "1,880 more metrics are not drawn" in page


def test_a_folder_without_a_run_is_an_error(tmp_path):
    """Which says so."""
    with pytest.raises(FileNotFoundError, match="there is no journal"):
        write_report(tmp_path)
    with pytest.raises(TypeError, match=r"a report is of what open_run returned.*\(got int\)"):
        write_report(3)


LOGS = {
    "log.csv": ("epoch,loss,val_loss\n0,3,3\n1,2,1\n2,1,2\n", "is a CSV log, with 3 epochs."),
    "history.json": ('{"loss": [3, 2, 1], "val_loss": [3, 1, 2]}', "is a history, with 3 epochs."),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_of_others_has_a_report(tmp_path, name):
    """It says what a log does not hold, and stands next to the log."""
    text, what = LOGS[name]
    (tmp_path / name).write_text(text)
    written = write_report(tmp_path / name)
    assert written == tmp_path / f"{name}.html"
    page = written.read_text(encoding="utf-8")
    assert text_of(page, "story") == (
        f"{name} {what} It holds metrics alone; how the training ended is not on record. "
        "The lowest val_loss is 1, in epoch 2; the last is 2."
    )
    assert "val_loss goes from 3 to 2 in 3 values; lowest 1 at epoch 2" in text_of(page, "curves")
    said = text_of(page, "missing")
    assert said.startswith("What this log does not hold This log holds metrics alone.")
    assert said.endswith("It has no values of each batch, no steps and no times.")
    assert "The log has no command, code, versions or machine." in text_of(page, "origin")
    assert "Report of a" in page
    assert "Journal(" not in page[page.index("<main>") : page.index("</main>")]


def charts_of(page):
    """Return the charts as the page's script reads them."""
    return json.loads(re.search(r'id="page-data">(.*?)</script>', page)[1])["charts"]


def test_event_files_of_batches_and_epochs_have_charts_of_both(tmp_path):
    """At which step an epoch ended is not in the files, so that its results are by epoch."""
    pytest.importorskip("tensorboard")
    with Loop(TensorBoard(tmp_path / "board", update_freq="batch")) as loop:
        for epoch in loop.epochs(3):
            for _ in loop.batches(range(4)):
                loop.log(loss=3.0 - epoch)
            loop.log(val_loss=[3.0, 1.0, 2.0][epoch])
    page = report_html(tmp_path / "board")
    assert "board holds TensorBoard's event files, with 3 epochs (12 steps)." in text_of(page, "story")
    charts = charts_of(page)
    assert {key: (each["unit"], [line["name"] for line in each["lines"]]) for key, each in charts.items()} == {
        "metric-0": ("step", ["loss"]),
        "metric-0-epoch": ("epoch", ["loss", "val_loss"]),
        **{key: (each["unit"], ["steps_per_second"]) for key, each in charts.items() if key.startswith("metric-1")},
    }
    assert "highest 3 at step 1." in text_of(page, "curves")


def test_event_files_without_epochs_are_shown_by_step(tmp_path):
    """A finding in them is at a step too."""
    pytest.importorskip("tensorboard")
    from monitor_core.tensorboard.formats.event_file import EventFile

    steps, values = np.arange(0, 1000, 10), 1 / np.arange(1.0, 101)
    values[60] = np.nan
    with contextlib.closing(EventFile(tmp_path / "a")) as file:
        file.add_columns(steps, steps + 1.7e9, {"loss": values}, {"loss": None})
    page = report_html(tmp_path / "a")
    assert "a holds TensorBoard's event files, with 990 steps." in text_of(page, "story")
    assert "The lowest loss is 0.01, at step 990, the last value." in text_of(page, "story")
    assert charts_of(page)["metric-0"]["unit"] == "step"
    assert "each value counts as one" in text_of(page, "findings")
    assert "non finite · step 600 " in text_of(page, "findings")
    assert "Marked: step 600;" in text_of(page, "findings")
    assert "It has no results of validation and no epochs." in text_of(page, "missing")


def test_a_log_as_baseline_says_where_its_curves_are_not(tmp_path):
    """A run by steps has no place for values whose steps are not known."""
    (tmp_path / "log.csv").write_text(LOGS["log.csv"][0])
    folder = train(tmp_path / "a", [1.0, 0.5])
    said = text_of(report_html(folder, baseline=tmp_path / "log.csv"), "baseline")
    assert "The curves of log.csv are not in the charts: it has no steps." in said
    assert "val_loss, best 0.5 1 -0.5" in said
    assert said.endswith("Their configurations cannot be compared: a log has none.")
    page = report_html(tmp_path / "log.csv", baseline=folder)
    assert "baseline: val_loss" in [line["name"] for line in charts_of(page)["metric-0"]["lines"]]


def test_a_finding_is_shown_where_it_speaks(tmp_path):
    """From the epoch that its message names to the one in which it was found, which are marked, with some around."""
    with Loop(Journal(tmp_path)) as loop:
        for epoch in loop.epochs(60):
            for _ in loop.batches(range(10)):
                loop.log(loss=1 / (1 + epoch))
            loop.log(val_loss=abs(epoch - 19) / 100 + 0.2)
    page = report_html(tmp_path)
    [finding] = [each for each in PageRun.of(open_run(tmp_path)).findings if each.symptom == "overfitting"]
    assert "best in epoch 20" in finding.message
    chart = next(each for key, each in charts_of(page).items() if "span" in each)
    end = 10 * (finding.epoch + 1)
    assert chart["span"] == [200, end]
    first, last = chart["focus"]
    assert 100 < first < 200
    assert end < last < 600
    said = f"Marked: steps 200 to {end}; shown first: steps {first:.0f} to {last:.0f}, of steps 1 to 600."
    assert said in text_of(page, "findings")


@pytest.mark.parametrize(
    ("message", "span"),
    [
        ("It rose in the last 3 epochs.", [70, 100]),
        ("It was best in epoch 2, 0.5, and rose.", [20, 100]),
        ("At step 35 it was 7, in epoch 4.", [35, 100]),
        ("It has no place.", [100, 100]),
        ("Epoch 2 is not named so; epoch 9999999999999999999999 is.", [20, 100]),
    ],
)
def test_a_finding_speaks_of_what_its_message_names(tmp_path, message, span):
    """Epochs, a number of epochs up to its own, or steps; nothing beyond the curve."""
    writer = JournalWriter(tmp_path)
    writer.fact(Begin(id="a", index=0, continues=None, epoch=-1, step=0, config={}, time=1.0, **describe()))
    for epoch in range(20):
        steps = np.arange(10) + 1 + 10 * epoch
        writer.block(Block(epoch, steps, steps / 1.0, {"loss": steps / 1.0}, {"loss": None}))
        writer.epoch(epoch, int(steps[-1]), float(steps[-1]), {"loss": 1.0})
    place = {"epoch": 9, "step": 100, "time": 1.0}
    writer.fact(
        Found(symptom="x", severity="note", message=message.replace("Epoch 2", "epoch 2"), evidence={}, advice="",
              source="", layer=None, **place)
    )  # fmt: skip
    writer.close()
    chart = charts_of(report_html(tmp_path))["finding-0"]
    if "9999" in message:
        span = [20, 200]
    assert chart["span"] == span


def test_a_long_curve_is_thinned_and_says_so(tmp_path):
    """Its spike and its NaN are among what is kept; all values are kept if asked for."""
    folder = noisy_run(tmp_path / "a", steps=40_000)
    page = report_html(folder, points=400)
    line = charts_of(page)["metric-0"]["lines"][0]
    texts = re.findall(r'id="column-\d+">([^<]*)</script>', page)
    columns = Columns(texts=texts)
    x, y = decoded(columns, line["x"]), decoded(columns, line["y"])
    assert len(x) <= 400
    assert x[np.nanargmax(y)] == 20_018
    assert set(x[np.isnan(y)]) <= set(range(20_301, 20_351))
    assert np.isnan(y).any()
    assert "in 40,000 values; lowest" in text_of(page, "curves")
    assert "50 NaN" in text_of(page, "curves")
    assert f"; {len(x)} of them are on this page;" in text_of(page, "curves")
    assert "Curves of more than 400 values are thinned on this page" in text_of(page, "curves")
    assert "nothing is left out" not in page
    for whole in (report_html(folder, points=None), report_html(folder)):
        assert charts_of(whole)["metric-0"]["lines"][0]["y"]["count"] == 40_000
        assert "thinned" not in text_of(whole, "curves")
        assert "nothing is left out" in whole


def test_how_many_points_is_checked(tmp_path):
    """In Python and by the command, which takes all too."""
    folder = train(tmp_path / "a", [1.0])
    with pytest.raises(ValueError, match=r"points must be >= 100, or None for all \(got 99\)"):
        write_report(folder, points=99)
    assert command("report", folder, "--points", "all").code == 0
    for wrong in ("99", "-1", "many", ""):
        assert command("report", folder, "--points", wrong).code == 2


def test_the_page_must_be_built(tmp_path, monkeypatch):
    """A checkout without it says how to build it."""
    folder = train(tmp_path / "a", [1.0])
    monkeypatch.setattr("monitor_core.page.report.BUILT", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="run `make page`"):
        write_report(folder)


def test_the_command_writes_a_report(tmp_path):
    """And says where it is; for programs as JSON."""
    folder = train(tmp_path / "a", [3.0, 1.0, 2.0, 2.0], EarlyStopping(patience=2))
    done = command("report", folder, "-o", tmp_path / "a.html")
    assert (done.code, done.out.split(":")[0]) == (0, str(tmp_path / "a.html"))
    done = command("report", folder, "-o", tmp_path / "b.html", "--baseline", folder, "--json")
    assert json.loads(done.out) == {
        "report": str(tmp_path / "b.html"),
        "bytes": (tmp_path / "b.html").stat().st_size,
    }


def test_the_command_says_any_name(tmp_path):
    """Of a folder, a metric and a setting, which text need not be able to hold."""
    folder = train(tmp_path / "E\udcff", [1.0, 0.5], config={"n\ud800": "\ud800"})
    done = command("report", folder)
    assert (done.code, done.err) == (0, "")
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize(
    ("name", "text"), [("a.txt", "hello"), ("a.csv", "x\n\0"), ("a.json", "{"), ("tfevents.1", "abc")]
)
def test_the_command_refuses_what_is_no_log(tmp_path, name, text):
    """As a run, and as a baseline."""
    (tmp_path / name).write_text(text)
    folder = train(tmp_path / "a", [1.0])
    for arguments in ([tmp_path / name], [folder, "--baseline", tmp_path / name]):
        done = command("report", *arguments)
        assert (done.code, done.out) == (1, "")
        assert "Traceback" not in done.err


def test_the_command_refuses_what_is_no_run(tmp_path):
    """With a sentence and exit code 1."""
    done = command("report", tmp_path)
    assert done.code == 1
    assert "holds no recorded run" in done.err
    assert "Traceback" not in done.err
    folder = train(tmp_path / "a", [1.0])
    assert "holds 1" in command("report", folder, "--run", "3").err
    assert command("report", folder, "-o", tmp_path / "missing" / "a.html").code == 1
