"""The live page: a real server on this machine, asked by a client and looked at in a browser."""

import contextlib
import html
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli_support import command
from monitor_core import Journal, Loop
from monitor_core.runs.logs import LARGEST
from page_support import AXE, IS_REQUIRED, MISSING, ask, served

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
in_browser = pytest.mark.skipif(bool(MISSING) and not IS_REQUIRED, reason=f"there is not {', '.join(MISSING)}")


def train(folder, values, **options):
    """Record a run of these losses."""
    with Loop(Journal(folder, **options)) as loop:
        for epoch in loop.epochs(len(values)):
            for _ in loop.batches(range(3)):
                loop.log(loss=values[epoch])
    return folder


@pytest.fixture
def runs(tmp_path):
    """Return a folder with two runs."""
    train(tmp_path / "runs" / "a", [3.0, 2.0], config={"width": 8})
    train(tmp_path / "runs" / "deep" / "b", [4.0, 1.0, 1.5], config={"width": 16})
    return tmp_path / "runs"


def test_the_list_leads_to_each_run(runs):
    """With its status and its best value; a run's page is its report, which listens."""
    with served(runs) as address:
        status, headers, page = ask(address, "/")
        assert status == 200
        assert re.findall(r'<a href="(/runs/[^"]*)"', page) == ["/runs/deep/b", "/runs/a"]
        assert "loss 1</td>" in page
        assert headers["x-content-type-options"] == "nosniff"
        status, _, page = ask(address, "/runs/deep/b")
        assert status == 200
        assert 'data-events="/events?run=deep/b&amp;seen=' in page
        assert "connect-src &#39;self&#39;" in page


def test_paths_stay_inside_the_folder(runs, tmp_path):
    """Neither by dots, nor encoded, nor by a link."""
    train(tmp_path / "secret", [7.0])
    (runs / "link").symlink_to(tmp_path / "secret")
    with served(runs) as address:
        for path in (
            "/runs/../secret",
            "/runs/%2e%2e/secret",
            "/runs/..%2fsecret",
            "/runs/link",
            f"/runs/{tmp_path}/secret",
        ):
            assert ask(address, path)[0] == 404, path
        for query in ("run=../secret", "run=link", "run=%00", "by=step"):
            assert ask(address, f"/overlay?{query}")[0] == 404, query
        assert ask(address, "/runs/nowhere")[0] == 404
        assert ask(address, "/runs/" + "x" * 5000)[0] == 404


def test_another_sites_name_is_refused(runs):
    """A page of another site that leads its own name here gets nothing."""
    with served(runs) as address:
        assert ask(address, "/", host="evil.example")[0] == 421
        assert ask(address, "/runs/a", host="evil.example:80")[0] == 421
        assert ask(address, "/", host="localhost")[0] == 200


def test_beyond_loopback_a_token_is_asked_for(runs):
    """It is in the address that is printed, and then in a cookie that other sites' pages cannot use."""
    with served(runs, "--host", "0.0.0.0") as address:  # noqa: S104 - what is tested
        token = re.search(r"token=(\S+)", address)[1]
        assert len(token) >= 32
        assert ask(address, "/")[0] == 403
        assert ask(address, "/?token=wrong")[0] == 403
        status, headers, _ = ask(address, f"/?token={token}")
        assert status == 200
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert ask(address, "/runs/a", cookie=cookie.split(";")[0])[0] == 200
        assert ask(address, "/events?run=a")[0] == 403


