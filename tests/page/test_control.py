"""Control from the live page: what reaches a training, who may ask, and that no other site's page can."""

import contextlib
import http.server
import json
import signal
import subprocess
import threading
import time

import pytest

from cli_support import TRAINING, train, training_process
from monitor_core import open_run
from monitor_core.files import requests
from monitor_core.files.requests import asker
from monitor_core.journal.facts import Asked, Begin, RateChange, Stop
from monitor_core.journal.provenance import describe
from monitor_core.journal.writer import JournalWriter
from monitor_core.page.run import PageRun
from page_support import AXE, IS_REQUIRED, MISSING, ask, port_of, served

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
in_browser = pytest.mark.skipif(bool(MISSING) and not IS_REQUIRED, reason=f"there is not {', '.join(MISSING)}")

WITHOUT_CONTROL = TRAINING.replace("Control(), ", "")


def split(address):
    """Return an address without its token, and the token."""
    base, _, token = address.partition("#control=")
    return base, token


def post(address, name="a", wish=None, **options):
    """Ask a run for something as its page does, but for these headers; return the status and the sentence."""
    base, token = split(address)
    headers = {
        "Origin": base.rstrip("/"),
        "Content_Type": "application/json",
        "Authorization": f"Bearer {token}",
        "Sec_Fetch_Site": "same-origin",
    }
    body = options.pop("body", json.dumps({"verb": "note", "value": "x"} if wish is None else wish))
    headers |= {key: options.pop(key) for key in list(options) if key in headers}
    headers = {key: value for key, value in headers.items() if value is not None}
    status, _, text = ask(
        base, f"/control/{name}", method=options.pop("method", "POST"), body=body, **options, **headers
    )
    return status, json.loads(text)["answer"] if text.startswith("{") else text


def asked(folder):
    """Return what was asked of a run, by its journal."""
    return [(fact.verb, fact.who, fact.reason) for fact in open_run(folder).last.facts(Asked)]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Train in another process, served with control; give the address and the run's folder."""
    folder = tmp_path_factory.mktemp("live") / "runs"
    with training_process(folder / "a"), served(folder, "--control") as address:
        yield address, folder / "a"


