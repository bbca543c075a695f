"""A run's relatives on its page: what it is part of, and the runs that are part of it."""

import re
import subprocess
import sys

import pytest

from monitor_core import Bus, Journal, Loop
from monitor_core.journal.facts import Begin, End
from monitor_core.journal.provenance import describe
from monitor_core.journal.writer import JournalWriter
from monitor_core.page import report_html
from page_support import AXE, IS_REQUIRED, MISSING, ask, served

in_browser = pytest.mark.skipif(bool(MISSING) and not IS_REQUIRED, reason=f"there is not {', '.join(MISSING)}")
CHILD = """
import sys
from monitor_core import Loop
with Loop(record=sys.argv[1]) as loop:
    for _ in loop.epochs(2):
        loop.log(loss=1.0)
"""


def train(folder, **options):
    """Record a run; return its id."""
    with Loop(Journal(folder, **options)) as loop:
        for _ in loop.epochs(2):
            loop.log(loss=1.0)
    return loop.run.id


def record(folder, number, parent, *, has_ended=True):
    """Record a run that has begun, and perhaps ended, without training it."""
    writer = JournalWriter(folder)
    place = {"epoch": -1, "step": 0, "time": 1.7e9 + number}
    about = {**describe(), "parent": parent}
    writer.fact(Begin(id=f"child-{number}", index=0, continues=None, config={}, **place, **about))
    if has_ended:
        writer.fact(End(status="completed", best_epochs={}, best_steps={}, **place))
    writer.close()


def over(page):
    """Return what is above the title."""
    return re.sub(r"<[^>]*>", "", re.search(r'<p class="over">(.*?)</p>', page)[1]).split(" &#183; ")


def children(page):
    """Return the listed children, each with its address and its state."""
    found = re.search(r'<ul class="children">(.*?)</ul>', page, re.DOTALL)
    return re.findall(r'<a href="([^"]*)"[^>]*>.*?<span class="status (\w+)">', found[1]) if found else []


@pytest.fixture
def sweep(tmp_path):
    """Return a folder with a run, one of another process that is part of it, and one that is part of a study."""
    runs = tmp_path / "runs"
    with Loop(record=runs / "sweep") as loop:
        for _ in loop.epochs(2):
            loop.log(loss=1.0)
        subprocess.run([sys.executable, "-c", CHILD, str(runs / "sweep")], check=True, timeout=60)
    train(runs / "trial", parent="<b>slopes")
    return runs


def test_a_report_names_what_a_run_is_part_of(sweep):
    """By the folder around it, if the parent is there; else as it is recorded. It has no links, and lists no others."""
    [child] = [each for each in (sweep / "sweep").iterdir() if each.is_dir()]
    page = report_html(child)
    assert over(page)[:2] == ["part of sweep", "Report of a run"]
    assert "<dt>Part of</dt>" in page
    assert 'href="/' not in page
    assert over(report_html(sweep / "trial"))[0] == "part of &lt;b&gt;slopes"
    parent = report_html(sweep / "sweep")
    assert over(parent)[0] == "Report of a run"
    assert "<dt>Part of</dt>" not in parent
    assert children(parent) == []
    moved = child.rename(sweep / "moved")
    assert re.fullmatch(r"part of [0-9a-f]{32}", over(report_html(moved))[0])


def test_pages_of_relatives_lead_to_each_other(sweep):
    """Those that are served; a name that is of no run there leads nowhere."""
    pytest.importorskip("starlette")
    with served(sweep) as address:
        [(child, state)] = children(ask(address, "/runs/sweep")[2])
        assert state == "completed"
        assert child.startswith("/runs/sweep/")
        page = ask(address, child)[2]
        assert over(page)[:2] == ["All runs", "part of sweep"]
        assert '<a href="/runs/sweep"' in page
        assert over(ask(address, "/runs/trial")[2])[1] == "part of &lt;b&gt;slopes"
        assert "slopes</a>" not in ask(address, "/runs/trial")[2]
    with served(sweep / "sweep") as address:  # where the parent is the folder itself
        [link] = re.findall(r'<a href="(/runs/[^"]*)"[^>]*>sweep</a>', ask(address, child.replace("sweep/", ""))[2])
        assert "trained for 2 epochs" in ask(address, link)[2]


def test_of_hundreds_of_children_a_few_are_listed(tmp_path):
    """Those that train, and the newest; all are counted. A run that names itself is not its own child."""
    pytest.importorskip("starlette")
    record(tmp_path / "runs" / "parent", 0, "child-0")
    for number in range(1, 201):
        record(tmp_path / "runs" / "parent" / f"{number:03d}", number, "child-0", has_ended=number != 5)
    with served(tmp_path / "runs") as address:
        page = ask(address, "/runs/parent")[2]
        newest = [(f"/runs/parent/{number:03d}", "completed") for number in range(200, 189, -1)]
        assert children(page) == [("/runs/parent/005", "running"), *newest]
        assert "200 runs are part of it: 199 completed and 1 running." in page


@in_browser
def test_a_child_that_begins_or_ends_is_shown_without_a_reload(tmp_path, sheet):
    """On its parent's page, which is itself done."""
    parent = train(tmp_path / "runs" / "parent")
    with served(tmp_path / "runs") as address, sheet() as shown:
        with shown.page.expect_response(lambda answer: "/events" in answer.url):
            shown.page.goto(f"{address}runs/parent")
        shown.page.evaluate("window.same = true")
        assert shown.page.locator("#family").count() == 0
        bus = Bus(Journal(tmp_path / "runs" / "child", parent=parent))
        bus.train_begin()
        shown.page.locator(".children .running").wait_for()
        bus.train_end()
        shown.page.locator(".children .completed").wait_for()
        assert shown.text("#family .hint") == "1 run is part of it: 1 completed."
        assert shown.page.evaluate("window.same")
        shown.page.locator(".children a").click()
        shown.page.wait_for_url("**/runs/child")
        assert shown.text(".over").startswith("All runs · part of parent · Report of a run")
        assert shown.problems == []


@in_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_violation(tmp_path, scheme, width, sheet):
    """On a parent's page and a child's; long names widen neither."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-page")
    record(tmp_path / "runs" / "parent", 0, None)
    for number in range(1, 15):
        record(tmp_path / "runs" / f"{number}-{'name' * 20}", number, "child-0", has_ended=number > 1)
    with served(tmp_path / "runs") as address, sheet(width, color_scheme=scheme) as shown:
        for path in ("parent", f"2-{'name' * 20}"):
            shown.page.goto(f"{address}runs/{path}")
            shown.page.wait_for_timeout(300)
            found = shown.page.evaluate(AXE.read_text(encoding="utf-8") + "; axe.run().then((done) => done.violations)")
            assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found] == []
            assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.problems == []
