"""Schedules against the formulas' publishers: Keras's schedules and PyTorch's schedulers."""

import os

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_core.schedules import CosineDecay, CosineDecayRestarts, LinearWarmup

EXAMPLES = 3000 if os.environ.get("MONITOR_CORE_LONG") else 100
KERAS_EXAMPLES = EXAMPLES // 4  # on JAX, Keras compiles its schedules again at each call
rates = st.floats(1e-4, 10)
fractions = st.floats(0, 1)
counts = st.integers(1, 25)


def torch_rates(make_scheduler, rate, positions):
    """Return a PyTorch scheduler's rate at each position."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler = make_scheduler(torch.optim.lr_scheduler, optimizer)
    found = []
    for _ in range(positions):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_docstring_examples_hold():
    """The values in the docstrings are what the schedules give."""
    assert list(map(LinearWarmup(0.0, 0.5, 4), range(6))) == [0.0, 0.125, 0.25, 0.375, 0.5, 0.5]
    decay = CosineDecay(0.0, 100, warmup_target=0.5, warmup_steps=10)
    assert [decay(step) for step in (0, 5, 10, 60, 110, 1000)] == [0.0, 0.25, 0.5, 0.25, 0.0, 0.0]
    restarts = CosineDecayRestarts(0.5, 2)
    assert [round(restarts(step), 3) for step in range(7)] == [0.5, 0.25, 0.5, 0.427, 0.25, 0.073, 0.5]


@settings(max_examples=KERAS_EXAMPLES)
@given(
    rate=rates, steps=counts, alpha=fractions, warmup=st.none() | st.tuples(rates, counts), position=st.integers(0, 80)
)
def test_cosine_decay_is_that_of_keras(rate, steps, alpha, warmup, position):
    """With and without a warm-up, and beyond the end, the rate is Keras's up to float32."""
    options = {} if warmup is None else {"warmup_target": warmup[0], "warmup_steps": warmup[1]}
    theirs = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=alpha, **options)(position)
    ours = CosineDecay(rate, steps, alpha=alpha, **options)(position)
    peak = max(rate, 0 if warmup is None else warmup[0])
    assert ours == pytest.approx(float(theirs), rel=1e-5, abs=1e-6 * peak)


@settings(max_examples=KERAS_EXAMPLES)
@given(
    rate=rates,
    steps=counts,
    t_mul=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
    m_mul=fractions,
    alpha=fractions,
    part=fractions,
)
def test_restarts_are_those_of_keras(rate, steps, t_mul, m_mul, alpha, part):
    """The rate with restarts is Keras's, but at the first position of a wave, where Keras's logarithm may be off."""
    schedule = CosineDecayRestarts(rate, steps, t_mul=t_mul, m_mul=m_mul, alpha=alpha)
    position = int(part * 20 * steps)
    _, fraction = schedule._place(position)
    theirs = keras.optimizers.schedules.CosineDecayRestarts(rate, steps, t_mul=t_mul, m_mul=m_mul, alpha=alpha)
    if 1e-3 < fraction < 1 - 1e-3:
        assert schedule(position) == pytest.approx(float(theirs(position)), rel=1e-4, abs=1e-5 * rate)


@settings(max_examples=EXAMPLES)
@given(rate=rates, steps=counts, alpha=fractions)
def test_cosine_decay_is_pytorchs_cosine_annealing(rate, steps, alpha):
    """Up to its last position, the rate is that of CosineAnnealingLR, which then would rise again."""
    theirs = torch_rates(
        lambda schedulers, optimizer: schedulers.CosineAnnealingLR(optimizer, steps, eta_min=alpha * rate),
        rate,
        steps + 1,
    )
    assert list(map(CosineDecay(rate, steps, alpha=alpha), range(steps + 1))) == pytest.approx(
        theirs, rel=1e-6, abs=1e-9
    )


@settings(max_examples=EXAMPLES)
@given(rate=rates, steps=counts, t_mul=st.integers(1, 3), alpha=fractions)
def test_restarts_are_pytorchs_warm_restarts(rate, steps, t_mul, alpha):
    """With m_mul=1, the rate is that of CosineAnnealingWarmRestarts at every position."""
    theirs = torch_rates(
        lambda schedulers, optimizer: schedulers.CosineAnnealingWarmRestarts(optimizer, steps, t_mul, alpha * rate),
        rate,
        60,
    )
    ours = CosineDecayRestarts(rate, steps, t_mul=t_mul, alpha=alpha)
    assert list(map(ours, range(60))) == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@settings(max_examples=EXAMPLES)
@given(rate=rates, start=st.floats(0.01, 1), steps=counts, decay=counts)
def test_warm_up_then_decay_is_pytorchs_sequence(rate, start, steps, decay):
    """A warm-up alone is LinearLR; followed by a decay it is a SequentialLR of both."""
    alone = torch_rates(
        lambda schedulers, optimizer: schedulers.LinearLR(optimizer, start, total_iters=steps), rate, steps + 3
    )
    ours = LinearWarmup(start * rate, rate, steps)
    assert list(map(ours, range(steps + 3))) == pytest.approx(alone, rel=1e-9)

    def sequence(schedulers, optimizer):
        parts = [
            schedulers.LinearLR(optimizer, start, total_iters=steps),
            schedulers.CosineAnnealingLR(optimizer, decay),
        ]
        return schedulers.SequentialLR(optimizer, parts, milestones=[steps])

    both = torch_rates(sequence, rate, steps + decay + 1)
    ours = LinearWarmup(start * rate, rate, steps, then=CosineDecay(rate, decay))
    assert list(map(ours, range(steps + decay + 1))) == pytest.approx(both, rel=1e-6, abs=1e-9)


def test_a_wave_may_begin_again_a_million_times():
    """Waves of one length are not counted one by one."""
    assert CosineDecayRestarts(0.5, 3, t_mul=1)(3 * 10**12) == 0.5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CosineDecay(-1, 5), ValueError, r"initial_learning_rate must be >= 0 and finite \(got -1\)"),
        (lambda: CosineDecay("1", 5), TypeError, r"initial_learning_rate must be a number \(got '1'\)"),
        (lambda: CosineDecay(1, 0), ValueError, r"decay_steps must be >= 1 \(got 0\)"),
        (lambda: CosineDecay(1, 2.5), TypeError, r"decay_steps must be an integer \(got 2\.5\)"),
        (lambda: CosineDecay(1, 5, alpha=np.nan), ValueError, r"alpha must be >= 0 and finite \(got nan\)"),
        (lambda: CosineDecay(1, 5, warmup_steps=3), ValueError, r"warmup_target must be given with warmup_steps"),
        (lambda: CosineDecay(1, 5, warmup_target=3), ValueError, r"warmup_steps must be >= 1 \(got 0\)"),
        (lambda: CosineDecayRestarts(1, 5, t_mul=0.5), ValueError, r"t_mul must be >= 1 and finite \(got 0\.5\)"),
        (lambda: LinearWarmup(0, 1, 0), ValueError, r"warmup_steps must be >= 1 \(got 0\)"),
        (lambda: LinearWarmup(0, 1, 5, then=0.1), TypeError, r"then must be a function of a position \(got 0\.1\)"),
    ],
)
def test_arguments_out_of_range_are_errors(make, error, message):
    """Each argument's rule is checked at construction."""
    with pytest.raises(error, match=message):
        make()