def test_what_is_asked_for_is_done_and_says_that_it_came_from_the_page(live):
    """By the way of the command, with its answers and its rules."""
    address, folder = live
    by = asker("from the page")
    assert post(address, wish={"verb": "rate", "value": "0.01"}) == (200, "the learning rate is 0.01, after 0.1")
    assert post(address, wish={"verb": "note", "value": "größer"}) == (200, "noted")
    status, answer = post(address, wish={"verb": "checkpoint"})
    assert (status, answer.startswith("refused: no model that can be saved")) == (200, True)
    deadline = time.monotonic() + 60
    while len(found := asked(folder)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [(verb, who) for verb, who, _ in found] == [("rate", by), ("note", by), ("checkpoint", by)]
    assert found[1][2] == f"{by} asked for note: größer: noted"


REFUSED = {
    "another site": ({"Origin": "http://evil.example"}, 403, "from its own page alone"),
    "another port": ({"Origin": "http://127.0.0.1:1"}, 403, "from its own page alone"),
    "no origin": ({"Origin": None}, 403, "from its own page alone"),
    "no origin at all": ({"Origin": "http://["}, 403, "from its own page alone"),
    "an opaque origin": ({"Origin": "null"}, 403, "from its own page alone"),
    "another site, as browsers say it": ({"Sec_Fetch_Site": "cross-site"}, 403, "from its own page alone"),
    "another port, as browsers say it": ({"Sec_Fetch_Site": "same-site"}, 403, "from its own page alone"),
    "another name": ({"host": "evil.example"}, 421, "not known by that name"),
    "no token": ({"Authorization": None}, 403, "it has the token"),
    "a wrong token": ({"Authorization": "Bearer x"}, 403, "it has the token"),
    "a token of another kind": ({"Authorization": "Basic x"}, 403, "it has the token"),
    "a form": ({"Content_Type": "application/x-www-form-urlencoded"}, 415, "must be application/json"),
    "a text": ({"Content_Type": "text/plain"}, 415, "must be application/json"),
    "no type": ({"Content_Type": None}, 415, "must be application/json"),
    "too much": ({"body": '{"verb": "note", "value": "' + "x" * 17_000 + '"}'}, 413, "at most 16,384 bytes"),
    "nothing": ({"body": ""}, 400, "a JSON object"),
    "no JSON": ({"body": "{"}, 400, "a JSON object"),
    "deep JSON": ({"body": "[" * 8000}, 400, "a JSON object"),
    "other bytes": ({"body": b"\xff\xfe"}, 400, "a JSON object"),
    "a list": ({"wish": ["stop"]}, 400, "a JSON object"),
    "another member": ({"wish": {"verb": "stop", "run": "b"}}, 400, "a JSON object"),
    "a number": ({"wish": {"verb": "rate", "value": 0.1}}, 400, "value a string or null"),
    "a list of verbs": ({"wish": {"verb": ["stop"]}}, 400, "verb must be a string"),
    "another verb": ({"wish": {"verb": "exec", "value": "ls"}}, 400, "verb must be one of stop, rate"),
    "no number": (
        {"wish": {"verb": "rate", "value": "fast"}},
        400,
        "rate must be a number > 0 and finite (got 'fast')",
    ),
    "a rate of 0": ({"wish": {"verb": "rate", "value": "0"}}, 400, "rate must be a number > 0 and finite (got 0.0)"),
    "no rate": ({"wish": {"verb": "rate"}}, 400, "rate must be a number > 0 and finite (got None)"),
    "an empty note": ({"wish": {"verb": "note", "value": ""}}, 400, "note must be a text of 1 to 1000 characters"),
    "a long note": ({"wish": {"verb": "note", "value": "x" * 1001}}, 400, "note must be a text of 1 to 1000"),
    "escapes": ({"wish": {"verb": "note", "value": "\x1b[31m"}}, 400, "note must be a text of 1 to 1000"),
    "half a character": ({"wish": {"verb": "note", "value": "\ud800"}}, 400, "note must be a text of 1 to 1000"),
    "a path to save to": ({"wish": {"verb": "checkpoint", "value": "../x"}}, 400, "checkpoint takes no value"),
    "a run outside": ({"name": "../a"}, 404, "there is no run ../a"),
    "a run outside, encoded": ({"name": "%2e%2e%2fa"}, 404, "there is no run"),
    "no run": ({"name": "nowhere"}, 404, "there is no run nowhere"),
    "reading": ({"method": "GET"}, 405, "Method Not Allowed"),
    "asking whether it may": ({"method": "OPTIONS"}, 405, "Method Not Allowed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_anything_else_is_refused_with_a_sentence(live, what):
    """Before the run sees it: nothing is written into its folder."""
    (options, status, sentence), (address, folder) = REFUSED[what], live
    before = len(asked(folder))
    found = post(address, **options)
    assert (found[0], sentence in found[1]) == (status, True), found
    assert [each.name for each in (folder / "control").iterdir()] == ["listening.json"]
    assert len(asked(folder)) == before


def test_the_token_is_nowhere_but_in_the_address(live):
    """Neither in pages nor in cookies, which other ports of the machine get."""
    base, token = split(live[0])
    assert len(token) >= 32
    for path in ("/", "/runs/a", "/overlay?run=a"):
        _, headers, page = ask(base, path)
        assert token not in page
        assert "set-cookie" not in headers
        assert headers["x-frame-options"] == "DENY"  # no other page can have the panel clicked
    assert post(base + "#control=", Authorization=None, cookie=f"monitor_core_token={token}")[0] == 403


def test_without_the_option_the_page_only_shows(tmp_path):
    """It answers GET alone."""
    with training_process(tmp_path / "runs" / "a"), served(tmp_path / "runs") as address:
        assert "#" not in address
        assert 'id="control"' not in ask(address, "/runs/a")[2]
        for path in ("/", "/runs/a", "/overlay", "/events"):
            assert ask(address, path, method="POST", body="{}")[0] == 405
        assert ask(address, "/control/a", method="POST", body="{}")[0] == 404


def test_beyond_loopback_both_tokens_are_asked_for(tmp_path):
    """One shows, the other controls: who may look may not yet steer."""
    with (
        training_process(tmp_path / "runs" / "a"),
        served(tmp_path / "runs", "--host", "0.0.0.0", "--control") as address,  # noqa: S104 - what is tested
    ):
        base, token = split(address)
        base, _, view = base.partition("?token=")
        assert view != token
        local = f"http://127.0.0.1:{port_of(base)}/"
        assert post(f"{local}#control={token}")[0] == 403
        cookie = f"monitor_core_token={view}"
        assert post(f"{local}#control={view}", cookie=cookie)[0] == 403
        assert post(f"{local}#control={token}", cookie=cookie) == (200, "noted")


def test_runs_that_cannot_be_controlled_say_why(tmp_path):
    """Ended ones, those without the sink, and folders that lead elsewhere."""
    runs = tmp_path / "runs"
    train(runs / "ended", [1.0])
    with training_process(runs / "deaf", WITHOUT_CONTROL, until="summary.json"), served(runs, "--control") as address:
        assert post(address, "ended") == (400, "ended is not running: its status is completed")
        status, sentence = post(address, "deaf")
        assert (status, sentence.startswith("deaf does not listen: add Control() to its sinks")) == (400, True)
        assert "This run cannot be controlled: add Control() to its sinks." in ask(address, "/runs/deaf")[2]
        (tmp_path / "elsewhere").mkdir()
        (runs / "deaf" / "control").symlink_to(tmp_path / "elsewhere")
        requests.listen(runs / "deaf", open_run(runs / "deaf").last.begin.id)
        assert post(address, "deaf") == (404, "there is no run deaf")
        assert [each.name for each in (tmp_path / "elsewhere").iterdir()] == ["listening.json"]


def test_a_run_that_was_killed_says_so(tmp_path):
    """Also while an answer is waited for."""
    with training_process(tmp_path / "runs" / "a") as training, served(tmp_path / "runs", "--control") as address:
        training.send_signal(signal.SIGSTOP)  # it is stopped in its tracks, and takes nothing
        found = []
        waiting = threading.Thread(target=lambda: found.append(post(address)))
        waiting.start()
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "runs" / "a" / "control").glob("request-*.json"))) != 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        training.kill()
        training.wait(60)
        waiting.join(60)
        assert found == [(200, "refused: the run has died")]
        assert post(address) == (400, "a is not running: its status is killed")


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    """As on a file system that is mounted to be read."""
    runs = tmp_path / "runs"
    runs.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(runs)], check=False, capture_output=True, timeout=60)
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        writer = JournalWriter(runs / "a")
        about = {**describe(), "id": "a", "index": 0, "continues": None, "epoch": -1, "step": 0}
        writer.fact(Begin(**about, config={}, time=time.time()))
        requests.listen(runs / "a", "a")
        writer.close()
        subprocess.run(["mount", "-o", "remount,ro", str(runs)], check=True, timeout=60)
        with served(runs, "--control") as address:
            assert post(address) == (403, "the run's folder cannot be written: Read-only file system")
    finally:
        subprocess.run(["umount", "-l", str(runs)], check=True, timeout=60)


