"""The benchmarks run through quickly and print what they promise; what they measure is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if path.name != "harness.py")


@pytest.mark.parametrize("script", SCRIPTS)
def test_benchmark_runs_quickly_and_gives_json(script):
    """Each benchmark has a quick mode and gives its tables, each with a floor and an A/A control, as JSON."""
    command = [sys.executable, str(FOLDER / script), "--quick", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout[result.stdout.index("{") :])
    assert "python" in found["about"]
    for rows in found["tables"].values():
        assert any(row["variant"] == "A/A control" for row in rows)
        assert all(row["ns"] > 0 for row in rows)
