"""Setting the rate by a schedule, against Keras's callback and schedules and PyTorch's LambdaLR."""

import functools
import logging
import math
import operator
import os

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core import Bus, History, Loop, SetupError, Sink
from monitor_core.adapters.keras import KerasAdapter, KerasModel
from monitor_core.schedules import CosineDecay, LinearWarmup
from monitor_core.sinks.learning_rate_scheduler import LearningRateScheduler
from recorders import Handle, Recorder

EXAMPLES = 10_000 if os.environ.get("MONITOR_CORE_LONG") else 100


class RatesSeen(Sink):
    """Note all rates in force at each epoch's end, or each batch's."""

    def __init__(self, *, batches=False):
        self.rates = []
        self._batches = batches

    def on_epoch_end(self, run, epoch, logs):
        if not self._batches:
            self.rates.append(list(run.model.learning_rates))

    def on_batch_end(self, run, step, logs):
        if self._batches:
            self.rates.append(list(run.model.learning_rates))


def rates_of(scheduler, handle, epochs=3, batches=2):
    """Return the rates that were in force in each epoch, or in each batch where the schedule is by step."""
    seen = RatesSeen(batches=scheduler.unit == "step")
    with Loop(scheduler, seen, model=handle) as loop:
        for _ in loop.epochs(epochs):
            for _ in loop.batches(range(batches)):
                loop.log(loss=1.0)
    return seen.rates


# --- the same as Keras ---------------------------------------------------------------------------------------------


class KerasStub:
    """A model and its optimizer in one, as Keras's callback sees them."""

    def __init__(self, rate):
        self.learning_rate = rate

    @property
    def optimizer(self):
        return self


@settings(max_examples=EXAMPLES)
@given(
    factors=st.lists(st.sampled_from([0.0, 0.5, 0.25, 1.0, 2.0]), min_size=1, max_size=20),
    rate=st.sampled_from([0.125, 1.0, 2.0]),
    takes_rate=st.booleans(),
)
def test_rates_are_those_of_keras(factors, rate, takes_rate):
    """A schedule of the epoch, or of the epoch and the rate, is asked for the same and gives the same as in Keras."""

    def by_epoch(epoch):
        return factors[epoch]

    def by_epoch_and_rate(epoch, rate):
        return rate * factors[epoch]

    schedule = by_epoch_and_rate if takes_rate else by_epoch
    callback = keras.callbacks.LearningRateScheduler(schedule)
    callback.set_model(model := KerasStub(rate))
    theirs = []
    for epoch in range(len(factors)):
        callback.on_epoch_begin(epoch)
        theirs.append([float(model.learning_rate)])
    assert rates_of(LearningRateScheduler(schedule), Handle(rate), epochs=len(factors)) == theirs


X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
FIT = {"batch_size": 8, "shuffle": False, "verbose": 0}


@pytest.fixture(scope="module")
def compiled():
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.25), "mse")
    return model, model.get_weights()


def fresh(compiled):
    model, start = compiled
    model.set_weights(start)
    model.optimizer.learning_rate = 0.25
    return model


@pytest.mark.parametrize("case", range(10))
def test_fits_are_those_of_keras(compiled, case):
    """In real fits, whole or one epoch a call inside of a loop, every loss and rate is that with Keras's callback."""
    table = np.random.default_rng(case).uniform(0, 0.3, 6).tolist()
    schedules = [
        lambda epoch: table[epoch],
        lambda epoch, rate: rate * 3 * table[epoch],
        LinearWarmup(0.1, table[0], 4),
    ]
    schedule = schedules[case % 3]
    theirs = fresh(compiled).fit(X, Y, epochs=6, callbacks=[keras.callbacks.LearningRateScheduler(schedule)], **FIT)
    model = fresh(compiled)
    model.fit(
        X, Y, epochs=6, callbacks=KerasAdapter(LearningRateScheduler(schedule), one := History(), model=model), **FIT
    )
    model = fresh(compiled)
    with Loop(LearningRateScheduler(schedule), many := History(), model=KerasModel(model)) as loop:
        for _ in loop.epochs(6):
            model.fit(X, Y, epochs=1, callbacks=KerasAdapter(loop), **FIT)
    assert dict(one.history) == theirs.history
    assert dict(many.history) == theirs.history


