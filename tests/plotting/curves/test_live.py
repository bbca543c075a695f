"""The live plot, in a real IPython shell that claims a kernel, and outside of one."""

import sys
import types

import pytest

from monitor_core import Bus, EarlyStopping, History, Loop, SetupError
from monitor_core.plotting import LivePlot, plot_history
from recorders import train

LOSSES = [[{"loss": 3.0}], [{"loss": 2.0}], [{"loss": 1.0}]]


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Return an IPython shell as a notebook's kernel has it; what it displays is captured."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    # A module of its own, since the shell would else become this process's __main__.
    module = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", module)
    shell = InteractiveShell.instance(config=config, user_module=module, user_ns=vars(module))
    shell.display_pub = CapturingDisplayPublisher()
    shell.kernel = object()
    yield shell
    InteractiveShell.clear_instance()


def displays(shell):
    """Return what was displayed, in order: its number among the displays, and whether it replaced the one before."""
    outputs = shell.display_pub.outputs
    ids = list(dict.fromkeys(output["transient"]["display_id"] for output in outputs))
    return [(ids.index(output["transient"]["display_id"]), bool(output.get("update"))) for output in outputs]


def heights(live):
    """Return the values of the curves in the last plot."""
    return {
        line.get_label(): line.get_ydata().tolist()
        for axes in live.figure.axes
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_an_evaluation_within_the_first_epoch_is_drawn(shell):
    """A run of one long epoch shows its curve while it trains."""
    live = LivePlot(every=0)
    shown = []
    with Loop(live) as loop:
        for _ in loop.epochs(1, steps_per_epoch=4):
            for step in loop.batches(range(1, 5)):
                loop.log(loss=0.5)
                shown.append(live.figure and heights(live))
                with loop.evaluation():
                    loop.log(loss=step)
    assert shown == [None, *({"val_loss": [1.0, 2.0, 3.0][:count]} for count in (1, 2, 3))]
    assert heights(live) == {"loss": [0.5], "val_loss": [1.0, 2.0, 3.0, 4.0]}
    assert loop.bus.failures == []


def test_every_epoch_replaces_the_plot(shell):
    """One display is made, and updated at every epoch's end and the training's."""
    live = LivePlot(every=0)
    bus = Bus(live)
    train(bus, *LOSSES)
    assert displays(shell) == [(0, False), (0, True), (0, True), (0, True)]
    assert heights(live) == {"loss": [3.0, 2.0, 1.0]}
    assert bus.failures == []


def test_the_notebook_is_given_a_png(shell):
    """The image is a PNG of twice the density, without pyplot having taught IPython so."""
    train(Bus(LivePlot(every=0, figsize=(4.0, 3.0))), *LOSSES)
    output = shell.display_pub.outputs[-1]
    assert output["data"]["image/png"].startswith(b"\x89PNG")
    assert output["metadata"]["image/png"] == {"width": 400, "height": 300}


def test_plots_are_drawn_no_oftener_than_asked(shell):
    """The first epoch is shown at once, the next ones not before time, and the end always."""
    live = LivePlot(every=3600)
    train(Bus(live), *LOSSES)
    assert displays(shell) == [(0, False), (0, True)]
    assert heights(live) == {"loss": [3.0, 2.0, 1.0]}


def test_another_cell_has_a_plot_of_its_own(shell):
    """A fit in the next cell does not redraw the plot above; the record continues."""
    live = LivePlot(every=3600)
    bus = Bus(live)
    train(bus, *LOSSES)
    shell.execution_count += 1
    train(bus, *LOSSES)
    assert displays(shell) == [(0, False), (0, True), (1, False)]
    assert heights(live) == {"loss": [3.0, 2.0, 1.0, 3.0, 2.0, 1.0]}


def test_runs_in_one_cell_share_the_plot(shell):
    """A thousand fits of one epoch do not fill the notebook with plots."""
    bus = Bus(LivePlot(every=0))
    for _ in range(3):
        train(bus, [{"loss": 1.0}])
    assert {number for number, _ in displays(shell)} == {0}


def test_reset_forgets_the_record(shell):
    """What comes after is drawn alone."""
    live = LivePlot(every=0)
    train(Bus(live), *LOSSES)
    live.reset()
    train(Bus(live), [{"loss": 0.5}])
    assert heights(live) == {"loss": [0.5]}


def test_a_metric_that_appears_late_is_drawn_from_then_on(shell):
    """Validation in every second epoch fails nothing before its first."""
    live = LivePlot(metrics=["loss", "val_acc"], every=0)
    bus = Bus(live)
    train(bus, [{"loss": 2.0}], [{"loss": 1.0, "val_accuracy": 0.5}])
    assert heights(live) == {"loss": [2.0, 1.0], "val_accuracy": [0.5]}
    assert bus.failures == []


def test_nothing_is_drawn_before_the_first_metric(shell):
    """Epochs without any value have no plot, and are no failure."""
    bus = Bus(LivePlot(every=0))
    train(bus, [{}], [{}])
    assert (displays(shell), bus.failures) == ([], [])


def test_a_metric_that_never_appears_is_reported_at_the_end(shell, warned):
    """The rest is drawn nevertheless, and training is not disturbed."""
    live = LivePlot(metrics=["loss", "val_los"], every=0)
    bus = Bus(live)
    train(bus, *LOSSES)
    assert heights(live) == {"loss": [3.0, 2.0, 1.0]}
    assert [(failure.hook, str(failure.error)) for failure in bus.failures] == [
        ("on_train_end", "\"no metric 'val_los'; this history has loss\"")
    ]


def test_a_display_that_fails_does_not_disturb_the_training(shell, monkeypatch, warned):
    """The bus isolates it, and the other sinks have their epochs."""

    def fail(*args, **options):
        raise RuntimeError("the front end is gone")

    monkeypatch.setattr(shell.display_pub, "publish", fail)
    history = History()
    bus = Bus(LivePlot(every=0), history)
    train(bus, *LOSSES)
    assert history["loss"].tolist() == [3.0, 2.0, 1.0]
    assert {str(failure.error) for failure in bus.failures} == {"the front end is gone"}


def test_the_last_plot_marks_what_decided(shell):
    """The history within knows how the run ended before that plot is drawn."""
    live = LivePlot(every=0)
    train(Bus(live, EarlyStopping("loss", patience=2)), *[[{"loss": 1.0}]] * 3)
    assert live.figure._supxlabel.get_text().startswith("■ stopped after epoch 3: loss did not improve")


def test_a_rewind_drops_the_epochs_that_are_repeated(shell):
    """After a resume from epoch 1, that epoch is there once."""
    live = LivePlot(every=0)
    bus = Bus(live)
    bus.train_begin()
    for epoch, loss in ((0, 3.0), (1, 2.0)):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": loss})
    bus.rewind(1, 0)
    bus.epoch_begin(1)
    bus.epoch_end(1, {"loss": 1.5})
    bus.train_end()
    assert heights(live) == {"loss": [3.0, 1.5]}


def test_outside_of_a_notebook_nothing_is_drawn():
    """A script records, and spends no time on plots that no one sees."""
    live = LivePlot(every=0)
    train(Bus(live), *LOSSES)
    assert (live.figure, live.history["loss"].tolist()) == (None, [3.0, 2.0, 1.0])


def test_in_a_terminal_s_ipython_nothing_is_drawn(shell):
    """Without a kernel there is no front end that shows images."""
    del shell.kernel
    live = LivePlot(every=0)
    train(Bus(live), *LOSSES)
    assert (live.figure, displays(shell)) == (None, [])


def test_outside_of_a_notebook_the_image_goes_to_the_file(tmp_path):
    """A script that was given a file keeps it up to date."""
    path = tmp_path / "live.svg"
    bus = Bus(LivePlot(every=0, to_file=path))
    bus.train_begin()
    bus.epoch_begin(0)
    bus.epoch_end(0, {"loss": 1.0})
    assert path.read_bytes().startswith(b"<?xml")
    path.unlink()
    bus.train_end()
    assert path.exists()


def test_a_folder_that_is_missing_is_reported_at_train_begin(tmp_path):
    """Not at the first epoch's end, hours later."""
    with pytest.raises(SetupError, match=r"to_file must be in a folder that is there \(got '.*live.png'"):
        Bus(LivePlot(to_file=tmp_path / "none" / "live.png")).train_begin()


def test_missing_matplotlib_is_reported_at_train_begin(shell, monkeypatch):
    """Where there will be something to draw, the extra is asked for before training."""
    monkeypatch.setattr("monitor_core.plotting.curves.live.find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r'LivePlot needs matplotlib: pip install "monitor_core\[plot\]"'):
        Bus(LivePlot()).train_begin()


def test_state_says_how_much_was_recorded():
    """It is the state of the history within."""
    live = LivePlot()
    train(Bus(live), *LOSSES)
    assert live.state_dict() == {"run": 0, "epochs": 3, "batches": 0, "evaluations": 0}
    live.load_state_dict({"run": 3, "epochs": 0, "batches": 0})
    assert live.state_dict() == {"run": 3, "epochs": 3, "batches": 0, "evaluations": 0}


def test_what_it_recorded_can_be_drawn():
    """The sink itself is a history to `plot_history`."""
    live = LivePlot()
    train(Bus(live), *LOSSES)
    assert plot_history(live).axes[0].lines[0].get_ydata().tolist() == [3.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": -1}, r"every must be >= 0 \(got -1\)"),
        ({"every": float("nan")}, r"every must be >= 0 \(got nan\)"),
        ({"smoothing": 1.0}, r"smoothing must be >= 0 and < 1 \(got 1.0\)"),
        ({"to_file": "live.gif"}, r"to_file must end in \.png or \.svg \(got 'live.gif'\)"),
        ({"metrics": []}, r"metrics must name at least one metric \(got \[\]\)"),
    ],
)
def test_wrong_arguments_are_refused_at_construction(options, message):
    """Each message names the argument, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        LivePlot(**options)


def test_metrics_must_not_be_a_string():
    """A string would be read letter by letter."""
    with pytest.raises(TypeError, match=r"metrics must be a sequence of names \(got 'loss'\)"):
        LivePlot(metrics="loss")