def test_requests_are_events_and_one_that_led_to_a_decision_is_told_with_it(tmp_path):
    """A note and a refusal are marked for themselves, a stop and a rate once."""
    writer = JournalWriter(tmp_path)
    about = {**describe(), "id": "a", "index": 0, "continues": None, "epoch": -1, "step": 0}
    writer.fact(Begin(**about, config={}, time=1.0))

    def fact(kind, epoch, **members):
        writer.fact(kind(epoch=epoch, step=10 * (epoch + 1), time=2.0 + epoch, **members))

    def asks(epoch, verb, wish, outcome):
        fact(Asked, epoch, verb=verb, who="ada@host", asked=2.0, reason=f"ada@host asked for {wish}: {outcome}")

    asks(0, "note", "note: it was refused: no", "noted")
    asks(1, "rate", "the learning rate 0.1", "the learning rate is 0.1, after 0.2")
    fact(RateChange, 1, reason="the learning rate changed from 0.2 to 0.1", before=[0.2], after=[0.1])
    asks(2, "rate", "the learning rate 0.1", "the learning rate is 0.1, after 0.1")
    asks(2, "checkpoint", "checkpoint", "refused: no model")
    asks(3, "stop", "stop: enough", "the run stops")
    fact(Stop, 3, reason="ada@host asked to stop: enough", failed=False)
    asks(3, "stop", "stop", "refused: the run has ended")
    writer.close()
    events = PageRun.of(open_run(tmp_path)).events
    assert [(event.kind, event.label, event.epoch) for event in events] == [
        ("asked", "note", 0),
        ("rate", "rate 0.1", 1),
        ("asked", "rate asked", 2),
        ("asked", "checkpoint asked", 2),
        ("stop", "stopped", 3),
        ("asked", "stop asked", 3),
    ]
    assert events[1].text == (
        "the learning rate changed from 0.2 to 0.1 (from 0.2); "
        "ada@host asked for the learning rate 0.1: the learning rate is 0.1, after 0.2"
    )


