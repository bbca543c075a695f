"""Tensorboard: scalars, over runs."""

from boards_reader import scalars, steps, tree, written
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Bus, Loop
from monitor_core.files.state import load_state, save_state
from monitor_core.sinks.tensorboard import TensorBoard
from monitor_core.tensorboard.parts import scalars as speeds
from tensorboard_support import DATA, LOOKS, Model, batch, board, epochs, run


def test_epochs_are_written_for_training_and_validation(tmp_path):
    """By default each epoch's metrics are there, in two runs under the same tags, with the learning rate."""
    run(Bus(board(tmp_path), model=Model(), strict=True), 2)
    assert tree(tmp_path) == ["train", "validation"]
    assert scalars(tmp_path / "train") == {
        "epoch_loss": [(0, 0.0), (1, 1.0)],
        "epoch_learning_rate": [(0, 0.5), (1, 0.5)],
    }
    assert scalars(tmp_path / "validation") == {
        "epoch_loss": [(0, 0.5), (1, 1.5)],
        "evaluation_loss_vs_iterations": [(3, 0.5), (6, 1.5)],
    }


def test_batches_are_written_over_the_steps_of_the_run(tmp_path):
    """With update_freq="batch" every batch has its value, at a step that continues over epochs."""
    run(Bus(board(tmp_path, update_freq="batch"), strict=True), 2)
    assert scalars(tmp_path / "train", "batch_") == {"batch_loss": [(step, float(step)) for step in range(1, 7)]}


def test_every_nth_batch_is_written_over_epochs_and_runs(tmp_path):
    """With update_freq=N the steps that are multiples of N are there, also where epochs and runs are shorter."""
    bus = Bus(board(tmp_path, update_freq=5), strict=True)
    for _ in range(2):
        run(bus, 3)
    assert steps(tmp_path / "train", "batch_loss") == [5, 10, 15]
    assert steps(tmp_path / "train", "epoch_loss") == list(range(6))


def test_every_nth_batch_begins_within_an_epoch(tmp_path):
    """A sink that is added within an epoch writes the next multiple of N, with that step's value."""
    bus = Bus(strict=True)
    bus.train_begin()
    bus.epoch_begin(0)
    batch(bus, 7)
    bus.add(board(tmp_path, update_freq=3))
    batch(bus, 7)
    bus.flush()
    assert scalars(tmp_path / "train") == {"batch_loss": [(9, 9.0), (12, 12.0)]}


def test_batches_are_not_received_unless_asked_for(tmp_path):
    """Without update_freq="batch" and without a profile no batch costs anything."""
    assert not Bus(TensorBoard(tmp_path)).has_listeners("on_block", "on_batch_begin", "on_batch_end")
    assert Bus(TensorBoard(tmp_path, update_freq="batch")).has_listeners("on_block")
    assert Bus(TensorBoard(tmp_path, profile_steps=(1, 2))).has_listeners("on_batch_begin", "on_batch_end")


def test_a_loop_without_a_model_is_enough(tmp_path):
    """In a loop in plain NumPy the metrics are there, and nothing is missed."""
    with Loop(TensorBoard(tmp_path, update_freq="batch"), strict=True) as loop:
        for _ in loop.epochs(2):
            for value in loop.batches([1.0, 3.0]):
                loop.log(loss=value)
            with loop.evaluation():
                for value in loop.batches([5.0]):
                    loop.log(loss=value)
    found = scalars(tmp_path / "train")
    assert found.pop("epoch_steps_per_second")[0][1] > 0
    assert found == {
        "batch_loss": [(1, 1.0), (2, 3.0), (3, 1.0), (4, 3.0)],
        "epoch_loss": [(0, 2.0), (1, 2.0)],
    }
    assert scalars(tmp_path / "validation")["epoch_loss"] == [(0, 5.0), (1, 5.0)]


def test_the_speed_is_that_of_the_training(tmp_path, monkeypatch):
    """An epoch's steps a second leave the time of its evaluations out."""
    now = [0.0]
    monkeypatch.setattr(speeds.time, "perf_counter", lambda: now[0])
    bus = Bus(TensorBoard(tmp_path), strict=True)
    bus.train_begin()
    bus.epoch_begin(0)
    batch(bus, 6)
    now[0] = 2.0
    bus.evaluation_begin()
    now[0] = 100.0
    bus.evaluation_end({"loss": 1.0})
    now[0] = 101.0
    bus.epoch_end(0, {})
    assert scalars(tmp_path / "train") == {"epoch_steps_per_second": [(0, 2.0)]}


