"""Which framework a type, a model or a handle belongs to, and that only ``frameworks`` contains their names."""

import ast
import re
import sys
from pathlib import Path

import pytest

import monitor_core
from monitor_core import Loop, frameworks
from monitor_core.frameworks import ALL, handle_of, of, of_arrays, of_handle, of_model, weights_endings_for
from monitor_core.frameworks.base import Framework

ROOT = Path(monitor_core.__file__).resolve().parent
NAMES = re.compile(r"jax|flax|equinox|(?:py)?torch|tensorflow|keras|xgboost|lightgbm|sklearn|scikit", re.IGNORECASE)

# Where a framework's name may appear outside ``frameworks``.
ALLOWED = {
    "bus/shared_run.py": "it lists the modules that find how ranks are connected",
    "diagnosis/rule.py": "it says what to pass",
    "diagnosis/rules/data.py": "its advice says what to write",
    "diagnosis/rules/gradients.py": "a rule's source is torchmortem",
    "diagnosis/rules/layers.py": "its advice says what to write",
    "diagnosis/rules/losses.py": "a rule's source is PyTorch's own warning",
    "diagnosis/rules/non_finite.py": "a rule's source is Keras's TerminateOnNaN",
    "diagnosis/rules/units.py": "a rule's source is torchmortem",
    "diagnosis/rules/learning.py": "a rule's source is Keras's ReduceLROnPlateau",
    "loop/resume.py": "its error says what to initialize",
    "page/missing.py": "its advice says what to write",
    "ranks/jax.py": "it is the module for jax.distributed",
    "ranks/torch.py": "it is the module for torch.distributed",
    "ranks/xgboost.py": "it is the module for XGBoost's collective",
    "sinks/reduce_lr_on_plateau.py": "its argument `rule` names whose rule it follows: 'keras' or 'pytorch'",
    "tensorboard/formats/graphs.py": "TensorBoard's tag for a graph of layers is 'keras'",
    "tensorboard/formats/jax_graphs.py": "it writes the graph of a JAX function, and its users have imported JAX",
    "tensorboard/formats/torch_graphs.py": "it writes the graph of a PyTorch module, and its users have imported it",
}


def code_of(tree):
    """Yield each name, and each string that is not a docstring, of a module, with its line."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value
        for field in ("id", "attr", "arg", "name", "module", "asname"):
            if isinstance(name := getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), name


def spelt(path):
    """Return the lines of a module whose code contains a framework's name."""
    found = code_of(ast.parse(path.read_text(encoding="utf-8")))
    return sorted({f"{line}: {text}" for line, text in found if NAMES.search(text)})


def modules():
    """Return the modules of the package outside ``frameworks``, the adapters and the plots, by their paths."""
    paths = {path.relative_to(ROOT).as_posix(): path for path in ROOT.rglob("*.py")}
    others = ("frameworks/", "adapters/", "plotting/")
    return {name: path for name, path in paths.items() if not name.startswith(others)}


def test_only_frameworks_spells_their_names():
    """All knowledge of a framework is in its module; docstrings and comments may name it anywhere."""
    found = {name: lines for name, path in modules().items() if (lines := spelt(path)) and name not in ALLOWED}
    assert found == {}


def test_what_may_spell_a_framework_does():
    """The list of exceptions has no outdated entry."""
    assert [name for name in ALLOWED if not spelt(ROOT / name)] == []


def test_a_name_in_code_is_found_and_one_in_prose_is_not():
    """The search sees identifiers, imports and strings, even within f-strings, and ignores docstrings."""
    code = '"""Keras."""\nimport torch.nn\ndef f(jax_array):\n    """JAX."""\n    return f"a Keras {model}"\n# torch\n'
    found = {text for _, text in code_of(ast.parse(code)) if NAMES.search(text)}
    assert found == {"torch.nn", "a Keras ", "jax_array"}


def made(module, name, *bases):
    """Return a class whose ``__module__`` is this one."""
    return type(name, bases, {"__module__": module})


