"""Looks at a run's model and data for an examination; whatever fails is listed as not looked at, with the reason.

Contract. Nothing here raises, but for interrupts. The model and the data are left unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import numpy as np

from monitor_core._log import logger
from monitor_core.bus.run import Run
from monitor_core.diagnosis import data as of_data
from monitor_core.diagnosis.data import shared_rows, summarize
from monitor_core.diagnosis.seen import Seen
from monitor_core.model.probe import SAMPLES, Probe, Prober
from monitor_core.model.samples import first_samples

SHARE = 0.02
"""The share of the run's time that probes may take, the first one aside."""
WITHIN_SECONDS = 30.0
"""After how many seconds since the last one a probe is made within an epoch, and after a fiftieth of the run's time."""


@attrs.define(eq=False)
class Observer:
    """Looks at the model and the data of one run.

    Args:
        seen: Where it is noted what was seen.
        clock: Seconds, from any origin.

    Attributes:
        sample: What is passed through the model, ``(x, y)``, or None.
        first_cost: What the first probe took, with what it built, seconds.
        cost: What the later ones took.
    """

    seen: Seen
    clock: Callable[[], float] = time.perf_counter
    sample: tuple[Any, Any] | None = None
    first_cost: float | None = None
    cost: float = 0.0
    _began: float = attrs.field(init=False)
    _next: int = 0
    _last: float = 0.0
    _looked: float = attrs.field(init=False)
    _prober: Prober | None = None
    _failed: bool = False

    def __attrs_post_init__(self) -> None:
        self._began = self._looked = self.clock()

    # --- data ------------------------------------------------------------------------------------------------------

    def look_at_data(self, data: Any) -> None:
        """Note what training data is like: ``(x, y)`` as arrays, or a batch."""
        try:
            x, y = (
                data if isinstance(data, tuple) and len(data) == 2 else first_samples([_as_batch(data)], of_data.ROWS)
            )
            x, y = _on_host(x), _on_host(y)
            self.seen.data = summarize(x, y)
            self.sample = _spread((x, y))
        except Exception as error:
            self._note("data", error)

    def look_at_validation(self, data: Any, training: Any = None) -> None:
        """Note what validation data is like, and what it shares with the training data."""
        if not isinstance(data, (tuple, list)) or len(data) not in {2, 3}:
            return
        try:
            summary = summarize(_on_host(data[0]), _on_host(data[1]))
            shared = None if training is None else shared_rows(_on_host(training[0]), _on_host(data[0]))
            self.seen.validation = attrs.evolve(summary, shared=shared)
        except Exception as error:
            self._note("validation", error)

    # --- model -----------------------------------------------------------------------------------------------------

    def look_at_model(self, model: Any) -> None:
        """Note what the model consists of, and how it is trained."""
        if model is None:
            return
        self.seen.has_raw_batches = not getattr(model, "logs_means", False)
        summary = getattr(model, "summary", None)
        if summary is None:
            return
        try:
            x = None if self.sample is None else self.sample[0]
            self.seen.model = summary(x)
        except Exception as error:
            self._note("model", error)

    def is_due(self, epoch: int) -> bool:
        """Return whether to look inside the model as an epoch ends: at 0, 1, 3, 7, ..., while probes take little."""
        if self._failed or self.sample is None:
            return False
        if epoch + 1 >= self._next and epoch < 2:
            return True
        spent, share = self.cost + self._last, SHARE * (self.clock() - self._began)
        return spent <= share and (epoch + 1 >= self._next or spent <= share / 4)

    def is_due_within(self) -> bool:
        """Return whether to look inside the model within an epoch: if it is a long one, while probes take little."""
        if self._failed or self.sample is None:
            return False
        now = self.clock()
        if now - self._looked < max(WITHIN_SECONDS, (now - self._began) / 50):
            return False
        return self.cost + self._last <= SHARE * (now - self._began)

    def probe(self, run: Run) -> Probe | None:
        """Look inside the model; return what was seen, None if that is not possible."""
        model: Any = run.model
        if self._failed or self.sample is None or model is None or not hasattr(model, "activations"):
            return None
        begin = self.clock()
        try:
            found = self._probe(run, model, *self.sample)
        except Exception as error:
            self._failed = True
            self._note("probe", error)
            return None
        self._looked = self.clock()
        self._last = self._looked - begin
        if self.first_cost is None:
            self.first_cost, self._last = self._last, 0.0
        else:
            self.cost += self._last
        self._next = max(1, 2 * (run.epoch + 1))
        return found

    def _probe(self, run: Run, model: Any, x: Any, y: Any) -> Probe:
        if self._prober is None:
            self._prober = Prober(self.seen.model)
        return self._prober.probe(model, x, y, epoch=run.epoch, step=run.step)

    def rate(self, model: Any) -> float | None:
        """Return the current learning rate, None if it is not known."""
        with suppress(Exception):
            return float(model.learning_rates[0])
        return None

    def _note(self, what: str, error: Exception) -> None:
        self.seen.why_missing[what] = f"{type(error).__name__}: {error}"
        logger.info("the diagnosis cannot see the %s", what, exc_info=error)


def _as_batch(data: Any) -> Any:
    return tuple(data) if isinstance(data, list) else data


def _on_host(data: Any) -> Any:
    """Return an array in host memory as it is, one of another device as a copy; None for anything else."""
    if data is None or isinstance(data, (list, tuple, dict, np.ndarray)):
        return data if isinstance(data, np.ndarray) else None
    return first_samples(data, of_data.ROWS)[0] if hasattr(data, "shape") else None


def _spread(sample: tuple[Any, Any], count: int = SAMPLES) -> tuple[Any, Any] | None:
    """Return some samples, evenly spread over the data, so that data sorted by class shows all classes."""
    x, y = sample
    if x is None:
        return None
    rows = np.unique(np.linspace(0, len(x) - 1, min(count, len(x))).astype(np.int64))
    return x[rows], None if y is None else y[rows]