def test_evaluations_are_at_their_step(tmp_path):
    """Evaluations within an epoch and outside of a run are at the number of batches that had ended."""
    bus = Bus(board(tmp_path), strict=True)
    bus.evaluation_begin()
    bus.evaluation_end({"loss": 9.0})
    bus.train_begin()
    bus.epoch_begin(0)
    for value in (1.0, 2.0):
        batch(bus, 2)
        bus.evaluation_begin()
        bus.evaluation_end({"loss": value})
    bus.epoch_end(0, {})
    bus.train_end()
    bus.evaluation_begin()
    bus.evaluation_end({"loss": 3.0})
    assert scalars(tmp_path / "validation") == {
        "evaluation_loss_vs_iterations": [(0, 9.0), (2, 1.0), (4, 2.0), (4, 3.0)],
        "epoch_loss": [(0, 2.0)],
    }


def test_evaluations_wait_where_batches_are_not_counted(tmp_path):
    """If an adapter reports the step only at the epoch's end, an evaluation before it gets that step."""
    bus = Bus(board(tmp_path), strict=True)
    bus.train_begin()
    for epoch in range(2):
        bus.epoch_begin(epoch)
        bus.evaluation_begin()
        bus.evaluation_end({"loss": float(epoch)})
        bus.run.step += 7
        bus.epoch_end(epoch, {})
    assert scalars(tmp_path / "validation") == {
        "evaluation_loss_vs_iterations": [(7, 0.0), (14, 1.0)],
        "epoch_loss": [(0, 0.0), (1, 1.0)],
    }


def by_steps(folder, **options):
    """Train for 1,000 steps in one epoch, with an evaluation of two datasets every 100."""
    with Loop(board(folder), **options) as loop:
        for _ in loop.epochs(1, steps_per_epoch=1000):
            for step in loop.batches(range(1, 1001)):
                loop.log(loss=0.5)
                if step % 100 == 0:
                    for name in (None, "test"):
                        with loop.evaluation(name=name):
                            loop.log(loss=step)


def test_ten_evaluations_in_an_epoch_are_ten_points(tmp_path):
    """Each dataset has a curve, in a run of its own under the same tags."""
    by_steps(tmp_path)
    points = [(100 * count, 100.0 * count) for count in range(1, 11)]
    assert tree(tmp_path) == ["test", "train", "validation"]
    assert scalars(tmp_path / "train") == {"epoch_loss": [(0, 0.5)]}
    for folder in ("validation", "test"):
        assert scalars(tmp_path / folder) == {"evaluation_loss_vs_iterations": points, "epoch_loss": [(0, 1000.0)]}


def test_an_evaluation_before_the_first_batch_has_its_step(tmp_path):
    """Once a batch follows in the epoch, its step is known to be right."""
    with Loop(board(tmp_path)) as loop:
        for _ in loop.epochs(2):
            with loop.evaluation():
                loop.log(loss=loop.run.step)
            for value in loop.batches([1.0, 2.0]):
                loop.log(loss=value)
    assert steps(tmp_path / "validation", "evaluation_loss_vs_iterations") == [0, 2]


def test_a_rewind_drops_named_evaluations_too(tmp_path):
    """In this process, and from the files of an earlier one that are written to again."""
    for end in (True, False):
        bus = Bus(board(tmp_path), strict=True)
        if not end:
            bus.run.load_state_dict({**bus.run.state_dict(), "epoch": 0, "step": 2})
            bus.resumption.load([], bus.sinks)
        bus.train_begin()
        if not end:
            bus.rewind(1, 2)
        for epoch in range(0 if end else 1, 3):
            bus.epoch_begin(epoch)
            batch(bus, 2)
            bus.evaluation_begin(name="test")
            bus.evaluation_end({"loss": float(epoch)})
            bus.epoch_end(epoch, {})
        if end:
            bus.train_end()
    bus.rewind(2, 4)
    assert scalars(tmp_path / "test") == {
        "evaluation_loss_vs_iterations": [(2, 0.0), (4, 1.0)],
        "epoch_loss": [(0, 0.0), (1, 1.0)],
    }


def test_runs_of_one_object_continue(tmp_path):
    """Repeated runs that all begin with epoch 0 give ascending epochs and steps, where Keras writes 0, 0, 0."""
    bus = Bus(board(tmp_path, update_freq="batch"), strict=True)
    for _ in range(3):
        run(bus, 1)
    assert steps(tmp_path / "train", "epoch_loss") == [0, 1, 2]
    assert steps(tmp_path / "train", "batch_loss") == list(range(1, 10))
    assert steps(tmp_path / "validation", "evaluation_loss_vs_iterations") == [3, 6, 9]
    assert len(list((tmp_path / "train").iterdir())) == 1