def test_with_a_token_others_reach_it_by_its_address(runs):
    """Which is the one that is printed; a foreign name is refused with the token too."""
    with served(runs, "--host", "0.0.0.0") as address:  # noqa: S104 - what is tested
        place = urlsplit(address)
        if place.hostname == socket.gethostname().lower():  # without a network there is no other
            assert ask(address, f"/?{place.query}", host=place.netloc)[0] == 200
        else:
            assert place.hostname != "0.0.0.0"  # noqa: S104 - what is tested
            with contextlib.closing(http.client.HTTPConnection(place.hostname, place.port, timeout=60)) as client:
                client.request("GET", f"/?{place.query}")
                assert client.getresponse().status == 200
        assert ask(address, f"/?{place.query}", host="192.0.2.7:80")[0] == 200
        assert ask(address, "/", host="192.0.2.7:80")[0] == 403
        assert ask(address, f"/?{place.query}", host="evil.example")[0] == 421
    with served(runs) as address:
        assert ask(address, "/", host="192.0.2.7")[0] == 421


def test_several_runs_are_overlaid(runs):
    """By step, epoch or time; what differs in configuration and results is in a table."""
    with served(runs) as address:
        for by in ("step", "epoch", "second"):
            status, _, page = ask(address, f"/overlay?run=a&run=deep/b&by={by}")
            assert status == 200
            chart = json.loads(re.search(r'id="page-data">(.*?)</script>', page)[1])["charts"]["metric-0"]
            assert (chart["unit"], [line["name"] for line in chart["lines"]]) == (by, ["a", "deep/b"])
        text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
        assert "metric, best or last a deep/b loss 2 1" in text
        assert "width 8 16" in text
        assert ask(address, "/overlay?run=a&by=colour")[0] == 404
        assert ask(address, "/overlay?run=a&run=deep&run=nowhere&run=a")[0] == 200


def test_as_many_runs_as_are_overlaid_have_a_style_each(tmp_path):
    """The page has as many styles that differ (palette.test.ts)."""
    for number in range(12):
        train(tmp_path / "runs" / f"{number}", [1.0 + number, 0.5])
    with served(tmp_path / "runs") as address:
        page = ask(address, "/overlay?" + "&".join(f"run={number}" for number in range(12)))[2]
        lines = json.loads(re.search(r'id="page-data">(.*?)</script>', page)[1])["charts"]["metric-0"]["lines"]
        assert [line["style"] for line in lines] == list(range(12))
        assert '&amp;by=second">time</a>' in page


def test_logs_are_listed_opened_and_overlaid(runs):
    """With what they know; one that an axis cannot place is named."""
    (runs / "log.csv").write_text("epoch,loss\n0,3\n1,0.5\n")
    (runs / "data.csv").write_text("x,y\n0,3\n")
    (runs / "a" / "own.csv").write_text("epoch,loss\n0,3\n")
    (runs.parent / "secret.csv").write_text("epoch,loss\n0,7\n")
    (runs / "link.csv").symlink_to(runs.parent / "secret.csv")
    with served(runs) as address:
        page = ask(address, "/")[2]
        assert sorted(re.findall(r'<a href="(/runs/[^"]*)"', page)) == ["/runs/a", "/runs/deep/b", "/runs/log.csv"]
        text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
        assert re.search(r"log.csv unknown CSV log loss 0.5 2 epochs written \d+ \w+ \d{4}, \d\d:\d\d UTC", text)
        status, _, page = ask(address, "/runs/log.csv")
        assert status == 200
        assert "It holds metrics alone" in page
        assert "it loads nothing" not in page
        assert 'data-events="/events?run=log.csv&amp;seen=' in page
        page = ask(address, "/overlay?run=a&run=log.csv&by=epoch")[2]
        chart = json.loads(re.search(r'id="page-data">(.*?)</script>', page)[1])["charts"]["metric-0"]
        assert [line["name"] for line in chart["lines"]] == ["a", "log.csv"]
        assert "on record: choose" not in page
        page = ask(address, "/overlay?run=a&run=log.csv&run=deep/b&by=second")[2]
        assert re.search(r"width.*8.*not on record.*16", page, re.DOTALL)
        assert "log.csv has no times on record: choose another axis." in page
        status, _, said = ask(address, "/runs/data.csv")
        assert (status, "must name a column" in said) == (404, True)
        assert ask(address, "/overlay?run=data.csv&run=a")[0] == 404
        for path in ("/runs/../cache/monitor_core/runs.json", "/runs/../secret.csv", "/runs/link.csv"):
            assert ask(address, path)[0] == 404, path


