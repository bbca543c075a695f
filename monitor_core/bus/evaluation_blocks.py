"""The batches of an evaluation as blocks: delivered on the thread that evaluates, apart from those of the training.

Contract. An evaluation may run on another thread during a training, so it shares no buffer with it; its blocks
are delivered under the delivery's lock, so that no two hooks of a sink run at a time.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from monitor_core.background.interrupts import deferred_interrupts
from monitor_core.bus.delivery import Delivery
from monitor_core.bus.dispatch import Dispatch
from monitor_core.values.blocks import BlockBuffer
from monitor_core.values.means import Means
from monitor_core.values.scalars import OnSkip


class EvaluationBlocks:
    """Gathers the values of one evaluation's batches and delivers them.

    Args:
        dispatch: What calls the sinks.
        delivery: Whose lock is held meanwhile.
        on_skip: Called with each value that is not a number.
        means: Means that every block is added to before the sinks get it, or None.
    """

    def __init__(self, dispatch: Dispatch, delivery: Delivery, on_skip: OnSkip, means: Means | None) -> None:
        self._dispatch = dispatch
        self._delivery = delivery
        self._means = means
        self._buffer = BlockBuffer(on_skip)

    @property
    def are_wanted(self) -> bool:
        """Whether the values are for anything."""
        return self._means is not None or bool(self._dispatch.calls["on_evaluation_block"])

    def append(self, batch: int, values: dict[str, Any], weights: dict[str, Any] | None = None) -> None:
        """Gather a batch's kept values; deliver a block if it is full."""
        self._buffer.rows.append((batch, perf_counter(), values, weights))
        if len(self._buffer) >= self._buffer.limit:
            self.flush()

    def flush(self) -> None:
        """Deliver what was gathered."""
        run = self._dispatch.run
        with self._delivery.lock, deferred_interrupts:
            while (block := self._buffer.take(run.epoch)) is not None:
                if self._means is not None:
                    self._means.add(block)
                calls = self._dispatch.calls["on_evaluation_block"]
                self._delivery.raise_late(self._dispatch.call("on_evaluation_block", calls, (run, block)))
