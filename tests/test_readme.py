"""The README's examples run as printed, one after another."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = ROOT / "examples" / "mnist_overfitting.py"
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path != DEMO)


def test_readme_examples_run(tmp_path, monkeypatch):
    """Every Python block of the README runs, in order, in one namespace."""
    pytest.importorskip("keras")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102 - the README is ours
    assert len(blocks) >= 5
    assert len(namespace["history"]) == 5


def test_readme_links_lead_somewhere():
    """Every relative link and picture of the README is in the repository."""
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in link or (ROOT / link).exists(), link


@pytest.mark.parametrize("script", EXAMPLES)
def test_examples_run(script, tmp_path):
    """Every example ends well, and says something."""
    options = {"stateful_rnn.py": ["--epochs", "3"]}
    command = [sys.executable, str(ROOT / "examples" / script), *options.get(script, [])]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_demo_writes_its_results(tmp_path):
    """The demo leaves the curves, the history and a summary in words."""
    command = [sys.executable, str(DEMO), "--epochs", "3", "--out", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "history.json", "summary.txt"]
    assert "It does not overfit yet" in (tmp_path / "summary.txt").read_text(encoding="utf-8")
