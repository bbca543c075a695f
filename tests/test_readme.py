"""The examples of the README and of the docs run as printed, one after another."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES_WITH_CODE = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
DEMO = ROOT / "examples" / "mnist_overfitting.py"
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path != DEMO)


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.name)
def test_examples_of_a_page_run(page, tmp_path, monkeypatch):
    """Every Python block of a page runs, in order, in one namespace."""
    pytest.importorskip("keras")
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count("```python")
    if importlib.util.find_spec("torch") is None:
        blocks = [block for block in blocks if "import torch" not in block]
    namespace = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), namespace)  # noqa: S102 - the page is ours
    assert not blocks or len(namespace["history"]) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    """Every relative link and picture is in the repository."""
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert "://" in link or (page.parent / link).exists(), link


@pytest.mark.parametrize("script", EXAMPLES)
def test_examples_run(script, tmp_path):
    """Every example ends well, and says something."""
    options = {
        "stateful_rnn.py": ["--epochs", "3"],
        "text_embeddings.py": ["--made", "--epochs", "1", "--reviews", "200"],
    }
    command = [sys.executable, str(ROOT / "examples" / script), *options.get(script, [])]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_demo_writes_its_results(tmp_path):
    """The demo leaves the curves, the history and a summary in words."""
    command = [sys.executable, str(DEMO), "--epochs", "3", "--out", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    written = ["curves.png", "history.json", "model.png", "summary.txt", "tensorboard"]
    assert sorted(path.name for path in tmp_path.iterdir()) == written
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == ["train", "validation"]
    assert "It does not overfit yet" in (tmp_path / "summary.txt").read_text(encoding="utf-8")
