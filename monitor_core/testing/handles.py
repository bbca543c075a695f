"""The contract of model handles, as tests: what sinks rely on in each member that a handle has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from monitor_core.model.handles import Array
from monitor_core.model.layer_graph import LayerGraph
from monitor_core.testing.states import differences, through_a_file


class HandleContract:
    """Tests that every model handle passes; those of members that it lacks are skipped.

    Subclass it in a test module and give it the fixture ``handle``: a handle of a small model that is built, with an
    optimizer and a loss if the framework has them.

    Attributes:
        x: Samples for the members that look inside, as the model takes them.
        y: Their targets.
        file: The name of a file that `save` takes for the whole model.
        weights_file: The name of a file that `save` takes with ``weights_only=True``.

    Example:
        >>> class TestMyHandle(HandleContract):
        ...     x, y = np.ones((3, 4), "float32"), np.ones((3, 1), "float32")
        ...
        ...     @pytest.fixture
        ...     def handle(self):
        ...         return MyHandle(build_model())
    """

    x: ClassVar[Any] = np.ones((3, 2), "float32")
    y: ClassVar[Any] = np.ones((3, 1), "float32")
    file: ClassVar[str] = "model"
    weights_file: ClassVar[str] = "weights"

    def test_repr_is_one_line(self, handle: Any) -> None:
        """Its ``repr`` is one line."""
        assert "\n" not in repr(handle)

    def test_learning_rates_can_be_read_and_set(self, handle: Any) -> None:
        """They are one float for each parameter group, and read as they were set."""
        _require(handle, "learning_rates")
        rates = handle.learning_rates
        assert rates
        assert all(isinstance(rate, float) for rate in rates)
        handle.learning_rates = [rate / 2 for rate in rates]
        np.testing.assert_allclose(handle.learning_rates, [rate / 2 for rate in rates], rtol=1e-6)

    def test_weights_are_copies(self, handle: Any) -> None:
        """Writing into what `get_weights` and `weights` return does not change the model."""
        _require(handle, "get_weights", "weights")
        before = [array.copy() for array in handle.get_weights()]
        for array in [*handle.get_weights(), *(array for _, array in handle.weights())]:
            assert isinstance(array, np.ndarray)
            np.copyto(array, array + 1, casting="unsafe")
        _assert_equal(handle.get_weights(), before)

    def test_weights_have_unique_names(self, handle: Any) -> None:
        """No two weights share a name."""
        _require(handle, "weights")
        names = [name for name, _ in handle.weights()]
        assert len(set(names)) == len(names) > 0

    def test_weights_can_be_set(self, handle: Any) -> None:
        """What `get_weights` returned is what `set_weights` takes, in the same order."""
        _require(handle, "get_weights", "set_weights")
        changed = _changed(handle.get_weights())
        handle.set_weights(changed)
        _assert_equal(handle.get_weights(), changed)

    def test_other_weights_are_refused(self, handle: Any) -> None:
        """Too few weights, or one of another shape, raise a ValueError and set nothing."""
        _require(handle, "get_weights", "set_weights")
        before = handle.get_weights()
        _assert_raises(ValueError, lambda: handle.set_weights(_changed(before)[:-1]))
        _assert_raises(ValueError, lambda: handle.set_weights([*_changed(before)[:-1], np.zeros((7, 7, 7, 7))]))
        _assert_equal(handle.get_weights(), before)

    def test_a_saved_model_can_be_loaded(self, handle: Any, tmp_path: Path) -> None:
        """`load` brings back the weights that `save` wrote."""
        _require(handle, "save", "load", "get_weights", "set_weights")
        _round_trip(handle, tmp_path / self.file, weights_only=False)

    def test_saved_weights_can_be_loaded(self, handle: Any, tmp_path: Path) -> None:
        """The same with ``weights_only=True``; the file's name ends as ``weights_suffix`` says."""
        _require(handle, "save", "load", "get_weights", "set_weights")
        name = self.weights_file + getattr(handle, "weights_suffix", "")
        _round_trip(handle, tmp_path / name, weights_only=True)

    def test_a_damaged_file_is_refused(self, handle: Any, tmp_path: Path) -> None:
        """`load` raises on a file that is not a model, and changes nothing."""
        _require(handle, "load", "get_weights")
        before = handle.get_weights()
        path = tmp_path / self.file
        path.write_bytes(b"not a model")
        _assert_raises(Exception, lambda: handle.load(path))
        _assert_equal(handle.get_weights(), before)

    def test_activations_are_those_of_the_named_layers(self, handle: Any) -> None:
        """`activations` yields host arrays, of all layers in `layer_names` or of the chosen ones alone."""
        _require(handle, "layer_names", "activations")
        names = handle.layer_names()
        yielded = dict(handle.activations(self.x))
        assert {_layer(name) for name in yielded} <= set(names)
        assert all(isinstance(array, np.ndarray) for array in yielded.values())
        last = names[-1]
        assert {_layer(name) for name, _ in handle.activations(self.x, [last])} == {last}

    def test_an_unknown_layer_is_refused(self, handle: Any) -> None:
        """A layer that the model does not have raises a ValueError."""
        _require(handle, "activations")
        _assert_raises(ValueError, lambda: list(handle.activations(self.x, ["no such layer"])))

    def test_gradients_have_the_shapes_of_their_weights(self, handle: Any) -> None:
        """`gradients` yields one array for each trainable weight, under the weight's name."""
        _require(handle, "gradients", "weights")
        shapes = {name: array.shape for name, array in handle.weights()}
        yielded = {name: array.shape for name, array in handle.gradients(self.x, self.y)}
        assert yielded
        assert yielded.items() <= shapes.items()

    def test_predictions_are_host_arrays(self, handle: Any) -> None:
        """`predict` returns one row for each sample, and the same for the same samples."""
        _require(handle, "predict")
        first, second = handle.predict(self.x), handle.predict(self.x)
        assert isinstance(first, np.ndarray)
        assert len(first) == len(self.x)
        np.testing.assert_array_equal(first, second)

    def test_looking_inside_changes_nothing(self, handle: Any) -> None:
        """`activations`, `gradients`, `predict` and `layer_graph` leave the state as it was."""
        before = _state(handle)
        for look in _looks(handle, self.x, self.y):
            look()
        assert not (found := differences(before, _state(handle))), "; ".join(found)

    def test_embeddings_are_matrices(self, handle: Any) -> None:
        """`embeddings` yields ``(rows, dimensions)`` copies."""
        _require(handle, "embeddings")
        for name, matrix in handle.embeddings():
            assert isinstance(name, str)
            assert matrix.ndim == 2

    def test_the_layer_graph_is_one(self, handle: Any) -> None:
        """`layer_graph` returns a `LayerGraph` with at least one layer."""
        _require(handle, "layer_graph")
        graph = handle.layer_graph(self.x)
        assert isinstance(graph, LayerGraph)
        assert graph.nodes

    def test_the_training_state_survives_a_restart(self, handle: Any, tmp_path: Path) -> None:
        """`training_state` returns JSON values and arrays, and `load_training_state` brings them back."""
        _require(handle, "training_state", "load_training_state")
        saved = through_a_file(handle.training_state(), tmp_path)
        handle.load_training_state(saved)
        again = through_a_file(handle.training_state(), tmp_path)
        assert not (found := differences(saved, again)), "; ".join(found)

    def test_directions_are_known_or_none(self, handle: Any) -> None:
        """`direction` returns ``"min"``, ``"max"`` or None, for unknown names too."""
        _require(handle, "direction")
        assert {handle.direction(name) for name in ("loss", "val_loss", "no such metric")} <= {"min", "max", None}

    def test_a_living_model_is_recalled(self, handle: Any) -> None:
        """`recall` returns a function that finds the model as long as it lives."""
        _require(handle, "recall", "get_weights")
        again = handle.recall()()
        assert again is not None
        _assert_equal(again.get_weights(), handle.get_weights())


