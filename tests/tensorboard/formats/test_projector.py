"""Embeddings: the files that the Projector reads, in form and order, and what the Projector gives the browser."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from monitor_core.tensorboard.formats import projector
from monitor_core.tensorboard.formats.event_file import event_files
from monitor_core.tensorboard.formats.projector import read_labels, write_embeddings

MATRIX = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
WORDS = ["the", "a", "ä", "tab\there", ""]


class Shown:
    """What the Projector gives to the browser of the run ``words``."""

    def __init__(self, board):
        self.board = board
        board.get("plugin/projector/runs", lambda runs: "words" in runs)
        self.info = board.get("plugin/projector/info", run="words")["embeddings"]

    def matrix(self, name):
        """Return an embedding."""
        shape = next(each["tensorShape"] for each in self.info if each["tensorName"] == name)
        data = self.board.get("plugin/projector/tensor", run="words", name=name)
        return np.frombuffer(data, np.float32).reshape(shape)

    def labels(self, name):
        """Return the lines of its labels."""
        return self.board.get("plugin/projector/metadata", run="words", name=name).decode().split("\n")

    def sprite(self, name):
        """Return its images."""
        data = self.board.get("plugin/projector/sprite_image", run="words", name=name)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture
def shown(tmp_path, either_board):
    """Return a function that writes embeddings and gives returns what the Projector shows of them."""

    def show(embeddings):
        write_embeddings(tmp_path / "words", embeddings)
        return Shown(either_board(tmp_path))

    return show


def test_vectors_and_labels_are_shown(shown):
    """Vectors are exact, and each has one label, never empty or split by a tab."""
    found = shown({"embedding": (MATRIX, WORDS, None)})
    np.testing.assert_array_equal(found.matrix("embedding"), MATRIX)
    assert found.labels("embedding") == ["the", "a", "ä", "tab here", "(empty)", ""]


def test_several_columns_of_labels_have_titles(shown):
    """Titles are the first line, which a single column must not have."""
    found = shown({"embedding": (MATRIX, {"word": WORDS, "rank": range(5)}, None)})
    assert found.labels("embedding")[:3] == ["word\trank", "the\t0", "a\t1"]
    assert len(found.labels("embedding")) == 7


def test_one_titled_column_has_no_title(shown):
    """A single column has no title: the Projector would take it for the first label."""
    assert shown({"embedding": (MATRIX, {"word": WORDS}, None)}).labels("embedding")[0] == "the"


def test_images_are_a_grid(shown):
    """Images form a square grid, row by row, and the size of one is in the configuration."""
    images = np.zeros((5, 2, 4, 3), np.uint8)
    images[4] = 7
    found = shown({"embedding": (MATRIX, None, images)})
    assert found.info[0]["sprite"]["singleImageDim"] == [4, 2]
    grid = found.sprite("embedding")
    assert grid.shape == (6, 12, 3)
    assert (grid == 7).nonzero()[0].size == images[4].size
    assert (grid[2:4, 4:8] == 7).all()


def test_vectors_whose_bytes_are_text_are_written_as_text(shown):
    """A matrix of zeros is written so that the Projector does not read it as text, an error."""
    zeros = np.zeros((4, 2), np.float32)
    np.testing.assert_array_equal(shown({"embedding": (zeros, None, None)}).matrix("embedding"), zeros)


@given(st.integers(1, 4), st.integers(2, 4), st.data())
def test_vectors_are_read_as_they_are(rows, dimensions, data):
    """As bytes or as text, which the Projector tries first, the numbers are the same."""
    octets = data.draw(st.binary(min_size=4 * rows * dimensions, max_size=4 * rows * dimensions))
    matrix = np.frombuffer(octets, "<f4").reshape(rows, dimensions)
    if np.isfinite(matrix).all():
        text = projector._tsv(matrix)
        np.testing.assert_array_equal(np.loadtxt(io.BytesIO(text), np.float32, delimiter="\t", ndmin=2), matrix)


def test_several_embeddings_are_listed_in_their_order(shown):
    """Numbers in names are padded, as the Projector sorts by name; characters it cannot request are replaced."""
    found = shown({name: (MATRIX + place, None, None) for place, name in enumerate(["e_9", "e_10", "a&b:0", "2d"])})
    assert [each["tensorName"] for each in found.info] == ["e_09", "e_10", "a_b_0", "2d"]
    np.testing.assert_array_equal(found.matrix("a_b_0"), MATRIX + 2)


def test_names_that_become_the_same_stay_unique(shown):
    """Of two names that become one, neither embedding is lost."""
    found = shown({"a&": (MATRIX, None, None), "a:": (MATRIX + 1, None, None)})
    np.testing.assert_array_equal(found.matrix("a__"), MATRIX + 1)


def test_one_dimension_is_shown_on_a_line(shown):
    """One dimension becomes two, as the Projector shows no fewer."""
    found = shown({"embedding": (MATRIX[:, :1], None, None)}).matrix("embedding")
    np.testing.assert_array_equal(found, np.pad(MATRIX[:, :1], ((0, 0), (0, 1))))


def test_rows_that_are_not_finite_are_skipped_with_their_labels(shown, warned):
    """Rows that are not finite are skipped: one of them would leave the plot empty."""
    matrix = MATRIX.astype(np.float64)
    matrix[1, 0], matrix[3, 1] = np.nan, 1e300
    images = np.arange(5, dtype=np.uint8)[:, np.newaxis, np.newaxis]
    found = shown({"embedding": (matrix, list("abcde"), images)})
    np.testing.assert_array_equal(found.matrix("embedding"), MATRIX[[0, 2, 4]])
    assert found.sprite("embedding")[:, :, 0].tolist() == [[0, 2], [4, 0]]
    assert found.labels("embedding") == ["a", "c", "e", ""]
    assert warned() == ["the embedding 'embedding' has 2 rows that are not finite; they are skipped"]


def test_the_event_file_comes_last(tmp_path, monkeypatch):
    """The event file is written last, when all files that the configuration names exist."""
    seen = []
    monkeypatch.setattr(projector, "EventFile", lambda folder, **_: seen.append(sorted(folder.iterdir())) or Closing())
    write_embeddings(tmp_path / "words", {"embedding": (MATRIX, WORDS, None)})
    assert [path.name for path in seen[0]] == [
        "embedding-000-labels.tsv", "embedding-000.bytes", "projector_config.pbtxt",
    ]  # fmt: skip


class Closing:
    """An object that can be closed."""

    def close(self):
        """Do nothing."""


def test_a_folder_with_events_gets_no_other_file(tmp_path):
    """A second write adds no second event file, since the folder is already a run."""
    for _ in range(2):
        write_embeddings(tmp_path, {"embedding": (MATRIX, None, None)})
    assert len(event_files(tmp_path)) == 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((MATRIX[0], None, None), r"the matrix of 'e' must have the shape \(n, dimensions\) \(got \(3,\)\)"),
        ((MATRIX[:0], None, None), r"the matrix of 'e' must have the shape"),
        ((MATRIX, WORDS[:4], None), r"there must be 5 labels of 'e', one for each row \(got 4\)"),
        ((MATRIX, {"w": WORDS[:4]}, None), r"there must be 5 labels 'w' of 'e', one for each row \(got 4\)"),
        ((MATRIX * np.nan, None, None), r"the matrix of 'e' must have a finite row \(got none of 5\)"),
        ((MATRIX, None, np.zeros((4, 2, 2))), r"there must be 5 images of 'e', .* \(got \(4, 2, 2\)\)"),
        ((MATRIX, None, np.zeros((5, 2731, 1))), r"must fit in 8192 x 8192 pixels, .* \(got 8193\)"),
    ],
)
def test_what_the_projector_cannot_show_is_refused(tmp_path, parts, message):
    """The message names the embedding, the rule and the value, and nothing is written."""
    with pytest.raises(ValueError, match=message):
        write_embeddings(tmp_path / "words", {"e": parts})
    assert not (tmp_path / "words").exists()


def test_the_projector_opens_with_the_latest(tmp_path, board):
    """Of several snapshots, the last one written is the first run, which the Projector opens."""
    for name in ("epoch-0001", "epoch-0002", "epoch-0000"):
        write_embeddings(tmp_path / name, {"a": (np.eye(3), None, None)})
    found = board(tmp_path).get("plugin/projector/runs", lambda runs: len(runs) == 3)
    assert found == ["epoch-0000", "epoch-0002", "epoch-0001"]


def test_labels_are_read_as_the_projector_reads_them(tmp_path):
    """A single column has no title; several have them in the first line, and a missing label is empty."""
    path = tmp_path / "labels.tsv"
    path.write_text("one\ntwo three\n")
    assert read_labels(path) == ["one", "two three"]
    path.write_text("word\tkind\none\t1\ntwo\n")
    assert read_labels(path) == {"word": ["one", "two"], "kind": ["1", ""]}
