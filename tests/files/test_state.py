"""States on disk: what goes in comes out, nothing is executed, and no kill or full disk mixes two saves."""

import json
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from monitor_core.files.state import load_state, read_arrays, save_state, write_arrays

TEXTS = st.one_of(
    st.text(),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "'NaN", "''-Infinity", "'", "nan", "__array__", "'__array__"]),
)
ARRAYS = npst.arrays(
    st.one_of(npst.integer_dtypes(), npst.floating_dtypes(), npst.boolean_dtypes(), npst.complex_number_dtypes()),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, ARRAYS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


def exact(value):
    """Return a value in a form that compares exactly: arrays by bytes, floats by bits, types apart."""
    if isinstance(value, np.ndarray):
        return ("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else value.hex())
    if isinstance(value, dict):
        return {key: exact(each) for key, each in value.items()}
    if isinstance(value, list):
        return [exact(each) for each in value]
    return (type(value).__name__, value)


@given(state=st.dictionaries(TEXTS, VALUES, max_size=4))
def test_a_state_comes_back_as_it_was(tmp_path_factory, state):
    """JSON values and arrays, nested in any way, come back with their types, shapes, dtypes and bits."""
    path = tmp_path_factory.mktemp("state") / "state.json"
    save_state(path, state)
    assert exact(load_state(path)) == exact(state)


def test_the_file_is_plain_json_with_the_arrays_next_to_it(tmp_path):
    """Values are in the JSON, non-finite floats as strings, and arrays in one archive that the JSON names."""
    save_state(tmp_path / "a.json", {"best": -math.inf, "wait": 3, "weights": [np.arange(2), np.float32(0.5)]})
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["state"] == {"best": "-Infinity", "wait": 3, "weights": [{"__array__": 0}, 0.5]}
    assert {each.name for each in tmp_path.iterdir()} == {"a.json", data["arrays"]}


def test_a_state_without_arrays_is_one_file(tmp_path):
    """A state without arrays writes none, and removes those of the save before."""
    save_state(tmp_path / "a.json", {"x": np.ones(3)})
    save_state(tmp_path / "a.json", {"x": 1})
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_arrays_of_other_states_are_left_alone(tmp_path):
    """States in one folder do not remove each other's arrays, though one's name may begin like the other's."""
    for name in ("a.json", "a.b.json", "b.json"):
        save_state(tmp_path / name, {"x": np.array([len(name)])})
        save_state(tmp_path / name, {"x": np.array([len(name)])})
    assert [load_state(tmp_path / name)["x"].tolist() for name in ("a.json", "a.b.json", "b.json")] == [[6], [8], [6]]
    assert len(list(tmp_path.iterdir())) == 6


def test_tuples_and_numpy_scalars_come_back_as_json_has_them(tmp_path):
    """A tuple becomes a list, a NumPy scalar a Python number."""
    save_state(tmp_path / "a.json", {"x": (1, np.int64(2)), "y": np.bool_(True)})
    assert load_state(tmp_path / "a.json") == {"x": [1, 2], "y": True}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [{"b": {1, 2}}]}, r"state\['a'\]\[0\]\['b'\] must hold JSON values and arrays \(got set\)"),
        ({"a": {3: 1}}, r"state\['a'\] must have string keys \(got 3\)"),
        ({"a": np.array([object()])}, r"state\['a'\] must hold numbers \(got an array of dtype object\)"),
        ({"a": b"bytes"}, r"state\['a'\] must hold JSON values and arrays \(got bytes\)"),
    ],
)
def test_what_a_state_cannot_hold_is_refused_with_its_place(tmp_path, state, message):
    """Anything that would need pickling is an error that says where it is, and the old state stays."""
    save_state(tmp_path / "a.json", {"x": np.ones(1)})
    with pytest.raises(TypeError, match=message):
        save_state(tmp_path / "a.json", state)
    assert load_state(tmp_path / "a.json")["x"].tolist() == [1]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "arrays": null, "state": {}}', '{"format": NaN}'])