def test_epochs_count_over_runs_for_what_is_written_seldom(tmp_path):
    """A thousand fits of one epoch write histograms every N fits, not in each."""
    bus = Bus(board(tmp_path, histogram_freq=2), model=Model(), strict=True)
    for _ in range(5):
        run(bus, 1)
    assert steps(tmp_path / "train", "dense/kernel/histogram") == [0, 2, 4]


def test_reset_begins_from_scratch(tmp_path):
    """After a reset the next run is numbered from 0."""
    sink = board(tmp_path)
    run(Bus(sink, strict=True), 2)
    sink.reset()
    run(Bus(sink, strict=True), 1)
    assert steps(tmp_path / "train", "epoch_loss") == [0]


def test_the_next_run_continues_after_an_aborted_one(tmp_path):
    """The steps of an epoch without a record are not given again, its epoch is."""
    bus = Bus(board(tmp_path, update_freq="batch"), strict=True)
    bus.train_begin()
    epochs(bus, 1)
    bus.epoch_begin(1)
    batch(bus, 2)
    run(bus, 1)
    assert bus.run.index == 1
    assert steps(tmp_path / "train", "batch_loss") == list(range(1, 9))
    assert steps(tmp_path / "train", "epoch_loss") == [0, 1]


def test_going_back_drops_what_came_later(tmp_path):
    """A rewind drops epochs by their number and batches by their step, in both runs, and training continues."""
    bus = Bus(board(tmp_path, update_freq="batch", **LOOKS), model=Model(), validation_data=DATA, strict=True)
    bus.train_begin()
    epochs(bus, 3)
    bus.rewind(1, 3)
    assert steps(tmp_path / "train", "batch_loss") == [1, 2, 3]
    assert steps(tmp_path / "train", "dense/kernel/histogram") == [0]
    assert {tuple(steps(tmp_path / "validation", tag)) for tag in ("epoch_loss", "pr_curve")} == {(0,)}
    assert steps(tmp_path / "validation", "evaluation_loss_vs_iterations") == [3]
    assert tree(tmp_path / "embeddings") == ["epoch-0000"]
    epochs(bus, 2)
    assert steps(tmp_path / "train", "batch_loss") == [1, 2, 3, 4, 5, 6]
    assert tree(tmp_path / "embeddings") == ["epoch-0000", "epoch-0001"]


@settings(max_examples=15)
@given(data=st.data(), batches=st.integers(1, 3), total=st.integers(1, 4), runs=st.integers(0, 1))
def test_a_resumed_run_is_like_an_uninterrupted_one(tmp_path_factory, data, batches, total, runs):
    """Killed anywhere and resumed in a new process, the files hold what they would without, each value once."""
    whole, resumed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("resumed")
    saved_after = data.draw(st.integers(0, total), label="saved after epochs")
    lost = data.draw(st.integers(0, 2), label="epochs lost")
    update_freq = data.draw(st.sampled_from(["batch", 2, 5]), label="update_freq")

    def bus_of(folder):
        return Bus(board(folder, update_freq=update_freq), model=Model(), strict=True)

    bus = bus_of(whole)
    for _ in range(runs):
        run(bus, 1)
    run(bus, total)

    bus = bus_of(resumed)
    for _ in range(runs):
        run(bus, 1)
    bus.train_begin()
    epochs(bus, saved_after, batches=3)
    save_state(resumed / "state.json", bus.state_dict())
    epochs(bus, saved_after + lost)
    bus.epoch_begin(bus.run.epoch + 1)
    batch(bus, batches)
    bus.flush()

    bus = bus_of(resumed)
    bus.load_state_dict(load_state(resumed / "state.json"))
    bus.train_begin()
    epochs(bus, total)
    bus.train_end()
    for each in ("train", "validation"):
        assert written(resumed / each) == written(whole / each)
        assert scalars(resumed / each) == scalars(whole / each)


def test_a_new_object_in_an_old_folder_is_logged(tmp_path, warned):
    """A second training in the same folder begins with 0 again, and a warning says what TensorBoard will show."""
    run(Bus(board(tmp_path), strict=True), 3)
    assert warned() == []
    run(Bus(board(tmp_path), strict=True), 1)
    assert len(warned()) == 1
    assert "has event files of an earlier run" in warned()[0]
    assert steps(tmp_path / "train", "epoch_loss") == [0]
