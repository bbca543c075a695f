"""The plot of a model."""

import io
import re
import subprocess
import sys
import xml.parsers.expat
from collections import Counter
from itertools import pairwise

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from monitor_core.model.layer_graph import LayerGraph, LayerNode
from monitor_core.plotting.models.captions import family
from monitor_core.plotting.models.plot import plot_model

READER = LayerGraph(
    "reader",
    [
        LayerNode("words", "InputLayer", "int32", (), [(None, 50)]),
        LayerNode("embed", "Embedding", "float32", [(None, 50)], [(None, 50, 8)], 1600),
        LayerNode("coder/conv", "Conv1D", "float32", [(None, 50, 8)], [(None, 48, 4)], 100, ["coder"]),
        LayerNode("coder/pool", "GlobalMaxPooling1D", "float32", [(None, 48, 4)], [(None, 4)], 0, ["coder"]),
        LayerNode("join", "Concatenate", "float32", [(None, 4), (None, 8)], [(None, 12)]),
        LayerNode("skip", "GlobalAveragePooling1D", "float32", [(None, 50, 8)], [(None, 8)]),
    ],
    [
        ("words", "embed"),
        ("embed", "coder/conv"),
        ("coder/conv", "coder/pool"),
        ("coder/pool", "join"),
        ("embed", "skip"),
        ("skip", "join"),
    ],
)


def chain(count):
    """Return a graph of layers one after the other."""
    names = [f"dense_{number}" for number in range(count)]
    return LayerGraph("chain", [LayerNode(name, "Dense") for name in names], pairwise(names))


def patches(figure, kind):
    """Return what is drawn of a kind, by what it represents."""
    artists = [artist for artist in figure.axes[0].get_children() if (artist.get_gid() or "").startswith(f"{kind}:")]
    assert max(Counter(artist.get_gid() for artist in artists).values(), default=1) == 1
    return {artist.get_gid().removeprefix(f"{kind}:"): artist for artist in artists}


def bounds(artist, figure):
    """Return where something is drawn, in dots."""
    return artist.get_window_extent(figure.canvas.get_renderer())