def test_a_file_that_is_no_state_is_refused(tmp_path, text):
    """Other JSON, other formats and constants outside JSON are a ValueError that names the file."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json holds no state"):
        load_state(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["../evil.npz", "/etc/passwd", "b.npz", ["a"], "a.0.npz"])
def test_arrays_elsewhere_are_refused(tmp_path, name):
    """A state cannot point to a file that is not its own."""
    (tmp_path / "a.json").write_text(json.dumps({"format": 1, "arrays": name, "state": {}}))
    with pytest.raises(ValueError, match="its arrays must be in a file next to it"):
        load_state(tmp_path / "a.json")


class Evil:
    """Unpickling an instance raises."""

    def __reduce__(self):
        return (pytest.fail, ("code from the file was executed",))


def test_pickled_arrays_are_refused(tmp_path):
    """Neither an archive of pickled objects nor a pickle in its place is loaded."""
    path = tmp_path / "a.npz"
    np.savez(path, **{"0": np.array([Evil()], dtype=object)})
    with pytest.raises(ValueError, match=r"a\.npz holds no arrays"):
        read_arrays(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"a\.npz holds no arrays"):
        read_arrays(path)


def test_a_damaged_archive_is_refused(tmp_path):
    """An archive that ends early is a ValueError, not a part of the arrays."""
    path = tmp_path / "a.npz"
    write_arrays(path, [np.arange(100), np.arange(100)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a\.npz holds no arrays"):
        read_arrays(path)


def test_dtypes_beyond_numpy_come_back(tmp_path):
    """Arrays of bfloat16 and float8, as frameworks have them, keep their dtype and bits."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    arrays = [np.array([[0.5, -2.0]]).astype(each) for each in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)]
    write_arrays(tmp_path / "a.npz", [*arrays, np.array(["text"])])
    back = read_arrays(tmp_path / "a.npz")
    assert [exact(each) for each in back] == [exact(each) for each in [*arrays, np.array(["text"])]]
    assert [each.dtype for each in back[:2]] == [each.dtype for each in arrays]


def run(code, *args, **options):
    """Run code in a fresh process; return its exit status and what it printed."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.split()


def test_a_full_disk_leaves_the_old_state(tmp_path):
    """If the arrays do not fit, the save raises, the old state is complete, and no other file is left."""
    save_state(tmp_path / "a.json", {"x": np.zeros(3)})
    before = {each.name for each in tmp_path.iterdir()}
    code = """
        import resource, sys
        import numpy as np
        from monitor_core.files.state import save_state
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            save_state(sys.argv[1], {"x": np.ones(100_000)})
        except OSError as error:
            print(error.errno)
    """
    assert run(code, tmp_path / "a.json") == (0, ["27"])
    assert {each.name for each in tmp_path.iterdir()} == before
    assert load_state(tmp_path / "a.json")["x"].tolist() == [0, 0, 0]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 10_000


def test_a_kill_never_mixes_two_saves(tmp_path):
    """Killed again and again in the middle of saving, the JSON and its arrays are always of one save."""
    code = """
        import itertools, sys
        import numpy as np
        from monitor_core.files.state import save_state
        for number in itertools.count(int(sys.argv[2])):
            save_state(sys.argv[1], {"number": number, "x": np.full(20_000, number), "y": [np.full(3, number)]})
            print(number, flush=True)
    """
    path, number = tmp_path / "a.json", 0
    for kill in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), path, str(number)], stdout=subprocess.PIPE, text=True
        ) as child:
            for _ in range(3 + kill):
                assert child.stdout.readline()
            os.kill(child.pid, signal.SIGKILL)
        state = load_state(path)
        assert state["number"] >= number
        number = state["number"]
        assert {number} == {*state["x"].tolist(), *state["y"][0].tolist()}
    save_state(path, {"x": np.zeros(1)})
    assert len([each for each in tmp_path.iterdir() if each.suffix == ".npz" and each.name[0] != "."]) == 1
