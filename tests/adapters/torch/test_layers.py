"""The parts of PyTorch modules as graphs, traced and run."""

import importlib

import numpy as np
import pytest

from monitor_core.model.layer_graph import LayerNode

torch = pytest.importorskip("torch")
TorchModel = importlib.import_module("monitor_core.adapters.torch").TorchModel  # not without torch
nn = torch.nn


class Residual(nn.Module):
    """A block with a way around it, an argument that may be left out, and a dropout."""

    def __init__(self, channels):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x, scale=None):
        hidden = torch.relu(self.norm(self.conv(self.drop(x))))
        if scale is not None:
            hidden = hidden * scale
        hidden += x
        return hidden


class Net(nn.Module):
    """Blocks in a list, weights of its own, several outputs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.place = nn.Parameter(torch.ones(4, 1, 1))
        self.blocks = nn.ModuleList([Residual(4)])
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        self.read = nn.LSTM(3, 5, batch_first=True)
        self.register_buffer("scale", torch.ones(3))

    def forward(self, x):
        x = self.stem(x) + self.place
        for block in self.blocks:
            x = block(x)
        logits = self.head(x) * self.scale
        states, _ = self.read(logits.view(logits.size(0), 1, -1))
        return {"logits": logits, "states": states}


class Choosing(nn.Module):
    """One whose way depends on values."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(2, 2)
        self.two = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    def forward(self, x):
        if x.sum() > 0:
            x = self.one(x)
        return self.two(x)


IMAGES = np.ones((2, 1, 8, 8), "float32")
NET = "x>stem stem>add place>add add>blocks.0 blocks.0>head head>mul scale>mul mul>view view>read"
NET_EXPANDED = (
    "x>stem stem>add place>add add>blocks.0/drop blocks.0/drop>blocks.0/conv blocks.0/conv>blocks.0/norm "
    "blocks.0/norm>blocks.0/relu blocks.0/relu>blocks.0/add add>blocks.0/add blocks.0/add>head/0 head/0>head/1 "
    "head/1>head/2 head/2>mul scale>mul mul>view view>read"
)


def edges(module, sample=None, **options):
    """Return a module's edges, as one text."""
    graph = TorchModel(module).layer_graph(sample, **options)
    return " ".join(f"{source}>{target}" for source, target in graph.edges)


def kinds(module, sample=None, **options):
    return {node.name: node.kind for node in TorchModel(module).layer_graph(sample, **options).nodes}


@pytest.mark.parametrize("sample", [None, IMAGES], ids=["traced", "run"])
@pytest.mark.parametrize(("expand", "expected"), [(False, NET), (True, NET_EXPANDED)], ids=["closed", "open"])
def test_traced_and_run_modules_have_the_same_edges(sample, expand, expected):
    """Functions, operators in place, weights of the module's own and parts of parts are followed either way."""
    assert set(edges(Net(), sample, expand_nested=expand).split()) == set(expected.split())


def test_a_run_gives_shapes_types_and_parameters():
    """They are those of the sample, as they were measured."""
    graph = TorchModel(Net()).layer_graph(IMAGES)
    shape = ((2, 4, 6, 6),)
    assert graph.node("blocks.0") == LayerNode("blocks.0", "Residual", "float32", shape, shape, 148 + 8)
    assert graph.node("place") == LayerNode("place", "Parameter", "float32", (), ((4, 1, 1),), 4)
    assert graph.node("scale") == LayerNode("scale", "Buffer", "float32", (), ((3,),))
    assert graph.node("read").output_shapes == ((2, 1, 5), (1, 2, 5), (1, 2, 5))
    assert graph.parameters == sum(parameter.numel() for parameter in Net().parameters())


def test_without_a_sample_there_are_no_shapes():
    """What is known without running is shown: kinds and parameters."""
    graph = TorchModel(nn.Sequential(nn.Linear(2, 3), nn.ReLU())).layer_graph()
    assert graph.nodes == (
        LayerNode("input", "Input"),
        LayerNode("0", "Linear", parameters=9),
        LayerNode("1", "ReLU"),
    )


def test_a_module_without_parts_is_one_node():
    """A layer alone is a graph with its input."""
    assert edges(nn.Linear(2, 3)) == edges(nn.Linear(2, 3), np.ones((1, 2), "float32")) == "input>Linear"