def said(figure):
    """Return the texts in each layer's box."""
    boxes = {name: bounds(box, figure) for name, box in patches(figure, "layer").items()}
    found = {name: [] for name in boxes}
    for text in figure.axes[0].texts:
        extent = bounds(text, figure)
        middle = (extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2
        for name, box in boxes.items():
            if box.contains(*middle):
                found[name].append(text.get_text())
                assert box.contains(extent.x0, extent.y0), text
                assert box.contains(extent.x1, extent.y1), text
    return found


def ids(path):
    """Return the identifiers in an SVG file, which must be well-formed."""
    found = set()
    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = lambda _, attributes: found.add(attributes.get("id"))
    parser.Parse(path.read_bytes(), True)
    return found


def test_each_layer_is_a_box_with_its_kind_and_its_name():
    """The plain plot has every layer and every edge once, and nested models in frames with their names."""
    figure = plot_model(READER)
    assert isinstance(figure, Figure)
    assert said(figure) == {
        "words": ["InputLayer", "words"],
        "embed": ["Embedding", "embed"],
        "coder/conv": ["Conv1D", "conv"],
        "coder/pool": ["GlobalMaxPooling1D", "pool"],
        "join": ["Concatenate", "join"],
        "skip": ["GlobalAveragePooling1D", "skip"],
    }
    assert set(patches(figure, "edge")) == {f"{source}->{target}" for source, target in READER.edges}
    assert set(patches(figure, "model")) == {"coder"}
    assert "coder" in [text.get_text() for text in figure.axes[0].texts]


def test_shapes_are_listed_if_asked():
    """Each input and output has a line of its own."""
    texts = said(plot_model(READER, show_shapes=True))
    assert texts["words"] == ["InputLayer", "words", "output", "(None, 50)"]
    join = ["Concatenate", "join", "input", "(None, 4)", "", "(None, 8)", "output", "(None, 12)"]
    assert [text for text in texts["join"] if text] == [text for text in join if text]


def test_many_shapes_that_are_the_same_are_counted():
    """A layer with more than four inputs shows how often each shape comes."""
    shapes = [(None, 7)] * 5 + [(None, 8)]
    graph = LayerGraph("wide", [LayerNode("join", "Concatenate", "", shapes, [(None, 43)])])
    assert said(plot_model(graph, show_shapes=True))["join"][2:] == [
        "input",
        "5 × (None, 7)",  # noqa: RUF001
        "",
        "(None, 8)",
        "output",
        "(None, 43)",
    ]


def test_types_and_parameters_are_shown_if_asked_and_names_are_not_if_not():
    """A layer without parameters shows no number of them."""
    texts = said(plot_model(READER, show_layer_names=False, show_dtype=True, show_parameters=True))
    assert texts["embed"] == ["Embedding", "dtype", "float32", "parameters", "1,600"]
    assert texts["skip"] == ["GlobalAveragePooling1D", "dtype", "float32"]


def test_shapes_that_are_not_known_are_left_out():
    """A model that is not built can be drawn."""
    assert said(plot_model(chain(2), show_shapes=True)) == {
        "dense_0": ["Dense", "dense_0"],
        "dense_1": ["Dense", "dense_1"],
    }


names = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/"), min_size=1, max_size=60)


@given(
    labels=st.lists(names, min_size=1, max_size=4, unique=True),
    group=st.none() | names,
    shape=st.lists(st.none() | st.integers(0, 10**6), max_size=6),
    direction=st.sampled_from(["TB", "LR"]),
)
def test_texts_are_inside_of_their_boxes(labels, group, shape, direction):
    """However long names and shapes are, and with dollars and braces in them, they fit."""
    inside = () if group is None else (group,)
    nodes = [
        LayerNode("/".join((*inside, label)), label[::-1], "", [shape], [shape], inside=inside) for label in labels
    ]
    figure = plot_model(LayerGraph("named", nodes), show_shapes=True, direction=direction)
    found = said(figure)
    for node in nodes:
        assert found[node.name][0] == node.kind
        assert found[node.name][-1] == str(node.output_shapes[0])
    for name, frame in patches(figure, "model").items():
        (title,) = [text for text in figure.axes[0].texts if text.get_text() == name and text.get_path_effects()]
        extent = bounds(title, figure)
        assert bounds(frame, figure).contains(extent.x0, extent.y0)
        assert bounds(frame, figure).contains(extent.x1, extent.y1)


def test_rankdir_is_another_name_for_direction():
    """Keras's name of the option is accepted, and checked alike."""
    sizes = [plot_model(chain(2), **{name: "LR"}).get_size_inches().tolist() for name in ("rankdir", "direction")]
    assert sizes[0] == sizes[1]
    with pytest.raises(ValueError, match=r"direction must be 'TB' or 'LR' \(got 'BT'\)"):
        plot_model(chain(2), rankdir="BT")


def test_direction_turns_the_flow():
    """From top to bottom the second layer is below the first, from left to right it is to its right."""
    for direction, axis in (("TB", 1), ("LR", 0)):
        figure = plot_model(chain(2), direction=direction)
        first, second = (bounds(box, figure).min for box in patches(figure, "layer").values())
        assert (first - second)[axis] * (1 if direction == "TB" else -1) > 0
        assert abs((first - second)[1 - axis]) < 1


def test_arrows_end_at_their_layers():
    """Each line begins at the box of its source and ends just before that of its target, where its head is."""
    figure = plot_model(chain(2))
    line = patches(figure, "edge")["dense_0->dense_1"].get_path().vertices
    source, target = (box.get_bbox() for box in patches(figure, "layer").values())
    assert line[0].tolist() == pytest.approx([(source.x0 + source.x1) / 2, source.y1])
    assert line[-1].tolist() == pytest.approx([(target.x0 + target.x1) / 2, target.y0 - 6.0])


def test_long_models_are_folded_by_default():
    """A plot of a hundred layers is about as high as wide; with ``fold=False`` it is a strip."""
    width, height = plot_model(chain(100)).get_size_inches()
    assert 0.3 < width / height < 3
    width, height = plot_model(chain(100), fold=False).get_size_inches()
    assert height > 50 * width
    assert set(said(plot_model(chain(100)))) == {node.name for node in chain(100).nodes}


def test_plots_are_written_as_png(tmp_path):
    """The file has the figure's size at the dots per inch that were asked for."""
    path = tmp_path / "model.png"
    figure = plot_model(READER, to_file=path, dpi=80)
    width, height = figure.get_size_inches() * 80
    with Image.open(path) as image:
        assert image.size == (int(width), int(height))
        assert len(image.convert("RGB").resize((60, 60)).getcolors(3600)) > 20


def test_plots_are_written_as_svg(tmp_path):
    """The file is XML, and its parts have the names of what they represent."""
    path = tmp_path / "model.SVG"
    plot_model(READER, to_file=str(path))
    parts = ids(path)
    assert {f"layer:{node.name}" for node in READER.nodes} | {"model:coder", "edge:words->embed"} <= parts


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_model_is_the_same_file(tmp_path, suffix):
    """A plot under version control changes only if the model does."""
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "other")]
    for path in paths:
        plot_model(READER, to_file=path, show_shapes=True)
    one, other = (path.read_bytes() for path in paths)
    assert one == other


