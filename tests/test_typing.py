"""What users write type checks, with mypy and with pyright."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
API = ROOT / "tests" / "typing" / "api.py"


def test_mypy_accepts_what_users_write():
    """With strict settings, and no ignore that is not needed; what `make lint` has checked is in mypy's cache."""
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", str(API)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_accepts_what_users_write():
    """As editors check it; skipped where pyright finds no Node.js and cannot download it."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    command = [sys.executable, "-m", "pyright", "--project", str(ROOT / "tests" / "typing")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode and not done.stdout.strip():
        pytest.skip(f"pyright cannot run: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
