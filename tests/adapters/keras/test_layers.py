"""The layers of Keras models as graphs, on the backend of this process (`KERAS_BACKEND`)."""

import keras
import numpy as np
import pytest
from keras import layers

from monitor_core.adapters.keras.layers import layer_graph
from monitor_core.adapters.keras.model import KerasModel
from monitor_core.model.layer_graph import LayerNode


@pytest.fixture(autouse=True)
def fresh():
    """Let layers without a name be numbered from the beginning."""
    keras.utils.clear_session()


def edges(model, **options):
    """Return a model's edges, as one string."""
    return " ".join(f"{source}>{target}" for source, target in layer_graph(model, **options).edges)


def kinds(model, **options):
    return {node.name: node.kind for node in layer_graph(model, **options).nodes}


def outputs(model, **options):
    return {node.name: node.output_shapes for node in layer_graph(model, **options).nodes}


def text_model():
    """Return a Sequential for reviews, not built."""
    return keras.Sequential(
        [
            layers.Embedding(20, 8, name="embed"),
            layers.Conv1D(4, 3, name="conv"),
            layers.GlobalMaxPooling1D(name="pool"),
            layers.Dense(1, name="score"),
        ],
        name="reviews",
    )


def coder(name="coder"):
    """Return a small model to be nested in others."""
    inputs = keras.Input((8,), name=f"{name}_inputs")
    hidden = layers.Dense(6, name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(4, name="code")(hidden), name=name)


class Branches(keras.Model):
    """A subclassed model that branches, and joins by an operator."""

    def __init__(self):
        super().__init__(name="branches")
        self.left = layers.Dense(4, name="left")
        self.right = keras.Sequential([layers.Dense(4, name="one"), layers.Dense(4, name="two")], name="right")

    def call(self, inputs, training=False):
        return keras.ops.relu(self.left(inputs) + self.right(inputs, training=training))


class Untraceable(Branches):
    """One whose code needs values."""

    def call(self, inputs):
        if float(keras.ops.sum(inputs)) > 0:
            inputs = self.left(inputs)
        return self.right(inputs)


def test_a_built_sequential_has_its_input_its_shapes_and_its_parameters():
    """The layers of the tutorial's model are in their order, with all their properties."""
    model = text_model()
    model.build((None, 50))
    graph = layer_graph(model)
    source, target = ((None, 50),), ((None, 50, 8),)
    assert graph.name == "reviews"
    assert graph.nodes[1] == LayerNode("embed", "Embedding", "float32", source, target, 160)
    assert [node.kind for node in graph.nodes] == ["InputLayer", "Embedding", "Conv1D", "GlobalMaxPooling1D", "Dense"]
    assert graph.nodes[0].output_shapes == source
    assert graph.nodes[-1].output_shapes == ((None, 1),)
    assert graph.parameters == model.count_params()


def test_a_sequential_that_is_not_built_has_no_shapes():
    """Its layers are connected even so."""
    graph = layer_graph(text_model())
    assert graph.edges == (("embed", "conv"), ("conv", "pool"), ("pool", "score"))
    assert {node.output_shapes for node in graph.nodes} == {()}
    assert graph.nodes[0] == LayerNode("embed", "Embedding", "float32")


def test_branches_and_several_inputs_and_outputs_keep_their_edges():
    """A functional model's graph is as it was written."""
    title, body = keras.Input((8,), name="title"), keras.Input((3,), name="body")
    joined = layers.Concatenate(name="joined")([layers.Dense(2, name="short")(title), body])
    outs = {"kind": layers.Dense(5, name="kind")(joined), "rank": layers.Dense(1, name="rank")(joined)}
    model = keras.Model({"title": title, "body": body}, outs)
    assert set(edges(model).split()) == {"title>short", "short>joined", "body>joined", "joined>kind", "joined>rank"}
    joined = layer_graph(model).node("joined")
    assert (joined.input_shapes, joined.output_shapes) == (((None, 2), (None, 3)), ((None, 5),))


