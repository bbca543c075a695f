"""Which curves share a panel, and what a panel shows of their values."""

import numpy as np
import pytest

from monitor_core.plotting.curves.curves import curves_of
from monitor_core.plotting.curves.panels import Scale, panels_of_run, panels_of_runs, scale_of
from monitor_core.plotting.curves.sources import read_sources


def layout(panels):
    return [(panel.label, [curve.name for curve in panel.curves], panel.is_main) for panel in panels]


def panels(history, **options):
    curves = curves_of(read_sources(history))
    return panels_of_runs(curves, **options) if options else panels_of_run(curves)


def scale(*runs):
    """Return the scale of the only panel of runs, given as the values of their loss."""
    (panel,) = panels({str(number): {"loss": values} for number, values in enumerate(runs)}, apart=False)
    return scale_of(panel)


def test_one_unit_has_one_panel():
    """Losses share one, shares another; what has a unit of its own has a small panel, the learning rate last."""
    names = ["learning_rate", "loss", "val_loss", "kl_loss", "r2", "mae", "val_mae", "accuracy", "auc"]
    assert layout(panels({name: [1.0] for name in names})) == [
        ("loss", ["loss", "val_loss", "kl_loss"], True),
        ("accuracy, auc", ["accuracy", "auc"], True),
        ("r2", ["r2"], False),
        ("mae", ["mae", "val_mae"], False),
        ("learning_rate", ["learning_rate"], False),
    ]


def test_without_a_loss_the_first_quantity_is_the_main_one():
    """A history of unknown names has a large panel too."""
    assert layout(panels({"mae": [1.0], "cost": [1.0]})) == [("mae", ["mae"], True), ("cost", ["cost"], False)]


def test_runs_have_a_panel_for_each_quantity():
    """Training and validation share it, unless they are to be apart."""
    runs = {run: {"loss": [1.0], "val_loss": [1.0], "mae": [1.0]} for run in "ab"}
    together = [("loss", ["loss", "loss", "val_loss", "val_loss"], True), ("mae", ["mae", "mae"], False)]
    assert layout(panels(runs, apart=False)) == together
    assert layout(panels(runs, apart=True)) == [
        ("training loss", ["loss", "loss"], True),
        ("validation loss", ["val_loss", "val_loss"], True),
        ("mae", ["mae", "mae"], False),
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1000.0, 1.0], "log"),
        ([999.0, 1.0], "linear"),
        ([1000.0, 0.0], "linear"),
        ([1000.0, -1.0], "linear"),
        ([1.0], "linear"),
        ([], "linear"),
    ],
)
def test_the_axis_is_logarithmic_beyond_three_decades_of_positive_values(values, kind):
    """Zero and negative values have no logarithm, and keep it linear."""
    (panel,) = panels({"loss": [*values, np.nan]})
    assert scale_of(panel).kind == kind


def test_a_share_is_never_logarithmic():
    """An accuracy that begins near zero is still read between 0 and 1."""
    (panel,) = panels({"accuracy": [1e-5, 0.9]})
    assert scale_of(panel) == Scale()


def test_one_diverging_run_does_not_set_the_limits():
    """The other nine are seen."""
    runs = [[2.0, 1.0, 0.5 + run / 100] for run in range(9)]
    assert scale(*runs, [2.0, 1e3, 1e8]) == Scale("linear", None, 2.0)


def test_runs_that_fall_far_below_do_not_set_the_limits_either():
    """Divergence has two directions."""
    runs = [[2.0, 1.0, 0.5]] * 9
    assert scale(*runs, [2.0, -1e3, -1e8]) == Scale("linear", 0.5, None)


def test_decades_are_counted_without_the_run_that_diverges():
    """Its values would else make the others' axis logarithmic."""
    assert scale([2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [2.0, 1e9]).kind == "linear"


def test_limits_leave_out_no_run_of_two_nor_a_third_or_more_of_many():
    """What many runs do is no exception."""
    assert scale([2.0, 1.0], [2.0, 900.0]) == Scale()
    assert scale([2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [2.0, 900.0], [2.0, 900.0]) == Scale()


@pytest.mark.parametrize(("value", "shown"), [(0.0, True), (2.0, True), (2.1, False), (-0.1, False)])
def test_a_scale_knows_what_it_shows(value, shown):
    """Its limits are shown themselves."""
    assert Scale("linear", 0.0, 2.0).shows(value) is shown


def test_a_dip_of_noise_does_not_make_the_axis_logarithmic():
    """One value in a thousand that is near zero by chance says nothing of the others; a spike does."""
    values = np.linspace(2.0, 1.0, 1000)
    values[500] = 1e-6
    assert scale(values).kind == "linear"
    values[500] = 1e6
    assert scale(values).kind == "log"