def test_a_type_belongs_to_the_framework_of_its_bases():
    """A user's subclass is found by its base; Keras's classes are Keras's even if they are also the backend's."""
    module = made("torch.nn.modules.module", "Module")
    layer = made("keras.src.layers.layer", "Layer", module)
    kinds = [made("mine", "Net", module), made("mine", "Dense", layer), made("torchvision", "Model"), float]
    assert [getattr(of(kind), "name", None) for kind in kinds] == ["torch", "keras", None, None]


def test_an_nnx_module_is_a_model_that_jax_computes():
    """Modules of Linen, which have no parameters of their own, are not."""
    module, linen = made("flax.nnx.module", "Module"), made("flax.linen.module", "Module")
    kinds = [made("mine", "Net", module), made("mine", "Net", linen), made("flax.nnx.training.optimizer", "Optimizer")]
    found = [of_model(kind()) for kind in kinds]
    assert [getattr(each, "name", None) for each in found] == ["flax", None, None]
    assert found[0].backend.name == "jax"


def test_a_type_without_a_module_belongs_to_no_framework():
    """A class with any ``__module__`` is looked up without an error."""
    assert [of(made(3, "Odd")), of_arrays(made(None, "Tensor"))] == [None, None]


def test_only_arrays_are_kept_as_arrays():
    """A PyTorch tensor is an array, a module is not."""
    tensor, module = made("torch", "Tensor"), made("torch.nn.modules.module", "Module")
    assert [getattr(of_arrays(kind), "name", None) for kind in (made("mine", "Loss", tensor), module)] == [
        "torch",
        None,
    ]


def test_a_handle_names_its_framework():
    """Other objects, and unknown names, belong to no framework."""
    handles = [type("Handle", (), {"framework": name})() for name in ("keras", "torch", "mine", None)]
    found = [of_handle(each) for each in [*handles, object(), None]]
    assert [getattr(each, "name", None) for each in found] == ["keras", "torch", None, None, None, None]


def test_the_endings_of_weights_are_those_of_the_format():
    """A name with a whole model's ending needs another one for weights; any other name is accepted."""
    names = ["m.keras", "m.h5", "m.weights.h5", "m.pt", "m"]
    assert [weights_endings_for(name) for name in names] == [(".weights.h5",), (".weights.h5",), (), (), ()]


def test_object_that_is_not_a_model_is_unchanged():
    """A handle is returned unchanged."""
    handle = object()
    assert (handle_of(handle), handle_of(None)) == (handle, None)


def test_an_optimizer_without_a_module_is_refused():
    """The error says which models take an optimizer."""
    with pytest.raises(TypeError, match=r"optimizer is only for a model of PyTorch or Flax NNX \(got the model None\)"):
        Loop(optimizer=object())


def test_several_models_need_a_handle():
    """A list or dict of models is not accepted as a handle."""
    module = made("torch.nn.modules.module", "Module")()
    for several in ([module], {"generator": module}):
        kind = type(several).__name__
        with pytest.raises(TypeError, match=rf"one model or a handle \(got a {kind} of them\): pass TorchModel"):
            handle_of(several)


def test_a_framework_that_says_nothing_has_no_models_and_no_profiler(tmp_path):
    """What a new framework's module does not define is refused or left unchanged."""

    class Mine(Framework):
        name, title, packages = "mine", "Mine", frozenset({"mine"})

    mine = Mine()
    assert (mine.module, mine.version, mine.is_model(float), mine.batches([], 1)) == (None, None, False, None)
    with pytest.raises(ValueError, match="there is no profiler for Mine"):
        mine.start_profile(tmp_path)


def test_versions_are_those_of_what_is_imported(monkeypatch):
    """A framework without a version, or not imported, is omitted."""
    for each in ALL:
        monkeypatch.delitem(sys.modules, each.name, raising=False)
    monkeypatch.setitem(sys.modules, "jax", type("Module", (), {"__version__": "1"}))
    monkeypatch.setitem(sys.modules, "torch", type("Module", (), {}))
    assert frameworks.versions() == {"jax": "1"}