def test_an_input_that_nothing_uses_is_there():
    """It is part of what the model must be given."""
    used, unused = keras.Input((2,), name="used"), keras.Input((2,), name="unused")
    model = keras.Model([used, unused], layers.Dense(1, name="out")(used))
    assert kinds(model) == {"used": "InputLayer", "unused": "InputLayer", "out": "Dense"}


def test_a_shared_layer_is_one_node():
    """It has an edge from each of its inputs, and counts its parameters once."""
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    shared = layers.Dense(4, name="shared")
    model = keras.Model([left, right], layers.Subtract(name="apart")([shared(left), shared(right)]))
    assert edges(model) == "left>shared right>shared shared>apart"
    assert layer_graph(model).node("shared").input_shapes == ((None, 8),)


def test_a_layer_that_is_fed_its_own_output_has_an_edge_to_itself():
    """A loop in the model is a loop in the graph."""
    inputs, again = keras.Input((4,), name="inputs"), layers.Dense(4, name="again")
    assert edges(keras.Model(inputs, again(again(inputs)))) == "inputs>again again>again"


def test_operations_on_tensors_are_nodes_and_constants_none():
    """Operators, functions, slices and numbers among the arguments are read."""
    inputs = keras.Input((8,), name="inputs")
    mean = keras.ops.mean(inputs * 2.0 + 1, axis=1, keepdims=True)
    model = keras.Model(inputs, mean[:, 0])
    assert edges(model) == "inputs>multiply multiply>add add>mean mean>get_item"
    assert kinds(model)["multiply"] == "Multiply"


def test_masks_that_are_passed_on_are_no_edges():
    """What Keras does with an embedding's mask by itself is not shown."""
    inputs = keras.Input((5,), name="inputs")
    embedded = layers.Embedding(10, 4, mask_zero=True, name="embed")(inputs)
    assert edges(keras.Model(inputs, layers.LSTM(3, name="read")(embedded))) == "inputs>embed embed>read"


def test_a_mask_that_is_given_is_an_edge():
    """A user's own mask feeds the layer that takes it."""
    inputs, mask = keras.Input((5, 2), name="inputs"), keras.Input((5,), dtype="bool", name="mask")
    model = keras.Model([inputs, mask], layers.LSTM(3, name="read")(inputs, mask=mask))
    assert set(edges(model).split()) == {"inputs>read", "mask>read"}


def test_arguments_by_keyword_are_edges():
    """Attention's value and key feed it as its query does."""
    query, value = keras.Input((5, 4), name="query"), keras.Input((6, 4), name="value")
    attend = layers.MultiHeadAttention(2, 4, name="attend")
    assert set(edges(keras.Model([query, value], attend(query, value=value))).split()) == {
        "query>attend",
        "value>attend",
    }


def test_wrappers_show_what_they_wrap():
    """A wrapper's kind names the wrapped layer, and its parameters are the wrapped layer's."""
    inputs = keras.Input((5, 4), name="inputs")
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(inputs)
    model = keras.Model(inputs, layers.TimeDistributed(layers.Dense(2), name="each")(both))
    assert kinds(model) == {"inputs": "InputLayer", "both": "Bidirectional(LSTM)", "each": "TimeDistributed(Dense)"}
    assert layer_graph(model).node("both").parameters == 2 * 4 * 3 * (4 + 3 + 1)


def test_types_are_those_of_the_outputs():
    """Mixed precision and integer inputs are shown."""
    inputs = keras.Input((5,), dtype="int32", name="inputs")
    embedded = layers.Embedding(9, 4, dtype="mixed_float16", name="embed")(inputs)
    model = keras.Model(inputs, layers.Lambda(lambda x: x * 2, dtype="float32", name="twice")(embedded))
    types = {node.name: node.dtype for node in layer_graph(model).nodes}
    assert types == {"inputs": "int32", "embed": "float16", "twice": "float32"}


