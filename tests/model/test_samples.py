"""The first samples of validation data of every kind, read without side effects."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.model.samples import first_samples

X = np.arange(20.0, dtype="float32").reshape(10, 2)
Y = np.arange(10)


def plain(value):
    """Return nested arrays as nested lists, each array as its type's name and its values."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map(plain, value))
    return value if value is None else (value.dtype.name, value.tolist())


def pair(x, y):
    """Return what first_samples should give, for comparison by value."""
    return plain((x, y))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (X, pair(X[:3], None)),
        ((X,), pair(X[:3], None)),
        ((X, Y), pair(X[:3], Y[:3])),
        ([X, Y], pair(X[:3], Y[:3])),
        ((X, Y, np.ones(10)), pair(X[:3], Y[:3])),
        ((X, None), pair(X[:3], None)),
        ({"one": X, "two": Y}, pair({"one": X[:3], "two": Y[:3]}, None)),
        (([X, Y],), pair([X[:3], Y[:3]], None)),
        (({"one": X}, (Y, X)), pair({"one": X[:3]}, (Y[:3], X[:3]))),
        ([(X[:2], Y[:2]), (X[2:], Y[2:])], pair(X[:3], Y[:3])),
        (([X[:2]], [{"a": Y[:2]}]), pair([X[:2]], [{"a": Y[:2]}])),
    ],
    ids=["array", "one", "pair", "list", "weights", "none", "mapping", "inputs", "nested", "batches", "few"],
)
def test_arrays_are_cut_in_their_structure(data, wanted):
    """Arrays are cut to the first samples, in their own structure and type; if there are fewer, all are returned."""
    assert plain(first_samples(data, 3)) == wanted


def test_samples_are_copies():
    """The returned samples do not change with the data."""
    data = X.copy()
    x, _ = first_samples(data, 2)
    data += 1
    np.testing.assert_array_equal(x, X[:2])


@given(cuts=st.lists(st.integers(0, 10), max_size=4).map(sorted), count=st.integers(1, 12))
def test_batches_equal_the_whole(cuts, count):
    """For any division into batches, even empty ones, the first samples are those of the whole."""
    edges = [0, *cuts, 10]
    batches = [({"a": X[start:end]}, Y[start:end]) for start, end in itertools.pairwise(edges)]
    assert plain(first_samples(batches, count)) == pair({"a": X[:count]}, Y[:count])


class Batches:
    """Yields batches each time it is iterated over, and counts them."""

    def __init__(self):
        self.given = 0

    def __iter__(self):
        for start in range(0, 10, 4):
            self.given += 1
            yield X[start : start + 4], Y[start : start + 4]


def test_no_more_batches_are_read_than_needed():
    """Of an iterable of batches, only those with the samples are read."""
    data = Batches()
    assert plain(first_samples(data, 5)) == pair(X[:5], Y[:5])
    assert data.given == 2


def batches():
    yield X, Y


@pytest.mark.parametrize("data", [batches(), iter([(X, Y)])], ids=["generator", "iterator"])
def test_what_can_be_read_only_once_is_refused(data):
    """A generator or an iterator is not read, and the error says why."""
    with pytest.raises(TypeError, match="data must be readable more than once"):
        first_samples(data, 1)
    assert len(list(data)) == 1


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (None, TypeError, r"must be arrays, or an iterable of batches of them \(got None\)"),
        (3.5, TypeError, r"\(got 3\.5\)"),
        ([1, 2], TypeError, r"must be arrays of samples along the first axis \(got 1\)"),
        (("abc",), TypeError, r"along the first axis \(got 'abc'\)"),
        ((np.float64(2.0),), TypeError, r"along the first axis \(got np\.float64\(2\.0\)\)"),
        ((X, Y, Y, Y), TypeError, r"\(x, y, sample_weight\) \(got 4 parts\)"),
        ((), TypeError, r"\(got 0 parts\)"),
        ((X[:2], Y[:1]), ValueError, r"as many samples in every array \(got \[1, 2\]\)"),
        (X[:0], ValueError, r"at least one sample \(got none\)"),
        ([(X[:1],), (X[:1, :1],)], ValueError, r"one shape in all batches that are read \(got \[\(1,\), \(2,\)\]\)"),
    ],
)
def test_other_data_are_errors(data, error, message):
    """Data without samples are refused by an error with the rule and the value."""
    with pytest.raises(error, match=message):
        first_samples(data, 3)


@pytest.mark.parametrize("count", [0, 2.0, True])
def test_the_number_of_samples_is_checked(count):
    """The number of samples must be an integer from 1."""
    with pytest.raises((TypeError, ValueError), match="count must be"):
        first_samples(X, count)


class Drawing:
    """Yields batches of random numbers from the global generators."""

    def __iter__(self):
        yield np.array([random.random(), np.random.random()])  # noqa: NPY002


def test_random_generators_keep_their_states():
    """Reading data that draw random numbers does not change the next numbers."""
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    wanted = (random.random(), np.random.random())  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    first_samples(Drawing(), 1)
    assert (random.random(), np.random.random()) == wanted  # noqa: NPY002


