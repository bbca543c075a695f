"""Training against validation: overfitting, a gap from the beginning, validation that is better."""

from __future__ import annotations

from itertools import pairwise

import attrs
import numpy as np

from monitor_core.bus.finding import Finding
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.seen import Floats, Seen
from monitor_core.diagnosis.trends import falls, noise, rises
from monitor_core.diagnosis.words import listed, number, percent
from monitor_core.values.text import counted


def generalization_loss(values: Floats) -> float:
    """Return by how many percent the last validation loss is above the best: Prechelt's GL."""
    return 100 * (float(values[-1]) / float(values.min()) - 1)


def progress(values: Floats, strip: int = 5) -> float:
    """Return by how many thousandths the mean training loss of the last epochs is above their best: Prechelt's P_k."""
    last = values[-strip:]
    return 1000 * (float(last.mean()) / float(last.min()) - 1)


def rising_strips(values: Floats, strip: int = 5) -> int:
    """Return at the ends of how many successive strips the validation loss has risen: Prechelt's UP_s."""
    ends = values[::-1][::strip]
    count = 0
    for later, earlier in pairwise(ends):
        if later <= earlier:
            break
        count += 1
    return count


@attrs.frozen
class Overfitting(Rule):
    """The validation loss has turned and rises while the training loss falls. Always a warning, never a problem.

    It may turn again (double descent, late generalization), so that the run is not a failure.

    Attributes:
        rise: By which share the validation loss, over the last epochs, must be above its best.
        noises: How many times its noise that must be.
        lost: Which share of what validation had gained, from a constant answer's loss or the first epoch's, it must be.
        epochs: For how many epochs.
        fall: By which share the training loss must have fallen since the turn.
    """

    symptom = "overfitting"
    source = "Prechelt 1998: GL, P_k and UP, with a bound on the noise"

    rise: float = 0.1
    noises: float = 4.0
    lost: float = 0.1
    epochs: int = 4
    fall: float = 0.1

    def check(self, seen: Seen) -> Finding | None:
        """Return it with the epoch where it turned."""
        train, val = seen.curve("loss"), seen.curve("val_loss")
        if len(train) != len(val) or len(val) < self.epochs + 2 or not (train.is_finite and val.is_finite):
            return None
        if val.values.min() <= 0 or train.values.min() <= 0:
            return None
        turn = int(val.values.argmin())
        last = val.values[-self.epochs :]
        if len(val) - 1 - turn < self.epochs:
            return None
        best, now = float(val.values[turn]), float(np.median(last))
        is_higher = now > (1 + self.rise) * best and now - best > self.noises * noise(val.values)
        gained = (seen.reference or float(val.values[0])) - best
        is_higher = is_higher and (gained <= 0 or now - best > self.lost * gained)
        fell = 1 - float(train.values[-1]) / float(train.values[turn])
        if not is_higher or fell < self.fall or not rises(val.values[turn:]):
            return None
        return self.found(
            seen,
            "warning",
            f"The validation loss was best in epoch {int(val.epochs[turn]) + 1}, {number(best)}, and has risen to "
            f"{number(now)}, while the training loss fell from {number(train.values[turn])} to "
            f"{number(train.values[-1])}: the model overfits.",
            "Stop there and keep the best weights (EarlyStopping with restore_best_weights=True), or use dropout, "
            "augmentation or more data.",
            turn=int(val.epochs[turn]),
            best=best,
            validation_loss=now,
            GL=generalization_loss(val.values),
            PQ=generalization_loss(val.values) / max(progress(train.values), 1e-9),
            UP=rising_strips(val.values),
            threshold=self.rise,
        )


