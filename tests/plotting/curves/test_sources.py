"""The kinds of histories that can be drawn, and how their rows are numbered."""

import pytest

from monitor_core import Bus, CSVLogger, EarlyStopping, History, Journal, Loop, open_run
from monitor_core.metrics.outcome import Watched
from monitor_core.plotting import LivePlot
from monitor_core.plotting.curves.curves import curves_of
from monitor_core.plotting.curves.sources import read_sources
from recorders import train


def read_curves(history, *, batches=False):
    return curves_of(read_sources(history, batches=batches))


def points(history, **options):
    """Return the points of all curves by run and name."""
    return {(curve.run, curve.name): (curve.x.tolist(), curve.y.tolist()) for curve in read_curves(history, **options)}


def recorded(*epochs, **options):
    history = History(**options)
    train(Bus(history), *[[logs] for logs in epochs])
    return history


@pytest.mark.parametrize("empty", [{}, {"loss": []}, History()])
def test_an_empty_history_is_an_error(empty):
    """There is nothing to draw before the first epoch's end."""
    with pytest.raises(ValueError, match=r"history must hold at least one epoch, or batch, with a metric \(got none\)"):
        read_curves(empty)


def test_other_objects_are_no_history():
    """The message lists what is understood."""
    with pytest.raises(TypeError, match=r"history must be a History, .* \(got list\)"):
        read_curves([1.0, 0.5])


def test_epochs_keep_their_numbers_where_they_ascend():
    """A training that continued after five epochs is drawn from epoch 6, as people count."""
    history = History()
    bus = Bus(history)
    bus.train_begin()
    for epoch in (5, 6):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": 1.0})
    bus.train_end()
    assert read_curves(history)[0].x.tolist() == [6, 7]


def test_epochs_are_counted_on_over_several_runs():
    """Runs that each begin with the first epoch do not fold over each other."""
    history = History()
    bus = Bus(history)
    for _ in range(2):
        train(bus, [{"loss": 1.0}], [{"loss": 0.5}])
    assert read_curves(history)[0].x.tolist() == [1, 2, 3, 4]


def test_keras_history_is_read():
    """Keras's own object has the epochs and the values."""
    keras = pytest.importorskip("keras")
    history = keras.callbacks.History()
    history.on_train_begin()
    history.set_model(keras.Sequential())
    for epoch in (3, 4):
        history.on_epoch_end(epoch, {"loss": 1.0 / epoch})
    (curve,) = read_curves(history)
    assert (curve.run, curve.x.tolist(), curve.y.tolist()) == (None, [4, 5], [1 / 3, 1 / 4])


def test_several_runs_may_be_of_several_kinds_and_lengths():
    """Labels come in order; a run that lacks a metric is left out of it."""
    runs = {"a": recorded({"loss": 1.0, "val_loss": 1.0}), "b": {"loss": [3.0, 2.0]}}
    curves = read_curves(runs)
    assert [(curve.run, curve.name, curve.y.tolist()) for curve in curves] == [
        ("a", "loss", [1.0]),
        ("b", "loss", [3.0, 2.0]),
        ("a", "val_loss", [1.0]),
    ]


def test_batches_are_read_by_step():
    """The places are steps, from 1."""
    history = recorded({"loss": 3.0}, {"loss": 2.0}, per_batch=True)
    (curve,) = read_curves(history, batches=True)
    assert (curve.x.tolist(), curve.y.tolist()) == ([1, 2], [3.0, 2.0])


def test_batches_are_counted_on_over_several_runs():
    """Steps of several runs do not fold over each other."""
    history = History(per_batch=True)
    bus = Bus(history)
    for _ in range(2):
        train(bus, [{"loss": 1.0}, {"loss": 0.5}])
    assert read_curves(history, batches=True)[0].x.tolist() == [1, 2, 3, 4]


def test_batches_must_have_been_recorded():
    """The message says how to record them."""
    with pytest.raises(ValueError, match=r"must be recorded by History\(per_batch=True\) to draw batches"):
        read_curves(recorded({"loss": 1.0}), batches=True)


def test_batches_are_in_no_mapping():
    """Only a History and a recorded run have them."""
    with pytest.raises(TypeError, match=r"must be a monitor_core.History\(per_batch=True\), .* \(got dict\)"):
        read_curves({"loss": [1.0]}, batches=True)


TWO_EPOCHS = ([1, 2], [3.0, 2.0])


def test_a_list_of_histories_is_several_runs():
    """They are numbered where nothing names them."""
    runs = [recorded({"loss": 3.0}, {"loss": 2.0}), {"loss": [1.0]}]
    assert points(runs) == {("run 1", "loss"): TWO_EPOCHS, ("run 2", "loss"): ([1], [1.0])}


def test_runs_of_a_list_of_paths_have_the_names_of_their_files(tmp_path):
    """The file's name without its ending, where these differ."""
    for name in ("small", "large"):
        (tmp_path / f"{name}.csv").write_text("epoch,loss\n0,3.0\n1,2.0\n", encoding="utf-8")
    paths = [tmp_path / "small.csv", str(tmp_path / "large.csv")]
    assert points(paths) == {("small", "loss"): TWO_EPOCHS, ("large", "loss"): TWO_EPOCHS}