def test_hostile_names_are_text(runs):
    """Of folders, metrics and configurations, in the list and in an overlay."""
    hostile = "<img src=x onerror=alert(1)>&\"'"
    with Loop(Journal(runs / hostile, config={hostile: hostile})) as loop:
        for _ in loop.epochs(2):
            loop.log({hostile: 1.0})
    with served(runs) as address:
        page = ask(address, "/")[2]
        assert "<img" not in page
        link = re.search(r'<a href="(/runs/%3Cimg[^"]*)"', page)[1]
        for path in (link, link.replace("/runs/", "/overlay?run=")):
            status, _, page = ask(address, path)
            assert (status, page.count("<img")) == (200, 0)


def test_a_served_link_and_links_in_it_are_listed(runs):
    """The folder may be a link; a run is listed once, not by a link to it too, and links to nowhere break nothing."""
    (runs / "again").symlink_to(runs / "a")
    (runs / "gone.csv").symlink_to(runs / "nowhere.csv")
    (runs / "circle").symlink_to(runs)
    (runs.parent / "link").symlink_to(runs)
    with served(runs.parent / "link") as address:
        status, _, page = ask(address, "/")
        assert status == 200
        assert re.findall(r'<a href="(/runs/[^"]*)"', page) == ["/runs/deep/b", "/runs/a"]
        assert [ask(address, f"/runs/{name}")[0] for name in ("a", "again", "gone.csv")] == [200, 200, 404]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_odd_names_lead_to_their_logs(runs):
    """A line break, and bytes that are not UTF-8; a form cannot hold them, so that they cannot be chosen."""
    for name in (b"new\nline.csv", b"bad\xff.csv", b"per%20cent #?.csv"):
        Path(os.fsdecode(os.fsencode(runs) + b"/" + name)).write_text("epoch,loss\n0,3\n1,0.5\n")
    with served(runs) as address:
        page = ask(address, "/")[2]
        links = [link for link in re.findall(r'<a href="(/runs/[^"]*)"', page) if link.endswith(".csv")]
        assert sorted(links) == ["/runs/bad%FF.csv", "/runs/new%0Aline.csv", "/runs/per%2520cent%20%23%3F.csv"]
        assert sorted(re.findall(r'name="run" value="([^"]*)"', page)) == ["a", "deep/b", "per%20cent #?.csv"]
        for link in links:
            status, _, page = ask(address, link)
            assert (status, "It holds metrics alone" in page) == (200, True), link
            assert ask(address, link.replace("/runs/", "/overlay?run="))[0] == 200
        assert ask(address, "/runs/not%FF.csv")[0] == 404


def test_a_damaged_run_says_why_it_is_not_shown(runs):
    """It is listed, and there: it is not said to be missing."""
    (runs / "garbage").mkdir()
    shutil.copy(next((runs / "a").glob("journal*")), runs / "garbage")
    next((runs / "garbage").glob("journal*")).write_bytes(b"no journal at all" * 100)
    with served(runs) as address:
        assert 'href="/runs/garbage"' in ask(address, "/")[2]
        status, _, said = ask(address, "/runs/garbage")
        assert (status, "it cannot be read: it holds no whole record; journal" in said) == (404, True)
        assert ask(address, "/runs/nowhere")[2] == "there is no nowhere"
        assert ask(address, "/overlay")[2] == "there is no run to overlay: choose some in the list"


