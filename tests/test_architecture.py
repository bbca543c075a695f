"""What ARCHITECTURE.md claims: the way of a value, and the folders there are."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from monitor_core import CSVLogger, Loop

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def section(title):
    """Return the text below a heading."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_way_of_a_value_is_the_one_that_is_taken(tmp_path):
    """Each function of the table is called, in its order, when a value goes from ``log`` to the CSV file."""
    called = []

    def note(frame, event, arg):
        if event == "call":
            called.append(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}")

    named = re.findall(r"^\| \d+ \| `([^`]+)`", section("The way of a value"), re.MULTILINE)
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        with Loop(CSVLogger(tmp_path / "log.csv", per_batch=True)) as loop:
            for _ in loop.epochs(1):
                for step in loop.batches(range(1000)):  # more than a block
                    loop.log(loss=1.0)
                    while step == 999 and not (tmp_path / "log.csv").read_text():
                        time.sleep(0.01)  # until the bus's thread has delivered one
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    way = called[called.index(named[0]) :]
    assert len(named) == 11
    assert sorted(named, key=way.index) == named


def test_every_other_function_that_is_named_is_there():
    """Names in backticks that begin with the package's lead somewhere."""
    pytest.importorskip("keras")
    import pkgutil

    for name in set(re.findall(r"`(monitor_core\.[\w.]+)`", TEXT)):
        assert pkgutil.resolve_name(name) is not None


def test_every_tracked_folder_is_in_the_table():
    """And no folder is named that is not there."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: there are no tracked files to compare with")
    folders = {str(Path(name).parent) for name in listed.stdout.split() if not (ROOT / name).is_symlink()}
    tracked = {name for name in folders if name != "." and not name.startswith((".", "tests/", "docs/"))}
    named = set(re.findall(r"^\| `([^`]+)` \|", section("Folders, from the ground up"), re.MULTILINE))
    assert named == tracked
