"""How runs are ranked, and the table that says so."""

import numpy as np

from monitor_core import EarlyStopping, History, Loop
from monitor_core.plotting import plot_history
from monitor_core.plotting.curves.curves import curves_of
from monitor_core.plotting.curves.sources import read_sources
from monitor_core.plotting.curves.table import rank


def ranking(runs, metrics=None):
    sources = read_sources(runs)
    return rank(sources, curves_of(sources, metrics))


def order(runs):
    found = ranking(runs)
    return found.metric, found.mode, [row.run for row in found.rows]


def cells(figure):
    """Return the table's rows as they are written, by their heights, with their weights."""
    (side,) = [axes for axes in figure.axes if axes.get_label() == "runs"]
    rows = {}
    for text in side.texts:
        rows.setdefault(round(text.get_position()[1], 3), []).append((text.get_text(), text.get_weight()))
    return [rows[height] for height in sorted(rows, reverse=True)]


def test_runs_are_ranked_by_their_validation_loss():
    """The lowest comes first; a run that diverged at once comes last."""
    runs = {"a": {"val_loss": [2.0]}, "b": {"val_loss": [np.nan]}, "c": {"val_loss": [3.0, 1.0], "loss": [0.0, 0.0]}}
    assert order(runs) == ("val_loss", "min", ["c", "a", "b"])


def test_without_a_loss_the_direction_is_the_metric_s_own():
    """The highest accuracy comes first."""
    assert order({"a": {"acc": [0.5]}, "b": {"accuracy": [0.7]}}) == ("acc", "max", ["b", "a"])


def test_the_metric_that_sinks_monitored_ranks():
    """Whatever the loss is."""
    runs = {}
    for name, accuracies in {"a": [0.5, 0.6], "b": [0.7, 0.4]}.items():
        runs[name] = History()
        with Loop(runs[name], EarlyStopping("accuracy", patience=9)) as loop:
            for epoch in loop.epochs(2):
                loop.log(val_loss=1.0, accuracy=accuracies[epoch])
    assert order(runs) == ("accuracy", "max", ["b", "a"])


def test_a_metric_of_unknown_direction_ranks_nothing():
    """The runs stay in their order, and nothing is called the best."""
    assert order({"a": {"x": [1.0]}, "b": {"x": [2.0]}}) == (None, "min", ["a", "b"])


def test_the_table_is_sorted_and_its_best_run_bold():
    """A row a run: its label, its best value and the epoch, from 1."""
    figure = plot_history({"a": {"loss": [3.0, 2.0]}, "b": {"loss": [1.0, 2.0]}})
    assert cells(figure) == [
        [("run", "normal"), ("lowest loss", "normal"), ("epoch", "normal")],
        [("b", "bold"), ("1", "bold"), ("1", "bold")],
        [("a", "normal"), ("2", "normal"), ("2", "normal")],
    ]


def test_training_and_validation_are_distinguished_below():
    """Only where both are in one diagram."""
    figure = plot_history([{"loss": [3.0], "val_loss": [4.0]}])
    assert cells(figure)[-2:] == [[("training", "normal")], [("validation", "normal")]]


def test_what_has_no_room_is_counted():
    """A hundred runs are drawn; the best of them are listed."""
    figure = plot_history([{"loss": [float(number)]} for number in range(100)])
    assert cells(figure)[-1] == [("and 60 more", "normal")]


def test_the_table_is_inside_the_figure():
    """Long labels make the diagrams narrower."""
    figure = plot_history({"a very long label of a run, " * 2 + str(number): {"loss": [1.0]} for number in range(3)})
    figure.canvas.draw()
    (side,) = [axes for axes in figure.axes if axes.get_label() == "runs"]
    boxes = [text.get_window_extent() for text in side.texts]
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    assert max(box.y1 for box in boxes) <= figure.bbox.y1
    assert min(box.x0 for box in boxes) > figure.axes[0].bbox.x1
