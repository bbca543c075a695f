"""Recorded runs for tests of the page, and the page in a real browser."""

import base64
import gzip
import http.client
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import attrs
import numpy as np

from browser import BROWSERS, PATIENCE, browser_path
from monitor_core import Block
from monitor_core.journal.facts import Begin, End, Found, RateChange, SinkFailure, Stop
from monitor_core.journal.provenance import describe
from monitor_core.journal.writer import JournalWriter

MISSING = [name for name in ("playwright", "jinja2") if importlib.util.find_spec(name) is None]
MISSING += [] if browser_path() else [f"a browser ({', '.join(BROWSERS)})"]
IS_REQUIRED = os.environ.get("MONITOR_CORE_BROWSER") == "1"
AXE = Path(__file__).parents[1] / "web" / "node_modules" / "axe-core" / "axe.min.js"


def noisy_run(folder, *, steps=100_000, metrics=1, epochs=10, config=None):
    """Record noisy metrics with one spike of 9.0 and 50 NaN among the first one's values, and decisions."""
    writer, noise = JournalWriter(folder), np.random.default_rng(0)
    about = {**describe(), "argv": ["train.py", "--width=8"]}
    writer.fact(Begin(id="run-1", index=0, continues=None, epoch=-1, step=0, config=config or {}, time=1.7e9, **about))
    per_epoch = steps // epochs
    names = ["loss", *(f"metric_{number}" for number in range(1, metrics))]
    for epoch in range(epochs):
        numbers = np.arange(per_epoch) + 1 + epoch * per_epoch
        level = 2 * np.exp(-numbers / steps * 3) + 0.2
        columns = {name: level * (1 + 0.1 * noise.standard_normal(per_epoch)) for name in names}
        if epoch == epochs // 2:
            columns["loss"][17] = 9.0
            columns["loss"][300:350] = np.nan
        for begin in range(0, per_epoch, 250):
            part = slice(begin, begin + 250)
            values = {name: column[part] for name, column in columns.items()}
            writer.block(Block(epoch, numbers[part], 1.7e9 + numbers[part] / 100, values, dict.fromkeys(names)))
        results = {"loss": float(np.nanmean(columns["loss"])), "val_loss": 0.5 + 0.1 * abs(epoch - 3)}
        writer.epoch(epoch, int(numbers[-1]), 1.7e9 + numbers[-1] / 100, results)
    place = {"epoch": epochs - 1, "step": steps, "time": 1.7e9 + steps / 100}
    middle = {"epoch": 4, "step": 5 * per_epoch, "time": 1.7e9 + steps / 200}
    writer.fact(RateChange(reason="the rate was halved", before=[0.1], after=[0.05], **middle))
    writer.fact(SinkFailure(sink="CSVLogger", hook="on_block", error="OSError: full", traceback="", step=7, time=1.7e9))
    writer.fact(Stop(reason="val_loss did not improve for 6 epochs", failed=False, **place))
    writer.fact(
        Found(
            symptom="overfitting",
            severity="problem",
            message="val_loss has risen by 120% since epoch 4.",
            evidence={"turned": 4, "rise": 1.2, "metric": "val_loss"},
            advice="Stop earlier.",
            source="Prechelt 1998",
            layer=None,
            **middle,
        )
    )
    writer.fact(End(status="stopped", best_epochs={}, best_steps={}, **place))
    writer.close()
    return folder


def decoded(columns, spec):
    """Return the values of a page's column."""
    if "stride" in spec:
        return spec["first"] + spec["stride"] * np.arange(spec["count"])
    data = np.frombuffer(gzip.decompress(base64.b64decode(columns.texts[spec["id"]])), np.uint8)
    return np.ascontiguousarray(data.reshape(int(spec["type"][1]), -1).T).view("<" + spec["type"]).ravel()


@attrs.define
class Sheet:
    """A report in the browser.

    Attributes:
        page: The browser's page.
        requests: What it has requested.
        problems: Errors in its console, and refused loads.
    """

    page: object
    requests: list = attrs.field(factory=list)
    problems: list = attrs.field(factory=list)

    def open(self, file):
        """Open a report from disk, and wait until its charts are drawn."""
        self.page.goto(file.resolve().as_uri())
        deadline = time.monotonic() + PATIENCE / 1000
        while self.page.locator("[data-chart]:not([data-drawn])").count():  # the policy forbids to poll within the page
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self

    def text(self, selector):
        """Return the text of the first element."""
        return " ".join(self.page.locator(selector).first.inner_text().split())

    def pixels(self, chart, colour):
        """Return how many pixels of a chart's canvas are about this colour, (columns, rows) each."""
        return self.page.evaluate(
            """([selector, colour]) => {
                const canvas = document.querySelector(`${selector} canvas`);
                const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                const found = [];
                for (let place = 0; place < image.data.length; place += 4) {
                    const far = Math.max(...[0, 1, 2].map((each) => Math.abs(image.data[place + each] - colour[each])));
                    if (image.data[place + 3] > 200 && far < 24)
                        found.push([(place / 4) % canvas.width, Math.floor(place / 4 / canvas.width)]);
                }
                return found;
            }""",
            [chart, colour],
        )


@contextmanager
def browser():
    """Start the browser, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_path())
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def sheet_of(chromium, width=1280, **options):
    """Open a page that shares nothing with the browser's others, and that counts requests and errors."""
    with chromium.new_context(viewport={"width": width, "height": 900}, **options) as context:
        context.set_default_timeout(PATIENCE)
        shown = Sheet(context.new_page())
        shown.page.on("request", lambda request: shown.requests.append(request.url))
        shown.page.on("pageerror", lambda error: shown.problems.append(str(error)))
        shown.page.on("console", lambda said: said.type == "error" and shown.problems.append(said.text))
        yield shown


@contextmanager
def served(folder, *options):
    """Serve a folder on a free port; give the address that the command printed."""
    line = [sys.executable, "-m", "monitor_core", "serve", str(folder), "--port", "0", "--json", *options]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder.parent / "cache")}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            yield json.loads(server.stdout.readline())["address"]
        finally:
            server.terminate()


def port_of(address):
    """Return the port of a server's address."""
    return int(re.search(r":(\d+)/", address)[1])


def ask(address, path, *, host=None, cookie=None, method="GET", body=None, **headers):
    """Ask a server for a path as it stands; return the status, the headers and the text."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers |= {"Host": host or f"127.0.0.1:{port_of(address)}", **({"Cookie": cookie} if cookie else {})}
    with closing(http.client.HTTPConnection("127.0.0.1", port_of(address), timeout=60)) as client:
        client.request(method, path, body=body, headers=headers)
        answer = client.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
