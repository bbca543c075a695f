"""Adapter: what ``verbose`` shows."""

import keras
import pytest

from adapter_support import (
    TRAIN,
    fit,
    model,  # noqa: F401 (fixtures)
)
from monitor_core import (
    History,
    Progress,
    on,
)
from monitor_core.adapters.keras import KerasAdapter
from monitor_core.adapters.keras.output import hint


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (1, 2), (2, 2), ("auto", 2)])
@pytest.mark.parametrize("brings", [True, False])
def test_adapter_fit_shows_what_verbose_asks_for(model, capsys, verbose, lines, brings):
    """A line for each epoch where no terminal is, once, whether the user has a Progress among the sinks or not."""
    adapter = KerasAdapter(History(), *([] if brings else [Progress()]))
    sinks = adapter.bus.sinks
    for _ in range(2):
        adapter.fit(model, *TRAIN, epochs=2, verbose=verbose)
    expected = lines if brings else 2
    out, err = capsys.readouterr()
    assert [line[:9] for line in err.splitlines()] == ["epoch 1/2", "epoch 2/2"][:expected] * 2
    assert (adapter.bus.sinks, out) == (sinks, "")


def test_verbose_2_gets_lines_without_bars(model):
    """For ``verbose=2`` the Progress that is brought along draws no bar; for 1 it may."""
    bars = []
    note = on("train_begin", lambda run: bars.extend(each.bars for each in adapter.bus.sinks[1:]))
    adapter = KerasAdapter(note)
    for verbose in (2, 1):
        adapter.fit(model, *TRAIN, verbose=verbose)
    assert bars == [False, None]


def test_a_whole_adapter_says_once_how_to_see_something(model, warned):
    """With ``callbacks=adapter`` nothing shows the progress that verbose asks for, and one warning says what does."""
    hint.cache_clear()
    fit(model, KerasAdapter(History()), verbose=0)
    fit(model, [KerasAdapter(History())], verbose=2)
    assert warned() == []
    for _ in range(2):
        fit(model, KerasAdapter(History()), verbose="auto")
    (text,) = warned()
    assert "add Progress() to the sinks, call adapter.fit(model, ...) instead, or pass verbose=0" in text


@pytest.mark.parametrize("shown", [True, False])
def test_a_list_draws_one_progress(model, capsys, shown):
    """In a list Keras draws its own bar, unless a Progress among the sinks shows the fit."""
    adapter = KerasAdapter(History(), *([Progress()] if shown else []))
    fit(model, [adapter], epochs=1, verbose=2)
    out, err = capsys.readouterr()
    assert (err.startswith("epoch 1/1"), "loss" in out) == (shown, not shown)


def test_keras_bar_among_the_parts_is_the_one_that_draws(model, capsys):
    """A ProgbarLogger among the parts draws as verbose says, and no Progress is brought along."""
    KerasAdapter(keras.callbacks.ProgbarLogger(), History()).fit(model, *TRAIN, verbose=2)
    out, err = capsys.readouterr()
    assert ("epoch 1/1" in err, "loss" in out) == (False, True)