def test_a_log_that_is_too_large_is_not_opened(runs):
    """Its row has no link and no box; its address says how to see it."""
    with (runs / "large one.csv").open("w") as log:
        log.write("epoch,loss\n0,3\n")
        log.truncate(LARGEST + 1)
    with served(runs) as address:
        page = ask(address, "/")[2]
        assert "large one.csv" in page
        assert "/runs/large" not in page
        assert 'value="large' not in page
        for path in ("/runs/large%20one.csv", "/overlay?run=a&run=large+one.csv"):
            status, _, said = ask(address, path)
            assert (status, "monitor-core report 'large one.csv'" in said) == (404, True), said


@in_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_list_is_no_box_and_its_rows_are_compact(runs, width, sheet):
    """All rows are part of the page; a long name is cut; status and best value are in sight."""
    for number in range(20):
        train(runs / (f"{number}-{'with-a-name-of-many-words-' * 5}" if number % 7 == 0 else f"{number}"), [1.0])
    with (runs / "large.csv").open("w") as log:
        log.write("epoch,loss\n0,3\n")
        log.truncate(LARGEST + 1)
    with served(runs) as address, sheet(width) as shown:
        shown.page.goto(address)
        measured = shown.page.evaluate(
            """() => [...document.querySelectorAll("tbody tr")].map((row) => {
                const ends = [".status", ".best"].map((each) => row.querySelector(each).getBoundingClientRect().right);
                return [row.getBoundingClientRect().height, Math.max(...ends)];
            })"""
        )
        assert len(measured) == 23
        assert max(high for high, _ in measured) <= 64
        assert max(end for _, end in measured) <= width
        region = "document.querySelector('[aria-label=Runs]')"
        assert shown.page.evaluate(f"{region}.scrollHeight - {region}.clientHeight") <= 1
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_empty_folder_is_shown(tmp_path):
    """It says that runs will appear."""
    (tmp_path / "runs").mkdir()
    with served(tmp_path / "runs") as address:
        assert "There is no recorded run or log in this folder yet" in ask(address, "/")[2]


def test_a_port_in_use_is_an_error(runs):
    """A sentence, and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command("serve", runs, "--port", taken.getsockname()[1])
    assert done.code == 1
    assert "is in use: --port 0 takes a free one" in done.err
    assert "there is no folder" in command("serve", runs / "nowhere").err


@in_browser
def test_a_curve_grows_without_a_reload(runs, sheet):
    """A point is on the screen soon after its block; a zoom stays; the end is shown."""
    with served(runs) as address, sheet() as shown, Loop(Journal(runs / "live")) as loop:
        for epoch in loop.epochs(3):
            for _ in loop.batches(range(2)):
                loop.log(loss=3.0 - epoch)
            if epoch == 0:
                shown.page.goto(f"{address}runs/live")
                shown.page.evaluate("window.same = true")
                assert "6 steps" not in shown.text("#story")
            began = time.monotonic()
            while f"({loop.run.step} steps)" not in shown.text("#story"):
                assert time.monotonic() < began + 60
                time.sleep(0.05)
        drawn = shown.page.locator("[data-chart=metric-0][data-drawn]")
        assert drawn.count() == 1
        shown.page.locator("[data-chart=metric-0] .plot").focus()
        shown.page.keyboard.press("End")
        assert shown.text("[data-chart=metric-0] .readout").startswith("step 6 · loss 1")
        assert shown.page.evaluate("window.same")
        assert shown.problems == []


@in_browser
def test_the_curve_of_a_log_grows_too(runs, sheet):
    """As another program appends to it."""
    log = runs / "log.csv"
    log.write_text("epoch,loss\n0,3\n1,2\n")
    with served(runs) as address, sheet() as shown:
        with shown.page.expect_response(lambda answer: "/events" in answer.url):
            shown.page.goto(address + "runs/log.csv")
        shown.page.evaluate("window.opened = 1")
        summary = shown.page.locator("[data-part=metric-0-summary]")
        assert "in 2 values" in summary.inner_text()
        with log.open("a") as file:
            file.write("2,0.5\n")
        shown.page.locator("[data-part=metric-0-summary]", has_text="in 3 values").wait_for()
        assert shown.page.evaluate("window.opened") == 1


@in_browser
def test_it_survives_that_a_run_ends_or_is_deleted(runs, sheet):
    """The end is shown, and of a deleted run what was seen last, with a sentence."""
    with served(runs) as address, sheet() as shown:
        with shown.page.expect_response(lambda answer: "/events" in answer.url):  # now it listens
            shown.page.goto(f"{address}runs/a")
        shown.page.locator("[data-drawn]").first.wait_for()
        shutil.rmtree(runs / "a")
        shown.page.locator("html[data-gone]").wait_for(state="attached")
        assert "trained for 2 epochs" in shown.text("#story")
        with shown.page.expect_response(lambda answer: "/events" in answer.url):
            shown.page.goto(address)
        shown.page.locator("text=deep/b").first.wait_for()
        train(runs / "new", [1.0])
        shown.page.locator("a[href='/runs/new']").wait_for()


@in_browser
@pytest.mark.parametrize("path", ["", "runs/a", "runs/log.csv", "overlay?run=a&run=deep/b&run=log.csv"])
def test_axe_finds_no_violation(runs, path, sheet):
    """In the list, a run's page, a log's, and an overlay."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-page")
    (runs / "log.csv").write_text("epoch,loss\n0,3\n1,0.5\n")
    with served(runs) as address, sheet() as shown:
        shown.page.goto(address + path)
        shown.page.wait_for_timeout(300)
        found = shown.page.evaluate(AXE.read_text(encoding="utf-8") + "; axe.run().then((done) => done.violations)")
        assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found] == []
        assert shown.problems == []


