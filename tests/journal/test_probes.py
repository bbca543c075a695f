"""Looks into a model in a journal: encoded, decoded, read back as tables and histograms; torn, continued, malformed."""

import attrs
import numpy as np
import pytest

from monitor_core import Bus, Journal, Loop, Sink, open_run
from monitor_core.journal.arrays import Arrays, encode_arrays, parse_arrays
from monitor_core.journal.probes import arrays_of, probe_of
from monitor_core.model.probe import Histogram, Probe, Prober
from monitor_core.testing import NumpyModel

RNG = np.random.default_rng(0)


def seen(step, *, epoch=0, gradients=True, names=("one", "two")):
    """Return a probe of some layers, with a weight each."""
    outputs = [(name, RNG.normal(size=(5, 4)).astype(np.float32)) for name in names]
    weights = [(f"{name}/kernel", RNG.normal(size=(4, 4))) for name in names]
    return Prober().look(epoch, step, outputs, weights, weights if gradients else None)


def plain(probe):
    """Return a probe as values that can be compared."""
    histograms = {
        kind: {name: (each.low, each.high, each.counts.tolist()) for name, each in found.items()}
        for kind, found in probe.histograms.items()
    }
    return probe.to_json(), histograms


class Shower(Sink):
    """Show probes at the ends of epochs.

    Args:
        probes: A function of the run that returns one, or None.
    """

    def __init__(self, probes):
        self.probes = probes

    def on_epoch_end(self, run, epoch, logs):
        """Show it."""
        if (probe := self.probes(run)) is not None:
            run.show(probe)


def train(folder, probes, epochs=3, **options):
    """Record a run that shows these probes; return it."""
    with Loop(Shower(probes), record=folder, **options) as loop:
        for epoch in loop.epochs(epochs):
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0 / (epoch + 1))
    return open_run(folder)


@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "none"])
def test_a_probe_is_the_same_afterwards(gradients):
    """Every number, exactly, with what is missing."""
    first = Prober()
    weights = [("a/kernel", RNG.normal(size=(4, 300)))]
    output = [("a", np.array([[1.0, np.nan], [2.0, 3.0]])), ("b", RNG.normal(size=(2, 3)))]
    first.look(0, 1, output, weights, weights)
    probe = attrs.evolve(first.look(1, 9, output, weights, weights if gradients else None), penalty=0.25)
    content = parse_arrays(memoryview(encode_arrays(arrays_of(probe, 5.0))))
    assert (content.what, content.time) == ("probe", 5.0)
    assert plain(probe_of(content)) == plain(probe)


def test_a_probe_is_small():
    """At most 200 bytes for each histogram, and 80 for the numbers of each layer or weight, beyond their names."""
    names = [f"layer_{number}" for number in range(20)]
    probe = seen(1, names=names)
    size = len(encode_arrays(arrays_of(probe, 0.0)))
    assert size <= 60 * 200 + 40 * 80 + sum(len(name) + 20 for name in names) * 2 + 800


def test_large_counts_keep_their_numbers():
    """The narrowest type that holds them is chosen."""
    for count in (255, 256, 65_535, 65_536, 2**31, 2**40):
        probe = Probe(
            epoch=0, step=1, samples=1, layers=seen(1).layers,
            histograms={"activations": {"one": Histogram(0.0, 1.0, np.array([count, 0]))}},
        )  # fmt: skip
        assert probe_of(arrays_of(probe, 0.0)).histograms["activations"]["one"].counts.tolist() == [count, 0]