def test_a_nested_model_is_one_node_or_its_layers():
    """Its input layers are left out where its layers are shown."""
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    shared = coder()
    model = keras.Model([left, right], layers.Add(name="sum")([shared(left), shared(right)]))
    assert edges(model) == "left>coder right>coder coder>sum"
    expanded = layer_graph(model, expand_nested=True)
    assert set(expanded.edges) == {
        ("left", "coder/hidden"),
        ("right", "coder/hidden"),
        ("coder/hidden", "coder/code"),
        ("coder/code", "sum"),
    }
    assert expanded.node("coder/code").inside == ("coder",)
    assert expanded.parameters == model.count_params()


def test_models_are_nested_as_deep_as_they_are():
    """A functional model in a Sequential in a functional model is named by both."""
    inputs = keras.Input((8,), name="inputs")
    stack = keras.Sequential([coder(), layers.Dense(2, name="last")], name="stack")
    model = keras.Model(inputs, stack(inputs))
    assert edges(model, expand_nested=True) == (
        "inputs>stack/coder/hidden stack/coder/hidden>stack/coder/code stack/coder/code>stack/last"
    )


def test_each_output_of_a_nested_model_leads_where_it_is_used():
    """Of a model with two outputs, and a dict of inputs, the right layers are joined."""
    pair = {name: keras.Input((4,), name=name) for name in ("a", "b")}
    nested = keras.Model(
        pair, [layers.Dense(2, name=f"on_{name}")(tensor) for name, tensor in pair.items()], name="two"
    )
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    first, second = nested({"a": left, "b": right})
    model = keras.Model([left, right], [layers.ReLU(name="first")(first), layers.ReLU(name="second")(second)])
    assert set(edges(model, expand_nested=True).split()) == {
        "left>two/on_a",
        "right>two/on_b",
        "two/on_a>first",
        "two/on_b>second",
    }
    assert set(edges(model).split()) == {"left>two", "right>two", "two>first", "two>second"}


def test_a_nested_model_that_returns_its_input_is_passed_through():
    """What comes out of it unchanged comes from outside."""
    inner = keras.Input((4,), name="inner")
    nested = keras.Model(inner, [inner, layers.Dense(2, name="made")(inner)], name="nested")
    inputs = keras.Input((4,), name="inputs")
    same, made = nested(inputs)
    model = keras.Model(inputs, layers.Concatenate(name="both")([same, made]))
    assert set(edges(model, expand_nested=True).split()) == {"inputs>nested/made", "inputs>both", "nested/made>both"}


def test_a_subclassed_model_is_traced_once_it_is_built():
    """Its true edges are found, nested models and operations included."""
    model = Branches()
    model(np.ones((2, 8), "float32"))
    assert set(edges(model).split()) == {"inputs>left", "inputs>right", "left>add", "right>add", "add>relu"}
    assert set(edges(model, expand_nested=True).split()) == {
        "inputs>left",
        "inputs>right/one",
        "right/one>right/two",
        "left>add",
        "right/two>add",
        "add>relu",
    }
    assert outputs(model)["right"] == ((None, 4),)


def test_a_subclassed_model_that_was_trained_needs_no_sample():
    """Fitting builds it."""
    model = Branches()
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 8)), np.ones((4, 4)), verbose=0)
    assert outputs(model)["inputs"] == ((None, 8),)


def test_a_sample_gives_the_shapes_and_types_of_a_subclassed_model():
    """It may be of another length than what the model was built with, and is not computed."""

    class Reader(keras.Model):
        def __init__(self):
            super().__init__(name="reader")
            self.embed = layers.Embedding(9, 4, name="embed")

        def call(self, inputs):
            return self.embed(inputs["words"])

    model = Reader()
    model({"words": np.zeros((2, 5), "int32")})
    graph = layer_graph(model, {"words": np.zeros((3, 7), "int32")})
    assert graph.nodes[0] == LayerNode("words", "InputLayer", "int32", (), ((None, 7),))
    assert graph.edges == (("words", "embed"),)


def test_models_in_a_list_of_inputs_are_traced():
    """Several inputs are distinguished."""

    class Difference(keras.Model):
        def __init__(self):
            super().__init__(name="difference")
            self.code = layers.Dense(3, name="code")

        def call(self, inputs):
            left, right = inputs
            return self.code(left) - self.code(right)

    model = Difference()
    model([np.ones((2, 4), "float32"), np.ones((2, 4), "float32")])
    assert edges(model) == "inputs_0>code inputs_1>code code>subtract"


