"""What a report costs: its file, making it, and opening it in a browser, for a run of a million noisy values.

Floor: the same page without a value, made and opened in the same way. In the browser: when every chart of the first
screen is drawn after navigation, how long its main thread works until all charts are drawn, its memory, and the
longest frame of a zoom, all in headless Chromium.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness import arguments, interleave, machine, report
from monitor_core import Block, Journal, Loop
from monitor_core.journal.facts import Begin, End
from monitor_core.journal.provenance import describe
from monitor_core.journal.writer import JournalWriter
from monitor_core.page import write_report
from monitor_core.page.report import POINTS

METRICS, STEPS, EPOCHS, NOISE, LONGER = 10, 100_000, 10, 0.1, 10
FLOOR = "a page without a value"
FRAMES = 40
DRAWN = "() => document.querySelectorAll('[data-chart]:not([data-drawn])').length === 0"
FIRST_SCREEN = """() => {
    const look = () => {
        const charts = [...document.querySelectorAll("[data-chart]")];
        const shown = charts.filter((each) => each.getBoundingClientRect().top < innerHeight);
        if (document.readyState === "loading" || !shown.every((each) => each.dataset.drawn)) return;
        window.firstScreen ??= performance.now();
    };
    new MutationObserver(look).observe(document, { subtree: true, attributeFilter: ["data-drawn"] });
    addEventListener("load", look);
}"""
SHOWN = """(() => {
    const sentence = document.querySelector("[data-part=metric-0-summary]").textContent;
    const said = sentence.match(/in (?:all )?([0-9,]+) value/);
    return said === null ? 0 : Number(said[1].replaceAll(",", ""));
})()"""
ZOOM = """async (frames) => {
    const over = document.querySelector("[data-chart] .plot");
    const times = [];
    over.focus();
    for (let frame = 0; frame < frames; frame++) {
        const key = frame % 8 < 4 ? "+" : "-";
        const began = performance.now();
        over.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        await new Promise((done) => queueMicrotask(done));
        times.push(performance.now() - began);
        await new Promise((done) => requestAnimationFrame(done));
    }
    return times;
}"""


def noisy_run(folder: Path, steps: int, metrics: int = METRICS) -> Path:
    """Record noisy curves with one value a step."""
    writer, noise = JournalWriter(folder), np.random.default_rng(0)
    writer.fact(Begin(id="a", index=0, continues=None, epoch=-1, step=0, config={}, time=1.0, **describe()))
    names = ["loss", *(f"metric_{number}" for number in range(1, metrics))]
    per_epoch = steps // EPOCHS
    for epoch in range(EPOCHS if steps else 0):
        numbers = np.arange(per_epoch) + 1 + epoch * per_epoch
        level = 2 * np.exp(-3 * numbers / steps) + 0.2
        columns = {name: level * (1 + NOISE * noise.standard_normal(per_epoch)) for name in names}
        for begin in range(0, per_epoch, 250):
            part = slice(begin, begin + 250)
            values = {name: column[part] for name, column in columns.items()}
            writer.block(Block(epoch, numbers[part], numbers[part] / 100.0, values, dict.fromkeys(names)))
        writer.epoch(epoch, int(numbers[-1]), numbers[-1] / 100.0, {"val_loss": float(level[-1])})
    writer.fact(End(status="completed", epoch=EPOCHS - 1, step=steps, time=steps / 100.0))
    writer.close()
    return folder


def making(folder: Path, file: Path) -> Callable[[int], None]:
    """Return work that makes a report so many times."""

    def work(calls: int) -> None:
        for _ in range(calls):
            write_report(folder, file)

    return work


def until(page: Any, condition: str) -> None:
    """Wait until a condition holds; the page's policy forbids to poll within it."""
    while not page.evaluate(condition):
        time.sleep(0.005)


