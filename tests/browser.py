"""A real TensorBoard server and a real browser, for tests of what users see.

Both end with their context, and the server also with the process that started it, however that ends.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("playwright", "tensorboard", "keras", "matplotlib", "tqdm")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60_000  # milliseconds; what is slower than this on a busy machine is broken

# TensorBoard as on the command line, with two differences: it does without TensorFlow even where that is installed,
# which takes longer to import than all the rest, and it ends with its standard input, a pipe from the test.
_SERVER = """
import os, signal, sys, threading, types
sys.modules["tensorboard.compat.notf"] = types.ModuleType("tensorboard.compat.notf")
from tensorboard.main import run_main
threading.Thread(target=lambda: (os.read(0, 1), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
run_main()
"""
_SETTINGS = """localStorage.setItem("_tb_global_settings", '{"paginationSize": 100}')"""  # all cards of a group at once


def browser_path():
    """Return the path of a browser of this machine, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def what_is_missing():
    """Describe what these tests need and cannot find; an empty string if nothing is missing."""
    missing = [f"the package {name}" for name in PACKAGES if importlib.util.find_spec(name) is None]
    return ", ".join(missing + ([] if browser_path() else [f"a browser ({', '.join(BROWSERS)})"]))


@contextmanager
def tensorboard(folder, log):
    """Serve a log folder on a free port of this machine, with the loader that users get, and give its address.

    Args:
        folder: The log folder.
        log: A path for what the server prints.
    """
    command = [sys.executable, "-c", _SERVER, "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    with (
        Path(log).open("w", encoding="utf-8") as output,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT) as server,
    ):
        try:
            yield _address(server, Path(log))
        finally:
            server.stdin.close()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()


def _address(server, log):
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline and server.poll() is None:
        if found := re.search(r"TensorBoard \S+ at (http://\S+)/ ", log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"TensorBoard does not serve:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def browser():
    """Start the browser, without a window, and give a context for its pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_path())
        try:
            context = chromium.new_context(viewport={"width": 1280, "height": 900})
            context.set_default_timeout(PATIENCE)
            context.add_init_script(_SETTINGS)
            yield context
        finally:
            chromium.close()


class Tab:
    """A page of TensorBoard.

    Args:
        page: A new page of the browser.
        address: The server's.
        artifacts: The folder for its screenshots.

    Attributes:
        page: The page.
        problems: What failed on it: requests, and errors in its console.
    """

    def __init__(self, page, address, artifacts):
        self.page = page
        self.problems = []
        self._address = address
        self._artifacts = artifacts
        page.on("response", lambda answer: answer.ok or self.problems.append(f"{answer.status} {answer.url}"))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))

    def open(self, name, query=""):
        """Go to a tab by its name in the address."""
        self.page.goto(f"{self._address}/{query}#{name}")

    def screenshot(self, name):
        """Save a screenshot of the page."""
        self.page.screenshot(path=self._artifacts / f"{name}.png")

    def read(self, selector, script, count=1, *, inside=None):
        """Return what a script gives for each of some elements, as soon as it is something for all of them.

        Groups of cards that are closed are opened meanwhile, as a user does.

        Args:
            selector: The elements, in any shadow tree.
            script: JavaScript for one of them, ``element``; what is false is not there yet.
            count: How many elements there must be.
            inside: The frame that they are in; None for the page.
        """
        elements = (inside or self.page).locator(selector)
        closed = self.page.locator("tf-category-paginated-view:visible .heading:not([open-button])")
        found = []
        deadline = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < deadline:
            found = elements.evaluate_all(f"elements => elements.map(element => {script})")
            if len(found) == count and all(found):
                return found
            if closed.count():
                closed.first.click()
            else:
                self.page.wait_for_timeout(100)
        raise AssertionError(f"{script} must be true of {count} {selector} (got {found}); problems: {self.problems}")
