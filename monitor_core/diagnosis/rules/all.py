"""All rules, with their thresholds."""

from __future__ import annotations

from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.rules import data, gradients, layers, losses, non_finite, oscillating, rates, units
from monitor_core.diagnosis.rules.learning import NotLearning, Plateau, Undertrained
from monitor_core.diagnosis.rules.rising import Rising
from monitor_core.diagnosis.rules.timing import MemoryGrowth, Slowing, WaitingForData
from monitor_core.diagnosis.rules.validation import (
    ConstantMetric,
    Gap,
    MemorizedOnly,
    Overfitting,
    ValidationBetter,
)

STATIC: tuple[Rule, ...] = (
    losses.OneSoftmaxUnit(),
    losses.SquashedTwice(),
    losses.LogitsOrProbabilities(),
    losses.SquaredErrorOnClasses(),
    losses.Labels(),
    losses.OutputRange(),
    losses.OutputShape(),
    losses.AccuracyOnRegression(),
    layers.NothingTrainable(),
    layers.MissingNonlinearity(),
    layers.HighDropout(),
    layers.DropoutOnOutput(),
    rates.RateOfZero(),
    rates.RateFarTooHigh(),
    data.DataNotFinite(),
    data.InputScale(),
    data.TargetScale(),
    data.ConstantTarget(),
    data.ClassImbalance(),
    data.Unshuffled(),
    data.LabelLeak(),
    data.ValidationScale(),
)
CURVES: tuple[Rule, ...] = (
    non_finite.NonFinite(),
    non_finite.NegativeLoss(),
    Rising(),
    NotLearning(),
    Undertrained(),
    Plateau(),
    oscillating.Oscillation(),
    oscillating.Spikes(),
    Overfitting(),
    MemorizedOnly(),
    Gap(),
    ValidationBetter(),
    ConstantMetric(),
)
INSIDE: tuple[Rule, ...] = (
    units.HugeOutputs(),
    units.BadInit(),
    units.ConstantWeights(),
    units.SymmetricUnits(),
    units.DeadUnits(),
    units.SaturatedUnits(),
    units.ConstantOutput(),
    units.TrainEvalMismatch(),
    gradients.VanishingGradient(),
    gradients.ZeroGradient(),
    gradients.Movement(),
    gradients.Penalties(),
)
TIME: tuple[Rule, ...] = (Slowing(), WaitingForData(), MemoryGrowth())

RULES: tuple[Rule, ...] = (*STATIC, *CURVES, *INSIDE, *TIME)