@pytest.mark.parametrize("owner", [Bus, Loop])
def test_what_has_one_history_among_its_sinks_is_that_history(owner):
    """A bus, a loop or an adapter may be passed whole."""
    history = recorded({"loss": 3.0}, {"loss": 2.0})
    assert points(owner(history, EarlyStopping("loss"))) == {(None, "loss"): TWO_EPOCHS}


def test_an_adapter_is_its_history():
    """The Keras adapter's sinks are looked through."""
    adapters = pytest.importorskip("monitor_core.adapters.keras")
    history = recorded({"loss": 3.0}, {"loss": 2.0})
    assert points(adapters.KerasAdapter(history)) == {(None, "loss"): TWO_EPOCHS}


def test_the_history_of_a_live_plot_on_a_bus_is_found():
    """A sink that keeps a History of its own will do where there is none else."""
    live = LivePlot()
    bus = Bus(live)
    train(bus, [{"loss": 3.0}], [{"loss": 2.0}])
    assert points(bus) == {(None, "loss"): TWO_EPOCHS}


def test_an_owner_without_a_history_is_asked_to_add_one():
    """The error says what to write."""
    message = r"history must have one History among its sinks \(got a Loop with 0\): add one, history = History\(\)"
    with pytest.raises(ValueError, match=message):
        read_sources(Loop(EarlyStopping("loss")))


def test_an_owner_of_several_histories_is_ambiguous():
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"\(got a Bus with 2\): plot the one you mean"):
        read_sources(Bus(History(), History()))


def test_a_recorded_run_is_read(tmp_path):
    """What `open_run` returned, its history, and the folder itself are the same curves; batches are there too."""
    train(Bus(Journal(tmp_path)), [{"loss": 4.0}, {"loss": 3.0}], [{"loss": 2.0}])
    run = open_run(tmp_path)
    expected = {(None, "loss"): TWO_EPOCHS}
    assert [points(history) for history in (run, run.history, tmp_path, str(tmp_path))] == [expected] * 4
    assert points(run, batches=True) == {(None, "loss"): ([1, 2, 3], [4.0, 3.0, 2.0])}


def test_a_csv_file_is_read(tmp_path):
    """The epochs are the file's own; an empty field is a missing value; columns without numbers are not drawn."""
    path = tmp_path / "log.csv"
    path.write_text("epoch;loss;note\r\n3;3.0;a\r\n4;;b\r\n5;2.0;c\r\n", encoding="utf-8")
    assert points(path) == {(None, "loss"): ([4, 6], [3.0, 2.0])}


def test_what_a_csv_logger_wrote_is_read(tmp_path):
    """Epochs by epoch, and a row for every batch by step."""
    epochs, batches = tmp_path / "epochs.csv", tmp_path / "batches.csv"
    train(Bus(CSVLogger(epochs), CSVLogger(batches, per_batch=True)), [{"loss": 4.0}, {"loss": 3.0}], [{"loss": 2.0}])
    assert points(epochs) == {(None, "loss"): TWO_EPOCHS}
    assert points(batches, batches=True) == {(None, "loss"): ([1, 2, 3], [4.0, 3.0, 2.0])}


def test_a_csv_file_of_batches_needs_to_be_asked_for(tmp_path):
    """The error says what to write."""
    path = tmp_path / "log.csv"
    path.write_text("epoch,step,loss\n0,1,3.0\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"log.csv' has a row for every batch: pass batches=True"):
        read_sources(path)


def test_another_csv_file_is_an_error(tmp_path):
    """Without epochs it is no record of a run."""
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"log.csv is not .* must name a column 'epoch' \(got 'a', 'b'\)"):
        read_sources(path)


def test_a_history_as_json_is_drawn_like_the_history(tmp_path):
    """Its batches too."""
    history = recorded({"loss": 3.0}, {"loss": 2.0}, per_batch=True)
    history.to_json(tmp_path / "a.json")
    assert points(tmp_path / "a.json") == points(history)
    assert points(tmp_path / "a.json", batches=True) == points(history, batches=True)


def test_a_history_as_npz_is_to_be_read_first():
    """The error says what to write."""
    message = r"history must not be a path of this kind; write History.from_npz\('run.npz'\) instead"
    with pytest.raises(TypeError, match=message):
        read_sources("run.npz")


def test_the_epochs_of_the_last_run_are_known_by_their_rows():
    """A decision in epoch 0 of the second run belongs to the third row."""
    history = History()
    bus = Bus(history)
    for _ in range(2):
        train(bus, [{"loss": 1.0}], [{"loss": 0.5}])
    assert read_sources(history)[0].epochs == {0: 3, 1: 4}


def test_what_decided_is_read_with_a_history_and_a_recorded_run(tmp_path):
    """Both know the metric, the best epoch and the stop."""
    history = History()
    with Loop(history, Journal(tmp_path), EarlyStopping("loss", patience=2)) as loop:
        for _ in loop.epochs(9):
            loop.log(loss=1.0)
    (live,), (read,) = read_sources(history), read_sources(tmp_path)
    assert live.outcome == read.outcome
    assert live.outcome.watched == [Watched("EarlyStopping", "loss", "min", best_epoch=0, best_step=0)]
    assert live.outcome.stop_epoch == 2
