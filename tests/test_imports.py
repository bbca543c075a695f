"""What importing costs, which folder may import which, and what the package makes public."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import monitor_core
import monitor_core.trackers

ROOT = Path(monitor_core.__file__).resolve().parent

GROUND = ["errors", "_lazy", "_log", "_version", "checks", "schedules"]
CORE = [
    *GROUND,
    "frameworks",
    "background",
    "values",
    "model",
    "ranks",
    "bus",
    "metrics",
    "files",
    "records",
    "network",
    "store",
    "journal",
]
# Each room of the package, and the rooms that it may import, from the ground up. A row may name only rows above it, so
# there are no circles. Rooms that are not built yet have their place here already.
MAY_IMPORT = {
    "errors": [],
    "_lazy": [],
    "_log": [],
    "_version": [],
    "checks": ["errors"],
    "schedules": ["errors", "checks"],
    "frameworks": ["_log"],
    "background": GROUND,
    "values": [*GROUND, "frameworks"],
    "model": [*GROUND, "frameworks"],
    "ranks": [*GROUND, "frameworks"],
    "bus": [*GROUND, "frameworks", "background", "values", "model", "ranks"],
    "metrics": [*GROUND, "values"],
    "files": [*GROUND, "frameworks", "values", "model", "metrics"],
    "records": [*GROUND, "values", "metrics"],
    "network": [*GROUND, "background", "values", "bus"],
    "store": [*GROUND, "background", "files", "network"],
    "tensorboard": [*GROUND, "frameworks", "background", "values", "model", "bus", "metrics", "files", "records"],
    "journal": [*GROUND, "frameworks", "values", "model", "metrics", "files", "records", "store", "tensorboard"],
    "sinks": [*CORE, "tensorboard"],
    "trackers": [*CORE],
    "tuners": [*CORE],
    "diagnosis": [*CORE],
    "loop": [*CORE, "sinks"],
    "replay": [*CORE],
    "testing": [*CORE, "sinks", "loop"],
    "adapters": [*CORE, "loop"],
    "plotting": [*CORE, "loop"],
    "runs": [*CORE, "diagnosis", "replay"],
    "page": [*CORE, "diagnosis", "plotting", "runs"],
    "cli": [*CORE, "diagnosis", "replay", "plotting", "runs", "page"],
}


# Methods of public objects that are made of a room above theirs; it is imported when they are called.
CALLED_UPWARD = {("monitor_core.journal.recorded", "page")}


def room_of(name):
    """Return which room an imported name belongs to, None for other packages and the package's public names."""
    parts = name.split(".")
    return parts[1] if parts[0] == "monitor_core" and len(parts) > 1 and parts[1] in MAY_IMPORT else None


def modules_of(room):
    """Return the modules of a room."""
    folder = ROOT / room
    return (
        sorted(folder.rglob("*.py")) if folder.is_dir() else [path for path in [ROOT / f"{room}.py"] if path.exists()]
    )


MODULES = {room: modules_of(room) for room in MAY_IMPORT}
EVERYTHING = sorted(ROOT.rglob("*.py")) + [
    path for room in ("adapters", "plotting") for path in MODULES[room] if path not in set(ROOT.rglob("*.py"))
]

FRAMEWORKS = [
    "IPython",
    "equinox",
    "flax",
    "accelerate",
    "ignite",
    "jax",
    "keras",
    "lightgbm",
    "lightning",
    "matplotlib",
    "pandas",
    "pytorch_lightning",
    "sklearn",
    "skorch",
    "tensorboard",
    "tensorflow",
    "torch",
    "tqdm",
    "optuna",
    "ray",
    "transformers",
    "xgboost",
]


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


def test_importing_the_trackers_loads_none_of_their_packages():
    """Nor a tracker that was not asked for; its package is imported when one is made."""
    packages = ["mlflow", "wandb", "trackio", "prometheus_client", "opentelemetry"]
    shown = run_fresh(
        "import sys, monitor_core.trackers\n"
        "from monitor_core.trackers import MLflow\n"
        f"print(sorted(set({packages}) & set(sys.modules)), 'monitor_core.trackers.wandb' in sys.modules)"
    )
    assert shown == "[] False"


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