def test_by_step_is_a_schedule_that_is_compiled_into_the_optimizer(compiled):
    """With unit="step", training goes as with the same schedule as the rate of Keras's own optimizer."""
    model = fresh(compiled)
    schedule = CosineDecay(0.01, 6, warmup_target=0.2, warmup_steps=3)
    adapter = KerasAdapter(LearningRateScheduler(schedule, unit="step"), history := History(), model=model)
    model.fit(X, Y, epochs=4, callbacks=adapter, **FIT)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    other.set_weights(compiled[1])
    compiled_in = keras.optimizers.schedules.CosineDecay(0.01, 6, warmup_target=0.2, warmup_steps=3)
    other.compile(keras.optimizers.SGD(compiled_in), "mse")
    theirs = other.fit(X, Y, epochs=4, **FIT)
    np.testing.assert_allclose(history["loss"], theirs.history["loss"], rtol=1e-4)


def test_a_rate_that_is_a_schedule_already_is_refused_at_train_begin():
    """An optimizer whose rate is a schedule object is an error that says what to do, before the first batch."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5)), "mse")
    with pytest.raises(SetupError, match=r"compile the model with a number, learning_rate=0\.001, or remove Learning"):
        model.fit(X, Y, callbacks=KerasAdapter(LearningRateScheduler(lambda epoch: 0.1), model=model), **FIT)


# --- the same as PyTorch -------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(batches=st.integers(1, 5), epochs=st.integers(1, 4), decay=st.floats(0.1, 1))
def test_by_step_is_pytorchs_lambda_lr(batches, epochs, decay):
    """With unit="step", the rate of every batch is that of LambdaLR stepped after each: position 0 is the first's."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: decay**step)
    theirs = []
    for _ in range(epochs * batches):
        theirs.append([optimizer.param_groups[0]["lr"]])
        optimizer.step()
        scheduler.step()
    ours = LearningRateScheduler(lambda step: 0.5 * decay**step, unit="step")
    assert rates_of(ours, Handle(0.1), epochs, batches) == theirs


# --- what it asks the schedule -------------------------------------------------------------------------------------


class Schedule:
    def __call__(self, epoch):
        return 0.5


class Silent(Schedule):
    """A callable without a readable signature, as some built-ins are."""

    __signature__ = "none"

    def __repr__(self):
        return "Silent()"


def named(epoch, /, *, base=0.5):
    return base


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (lambda epoch: 0.5, [0.5, 0.5]),
        (lambda epoch, rate: rate / 2, [0.5, 0.05]),
        (lambda epoch, rate=8.0: rate / 2, [0.5, 0.05]),
        (lambda *arguments: arguments[1], [1.0, 0.1]),
        (functools.partial(lambda base, epoch: base, 0.5), [0.5, 0.5]),
        (operator.mul, [0.0, 0.0]),
        (Schedule(), [0.5, 0.5]),
        (named, [0.5, 0.5]),
        (lambda epoch: np.float32(0.5), [0.5, 0.5]),
        (lambda epoch: np.array([0.5]), [0.5, 0.5]),
        (lambda epoch: 0, [0.0, 0.0]),
    ],
)
def test_a_schedule_is_asked_by_its_signature(schedule, rates):
    """One argument: the same rate for all groups; two: each group's rate by its own. Any number will do."""
    assert rates_of(LearningRateScheduler(schedule), Handle(1.0, 0.1), epochs=1) == [rates]


def test_a_type_error_inside_of_a_schedule_is_not_taken_for_its_signature(warned):
    """A schedule that raises TypeError is not called again with fewer arguments, as in Keras; the failure is logged."""
    calls = []

    def schedule(epoch, rate=0.25):
        calls.append((epoch, rate))
        return rate + None

    scheduler = LearningRateScheduler(schedule)
    assert rates_of(scheduler, Handle(1.0), epochs=2) == [[1.0], [1.0]]
    assert calls == [(0, 1.0), (1, 1.0)]
    assert warned()[0] == "LearningRateScheduler.on_epoch_begin raised at step 0; training continues"


