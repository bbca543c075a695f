"""The site documents every hook, every public name, and every page that there is."""

import importlib.util
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import monitor_core
from monitor_core import Sink, testing
from monitor_core.bus.hooks import HOOKS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
HOOKS_PAGE = (DOCS / "authors" / "hooks.md").read_text(encoding="utf-8")
API = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
SITE = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
GATHERED = {"architecture.md", "benchmarks.md", "changelog.md", "contributing.md"}  # from elsewhere in the repository


def pages_in(navigation):
    """Return the pages that a navigation leads to."""
    for entry in navigation:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else pages_in(target)


def test_every_hook_is_documented_with_its_parameters():
    """In the order in which `Sink` has them, each below a heading that is its signature."""
    documented = re.findall(r"^### `(on_\w+)\((.*?)\)`$", HOOKS_PAGE, re.MULTILINE)
    assert {name: tuple(parameters.split(", ")) for name, parameters in documented} == HOOKS
    assert len(documented) == len(HOOKS)


def test_every_other_member_of_a_sink_is_documented():
    """What a sink may have in addition to its hooks is in the table below them."""
    members = {name for name in vars(Sink) if not name.startswith(("_", "on_"))}
    documented = set(re.findall(r"^\| `(\w+)", HOOKS_PAGE, re.MULTILINE))
    assert members <= documented
    assert documented - members == {"name", "load_record"}  # looked for, though no sink must have them


@pytest.mark.parametrize("module", [monitor_core, testing], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module):
    """Each name in ``__all__`` is rendered from its docstring."""
    names = [name for name in module.__all__ if not name.startswith("__")]
    assert [name for name in names if f"::: {module.__name__}.{name}\n" not in API + "\n"] == []


def test_every_name_in_the_reference_exists():
    """Of adapters and plots, whose frameworks may be missing, only the module is looked for."""
    for name in re.findall(r"^::: (monitor_core[\w.]*)$", API, re.MULTILINE):
        if not name.startswith(("monitor_core.adapters.", "monitor_core.plotting.")):
            module, _, member = name.rpartition(".")
            assert inspect.getdoc(getattr(__import__(module, fromlist=[member]), member)), name


def test_every_page_is_in_the_navigation():
    """And the navigation leads to no page that is not there."""
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(pages_in(SITE["nav"])) == sorted(pages | GATHERED)


def test_every_sink_has_a_page():
    """With the name of its class as the title."""
    pages = {
        path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for path in (DOCS / "sinks").glob("*.md")
    }
    folder = ROOT / "monitor_core" / "sinks"
    sinks = {
        name
        for name in monitor_core.__all__
        if inspect.isclass(kind := getattr(monitor_core, name))
        and issubclass(kind, Sink)
        and Path(inspect.getfile(kind)).parent == folder
    }
    assert sinks <= pages
    assert pages - sinks <= {"LivePlot", "NetworkSink"}  # a plot, and a base class


def test_links_lead_to_pages_of_the_site(tmp_path, monkeypatch):
    """Once the pages are gathered, each relative link and image is there; Zensical does not look for images."""
    spec = importlib.util.spec_from_file_location("build", DOCS / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    monkeypatch.setattr(build, "OUT", tmp_path)
    build.gather()
    for page in tmp_path.rglob("*.md"):
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"
