"""Embeddings in the Projector's files: snapshots, labels, rewinds, and the embeddings that handles provide."""

from pathlib import Path

import keras
import numpy as np
import pytest
from boards_reader import tree

from monitor_core import Run, SetupError
from monitor_core.adapters.keras import KerasModel
from monitor_core.tensorboard.parts import embeddings
from monitor_core.tensorboard.parts.embeddings import Embeddings
from monitor_core.tensorboard.parts.files import RunFiles

WORDS = ["the", "a", "film", "good"]


class Model:
    """A handle of one embedding, unless it has none."""

    def __init__(self, *names):
        self.names = names

    def embeddings(self):
        for name in self.names:
            yield name, np.arange(8.0).reshape(4, 2) + 0.5


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path)


def read(folder):
    """Return a snapshot's matrices and labels by name, as the Projector reads them."""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    found = {}
    for each in config.embeddings:
        path = folder / each.tensor_path
        matrix = np.loadtxt(path) if path.suffix == ".tsv" else np.fromfile(path, "<f4").reshape(each.tensor_shape)
        labels = (folder / each.metadata_path).read_text().splitlines() if each.metadata_path else None
        found[each.tensor_name] = matrix.tolist(), labels
    return found


def over(epochs, part, files, *names):
    """Call a part's methods as in a run."""
    run = Run(model=Model(*names))
    part.begin(run, files)
    for epoch in epochs:
        part.end_epoch(run, epoch, files)


def test_a_snapshot_replaces_the_one_before(files, tmp_path):
    """There is one snapshot at a time, always in a new folder: TensorBoard does not read one again."""
    part = Embeddings(2, {})
    for epoch, expected in ((0, 0), (1, 0), (2, 2), (3, 2), (4, 4)):
        over([epoch], part, files, "words")
        assert tree(tmp_path) == [f"embeddings/epoch-{expected:04d}"]


def test_with_history_each_snapshot_stays(files, tmp_path):
    """All snapshots are kept, each as a run."""
    over(range(5), Embeddings(2, {"words": WORDS}, keeps_all=True), files, "words")
    assert tree(tmp_path) == [f"embeddings/epoch-{epoch:04d}" for epoch in (0, 2, 4)]
    expected = (np.arange(8.0).reshape(4, 2) + 0.5).tolist()
    assert read(tmp_path / "embeddings/epoch-0002") == {"words": (expected, WORDS)}


def test_layers_without_labels_have_none(files, tmp_path):
    """Labels belong to the layer for which they are given."""
    over([0], Embeddings(1, {"b": WORDS}), files, "a", "b")
    found = read(tmp_path / "embeddings/epoch-0000")
    assert [labels for _, labels in found.values()] == [None, WORDS]


def test_an_unknown_layer_is_a_setup_error(files):
    """Labels for an unknown layer are refused at train begin, with the list of layers."""
    with pytest.raises(SetupError, match=r"must name embedding layers of the model, which are a, b \(got 'words'\)"):
        Embeddings(1, {"words": WORDS}).begin(Run(model=Model("a", "b")), files)


@pytest.mark.parametrize("labels", [WORDS[:3], {"word": WORDS, "kind": WORDS[:3]}])
def test_a_wrong_number_of_labels_is_a_setup_error(files, labels):
    """There must be a label for each row, in each column of labels."""
    with pytest.raises(SetupError, match=r"embeddings_metadata\['a'\] must have 4 labels, one for each row \(got 3\)"):
        Embeddings(1, {"a": labels}).begin(Run(model=Model("a")), files)


def test_a_model_that_is_built_later_is_checked_then(files):
    """If no layer is built at train begin, the labels are checked with the first snapshot."""
    part = Embeddings(1, {"words": WORDS})
    part.begin(Run(model=Model()), files)
    with pytest.raises(ValueError, match="no embedding layer"):
        part.end_epoch(Run(model=Model()), 0, files)
    with pytest.raises(ValueError, match="which are a"):
        part.end_epoch(Run(model=Model("a")), 0, files)


def test_what_the_projector_does_not_show_is_not_written(files, tmp_path, monkeypatch):
    """Of a matrix with more rows than can be shown the first are written, with their labels."""
    monkeypatch.setattr(embeddings, "ROWS", 3)
    over([0], Embeddings(1, {"a": {"word": WORDS, "place": ["0", "1", "2", "3"]}}), files, "a")
    ((matrix, labels),) = read(tmp_path / "embeddings/epoch-0000").values()
    assert (len(matrix), labels) == (3, ["word\tplace", "the\t0", "a\t1", "film\t2"])