def test_data_frames_are_cut_by_position():
    """A data frame with a custom index returns its first rows."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, index=range(10, 0, -1))
    assert plain(first_samples((frame, frame[0]), 2)) == pair(X[:2], X[:2, 0])


def test_jax_arrays_come_to_the_host():
    """JAX arrays become NumPy arrays."""
    jax = pytest.importorskip("jax")
    assert plain(first_samples((jax.numpy.asarray(X), Y), 2)) == pair(X[:2], Y[:2])


# --- PyTorch -------------------------------------------------------------------------------------------------------


class Noisy:
    """A PyTorch dataset that draws from PyTorch's generator for each sample, and counts the samples."""

    def __init__(self, torch):
        self.torch = torch
        self.given = []

    def __len__(self):
        return 10

    def __getitem__(self, index):
        self.given.append(index)
        return self.torch.rand(()), index


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def tensors(torch):
    return torch.utils.data.TensorDataset(torch.tensor(X, requires_grad=True), torch.tensor(Y))


def test_tensors_come_to_the_host(torch):
    """Tensors that require a gradient become arrays."""
    assert plain(first_samples((torch.tensor(X, requires_grad=True), torch.tensor(Y)), 2)) == pair(X[:2], Y[:2])


@pytest.mark.parametrize(
    "options", [{"batch_size": 4}, {"batch_size": 4, "num_workers": 2, "persistent_workers": True}]
)
def test_a_loader_gives_its_first_samples(torch, options):
    """The samples of a PyTorch loader's first batches are joined; its workers are not started."""
    loader = torch.utils.data.DataLoader(tensors(torch), **options)
    assert plain(first_samples(loader, 5)) == pair(X[:5], Y[:5])
    assert loader._iterator is None


def test_a_loader_without_batches_gives_those_of_its_dataset(torch):
    """If batching is off, each item of the dataset is a batch."""
    dataset = [(X[:2], Y[:2]), (X[2:4], Y[2:4])]
    assert plain(first_samples(torch.utils.data.DataLoader(dataset, batch_size=None), 3)) == pair(X[:3], Y[:3])


@pytest.mark.parametrize("batch_size", [2, None])
def test_a_loader_of_a_stream_gives_its_first_samples(torch, batch_size):
    """An iterable dataset is iterated over from its beginning."""

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            rows = zip(X, Y, strict=True)
            return rows if batch_size else ((x[None], y[None]) for x, y in rows)

    loader = torch.utils.data.DataLoader(Stream(), batch_size=batch_size)
    assert plain(first_samples(loader, 3)) == pair(X[:3], Y[:3])


def test_a_loader_of_an_iterator_is_refused(torch):
    """A stream that can be read only once is not read, even through a loader."""

    class Once(torch.utils.data.IterableDataset):
        def __iter__(self):
            return self

        def __next__(self):
            raise AssertionError

    with pytest.raises(TypeError, match=r"readable more than once \(got a Once\)"):
        first_samples(torch.utils.data.DataLoader(Once()), 1)


def test_a_dataset_of_samples_is_batched(torch):
    """Of a PyTorch dataset without a loader, only the first samples are read."""

    class Counting(Noisy, torch.utils.data.Dataset):
        pass

    dataset = Counting(torch)
    x, y = first_samples(dataset, 3)
    assert (x.shape, y.tolist(), dataset.given) == ((3,), [0, 1, 2], [0, 1, 2])


@pytest.mark.parametrize("has_generator", [False, True])
def test_a_shuffled_loader_continues_as_if_it_had_not_been_read(torch, has_generator):
    """A training that shuffles and draws from PyTorch's generator is the same if samples are read before."""

    def epoch(look):
        torch.manual_seed(3)
        generator = torch.Generator().manual_seed(4) if has_generator else None
        loader = torch.utils.data.DataLoader(Noisy(torch), batch_size=4, shuffle=True, generator=generator)
        if look:
            first_samples(loader, 5)
        return [(x.tolist(), y.tolist()) for x, y in loader]

    assert epoch(look=True) == epoch(look=False)


# --- Keras and TensorFlow --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [3, None])
def test_a_keras_dataset_gives_its_first_samples(length):
    """The batches of a PyDataset are read by index, even of an infinite one."""
    keras = pytest.importorskip("keras")

    class Data(keras.utils.PyDataset):
        @property
        def num_batches(self):
            return length

        def __getitem__(self, index):
            return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]

    assert plain(first_samples(Data(), 5)) == pair(X[:5], Y[:5])


def test_a_tensorflow_dataset_gives_its_first_samples_each_time():
    """An infinite dataset of batches is read from its beginning, and can be read again."""
    tensorflow = pytest.importorskip("tensorflow")
    data = tensorflow.data.Dataset.from_tensor_slices(({"a": X}, Y)).batch(4).repeat()
    for _ in range(2):
        assert plain(first_samples(data, 5)) == pair({"a": X[:5]}, Y[:5])