def test_a_run_that_is_killed_is_shown_as_killed(tmp_path):
    """Nothing is written when it dies; its page changes nevertheless, and browsers that show it are notified."""
    script = """
import sys, time
from monitor_core import Journal, Loop
with Loop(Journal(sys.argv[1])) as loop:
    for epoch in loop.epochs(2):
        loop.log(loss=1.0)
        print("trains", flush=True)
        time.sleep(600)
"""
    line = [sys.executable, "-c", script, str(tmp_path / "runs" / "a")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout.readline() == "trains\n"
        with served(tmp_path / "runs") as address:
            assert "is training" in ask(address, "/runs/a")[2]
            port = int(re.search(r":(\d+)/", address)[1])
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
                client.request("GET", "/events?run=a")
                events = client.getresponse()
                assert events.readline() == b"retry: 1000\n"
                training.kill()
                training.wait()
                while events.readline() != b"event: changed\n":
                    pass
            assert "was killed" in ask(address, "/runs/a")[2]


def listens(address, page):
    """Return what a page's server answers when the page listens, and what the page would read it from."""
    place = urlsplit(address)
    client = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    client.request("GET", html.unescape(re.search(r'data-events="([^"]*)"', page)[1]))
    return client, client.getresponse()


def test_what_has_changed_before_the_page_listens_is_told_at_once(runs):
    """A page says what it shows; one that shows what there is, is told nothing."""
    with contextlib.ExitStack() as stack:
        with served(runs) as address:
            page = ask(address, "/runs/a")[2]
            client, unchanged = listens(address, page)
            stack.enter_context(contextlib.closing(client))
            assert unchanged.readline() == b"retry: 1000\n"
            train(runs / "a", [1.0])
            client, changed = listens(address, page)
            stack.enter_context(contextlib.closing(client))
            assert [changed.readline() for _ in range(3)] == [b"retry: 1000\n", b"\n", b"event: changed\n"]
            client, shown = listens(address, ask(address, "/runs/a")[2])
            stack.enter_context(contextlib.closing(client))
            assert shown.readline() == b"retry: 1000\n"
        with pytest.raises(http.client.IncompleteRead) as ended:  # as the server has
            shown.read()
        assert ended.value.partial == b"\n"