def test_a_module_with_functions_alone_shows_them():
    """Where the module computes by itself, its functions and weights are the nodes."""

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return torch.tanh(x * self.weight)

    assert edges(Scale()) == edges(Scale(), np.ones((1, 2), "float32")) == "x>mul weight>mul mul>tanh"


def test_code_that_cannot_be_traced_is_listed_without_edges(warned):
    """Nothing is invented, and the reason and the way out are reported."""
    assert edges(Choosing()) == ""
    assert kinds(Choosing()) == {"one": "Linear", "two": "Sequential"}
    assert kinds(Choosing(), expand_nested=True) == {"one": "Linear", "two/0": "Linear", "two/1": "ReLU"}
    assert warned()[0].startswith(
        "the parts of Choosing are shown without edges, because its code cannot be traced: pass a sample"
    )


def test_a_run_follows_code_that_cannot_be_traced():
    """The branches are those that the sample takes."""
    sample = np.ones((1, 2), "float32")
    assert {"x>one", "one>two"} < set(edges(Choosing(), sample).split())
    assert {"x>two"} < set(edges(Choosing(), -sample).split())
    assert not [edge for edge in edges(Choosing(), -sample).split() if "one" in edge]


def test_a_part_that_cannot_be_traced_is_one_node():
    """The others are shown with their parts."""
    module = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), Choosing())
    assert edges(module, expand_nested=True) == "input>0/0 0/0>1"


def test_a_part_that_is_used_twice_is_one_node():
    """Its calls' sources join, and a part that is fed its own output has an edge to itself."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.again = nn.Linear(4, 4)

        def forward(self, x):
            return self.again(self.again(x))

    assert edges(Twice()) == edges(Twice(), np.ones((1, 4), "float32")) == "x>again again>again"


def test_weights_that_are_shared_count_once():
    """The sum is that of the module's parameters."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(5, 4)
            self.out = nn.Linear(4, 5, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, words):
            return self.out(self.embed(words))

    graph = TorchModel(Tied()).layer_graph(np.zeros((1, 3), "int64"))
    assert [node.parameters for node in graph.nodes] == [0, 20, 20]
    assert graph.parameters == 20


def test_what_a_part_returns_is_distinguished_from_what_it_was_given():
    """A dropout returns the very tensor that it was given; a way around it is still found."""

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(x) + x

    assert set(edges(Around(), np.ones((1, 2), "float32")).split()) == {"x>drop", "drop>add", "x>add"}


def test_inputs_by_position_and_by_name_are_distinguished():
    """Several inputs have the names of the module's arguments; those with a default need not be given."""

    class Two(nn.Module):
        def forward(self, left, right, bias=None):
            return left - right if bias is None else left - right + bias

    ones = np.ones((1, 2), "float32")
    assert edges(Two()) == edges(Two(), (ones, ones)) == "left>sub right>sub"
    named = edges(Two(), {"left": ones, "right": ones, "bias": ones})
    assert set(named.split()) == {"left>sub", "right>sub", "sub>add", "bias>add"}


def test_attention_and_its_encoder_are_followed():
    """A part that uses its parts' weights by itself is one node."""
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = kinds(encoder, np.ones((1, 4, 8), "float32"), expand_nested=True)
    assert found["self_attn"] == "MultiheadAttention"
    assert {"linear1", "linear2", "norm1", "norm2"} < set(found)


def test_parameters_that_are_not_made_yet_are_not_made():
    """A lazy module is traced, not run, and counts no parameters."""
    module = nn.Sequential(nn.LazyLinear(3))
    assert kinds(module, np.ones((1, 2), "float32")) == {"input": "Input", "0": "LazyLinear"}
    assert torch.nn.parameter.is_lazy(module[0].weight)


@pytest.mark.parametrize("sample", [None, IMAGES], ids=["traced", "run"])
def test_reading_leaves_the_module_as_it_was(sample):
    """Modes, buffers, hooks, gradients and random generators are as before."""
    module = Net().train()
    module.head.eval()
    torch.manual_seed(7)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    TorchModel(module).layer_graph(sample, expand_nested=True)
    drawn = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(3), drawn)
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_hooks_are_gone_when_the_run_fails():
    """A sample that does not fit raises the module's own error."""
    module = Net()
    with pytest.raises(RuntimeError):
        TorchModel(module).layer_graph(np.ones((2, 7), "float32"))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert edges(module, IMAGES) == edges(Net(), IMAGES)