def _require(handle: Any, *members: str) -> None:
    """Skip the test where the handle lacks a member."""
    import pytest  # only tests need it

    for member in members:
        if not hasattr(handle, member):
            pytest.skip(f"{type(handle).__name__} has no {member}")


def _assert_raises(kind: type[Exception], call: Callable[[], object]) -> None:
    import pytest

    with pytest.raises(kind):
        call()


def _changed(arrays: list[Array]) -> list[Array]:
    """Return other arrays of the same shapes and types."""
    return [np.asarray(array + np.ones_like(array)) for array in arrays]


def _assert_equal(arrays: list[Array], expected: list[Array]) -> None:
    assert len(arrays) == len(expected)
    for one, other in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def _round_trip(handle: Any, path: Path, *, weights_only: bool) -> None:
    before = handle.get_weights()
    handle.save(path, weights_only=weights_only)
    handle.set_weights(_changed(before))
    handle.load(path)
    _assert_equal(handle.get_weights(), before)


def _layer(name: str) -> str:
    """Return the layer's name without the number of its output."""
    return name.partition(":")[0]


def _state(handle: Any) -> dict[str, Any]:
    state = {"weights": handle.get_weights()} if hasattr(handle, "get_weights") else {}
    if hasattr(handle, "training_state"):
        state["training"] = handle.training_state()
    return state


def _looks(handle: Any, x: Any, y: Any) -> list[Callable[[], object]]:
    looks: dict[str, Callable[[], object]] = {
        "activations": lambda: list(handle.activations(x)),
        "gradients": lambda: list(handle.gradients(x, y)),
        "predict": lambda: handle.predict(x),
        "layer_graph": lambda: handle.layer_graph(x),
    }
    return [look for name, look in looks.items() if hasattr(handle, name)]
