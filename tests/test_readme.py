"""The examples of the README and of the site run as printed, and their links lead somewhere."""

import ast
import importlib.util
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
ADAPTED = {"pytree": "numpy"}  # adapters that are not named after the package that they need
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def missing(code):
    """Return the packages that code imports, also through an adapter, and that are not installed."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes]
    packages = {name.removeprefix("monitor_core.adapters.").partition(".")[0] for name in names}
    return sorted(name for name in packages if importlib.util.find_spec(ADAPTED.get(name, name)) is None)


def name_of(page):
    """Return a page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page):
    """Return a page's Python blocks."""
    text = page.read_text(encoding="utf-8")
    blocks = [textwrap.dedent(block) for _, block in BLOCK.findall(text)]
    assert len(blocks) == text.count("```python")
    return blocks


CODE = {page: blocks_of(page) for page in PAGES if blocks_of(page)}
GUIDES = [page for page in CODE if page.parent.name == "authors"]
TRACKERS = [page for page in CODE if page.parent.name == "trackers"]  # in processes of their own: tests/trackers
OTHERS = [page for page in CODE if page not in GUIDES and page not in TRACKERS]
DEMO = ROOT / "examples" / "mnist_overfitting.py"
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path != DEMO)
EXAMPLES = [name for name in EXAMPLES if not name.startswith("track_")]


@pytest.mark.parametrize("page", OTHERS, ids=name_of)
def test_examples_of_a_page_run(page, tmp_path, monkeypatch):
    """Every Python block of a page runs, in order, in one namespace; a page whose framework is missing is skipped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".state"))
    blocks = CODE[page]
    if page.name in ("README.md", "sinks.md"):  # of several frameworks
        pytest.importorskip("keras")
        blocks = [block for block in blocks if not missing(block)]
    elif packages := missing("\n".join(blocks)):
        pytest.skip(f"there is not {', '.join(packages)}")
    namespace = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), namespace)  # noqa: S102 - the page is ours


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_guides_for_authors_pass_their_own_tests(page, tmp_path):
    """The blocks of a guide are a test module, and all its tests pass."""
    module = tmp_path / f"test_{page.stem}.py"
    module.write_text("\n".join(CODE[page]), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(module)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page):
    """Every relative link and image is in the repository."""
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in link or (page.parent / link).exists(), link


@pytest.mark.parametrize("script", EXAMPLES)
def test_examples_run(script, tmp_path):
    """Every example ends well, and says something; one whose framework is missing is skipped."""
    if packages := missing((ROOT / "examples" / script).read_text(encoding="utf-8")):
        pytest.skip(f"there is not {', '.join(packages)}")
    options = {
        "stateful_rnn.py": ["--epochs", "3"],
        "text_embeddings.py": ["--made", "--epochs", "1", "--reviews", "200"],
    }
    command = [sys.executable, str(ROOT / "examples" / script), *options.get(script, [])]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_demo_writes_its_results(tmp_path):
    """The demo writes the report, the curves, the history, the run's record and a human-readable summary."""
    command = [sys.executable, str(DEMO), "--epochs", "3", "--out", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    written = ["curves.png", "history.json", "model.png", "report.html", "run", "summary.txt", "tensorboard"]
    assert sorted(path.name for path in tmp_path.iterdir()) == written
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == ["train", "validation"]
    assert "It does not overfit yet" in (tmp_path / "summary.txt").read_text(encoding="utf-8")