def test_what_was_seen_is_read_back(tmp_path):
    """As tables of names by looks, with NaN where a name was not seen, and as histograms."""
    probes = [seen(2), None, seen(6, epoch=2, gradients=False, names=("two", "three"))]
    recorded = train(tmp_path, lambda run: probes[run.epoch])
    layers, weights = recorded.layers, recorded.weights
    assert (len(layers), layers.names, weights.names) == (
        2, ("one", "two", "three"), ("one/kernel", "two/kernel", "three/kernel"),
    )  # fmt: skip
    assert (layers.epochs.tolist(), layers.steps.tolist()) == ([0, 2], [2, 6])
    assert (np.diff(layers.times) >= 0).all()
    first, last = probes[0], probes[2]
    expected = [
        [first.layers[0].std, np.nan],
        [first.layers[1].std, last.layers[0].std],
        [np.nan, last.layers[1].std],
    ]
    np.testing.assert_array_equal(layers["std"], expected)
    np.testing.assert_array_equal(layers["std", "two"], expected[1])
    np.testing.assert_array_equal(weights["gradient", "one/kernel"], [first.weights[0].gradient, np.nan])
    assert np.isnan(weights["update_ratio"]).all()
    found = recorded.histograms
    assert {kind: list(each) for kind, each in found.items()} == {
        "activations": ["one", "two", "three"],
        "weights": ["one/kernel", "two/kernel", "three/kernel"],
        "gradients": ["one/kernel", "two/kernel"],
    }
    two = found["activations"]["two"]
    assert (two.edges.shape, two.counts.shape, two.steps.tolist(), two.epochs.tolist()) == (
        (2, 65), (2, 64), [2, 6], [0, 2],
    )  # fmt: skip
    assert two.counts[1].tolist() == last.histograms["activations"]["two"].counts.tolist()
    assert found["gradients"]["one/kernel"].steps.tolist() == [2]


def test_how_far_weights_move_is_on_record(tmp_path):
    """A share of their norm for each step."""
    prober, norms = Prober(), []

    def moving(run):
        weight = np.full(4, 1.0 + run.epoch)
        norms.append(float(np.linalg.norm(weight)))
        return prober.look(run.epoch, run.step, [], [("w", weight)], [("w", weight)])

    recorded = train(tmp_path, moving)
    np.testing.assert_allclose(
        recorded.weights["update_ratio", "w"], [np.nan, 2.0 / 2 / norms[1], 2.0 / 2 / norms[2]], rtol=1e-12
    )
    np.testing.assert_array_equal(recorded.weights["norm", "w"], norms)


def test_nothing_was_seen(tmp_path):
    """Tables without looks are empty."""
    recorded = train(tmp_path, lambda run: None)
    assert not recorded.layers
    assert (recorded.layers.names, recorded.layers["dead"].shape) == ((), (0, 0))
    assert {kind: dict(each) for kind, each in recorded.histograms.items()} == {
        "activations": {}, "weights": {}, "gradients": {},
    }  # fmt: skip


def test_what_is_not_on_record_is_named(tmp_path):
    """With what there is."""
    layers = train(tmp_path, lambda run: seen(run.step), epochs=1).layers
    with pytest.raises(KeyError, match="no statistic 'deaf': there are units, dead"):
        layers["deaf"]
    with pytest.raises(KeyError, match="'three' is not on record: there are one, two"):
        layers["dead", "three"]
    with pytest.raises(ValueError, match="read-only"):
        layers["dead"][0] = 1.0


def test_a_probe_before_the_journal_begins_is_recorded(tmp_path):
    """As one of a sink that looks at train begin, and comes before."""

    class Early(Sink):
        def on_train_begin(self, run):
            run.show(seen(0, epoch=-1))

    with Loop(Early(), Journal(tmp_path)) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    assert open_run(tmp_path).layers.epochs.tolist() == [-1]


def test_of_one_step_the_last_look_counts(tmp_path):
    """Two sinks may look at one step."""
    probes = [seen(2), seen(2)]

    class Twice(Sink):
        def on_epoch_end(self, run, epoch, logs):
            for probe in probes:
                run.show(probe)

    with Loop(Twice(), Journal(tmp_path)) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    layers = open_run(tmp_path).layers
    assert layers["mean", "one"].tolist() == [probes[1].layers[0].mean]