@attrs.frozen
class MemorizedOnly(Rule):
    """The training loss goes far below that of a constant answer, and the validation loss never does.

    Attributes:
        fall: How far below, as a share of it.
        epochs: How many epochs are needed.
        begun: How far below after many epochs: where the network has begun to memorize.
        many: How many epochs are many.
    """

    symptom = "random_labels"
    needs = ("loss", "data")
    source = "Zhang et al. 2017: networks fit random labels"

    fall: float = 0.5
    epochs: int = 5
    begun: float = 0.93
    many: int = 8

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning: late generalization looks the same for long."""
        train, val, reference = seen.curve("loss"), seen.curve("val_loss"), seen.reference
        if reference is None or len(val) < self.epochs or not (train.is_finite and val.is_finite):
            return None
        if train.values[-1] > self.begun * reference or val.values.min() < 0.98 * reference:
            return None
        if train.values[-1] > self.fall * reference and not (len(val) >= self.many and falls(train.values, 3.0)):
            return None
        name = seen.accuracy
        if name is not None and seen.chance is not None and len(seen.curve(f"val_{name}")):
            best = float(np.nanmax(seen.curve(f"val_{name}").values))
            if best > seen.chance + 0.1 * (1 - seen.chance):
                return None
        return self.found(
            seen,
            "warning",
            f"The training loss has fallen to {number(train.values[-1])}, but the validation loss never went below "
            f"{number(val.values.min())}; always giving the labels' frequencies has {number(reference)}. The model "
            "memorizes, and nothing carries over.",
            "Check that inputs and targets still belong together after shuffling, and that both sets are made alike.",
            loss=float(train.values[-1]),
            validation_loss=float(val.values.min()),
            reference=reference,
        )


@attrs.frozen
class Gap(Rule):
    """Validation is far worse than training from the first epochs on, and stays so.

    Attributes:
        ratio: How many times the training loss the validation loss must be, in each epoch.
        epochs: For how many epochs.
        fallen: Below which share of its first value the validation loss counts as falling, however unevenly.
    """

    symptom = "train_validation_shift"

    ratio: float = 3.0
    epochs: int = 5
    fallen: float = 0.5

    def check(self, seen: Seen) -> Finding | None:
        """Return a warning if the validation loss does not fall either."""
        train, val = seen.curve("loss"), seen.curve("val_loss")
        if len(train) != len(val) or len(val) < self.epochs or not (train.is_finite and val.is_finite):
            return None
        if train.values.min() <= 0 or (val.values[1:] < self.ratio * train.values[1:]).any():
            return None
        if falls(val.values) or val.values[-1] < self.fallen * val.values[0]:
            return None
        return self.found(
            seen,
            "warning",
            f"The validation loss is {number(val.values[-1] / train.values[-1])} times the training loss, and was far "
            "above it from the beginning.",
            "Check that both sets come from the same source and are scaled and encoded in the same way.",
            loss=float(train.values[-1]),
            validation_loss=float(val.values[-1]),
            threshold=self.ratio,
        )


@attrs.frozen
class ValidationBetter(Rule):
    """Validation is clearly better than training: a note, with the reason if one is known.

    Attributes:
        ratio: The share of the training loss that the validation loss must be below.
        epochs: In how many of the last epochs.
    """

    symptom = "validation_better"
    source = "UMLAUT, which warns of it; with dropout or means over the epoch it is what one expects"

    ratio: float = 0.8
    epochs: int = 5

    def check(self, seen: Seen) -> Finding | None:
        """Return it for several epochs in a row."""
        train, val = seen.curve("loss"), seen.curve("val_loss")
        if len(train) != len(val) or len(val) < self.epochs or not (train.is_finite and val.is_finite):
            return None
        last = slice(-self.epochs, None)
        if train.values[last].min() <= 0 or (val.values[last] > self.ratio * train.values[last]).any():
            return None
        drops = [] if seen.model is None else [each.name for each in seen.model.layers if each.role == "dropout"]
        why = (
            f"Dropout ({listed(drops)}) is active in training only, which explains it."
            if drops
            else ("Augmentation, penalties in the training loss, or an easier validation set would explain it.")
        )
        return self.found(
            seen,
            "note",
            f"The validation loss is {percent(1 - float(val.values[-1] / train.values[-1]))} below the training loss, "
            f"for {counted(self.epochs, 'epoch')} now.",
            why,
            loss=float(train.values[-1]),
            validation_loss=float(val.values[-1]),
            threshold=self.ratio,
        )


@attrs.frozen
class ConstantMetric(Rule):
    """A metric has one value in all epochs.

    Attributes:
        epochs: For how many epochs.
    """

    symptom = "constant_metric"
    source = "DeepDiagnosis (accuracy constant over 20 epochs, loss over 5)"

    epochs: int = 10

    def check(self, seen: Seen) -> Finding | None:
        """Return it for training metrics that neither a rate sets nor are at their best."""
        for name in seen.names:
            values = seen.curve(name).values
            if (
                name in {"learning_rate", "loss"}
                or len(values) < self.epochs
                or np.ptp(values) != 0
                or not np.isfinite(values[0])
            ):
                continue
            if name.startswith("val_") or values[0] == 1.0 or (values[0] == 0.0 and "acc" not in name):
                continue
            return self.found(
                seen,
                "warning",
                f"{name} has been {number(values[0])} in each of {counted(len(values), 'epoch')}.",
                "Check that the metric fits the output and the targets.",
                metric=name,
                value=float(values[0]),
                epochs=len(values),
                threshold=self.epochs,
            )
        return None
