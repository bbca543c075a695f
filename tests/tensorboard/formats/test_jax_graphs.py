"""Graphs of JAX functions: every operation, its group, and its inputs."""

import pytest

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402 (needs the line before)

from monitor_core.tensorboard.formats.jax_graphs import jax_graph  # noqa: E402 (the same)


def nodes(graph):
    """Return each node's operation and inputs."""
    return {node.name: (node.op, list(node.input)) for node in graph.node}


def shape(graph, name):
    """Return the shapes of a node's outputs."""
    (node,) = (node for node in graph.node if node.name == name)
    return [tuple(axis.size for axis in each.dim) for each in node.attr["_output_shapes"].list.shape]


@jax.jit
def layer(weights, x):
    with jax.named_scope("hidden"):
        return jnp.tanh(x @ weights["kernel"])


WEIGHTS = {"kernel": jnp.ones((4, 4))}
X = jnp.ones((2, 4))


def test_operations_are_in_their_scopes():
    """Jitted functions and named scopes are groups, and arguments are named by their paths in the trees."""
    graph = jax_graph(lambda weights, x: layer(weights, x).sum(), WEIGHTS, X)
    assert nodes(graph) == {
        "input/0/kernel": ("Input", []),
        "input/1": ("Input", []),
        "layer/hidden/dot_general": ("dot_general", ["input/1", "input/0/kernel"]),
        "layer/hidden/tanh": ("tanh", ["layer/hidden/dot_general"]),
        "reduce_sum": ("reduce_sum", ["layer/hidden/tanh"]),
        "output/0": ("Output", ["reduce_sum"]),
    }
    assert shape(graph, "layer/hidden/dot_general") == [(2, 4)]
    assert shape(graph, "reduce_sum") == [()]


def test_each_call_of_a_function_is_a_group():
    """The second of two equal names has a number."""
    names = nodes(jax_graph(lambda weights, x: layer(weights, layer(weights, x)), WEIGHTS, X))
    assert names["layer_1/hidden/dot_general"] == ("dot_general", ["layer/hidden/tanh", "input/0/kernel"])


def test_constants_are_nodes_and_literals_are_not():
    """Arrays that a function closes over are shown, literal numbers are not."""
    names = nodes(jax_graph(lambda x: {"a": x * jnp.arange(4.0) * 2.0, "b": 3.0}, X))
    assert names["output/1"] == ("Output", [])
    assert [inputs for kind, inputs in names.values() if kind == "mul"][1] == ["mul"]


def test_loops_are_one_operation():
    """Loops are one operation: their bodies are not shown."""
    graph = jax_graph(lambda x: jax.lax.scan(lambda sum_, row: (sum_ + row, sum_), jnp.zeros(4), x), X)
    assert shape(graph, "scan") == [(4,), (2, 4)]
    assert nodes(graph)["output/1"] == ("Output", ["scan"])


def test_branches_are_one_operation():
    """Branches are one operation, with their condition among the inputs."""
    names = nodes(jax_graph(lambda x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), X))
    assert names["output/0"] == ("Output", ["cond"])


def test_gradients_have_a_graph():
    """Forward and backward operations are in separate groups."""
    names = nodes(jax_graph(jax.grad(lambda weights, x: layer(weights, x).sum()), WEIGHTS, X))
    assert {name.partition("/")[0] for name in names if "hidden" in name} == {"jvp()", "transpose(jvp())"}


def test_every_input_is_a_node():
    """Every input is a node, within custom derivatives and checkpoints too."""

    @jax.custom_vjp
    def double(x):
        return x * 2

    double.defvjp(lambda x: (x * 2, None), lambda _, g: (g,))
    names = nodes(jax_graph(lambda x: jax.checkpoint(double)(x) + jax.vmap(jax.nn.relu)(x), X))
    assert {source for _, inputs in names.values() for source in inputs} <= set(names)
    assert {"mul", "max", "add"} <= {kind for kind, _ in names.values()}


def test_shapes_are_enough():
    """Arguments may be shapes without values."""
    assert shape(jax_graph(jnp.transpose, jax.ShapeDtypeStruct((2, 3), "float32")), "transpose") == [(3, 2)]


def test_a_branch_on_a_value_is_refused():
    """A function that cannot be traced raises JAX's own message."""
    with pytest.raises(TypeError, match="traced array"):
        jax_graph(lambda x: x if x.sum() > 0 else -x, X)
