"""Activations on disk: what is written is what is read, under any name, and by NumPy alone too."""

import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.files.activations import (
    Activations,
    Mark,
    find_activations,
    load_activations,
    load_each,
    read_mark,
    write_activations,
)

ARRAYS = {"conv": np.arange(12.0, dtype="float32").reshape(1, 2, 2, 3), "head": np.array([[True, False]])}


def write(path, arrays=ARRAYS, epoch=4, step=20, run="r"):
    """Write a file of activations and return its path."""
    write_activations(path, Activations(arrays, epoch=epoch, step=step, run=run))
    return path


def plain(activations):
    """Return activations for comparison by value."""
    return {name: (array.dtype.name, array.tolist()) for name, array in activations.items()}


def test_what_is_written_is_read(tmp_path):
    """Arrays come back with their names, order, types and shapes, and with epoch, step and run."""
    found = load_activations(write(tmp_path / "a.npz"))
    assert plain(found) == plain(ARRAYS)
    assert list(found) == list(ARRAYS)
    assert (found.epoch, found.step, found.run) == (4, 20, "r")
    assert repr(found) == "Activations(epoch=4, step=20: conv (1, 2, 2, 3), head (1, 2))"


def test_numpy_alone_reads_a_file(tmp_path):
    """A file is an ordinary .npz without Python objects, and its other entries are numbers and a string."""
    with np.load(write(tmp_path / "a.npz"), allow_pickle=False) as archive:
        entries = {name: archive[name] for name in archive.files}
    assert plain(entries) == {
        "__epoch__": ("int64", 4), "__step__": ("int64", 20), "__run__": ("str32", "r"), **plain(ARRAYS),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["float16", "float64", "int8", "uint64", "complex64"])
def test_numbers_keep_their_types(tmp_path, kind):
    """Every numeric dtype of NumPy comes back unchanged, as do empty and zero-dimensional arrays."""
    arrays = {"a": np.array([[1, 2]], dtype=kind), "none": np.zeros((0, 3), kind), "one": np.array(5, dtype=kind)}
    assert plain(load_activations(write(tmp_path / "a.npz", arrays))) == plain(arrays)


def test_other_types_of_numbers_become_float32(tmp_path):
    """bfloat16, which NumPy would read back as bytes, is written as float32."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    arrays = {"a": np.array([0.5, -2.0]).astype(ml_dtypes.bfloat16)}
    assert plain(load_activations(write(tmp_path / "a.npz", arrays))) == {"a": ("float32", [0.5, -2.0])}


@pytest.mark.parametrize("array", [np.array([b"a", None]), np.array(["text"])])
def test_other_arrays_are_refused(tmp_path, array):
    """Python objects and strings are not written."""
    with pytest.raises(TypeError, match=r"must be numbers or booleans \(got .* of 'a'\)"):
        write(tmp_path / "a.npz", {"a": array})


NAMES = st.text(max_size=12) | st.text("./%\\:_", max_size=8) | st.sampled_from(
    ["__epoch__", "%5F_epoch__", "file", "a.npy", "a", "%2Enpy", "../../etc/x", "/a", "C:\\x", "\ud800", "a/b:1"]
)  # fmt: skip


@given(names=st.lists(NAMES, unique=True, max_size=6))
def test_any_names_come_back(tmp_path_factory, names):
    """Whatever layers are called, each array comes back under its name, and no member leads out of its folder."""
    path = tmp_path_factory.mktemp("names") / "a.npz"
    arrays = {name: np.array([number]) for number, name in enumerate(names)}
    found = load_activations(write(path, arrays))
    assert plain(found) == plain(arrays)
    assert list(found) == names
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            assert not {"", ".", ".."} & set(member.split("/"))
            assert "\\" not in member
            assert "\0" not in member


@pytest.mark.parametrize("name", ["conv2d", "encoder/conv:1", "layer1.0.conv", "합성곱", "a b"])
def test_usual_names_stay_as_they_are(tmp_path, name):
    """The names that frameworks give are those that NumPy finds."""
    with np.load(write(tmp_path / "a.npz", {name: np.zeros(1)})) as archive:
        assert name in archive.files


def test_chosen_layers_are_read(tmp_path):
    """Only the layers asked for are read; an unknown one is an error that suggests the nearest name."""
    path = write(tmp_path / "a.npz")
    assert list(load_activations(path, ["head"])) == ["head"]
    with pytest.raises(ValueError, match=r"\(got 'conf'\): there are conv"):
        load_activations(path, ["conf"])


def damage(path):
    """Change a byte of the last array."""
    data = bytearray(path.read_bytes())
    data[data.rindex(b"\x93NUMPY") + 130] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"no zip"),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: np.savez(path, a=np.zeros(2)),
        lambda path: np.savez(path, __epoch__=np.zeros(2), __step__=1, __run__="r"),
        lambda path: np.savez(path, __epoch__=1.5, __step__=1, __run__="r"),
        lambda path: np.savez(path, __epoch__=np.array([None]), __step__=1, __run__="r"),
        damage,
    ],
    ids=["no zip", "torn", "other arrays", "other marks", "a float", "pickled", "damaged"],
)  # fmt: skip
def test_other_files_are_errors(tmp_path, spoil):
    """A file that holds no activations, or is damaged, is a ValueError that names it."""
    spoil(write(tmp_path / "a.npz"))
    with pytest.raises(ValueError, match=r"a\.npz holds no activations"):
        load_activations(tmp_path / "a.npz")


def test_a_missing_file_is_an_error(tmp_path):
    """A missing file is a FileNotFoundError."""
    with pytest.raises(FileNotFoundError, match="none"):
        load_activations(tmp_path / "none.npz")


def test_marks_are_read_alone(tmp_path):
    """A file's mark is read without its arrays; the mark of any other file is None."""
    (tmp_path / "b.npz").write_bytes(b"no zip")
    marks = [read_mark(each) for each in (write(tmp_path / "a.npz"), tmp_path / "b.npz", tmp_path / "c.npz")]
    assert marks == [Mark(4, 20, "r"), None, None]