# --- in a browser ----------------------------------------------------------------------------------------------------


def said(shown):
    """Return what the panel says of the newest request, once it is answered."""
    shown.page.locator("#asked li:first-child:not(.waiting)").wait_for()
    return shown.text("#asked li")


@in_browser
def test_a_run_is_steered_from_its_page_by_the_keyboard(tmp_path, sheet):
    """A rate, a note and a stop, which asks first; each is answered there, and marked on the curves."""
    runs = tmp_path / "runs"
    with training_process(runs / "a") as training, served(runs, "--control") as address, sheet() as shown:
        page = shown.page
        page.goto(address)
        assert page.url == split(address)[0]
        page.locator("a[href='/runs/a']").click()
        page.locator("[data-verb=rate] input").focus()
        page.keyboard.type("fast")
        page.keyboard.press("Enter")
        assert said(shown) == "rate fast rate must be a number > 0 and finite (got 'fast')"
        page.keyboard.type("0.05")
        page.keyboard.press("Enter")
        page.locator("#asked .done").wait_for()
        assert shown.text("#asked .done") == "rate 0.05 the learning rate is 0.05, after 0.1"
        page.locator("[data-verb=note] input").fill("<b>the set was mended</b>")
        page.keyboard.press("Enter")
        page.locator("#asked li", has_text="noted").wait_for()
        shown.page.locator("[data-part=results] td", has_text="asked for note: <b>the set was mended</b>").wait_for()
        rate = page.locator("[data-part=results] tr", has_text="rate 0.05")
        rate.filter(has_text=f"{asker('from the page')} asked for the learning rate 0.05").wait_for()
        page.locator("#stop").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.textContent") == "Keep training"
        page.keyboard.press("Escape")
        assert page.locator("dialog").is_hidden()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        assert page.locator("dialog").is_hidden()
        assert training.poll() is None
        page.keyboard.press("Enter")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.type("good enough")
        page.keyboard.press("Enter")
        page.locator("#asked li", has_text="the run stops").wait_for()
        out, _ = training.communicate(timeout=60)
        assert out == f"{asker('from the page')} asked to stop: good enough\n"
        page.locator("#requests:disabled").wait_for()
        assert shown.text("#control .hint") == "The run is not training: there is nothing to control."
        page.reload()
        marks = json.loads(page.locator("#page-data").text_content())["charts"]["metric-0"]["marks"]
        kinds = {mark["kind"]: mark["label"] for mark in marks}
        assert kinds["asked"] == "note"
        assert kinds["stop"] == "stopped"
        assert shown.problems == ["Failed to load resource: the server responded with a status of 400 (Bad Request)"]


