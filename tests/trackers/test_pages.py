"""The trackers' pages and examples run as printed, each in a process of its own, where its package is installed."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "mlflow": "mlflow",
    "wandb": "wandb",
    "trackio": "trackio",
    "prometheus": "prometheus_client",
    "otlp": "opentelemetry",
}
ARGUMENTS = {"prometheus": ["0"]}


@pytest.fixture(params=PACKAGES)
def tracker(request):
    """Return each tracker's name whose package is installed."""
    package = PACKAGES[request.param]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return request.param


def run(folder, *command):
    """Run Python in a folder; return what it prints."""
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_runs(tracker, tmp_path):
    """Its blocks, in order."""
    text = (ROOT / "docs" / "trackers" / f"{tracker}.md").read_text(encoding="utf-8")
    (tmp_path / "page.py").write_text("\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)))
    run(tmp_path, "page.py")


def test_the_example_runs(tracker, tmp_path):
    """And says something."""
    assert run(tmp_path, str(ROOT / "examples" / f"track_{tracker}.py"), *ARGUMENTS.get(tracker, []))


def test_every_tracker_has_a_page_and_an_example():
    """Nothing else is in their folders."""
    assert {path.stem for path in (ROOT / "docs" / "trackers").glob("*.md")} == set(PACKAGES)
    assert {path.stem.removeprefix("track_") for path in (ROOT / "examples").glob("track_*.py")} == set(PACKAGES)