@pytest.mark.parametrize(
    "path",
    [path for room in MAY_IMPORT if room not in {"adapters", "plotting", "cli"} for path in MODULES[room]],
    ids=ids,
)
def test_core_and_sinks_import_optional_packages_in_functions_only(path):
    """At import, everything but adapters, plots and the command needs the standard library, NumPy and attrs alone."""
    tops = {name.partition(".")[0] for name in imports(path, at_import=True)}
    tests = {"pytest"} if module_name(path) == "monitor_core.testing.adapters" else set()  # a class of tests
    assert tops - set(sys.stdlib_module_names) <= {"numpy", "attrs", "monitor_core"} | tests


def test_the_table_of_rooms_has_no_circles():
    """A row names rows above it alone."""
    rooms = list(MAY_IMPORT)
    for place, (room, allowed) in enumerate(MAY_IMPORT.items()):
        assert set(allowed) <= set(rooms[:place]), room


def test_every_module_is_in_a_row_of_the_table():
    """A new folder or module of the package needs a row."""
    found = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in ROOT.rglob("*.py")}
    assert found - {"__init__", "__main__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("room", [room for room, paths in MODULES.items() if paths])
def test_a_room_imports_only_what_the_table_allows(room):
    """Functions and annotations count too."""
    for path in MODULES[room]:
        rooms = {room_of(name) for name in imports(path)} - {None, room}
        at_import = {room_of(name) for name in imports(path, at_import=True)}
        rooms -= {above for above in rooms - at_import if (module_name(path), above) in CALLED_UPWARD}
        assert rooms <= set(MAY_IMPORT[room]), f"{module_name(path)} imports from {rooms - set(MAY_IMPORT[room])}"


@pytest.mark.parametrize("room", [room for room in CORE if MODULES[room]] + ["sinks"])
def test_core_and_sinks_do_not_import_the_public_names(room):
    """The package's root imports them, so that would be a circle."""
    for path in MODULES[room]:
        assert not {name for name in imports(path) if name.split(".")[0] == "monitor_core" and not room_of(name)}


def public_classes(path):
    """Return the names of a module's public classes with a base that is a sink."""
    return {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and any(ast.unparse(base).endswith("Sink") for base in node.bases)
    }


def test_sinks_do_not_import_each_other():
    """A module of ``sinks`` imports neighbours only where they hold no sink, such as the progress bars."""
    sinks = {module_name(path) for path in MODULES["sinks"] if public_classes(path)}
    for path in MODULES["sinks"]:
        names = {name.rpartition(".")[0] for name in imports(path)} | imports(path)
        assert not names & (sinks - {module_name(path)}), path.name


SHARED = {"attached", "epochs", "jax_models", "jax_shards", "pytree", "versions"}  # what adapters share


def test_trackers_do_not_import_each_other():
    """What two of them need stands in a module without a tracker; each tracker is public."""
    trackers = {module_name(path) for path in MODULES["trackers"] if any_tracker(path)}
    assert len(trackers) == len(monitor_core.trackers.__all__)
    for path in MODULES["trackers"]:
        assert module_name(path) == "monitor_core.trackers" or not trackers - {module_name(path)} & {
            name.rpartition(".")[0] for name in imports(path)
        }


def any_tracker(path):
    """Return whether a module has a public class whose base is the base of trackers."""
    classes = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef))
    return any(ast.unparse(base) == "Tracker" for node in classes for base in node.bases)


BUILT_ON = {name: {"torch"} for name in ("accelerate", "ignite", "lightning", "skorch", "transformers")}


def test_adapters_do_not_import_each_other():
    """What one framework's adapter needs of another's has its home in the core, but for frameworks built on another."""
    for path in MODULES["adapters"]:
        own = ".".join(module_name(path).split(".")[2:3])
        others = {name.split(".")[2] for name in imports(path) if name.startswith("monitor_core.adapters.")}
        assert others <= {own} | SHARED | BUILT_ON.get(own, set()), path.name


@pytest.mark.parametrize("path", EVERYTHING, ids=ids)
def test_long_names_are_imported_everywhere(path):
    """The folders at the top of the repository import only as parts of the package."""
    assert not {name.partition(".")[0] for name in imports(path)} & {"adapters", "plotting", "sinks"}


def test_all_is_sorted_and_complete():
    """The public names are in a sorted ``__all__``, and nothing else that is public is bound."""
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
    assert set().union(*map(public_classes, MODULES["sinks"])) <= set(monitor_core.__all__)


@pytest.mark.parametrize("path", EVERYTHING, ids=ids)
def test_modules_begin_with_their_contract(path):
    """Every module has a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