def renderer_mb(browser: Any) -> float:
    """Return the memory of the browser's pages, in MB, each shared part counted in shares."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    pages = [Path(f"/proc/{each['id']}/smaps_rollup") for each in processes if each["type"] == "renderer"]
    lines = [line.split() for file in pages for line in file.read_text().splitlines()]
    return sum(int(words[1]) for words in lines if words[0] == "Pss:") / 1e3


def opened(browser: Any, file: Path) -> dict[str, float]:
    """Open a report in a new context; return what it took."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(f"({FIRST_SCREEN})()")
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto(file.resolve().as_uri())
    until(page, DRAWN)
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    session.send("HeapProfiler.collectGarbage")
    page_time, memory = page.evaluate("() => window.firstScreen"), renderer_mb(browser)
    frames = page.evaluate(ZOOM, FRAMES) if page.locator("[data-chart]").count() else [0.0]
    context.close()
    return {
        "first screen drawn, ms": page_time,
        "main thread until all is drawn, ms": 1e3 * metrics["TaskDuration"],
        "the same in processor time, ms": 1e3 * metrics["ThreadTime"],
        "memory of its process, MB": memory,
        "a frame of a zoom, median, ms": statistics.median(frames),
        "a frame of a zoom, longest, ms": max(frames),
    }


def in_the_browser(file: Path, rounds: int) -> dict[str, float]:
    """Return the medians of several openings."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        opened(browser, file)
        found = [opened(browser, file) for _ in range(rounds)]
        browser.close()
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def latency(folder: Path, blocks: int) -> float:
    """Return how long after its block a point of a training run is on the live page, the median, in seconds."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "monitor_core", "serve", str(folder), "--port", "0", "--json"]
    times = []
    folder.mkdir()  # before the server looks for it
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
        Loop(Journal(folder / "live")) as loop,
    ):
        address = json.loads(server.stdout.readline())["address"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page()
        for epoch in loop.epochs(blocks):
            for _ in loop.batches(range(10)):
                loop.log(loss=1 / (1 + epoch))
            loop.bus.flush()
            began = time.perf_counter()
            if epoch == 0:
                page.goto(f"{address}runs/live")
            shown = f"() => document.getElementById('page-data') && {SHOWN} >= {10 * (epoch + 1)}"
            while not page.evaluate(shown):
                time.sleep(0.01)
            times.append(time.perf_counter() - began)
        browser.close()
        server.terminate()
    return statistics.median(times[1:])


def thinned(folder: Path, steps: int) -> dict[str, float]:
    """Return what the report of a longer run costs, in MB and s: thinned as it is by default, and with all values."""
    run, figures = noisy_run(folder / "long", steps), {}
    for name, points in (("thinned", POINTS), ("with all values", None)):
        began = time.perf_counter()
        size = write_report(run, folder / "long.html", points=points).stat().st_size
        figures[f"{METRICS * steps:,} values {name}, MB"] = size / 1e6
        figures[f"{METRICS * steps:,} values {name}, s"] = time.perf_counter() - began
    return figures


def main() -> None:
    options = arguments(__doc__)
    steps, rounds = (2_000, 2) if options.quick else (STEPS, 7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, empty = noisy_run(folder / "run", steps), noisy_run(folder / "empty", 0)
        variants = {
            FLOOR: making(empty, folder / "empty.html"),
            f"{METRICS * steps:,} values": making(run, folder / "run.html"),
        }
        tables = {"making the file": interleave(variants, FLOOR, 1, rounds)}
        figures = {"the file, MB": (folder / "run.html").stat().st_size / 1e6}
        figures |= in_the_browser(folder / "run.html", rounds)
        figures |= thinned(folder, LONGER * steps)
        floor = in_the_browser(folder / "empty.html", rounds)
        figures |= {f"{name}, floor": value for name, value in floor.items() if "zoom" not in name}
        figures["a point on the live page after its block, s"] = latency(folder / "runs", 3 if options.quick else 12)
        report(tables, machine("numpy", "jinja2", "playwright"), as_json=options.json, figures=figures)


if __name__ == "__main__":
    main()
