"""What the tests of writing share."""

import subprocess
import sys
import textwrap

import pytest

from monitor_core.files import writing


def run(script, *args, expect=0):
    """Run a script in a process of its own, within a minute, and return what it wrote to both streams."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def at_once(monkeypatch):
    """Let every call try again, however soon the last attempt failed."""
    monkeypatch.setattr(writing, "FIRST_DELAY", 0.0)