def test_a_plot_that_would_be_too_large_has_fewer_dots(tmp_path):
    """If the image cannot have that many, it is still written."""
    path = tmp_path / "model.png"
    plot_model(chain(150), to_file=path, dpi=1200, fold=False)
    with Image.open(path) as image:
        assert 10_000 < image.height <= 65_000


def test_a_handle_is_asked_for_its_graph():
    """Anything that has a graph can be drawn, and receives the options."""
    asked = []

    class Handle:
        def layer_graph(self, sample=None, *, expand_nested=False):
            asked.append((sample, expand_nested))
            return READER

    assert set(patches(plot_model(Handle(), sample="x", expand_nested=True), "layer")) == set(said(plot_model(READER)))
    assert asked == [("x", True)]


def test_models_of_frameworks_are_drawn_as_they_are():
    """Neither handle nor adapter need be named."""
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,), name="inputs"), keras.layers.Dense(2, name="out")])
    assert said(plot_model(model, show_shapes=True))["out"][-1] == "(None, 2)"
    torch = pytest.importorskip("torch")
    figure = plot_model(torch.nn.Sequential(torch.nn.Linear(4, 2)), sample=torch.ones(3, 4), show_shapes=True)
    assert said(figure)["0"][-1] == "(3, 2)"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"direction": "BT"}, ValueError, r"direction must be 'TB' or 'LR' \(got 'BT'\)"),
        ({"to_file": "model.pdf"}, ValueError, r"to_file must end in .png or .svg \(got 'model.pdf'\)"),
        ({"dpi": 0}, ValueError, r"dpi must be > 0 and finite \(got 0\)"),
        ({"dpi": float("nan")}, ValueError, r"dpi must be > 0 and finite \(got nan\)"),
        ({"sample": 1}, ValueError, "sample must be None for a LayerGraph"),
        ({"model": LayerGraph("empty", [])}, ValueError, r"must have at least one layer \(got 'empty' with none\)"),
        ({"model": "model.keras"}, TypeError, r"must be a handle or a model of Keras or PyTorch \(got 'model.keras'\)"),
    ],
)
def test_wrong_arguments_are_refused(options, error, message):
    """The error names the argument, the rule and the value."""
    with pytest.raises(error, match=message):
        plot_model(**{"model": READER} | options)


def test_nothing_of_matplotlib_is_changed():
    """No setting is touched, and pyplot is not even imported."""
    before = dict(mpl.rcParams)
    plot_model(READER)
    assert dict(mpl.rcParams) == before
    code = (
        "import sys\n"
        "from monitor_core.model.layer_graph import LayerGraph, LayerNode\n"
        "from monitor_core.plotting.models.plot import plot_model\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot_model(LayerGraph('one', [LayerNode('a', 'Dense')]))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={})
    assert done.stdout.strip() == "False", done.stderr


def test_dark_styles_stay_dark(tmp_path):
    """Paper and text are those of the user's settings."""
    with mpl.rc_context({"figure.facecolor": "black", "text.color": "white"}):
        figure = plot_model(READER)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    assert {text.get_color() for text in figure.axes[0].texts} == {"white"}
    assert Image.open(buffer).convert("RGB").getpixel((1, 1)) == (0, 0, 0)


def test_a_notebook_shows_the_plot():
    """With twice as many dots as it is to be wide."""
    content, size = plot_model(READER)._repr_png_()
    with Image.open(io.BytesIO(content)) as image:
        assert image.width == pytest.approx(2 * size["width"], abs=2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("InputLayer", "input"),
        ("Conv2DTranspose", "convolution"),
        ("TimeDistributed(Dense)", "dense"),
        ("Bidirectional(LSTM)", "recurrent"),
        ("MultiheadAttention", "recurrent"),
        ("BatchNorm2d", "normalization"),
        ("GlobalMaxPooling1D", "pooling"),
        ("LeakyReLU", "activation"),
        ("Add", "other"),
        ("Functional", "other"),
    ],
)
def test_layers_of_a_family_share_a_colour(kind, expected):
    """Kinds of both frameworks are known by their names."""
    assert family(kind) == expected


def test_names_in_files_are_escaped(tmp_path):
    """A name with the characters of XML is a name."""
    path = tmp_path / "model.svg"
    plot_model(LayerGraph("odd", [LayerNode('a<b>&"c', "Dense")]), to_file=path)
    assert 'layer:a<b>&"c' in ids(path)
    assert not re.search("<b>", path.read_text(encoding="utf-8"))
