"""Graphs of PyTorch modules: every operation in its submodule, and the module unchanged."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from monitor_core.tensorboard.formats.torch_graphs import torch_graph  # noqa: E402 (needs the line before)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own


class Block(torch.nn.Module):
    """A block with everything that running can change."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        """Return the input, and other outputs."""
        return x + self.dropout(self.norm(self.linear(x)))


class Model(torch.nn.Module):
    """Two calls of one block, and outputs by name."""

    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, x):
        """Return two outputs."""
        y = self.block(x)
        return {"once": y, "twice": self.block(y).mean()}


class Branching(torch.nn.Module):
    """A module that branches on a value."""

    def forward(self, x):
        """Return the input or its negative."""
        return x if x.sum() > 0 else -x


def nodes(graph):
    """Return each node's operation and inputs."""
    return {node.name: (node.op, list(node.input)) for node in graph.node}


def test_operations_are_in_their_submodules():
    """Parameters and buffers are in their submodules too; outputs may be a dict."""
    graph = torch_graph(Model(), torch.ones(2, 4))
    found = nodes(graph)
    assert found["input/x"] == ("Input", [])
    assert found["Model/block/linear/weight"] == ("Parameter", [])
    assert found["Model/block/norm/running_mean"] == ("Buffer", [])
    assert found["Model/block/linear/linear"] == (
        "aten.linear",
        ["input/x", "Model/block/linear/weight", "Model/block/linear/bias"],
    )
    assert len(found["output"][1]) == 2
    assert [name for name, (kind, _) in found.items() if kind == "aten.linear"] == [
        "Model/block/linear/linear",
        "Model/block/linear/linear_1",
    ]


def test_every_input_is_a_node_with_a_shape():
    """Every edge has a source and a shape."""
    graph = torch_graph(Model(), torch.ones(2, 4))
    found = nodes(graph)
    assert {source for _, inputs in found.values() for source in inputs} <= set(found)
    (linear,) = (node for node in graph.node if node.name == "Model/block/linear/linear")
    assert [axis.size for axis in linear.attr["_output_shapes"].list.shape[0].dim] == [2, 4]


def test_several_inputs_come_as_a_tuple():
    """A tuple of inputs has one for each argument."""

    class Sum(torch.nn.Module):
        def forward(self, a, b):
            return a + b

    found = nodes(torch_graph(Sum(), (torch.ones(2), torch.ones(2))))
    assert found["Sum/add"] == ("aten.add.Tensor", ["input/a", "input/b"])


def test_the_module_is_left_as_it_was():
    """The module's mode, its buffers and the random state do not change."""
    model = Model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    torch_graph(model, torch.ones(2, 4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not any(hook for each in model.modules() for hook in each._forward_hooks)


def test_a_branch_on_a_value_is_refused():
    """A module that branches on a value is refused: it has no single graph."""
    with pytest.raises(ValueError, match="Branching branches on a tensor's value"):
        torch_graph(Branching(), torch.ones(2))


def test_inputs_that_do_not_fit_are_refused():
    """Inputs that do not fit are refused with PyTorch's reason."""
    with pytest.raises(TypeError, match="Model cannot be traced with these inputs"):
        torch_graph(Model(), torch.ones(2, 5))


def test_object_that_is_not_a_module_is_refused():
    """An object that is not a module is refused with its type."""
    with pytest.raises(TypeError, match=r"module must be a torch.nn.Module \(got function\)"):
        torch_graph(lambda x: x, torch.ones(2))


def test_tensorflow_is_not_imported():
    """TensorFlow is not imported, installed or not."""
    script = (
        "import sys, torch\n"
        "from monitor_core.tensorboard.formats.torch_graphs import torch_graph\n"
        "print(len(torch_graph(torch.nn.Linear(2, 2), torch.ones(1, 2)).node), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == ["5", "False"]