EVIL = """<!doctype html><title>evil</title>
<iframe name="frame"></iframe>
<form method="post" action="{target}control/a" enctype="text/plain" target="frame">
<input name='{{"verb": "stop", "value": "' value='"}}'>
</form>
<script>
const body = JSON.stringify({{ verb: "stop" }});
const json = {{ "Content-Type": "application/json", Authorization: "Bearer {token}" }};
const attempts = [
    () => fetch("{target}control/a", {{ method: "POST", body, mode: "no-cors", credentials: "include" }}),
    () => fetch("{target}control/a", {{ method: "POST", body, credentials: "include" }}),
    () => fetch("{target}control/a", {{ method: "POST", body, headers: json, credentials: "include" }}),
    () => fetch("{target}control/a", {{ method: "POST", body, headers: json, mode: "no-cors" }}),
    () => navigator.sendBeacon("{target}control/a", body),
    () => fetch("{target}runs/a", {{ credentials: "include" }}).then((found) => found.text()),
];
window.attack = async () => {{
    const ends = [];
    for (const attempt of attempts)
        ends.push(await Promise.resolve(attempt()).then((found) => found.type ?? typeof found, () => "refused"));
    document.forms[0].submit();
    return ends;
}};
</script>"""


@contextlib.contextmanager
def another_site(page):
    """Serve one page from another port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@in_browser
def test_another_sites_page_cannot_control_a_run(live, sheet):
    """By a form, by fetches, by a beacon; not even one that knew the token, from a browser that has it."""
    address, folder = live
    base, token = split(address)
    before = asked(folder)
    with another_site(EVIL.format(target=base, token=token)) as evil, sheet() as shown:
        shown.page.goto(address)
        shown.page.goto(f"{base}runs/a")
        shown.page.locator("#requests:not([disabled])").wait_for()
        shown.page.goto(evil)
        answers = []
        shown.page.on("response", lambda answer: "/control/" in answer.url and answers.append(answer.status))
        assert shown.page.evaluate("localStorage.length") == 0
        ends = shown.page.evaluate("attack()")
        assert ends == ["opaque", "refused", "refused", "opaque", "boolean", "refused"]
        deadline = time.monotonic() + 60
        while len(answers) < 4 and time.monotonic() < deadline:
            shown.page.wait_for_timeout(50)
        assert set(answers) <= {403, 405}
        assert len(answers) >= 4
        shown.page.wait_for_timeout(1500)  # longer than the run takes to look
        assert asked(folder) == before
        shown.page.goto(f"{base}runs/a")
        shown.page.locator("[data-verb=note] input").fill("still here")
        shown.page.keyboard.press("Enter")
        assert said(shown) == "note still here noted"


@in_browser
def test_without_the_token_the_panel_says_where_it_is(live, sheet):
    """And asks for nothing."""
    with sheet() as shown:
        shown.page.goto(f"{split(live[0])[0]}runs/a")
        shown.page.locator("#no-token").wait_for()
        assert "open the address that monitor-core serve printed" in shown.text("#control")
        assert shown.page.locator("#requests").is_hidden()
        assert shown.problems == []


@in_browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_axe_finds_no_violation(live, width, scheme, sheet):
    """In the panel with its answers, and in the question before a stop."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make test-page")
    address, _ = live
    axe = AXE.read_text(encoding="utf-8") + "; axe.run().then((done) => done.violations)"
    with sheet(width, color_scheme=scheme) as shown:
        shown.page.goto(address)
        shown.page.goto(f"{split(address)[0]}runs/a")
        shown.page.locator("[data-verb=note] input").fill("a note")
        shown.page.keyboard.press("Enter")
        shown.page.locator("[data-verb=checkpoint] button").click()
        shown.page.locator("#asked .refused").wait_for()
        shown.page.locator("#asked .done").wait_for()
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        for press in ("", "#stop"):
            if press:
                shown.page.locator(press).click()
            found = shown.page.evaluate(axe)
            assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found] == []
        assert shown.problems == []