def test_files_are_found_by_epoch(tmp_path):
    """Activation files are found in the order of their epochs, without temporary files."""
    write(tmp_path / "b.npz", epoch=1)
    write(tmp_path / "a.npz", epoch=2)
    write(tmp_path / ".monitor_core-1-0-a.npz", epoch=0)
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    assert [path.name for path, _ in find_activations(tmp_path.iterdir())] == ["b.npz", "a.npz"]


# --- several epochs ------------------------------------------------------------------------------------------------


def test_a_folder_gives_the_last_run(tmp_path):
    """In a folder and its subfolders, the files of the most recent run are read, by epoch."""
    write(tmp_path / "3.npz", epoch=2, run="old")
    (tmp_path / "deep").mkdir()
    write(tmp_path / "2.npz", epoch=1, run="new")
    write(tmp_path / "deep" / "1.npz", epoch=0, run="new")
    assert [(each.epoch, each.run) for each in load_each(tmp_path)] == [(0, "new"), (1, "new")]


def test_files_and_mappings_come_in_their_order(tmp_path):
    """Files and mappings can be given one by one; a plain mapping's epoch is its place."""
    path = write(tmp_path / "a.npz")
    found = list(load_each([path, str(path), {"conv": [[1.0]]}, Activations({}, epoch=9, step=1)]))
    assert [each.epoch for each in found] == [4, 4, 2, 9]
    assert plain(found[2]) == {"conv": ("float64", [[1.0]])}
    assert [len(list(load_each(each))) for each in (path, str(path), ARRAYS)] == [1, 1, 1]


def test_only_chosen_layers_of_each_are_read(tmp_path):
    """Layers can be chosen for all files; an unknown one is an error."""
    path = write(tmp_path / "a.npz")
    assert [list(each) for each in load_each([path, ARRAYS], ["head"])] == [["head"], ["head"]]
    for source in (path, ARRAYS):
        with pytest.raises(ValueError, match="got 'hed'"):
            list(load_each(source, ["hed"]))


@pytest.mark.parametrize(("source", "error"), [(3, TypeError), ([3], TypeError), (None, TypeError)])
def test_other_sources_are_errors(source, error):
    """A source that is neither files nor mappings is an error that shows the value."""
    with pytest.raises(error, match=r"activations must be .* \(got (3|None)\)"):
        list(load_each(source))


def test_a_folder_without_activations_is_an_error(tmp_path):
    """A folder without activation files is an error."""
    with pytest.raises(ValueError, match=r"must hold files of activations \(found none\)"):
        list(load_each(tmp_path))