def test_a_torn_file_has_the_whole_looks(tmp_path):
    """Whatever the length at which a kill ended it."""
    recorded = train(tmp_path, lambda run: seen(run.step, epoch=run.epoch))
    path = next(tmp_path.glob("*.mcj"))
    data = path.read_bytes()
    assert recorded.layers.steps.tolist() == [2, 4, 6]
    counts = set()
    for length in range(16, len(data), 97):
        path.write_bytes(data[:length])
        looks = open_run(tmp_path).layers
        assert looks.steps.tolist() == [2, 4, 6][: len(looks)]
        counts.add(len(looks))
    assert counts == {0, 1, 2, 3}


def test_a_run_that_continues_has_each_look_once(tmp_path):
    """What was seen after the checkpoint is left out."""

    class Model(NumpyModel):
        def activations(self, x, layers=None):
            yield "one", x

    def looks(run):
        return seen(run.step, epoch=run.epoch)

    def part(epochs, fail=None):
        with Loop(Shower(looks), model=Model(), resume=tmp_path) as loop:
            for epoch in loop.epochs(epochs):
                for _ in loop.batches(range(2)):
                    loop.log(loss=1.0)
                if epoch == fail:
                    raise KeyError("killed")
        return loop

    with pytest.raises(KeyError):
        part(4, fail=2)
    part(4)
    assert open_run(tmp_path).layers.steps.tolist() == [2, 4, 6, 8]


def test_rewinding_leaves_out_what_came_after(tmp_path):
    """Looks of epochs that are trained again."""
    bus = Bus(Journal(tmp_path))
    bus.train_begin()
    for epoch in range(3):
        bus.epoch_begin(epoch)
        bus.run.show(seen(2 * epoch + 2, epoch=epoch))
        bus.epoch_end(epoch, {"loss": 1.0})
    bus.rewind(1, 2)
    bus.train_end()
    assert open_run(tmp_path).layers.steps.tolist() == [2]


def changed(**changes):
    """Return the arrays of a probe with some members replaced; a callable gets the old one."""
    content = arrays_of(seen(1), 0.0)
    about = {name: value for name, value in changes.items() if name in content.about}
    arrays = {name.replace("_", "."): value for name, value in changes.items() if name not in about}
    arrays = {"weights" if name == "table" else name: value for name, value in arrays.items()}
    return attrs.evolve(content, about={**content.about, **about}, arrays={**content.arrays, **arrays})


@pytest.mark.parametrize(
    "content",
    [
        Arrays("probe", 0, 1, 0.0, {}, {}),
        changed(samples="many"),
        changed(layers=["one"]),
        changed(layers=[1, 2]),
        changed(layer_statistics=["dead"]),
        changed(table=np.zeros((2, 2))),
        changed(weights_places=np.array([0, 7], np.int32)),
        changed(weights_ranges=np.zeros((2, 2))),
        changed(weights_ranges=np.array([[0.0, np.inf], [0.0, 1.0]])),
        changed(weights_counts=np.zeros((2, 0), np.int64)),
        changed(weights_counts=np.zeros(2, np.int64)),
        changed(penalty=[1]),
    ],
    ids=lambda content: ", ".join(content.about)[:20],
)
def test_what_is_no_probe_is_refused(content, tmp_path):
    """And left out by the reader, which returns the others."""
    with pytest.raises(ValueError, match="not of a probe"):
        probe_of(content)
    with Loop(journal := Journal(tmp_path)) as loop:
        for _ in loop.epochs(1):
            journal._writer.arrays(content)
            loop.run.show(seen(5))
    assert open_run(tmp_path).layers.steps.tolist() == [5]


def test_statistics_of_a_later_release_are_ignored():
    """And those that it no longer has are NaN or None."""
    content = arrays_of(seen(1), 0.0)
    names = [*content.about["layer_statistics"], "later"]
    table = np.vstack([content.arrays["layers"], np.ones((1, 2))])
    later = attrs.evolve(
        content, about={**content.about, "layer_statistics": names}, arrays={**content.arrays, "layers": table}
    )
    assert plain(probe_of(later)) == plain(probe_of(content))
