"""What importing costs, which layer may import which, and what the package makes public."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import monitor_core

ROOT = Path(monitor_core.__file__).resolve().parent
LAYERS = {layer: sorted((ROOT / layer).glob("*.py")) for layer in ("sinks", "adapters", "plotting")}
CORE = sorted(
    path
    for folder in (ROOT, *(ROOT / part for part in ("boards", "journals", "summaries")))
    for path in folder.glob("*.py")
    if path != ROOT / "__init__.py"
)
EVERYTHING = [*CORE, ROOT / "__init__.py", *(path for paths in LAYERS.values() for path in paths)]

FRAMEWORKS = ["jax", "keras", "matplotlib", "pandas", "tensorboard", "tensorflow", "torch", "tqdm", "IPython"]


def module_name(path):
    """Return the dotted name of a module of the package."""
    return ".".join(["monitor_core", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def imports(path, *, at_import=False):
    """Return the absolute names that a module imports, those of functions and for types too unless ``at_import``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    nodes = list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif at_import and (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ):
            continue
        else:
            nodes += ast.iter_child_nodes(node)
    return found


def layer_of(name):
    """Return which layer an imported name belongs to: core, sinks, adapters, plotting, or None for other packages."""
    parts = name.split(".")
    if parts[0] != "monitor_core":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "core"


def ids(path):
    """Return a module's name for the test's."""
    return module_name(path)


def run_fresh(code):
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_no_framework():
    """Importing the package imports no optional dependency, and starts no thread."""
    shown = run_fresh(
        "import sys, threading, monitor_core\n"
        f"print(sorted(set({FRAMEWORKS}) & set(sys.modules)), threading.active_count())"
    )
    assert shown == "[] 1"


def test_import_needs_numpy_and_attrs_only():
    """The package imports where every other package is missing."""
    shown = run_fresh(
        "import sys, importlib.abc\n"
        "class Refuse(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        top = name.partition('.')[0]\n"
        "        if top not in sys.stdlib_module_names and top not in {'numpy', 'attr', 'attrs', 'monitor_core'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "import numpy, attrs\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import monitor_core\n"
        "print(*monitor_core.__all__)"
    )
    assert shown.split() == monitor_core.__all__


@pytest.mark.parametrize("path", [*CORE, ROOT / "__init__.py", *LAYERS["sinks"]], ids=ids)
def test_core_and_sinks_import_optional_packages_in_functions_only(path):
    """At import, core and sinks need the standard library, NumPy and attrs."""
    tops = {name.partition(".")[0] for name in imports(path, at_import=True)}
    assert tops - set(sys.stdlib_module_names) <= {"numpy", "attrs", "monitor_core"}


@pytest.mark.parametrize("path", CORE, ids=ids)
def test_core_imports_no_other_layer(path):
    """Core knows no sink, adapter or plot, and not the package's public names, which include them.

    What `resume` does is made of sinks, and imported when it is asked for.
    """
    names = imports(path)
    assert {layer_of(name) for name in names} <= {None, "core"} | ({"sinks"} if path.stem == "resuming" else set())
    assert not {name for name in names if name == "monitor_core"}


@pytest.mark.parametrize("path", LAYERS["sinks"], ids=ids)
def test_sinks_import_core_only(path):
    """A sink imports neither another sink nor an adapter or plot."""
    assert {layer_of(name) for name in imports(path)} <= {None, "core"}


@pytest.mark.parametrize(("layer", "other"), [("adapters", "plotting"), ("plotting", "adapters")])
def test_adapters_and_plots_import_no_other_layer(layer, other):
    """Adapters and plots import core and modules beside them, never each other."""
    assert LAYERS[layer]
    for path in LAYERS[layer]:
        assert other not in {layer_of(name) for name in imports(path)}, path.name


@pytest.mark.parametrize("path", EVERYTHING, ids=ids)
def test_long_names_are_imported_everywhere(path):
    """The folders at the top of the repository import only as parts of the package."""
    assert not {name.partition(".")[0] for name in imports(path)} & {"adapters", "plotting", "sinks"}


def test_all_is_sorted_and_complete():
    """The public names stand in a sorted ``__all__``, and nothing else that is public is bound."""
    assert all(getattr(monitor_core, name) is not None for name in monitor_core.__all__)
    bound = {
        name
        for name, value in vars(monitor_core).items()
        if not name.startswith("_") and type(value).__name__ != "module" and name != "annotations"
    }
    assert monitor_core.__all__ == sorted(monitor_core.__all__)
    assert set(monitor_core.__all__) == bound


def test_every_sink_is_public():
    """Each sink of the package can be imported from its root."""
    sinks = {
        node.name
        for path in LAYERS["sinks"]
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and any(ast.unparse(base).endswith("Sink") for base in node.bases)
    }
    assert sinks <= set(monitor_core.__all__)


@pytest.mark.parametrize("path", EVERYTHING, ids=ids)
def test_modules_begin_with_their_contract(path):
    """Every module has a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