@pytest.mark.parametrize("result", [math.nan, math.inf, -0.1, None, "0.1", True, [0.1], np.array([0.1, 0.2])])
@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_a_result_that_is_no_rate_is_refused(result, unit):
    """A result that is not a finite number >= 0 raises with schedule, position and value; no rate is set."""

    def schedule(position):
        return result if position == 1 else 0.5

    bus = Bus(LearningRateScheduler(schedule, unit=unit), Recorder("on_train_end"), model=(handle := Handle(1.0)))
    bus.train_begin()
    for number in range(2):
        bus.epoch_begin(number)
        bus.batch_begin(number + 1)
        bus.batch_end(number + 1)
        bus.epoch_end(number)
    (failure,) = bus.failures
    assert handle.learning_rates == [0.5]
    assert str(failure.error) == (f"schedule schedule must return a finite number >= 0 (got {result!r} for {unit} 1)")


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (0.1, TypeError, r"schedule must be a function of an epoch or step \(got 0\.1\)"),
        (lambda: 0.1, TypeError, r"schedule must take \(epoch\) or \(epoch, rate\), positionally \(got <lambda>\(\)\)"),
        (lambda a, b, c: 0.1, TypeError, r"schedule must take .* \(got <lambda>\(a, b, c\)\)"),
        (lambda *, epoch: 0.1, TypeError, r"schedule must take .* \(got <lambda>\(\*, epoch\)\)"),
        (
            Silent(),
            TypeError,
            r"schedule must take .* \(got Silent\(\), which has no signature to inspect: wrap it in a function\)",
        ),
    ],
)
def test_what_cannot_be_asked_is_an_error_at_construction(schedule, error, message):
    """A schedule that takes no position, or too much, is found at construction."""
    with pytest.raises(error, match=message):
        LearningRateScheduler(schedule)


def test_the_unit_is_an_epoch_or_a_step():
    """Any other unit is an error at construction."""
    with pytest.raises(ValueError, match=r"unit must be 'epoch' or 'step' \(got 'batch'\)"):
        LearningRateScheduler(Schedule(), unit="batch")


# --- in a run ------------------------------------------------------------------------------------------------------


def test_steps_count_over_the_run():
    """By step, the position counts the batches of the whole run, from 0."""
    scheduler = LearningRateScheduler(lambda step: step / 8, unit="step")
    assert rates_of(scheduler, Handle(1.0), epochs=2, batches=2) == [[0.0], [0.125], [0.25], [0.375]]


def test_by_step_a_schedule_may_take_the_rate():
    """By step, too, a schedule of two arguments gets each group's present rate."""
    scheduler = LearningRateScheduler(lambda step, rate: rate / 2, unit="step")
    assert rates_of(scheduler, Handle(1.0, 4.0), epochs=1, batches=2) == [[0.5, 2.0], [0.25, 1.0]]


def test_by_step_the_rate_is_not_read_for_each_batch():
    """A schedule of one argument costs no reading of the rate, which may wait for a device, but one an epoch."""

    class Counting(Handle):
        readings = 0

        def __getattribute__(self, name):
            if name == "learning_rates":
                Counting.readings += 1
            return super().__getattribute__(name)

    handle = Counting(1.0)
    with Loop(LearningRateScheduler(Schedule(), unit="step"), model=handle) as loop:
        for _ in loop.epochs(1):
            before = Counting.readings
            for _ in loop.batches(range(50)):
                pass
            assert Counting.readings == before


def test_a_run_that_continues_elsewhere_keeps_its_rates():
    """Cut after any epoch and continued from its state, a run has the rates of one that was not cut."""

    def schedule(epoch, rate):
        return rate * (epoch + 1) / 4

    whole = rates_of(LearningRateScheduler(schedule), Handle(1.0), epochs=6)
    for cut in range(1, 6):
        handle, seen = Handle(1.0), RatesSeen()
        with Loop(LearningRateScheduler(schedule), seen, model=handle) as loop:
            list(loop.epochs(cut))
        other = Loop(LearningRateScheduler(schedule), seen, model=handle)
        other.bus.load_state_dict(loop.bus.state_dict())
        with other:
            list(other.epochs(6))
        assert seen.rates == whole


def test_a_new_rate_is_logged(caplog):
    """An epoch's rate is logged when it changes."""
    caplog.set_level(logging.INFO, logger="monitor_core")

    def halves(epoch):
        return 0.5 if epoch < 2 else 0.25

    rates_of(LearningRateScheduler(halves), Handle(0.5, 0.5), epochs=4)
    assert caplog.messages == ["epoch 3: halves set the learning rate to 0.25, 0.25"]


def test_the_rate_is_in_the_epochs_logs():
    """Every epoch's logs have its rate."""
    with Loop(history := History(), LearningRateScheduler(lambda epoch: 1 / (epoch + 1)), model=Handle(9.0)) as loop:
        list(loop.epochs(3))
    assert history["learning_rate"].tolist() == [1.0, 0.5, 1 / 3]


def test_a_model_without_rates_is_an_error_at_train_begin():
    """A run without a handle fails before its first epoch, naming sink and need."""
    with (
        pytest.raises(SetupError, match="LearningRateScheduler needs 'learning_rates' of the model"),
        Loop(LearningRateScheduler(Schedule())),
    ):
        pass