def test_rewinding_removes_later_snapshots(files, tmp_path):
    """Snapshots from the epoch on are removed, and nothing else in the folder."""
    part = Embeddings(1, {}, keeps_all=True)
    over(range(3), part, files, "a")
    (tmp_path / "embeddings/epoch-mine").mkdir()
    part.rewind(1, files)
    assert sorted(path.name for path in (tmp_path / "embeddings").iterdir()) == ["epoch-0000", "epoch-mine"]


def test_after_a_rewind_the_snapshot_before_is_replaced(files, tmp_path):
    """A process that continues a run treats the snapshot that it finds as its own."""
    over([3], Embeddings(1, {}), files, "a")
    part = Embeddings(1, {})
    part.rewind(4, files)
    over([4], part, files, "a")
    assert tree(tmp_path) == ["embeddings/epoch-0004"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the\na\nfilm\ngood\n", ["the", "a", "film", "good"]),
        (
            "word\tkind\nthe\t0\na\t0\nfilm\t1\ngood\n",
            ["word\tkind", "the\t0", "a\t0", "film\t1", "good\t(empty)"],
        ),
    ],
)
@pytest.mark.parametrize("is_for_all", [True, False])
def test_labels_come_from_a_file(files, tmp_path, text, expected, is_for_all):
    """A label file may be for all layers or one, relative to the log folder, with or without titles, as in Keras."""
    (tmp_path / "labels.tsv").write_text(text)
    over([0], Embeddings(1, "labels.tsv" if is_for_all else {"a": Path("labels.tsv")}), files, "a", "b")
    found = read(tmp_path / "embeddings/epoch-0000")
    assert [labels for _, labels in found.values()] == [expected, expected if is_for_all else None]


def test_a_file_of_labels_that_is_missing_is_a_setup_error(files, tmp_path):
    """A missing file is an error at train begin that says where relative names start; once it exists it is read."""
    part = Embeddings(1, "labels.tsv")
    with pytest.raises(SetupError, match=r"a relative name starts at log_dir \(got 'labels.tsv': "):
        part.begin(Run(model=Model("a")), files)
    (tmp_path / "labels.tsv").write_text("\n".join(WORDS))
    over([0], part, files, "a")
    assert [labels for _, labels in read(tmp_path / "embeddings/epoch-0000").values()] == [WORDS]


def test_a_file_with_another_number_of_labels_is_a_setup_error(files, tmp_path):
    """A label file must have a line for each row of every layer it is for."""
    (tmp_path / "labels.tsv").write_text("the\na\n")
    with pytest.raises(SetupError, match=r"embeddings_metadata\['a'\] must have 4 labels, .* \(got 2\)"):
        Embeddings(1, "labels.tsv").begin(Run(model=Model("a")), files)


def test_a_snapshot_replaces_that_of_an_earlier_run(files, tmp_path):
    """Old files in an epoch's folder are removed first: TensorBoard would show them with the new ones."""
    over([0], Embeddings(1, {}), files, "a", "b")
    over([0], Embeddings(1, {}), files, "c")
    assert set(read(tmp_path / "embeddings/epoch-0000")) == {"c"}
    assert len(list((tmp_path / "embeddings/epoch-0000").glob("*tfevents*"))) == 1


def test_keras_models_provide_their_embeddings():
    """A handle provides every embedding layer by its name, nested ones too; one that is not built is omitted."""
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Embedding(5, 2, name="inner")])
    model = keras.Sequential([keras.Input((3,)), inner, keras.layers.Flatten(), keras.layers.Dense(1)])
    (found,) = KerasModel(model).embeddings()
    assert found[0] == "inner"
    assert np.array_equal(found[1], inner.layers[0].get_weights()[0])
    assert list(KerasModel(keras.Sequential([keras.layers.Embedding(5, 2)])).embeddings()) == []


def test_keras_layers_of_one_name_are_numbered():
    """Two layers of one name, in different models, get different names."""
    parts = [keras.Sequential([keras.Input((3,)), keras.layers.Embedding(5, 2, name="words")]) for _ in range(2)]
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Add()([part(inputs) for part in parts]))
    assert [name for name, _ in KerasModel(model).embeddings()] == ["words", "words#2"]


def test_torch_modules_provide_their_embeddings():
    """Embeddings and embedding bags have their names; a module that is itself one has its class's."""
    torch = pytest.importorskip("torch")
    from monitor_core.adapters.torch import TorchModel

    module = torch.nn.ModuleDict({"words": torch.nn.Embedding(5, 2), "bag": torch.nn.EmbeddingBag(3, 2)})
    found = dict(TorchModel(module).embeddings())
    assert {name: matrix.shape for name, matrix in found.items()} == {"words": (5, 2), "bag": (3, 2)}
    assert np.array_equal(found["words"], module["words"].weight.detach().numpy())
    assert [name for name, _ in TorchModel(torch.nn.Embedding(5, 2)).embeddings()] == ["Embedding"]
