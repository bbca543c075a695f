"""What a sink would have decided about a recorded run is what it decides in a training."""

import random

import pytest

from monitor_core import EarlyStopping, Journal, Loop, ReduceLROnPlateau, TerminateOnNaN, open_run
from monitor_core.errors import SetupError
from monitor_core.runs import decide


class Model:
    """A handle with a learning rate."""

    def __init__(self):
        self.learning_rates = [1.0]


def train(folder, losses, *sinks, model=None):
    with Loop(*sinks, Journal(folder), model=model) as loop:
        for epoch in loop.epochs(len(losses)):
            loop.log(val_loss=losses[epoch])
    return loop.run


@pytest.mark.parametrize("seed", range(10))
def test_another_patience_stops_where_it_would_have(tmp_path, seed):
    """On random curves, as a training with it does."""
    draw = random.Random(seed)
    losses = [draw.random() for _ in range(20)]
    train(tmp_path / "a", losses)
    patience = draw.randrange(1, 8)
    live = train(tmp_path / "b", losses, sink := EarlyStopping(patience=patience))
    decided = decide(open_run(tmp_path / "a"), EarlyStopping(patience=patience))
    assert (decided.reason, decided.epoch) == (live.stop_reason, live.epoch)
    assert decided.saved_epochs == 19 - live.epoch
    assert (decided.metric, decided.best_epoch, decided.best) == ("val_loss", sink.best_epoch, losses[sink.best_epoch])


def test_rates_that_a_plateau_would_have_set(tmp_path):
    """With the epochs in which they hold."""
    train(tmp_path / "a", [1.0] * 5, model=Model())
    decided = decide(open_run(tmp_path / "a"), ReduceLROnPlateau(patience=2, factor=0.5, min_delta=0.0))
    assert decided.rates == [(3, 0.5)]
    assert (decided.reason, decided.saved_epochs) == (None, 0)


def test_a_sink_that_watches_no_metric_has_no_best(tmp_path):
    """Only the reason."""
    train(tmp_path / "a", [1.0, float("nan"), 1.0])
    decided = decide(open_run(tmp_path / "a"), TerminateOnNaN(None))
    assert decided.reason.startswith("val_loss is nan")
    assert (decided.metric, decided.best) == (None, None)


def test_the_last_of_several_runs_is_replayed(tmp_path):
    """Alone."""
    train(tmp_path / "a", [1.0] * 9)
    train(tmp_path / "a", [2.0, 3.0])
    assert (decide(open_run(tmp_path / "a"), EarlyStopping(patience=5)).best) == 2.0
    (tmp_path / "b.csv").write_text("epoch,loss\n")
    with pytest.raises(SetupError, match="holds no run to replay"):
        decide(open_run(tmp_path / "b.csv"), EarlyStopping())


@pytest.mark.parametrize("name", ["learning_rate", "lr"])
def test_a_log_may_hold_the_learning_rate(tmp_path, name):
    """The first epoch's is the one that a plateau changes; without one, the message says what is missing."""
    sink = ReduceLROnPlateau(patience=2, factor=0.5, min_delta=0.0)
    rows = "".join(f"{epoch},1.0,0.25\n" for epoch in range(5))
    (tmp_path / "a.csv").write_text(f"epoch,val_loss,{name}\n{rows}")
    assert decide(open_run(tmp_path / "a.csv"), sink).rates == [(3, 0.125)]
    (tmp_path / "b.csv").write_text(f"epoch,val_loss,rate\n{rows}")
    with pytest.raises(SetupError, match=r"needs the learning rate, and none is on record in .*b.csv: a journal"):
        decide(open_run(tmp_path / "b.csv"), sink)