def test_a_subclassed_model_in_a_functional_one_is_followed():
    """Its layers are named after it."""
    nested = Branches()
    inputs = keras.Input((8,), name="inputs")
    model = keras.Model(inputs, layers.Dense(1, name="out")(nested(inputs)))
    assert edges(model) == "inputs>branches branches>out"
    assert set(edges(model, expand_nested=True).split()) == {
        "inputs>branches/left",
        "inputs>branches/right/one",
        "branches/right/one>branches/right/two",
        "branches/left>branches/add",
        "branches/right/two>branches/add",
        "branches/add>branches/relu",
        "branches/relu>out",
    }


def test_what_is_not_built_is_listed_without_edges(warned):
    """No edge is invented, no layer is built, and the reason is logged."""
    model = Branches()
    assert kinds(model) == {"left": "Dense", "right": "Sequential"}
    assert edges(model) == ""
    assert not model.left.built
    assert warned()[0] == (
        "the layers of branches are shown without edges, because branches is not built yet: call the model "
        "once, or train it"
    )


def test_what_cannot_be_traced_is_listed_without_edges(warned):
    """Models within it still have theirs."""
    model, sample = Untraceable(), np.ones((2, 8), "float32")
    model(sample)
    assert kinds(model, sample=sample) == {"left": "Dense", "right": "Sequential"}
    assert edges(model, sample=sample) == ""
    assert edges(model, sample=sample, expand_nested=True) == "right/input_layer>right/one right/one>right/two"
    assert "the layers of branches are shown without edges, because its call cannot be traced" in warned()[0]


def test_a_nested_model_that_cannot_be_traced_is_one_node():
    """The rest of the model is shown with its layers."""

    class Random(keras.Model):
        def __init__(self):
            super().__init__(name="random")

        def call(self, inputs):
            return inputs * float(keras.ops.sum(inputs))

        def compute_output_spec(self, inputs):
            return keras.KerasTensor(inputs.shape, inputs.dtype)

    inputs = keras.Input((8,), name="inputs")
    nested = Random()
    nested.built = True
    model = keras.Model(inputs, coder()(nested(inputs)))
    assert edges(model, expand_nested=True) == "inputs>random random>coder/hidden coder/hidden>coder/code"


def test_reading_leaves_the_model_and_the_names_as_they_were():
    """No call is left in a layer, no variable and no generator changes, and later layers have the same names."""
    keras.utils.set_random_seed(5)
    model = Branches()
    model(np.ones((2, 8), "float32"))

    def state():
        calls = [len(layer._inbound_nodes) + len(layer._outbound_nodes) for layer in model._flatten_layers()]
        return calls, [keras.ops.convert_to_numpy(variable.value).tolist() for variable in model.variables]

    before = state()
    first = layer_graph(model, expand_nested=True)
    assert state() == before
    assert layer_graph(model, expand_nested=True) == first
    drawn = keras.ops.convert_to_numpy(keras.random.uniform((3,), seed=None)).tolist()
    names = layers.Dense(1).name, keras.ops.add(keras.Input((2,)), 1)._keras_history.operation.name
    keras.utils.clear_session()
    keras.utils.set_random_seed(5)
    again = Branches()
    again(np.ones((2, 8), "float32"))
    assert keras.ops.convert_to_numpy(keras.random.uniform((3,), seed=None)).tolist() == drawn
    assert (layers.Dense(1).name, keras.ops.add(keras.Input((2,)), 1)._keras_history.operation.name) == names


def test_an_empty_model_has_an_empty_graph():
    """An empty model gives an empty graph, not an error."""
    assert layer_graph(keras.Sequential(name="empty")).nodes == ()


def test_the_handle_has_the_graph():
    """A handle's graph is that of its model."""
    model = coder()
    assert KerasModel(model).layer_graph() == layer_graph(model)
    with pytest.raises(TypeError, match=r"model must be a keras.Model \(got Dense\)"):
        layer_graph(layers.Dense(1))
