"""The sink that says what is wrong with a training, while it runs.

Contract. No rule reads a device: rules see blocks, an epoch's results, and a few probes of the model at the ends of
epochs and within long ones, which keep their own clock. What cannot be looked at is listed with the reason, and never
raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import attrs

from monitor_core import checks
from monitor_core._log import logger
from monitor_core.bus.copies import independent_copy
from monitor_core.bus.finding import Finding
from monitor_core.bus.run import Run, Waiting
from monitor_core.bus.sink import Logs, Sink
from monitor_core.diagnosis.examination import Examination, NotLookedAt
from monitor_core.diagnosis.memory import resident
from monitor_core.diagnosis.observer import Observer
from monitor_core.diagnosis.offline import follow_record, recorded_findings
from monitor_core.diagnosis.report import Findings
from monitor_core.diagnosis.rule import Rule
from monitor_core.diagnosis.rules.all import RULES
from monitor_core.diagnosis.watchdog import Watchdog
from monitor_core.values.blocks import Block

OnProblem = Callable[[Run, Finding], Any]


def _check_sample(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (not isinstance(value, (tuple, list)) or len(value) != 2):
        raise TypeError(f"{field.name} must be (x, y), the inputs and targets as arrays (got {type(value).__name__})")


def _check_on_problem(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and value != "stop" and not callable(value):
        raise TypeError(f"on_problem must be 'stop', a function of run and finding, or None (got {value!r})")


_check_number = checks.number(least=0.1, finite=True)


def _check_seconds(sink: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        _check_number(sink, field, value)


@attrs.define(eq=False)
class Diagnosis(Sink):
    """Say what is wrong with a training, where and since when, with the numbers that show it, and what to try.

    Before the first step it looks at the model, its loss and a sample of the data; during the training at the metrics
    and, at the ends of some epochs and within long ones, into the model with up to 128 samples. Each problem is
    reported once, and again only when it was over: in ``run.findings``, by the hook ``on_finding``, and as a warning in
    the log. What is seen inside goes to other sinks by ``on_probe``.

    Args:
        sample: Training data ``(x, y)`` as arrays. By default the arrays that were passed to `fit`, or the first batch
            that passes through ``loop.batches``; an iterator is never drawn from.
        probes: Whether to look into the model, which takes up to 2% of the run's time.
        stall_seconds: After how many seconds without the end of a step to say that the run stalls, and after 50 times
            the longest step; None never.
        on_problem: What to do if a problem is found: ``"stop"`` stops the run, a function is called with the run and
            the finding; by default nothing.
        rules: The rules, by default all of this package.

    Attributes:
        findings: What was found in the current run, or the last one.

    Raises:
        TypeError: An argument is of another type.
        ValueError: ``stall_seconds`` is below 0.1.

    Example:
        >>> diagnosis = Diagnosis(on_problem="stop")
        >>> with Loop(diagnosis) as loop:
        ...     for epoch in loop.epochs(5):
        ...         loop.log(loss=0.7 if epoch < 2 else float("nan"))
        >>> diagnosis.findings[0].symptom, loop.run.status
        ('non_finite', 'failed')
    """

    __copy__ = independent_copy

    read_only: ClassVar[bool] = True

    sample: tuple[Any, Any] | None = attrs.field(default=None, kw_only=True, validator=_check_sample, repr=False)
    probes: bool = attrs.field(default=True, kw_only=True, validator=checks.boolean)
    stall_seconds: float | None = attrs.field(default=300.0, kw_only=True, validator=_check_seconds)
    _on_problem: Literal["stop"] | OnProblem | None = attrs.field(  # no attribute on_..., which would be a hook
        alias="on_problem", default=None, kw_only=True, validator=_check_on_problem
    )
    rules: Sequence[Rule] = attrs.field(default=RULES, kw_only=True, repr=False)
    _examination: Examination = attrs.field(init=False, repr=False)
    _observer: Observer = attrs.field(init=False, repr=False)
    _watchdog: Watchdog | None = attrs.field(init=False, default=None, repr=False)
    _has_begun: bool = attrs.field(init=False, default=False, repr=False)
    _has_ended: bool = attrs.field(init=False, default=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._start_examination()

    def _start_examination(self) -> None:
        self._examination = Examination(rules=self.rules)
        self._observer = Observer(self._examination.seen)
        self._has_begun = self._has_ended = False

    @property
    def findings(self) -> Findings:
        """What was found in the current run, or the last one; as a string and in a notebook it is a report."""
        return Findings(self._examination.findings, self._examination.not_looked_at())

    @property
    def not_looked_at(self) -> list[NotLookedAt]:
        """The rules that were not asked, each with the reason, and what would help."""
        return self._examination.not_looked_at()

    @property
    def probe_cost(self) -> tuple[float, float]:
        """What the first look into the model took, with what it built, and what the later ones took, seconds."""
        return self._observer.first_cost or 0.0, self._observer.cost

    def _repr_html_(self) -> str:
        return self.findings._repr_html_()

    # --- hooks -----------------------------------------------------------------------------------------------------

    def on_train_begin(self, run: Run) -> None:
        """Look at the data, if it is known already, and judge what can be judged before the first step."""
        self._start_examination()
        run.is_diagnosed = True
        run.waiting = Waiting()
        seen = self._examination.seen
        seen.epochs_planned, seen.steps_per_epoch, seen.fit_shuffles = run.epochs, run.steps_per_epoch, run.shuffles
        if self.stall_seconds is not None:
            self._watchdog = Watchdog(run, self.stall_seconds)
            self._watchdog.start()
        data = self.sample if self.sample is not None else run.training_data
        if data is not None and data[0] is not None and hasattr(data[0], "shape"):
            self._look(run, tuple(data))
        elif data is None or data[0] is None:
            run.on_sample = lambda batch: self._look(run, batch)
        else:
            self._look(run, None)

    def _look(self, run: Run, data: Any) -> None:
        """Look at data and model, and judge what can be seen before the first step."""
        if self._has_begun:
            return
        self._has_begun = True
        observer = self._observer
        if data is not None:
            observer.look_at_data(data)
        observer.look_at_validation(run.validation_data, data)
        observer.look_at_model(run.model)
        self._report(run, self._examination.begin())
        if self.probes and run.step == 0:
            self._probe(run)

    def on_block(self, run: Run, block: Block) -> None:
        """Judge some batches."""
        self._report_stall(run)
        self._report(run, self._examination.add_block(block))
        if self.probes and self._observer.is_due_within():
            self._probe(run)

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """Judge the epoch, and look into the model if it is time."""
        self._look(run, None)
        self._report_stall(run)
        if run.partial:
            return
        examination, observer = self._examination, self._observer
        seen = examination.seen
        seen.epochs_planned = run.epochs
        if (memory := resident()) is not None:
            seen.memory.append(memory)
        if run.waiting is not None and (times := run.waiting.since_last())[1] > 0:
            seen.waiting.append(times)
        if "learning_rate" not in logs:
            seen.rate = observer.rate(run.model)
        self._report(run, examination.end_epoch(epoch, run.step, logs))
        if self.probes and observer.is_due(epoch):
            self._probe(run)
        if run.epochs is not None and epoch + 1 >= run.epochs:
            self._end(run)  # before other sinks close their files

    def _probe(self, run: Run) -> None:
        probe = self._observer.probe(run)
        if probe is not None:
            run.show(probe)
            self._report(run, self._examination.add_probe(probe))

    def on_rewind(self, run: Run, epoch: int, step: int) -> None:
        """Forget what came after."""
        self._examination.go_back(epoch, step)

    def on_train_end(self, run: Run, logs: Logs) -> None:
        """Judge the run as a whole, if it was completed."""
        run.on_sample = None
        if self._watchdog is not None:
            self._watchdog.stop()
            self._report_stall(run)
            self._watchdog = None
        if run.status == "completed":
            self._end(run)

    def _end(self, run: Run) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._report(run, self._examination.end())

    def _report_stall(self, run: Run) -> None:
        """Report what the watchdog has found; it logged it while the run stalled."""
        finding = None if self._watchdog is None else self._watchdog.take()
        if finding is not None:
            self._examination.findings.append(finding)
            run.report(finding)

    # --- reporting -------------------------------------------------------------------------------------------------

    def _report(self, run: Run, findings: Sequence[Finding]) -> None:
        for finding in findings:
            level = logger.info if finding.severity == "note" else logger.warning
            level("%s (%s): %s", finding.severity, finding.symptom, finding)
            run.report(finding)
            if finding.severity == "problem" and self._on_problem is not None:
                if callable(self._on_problem):
                    self._on_problem(run, finding)
                else:
                    run.stop(f"{finding.symptom}: {finding.message}", failed=True)

    # --- state -----------------------------------------------------------------------------------------------------

    def load_record(self, recorded: Any) -> None:
        """Continue from what a journal has of the run: it is judged again, and what was found is not reported again."""
        follow_record(self._examination, recorded.last)
        if (found := recorded_findings(recorded.last)) is not None:
            self._examination.remember(found)

    def state_dict(self) -> Mapping[str, Any]:  # type: ignore[override]
        """Return nothing: the run's record is enough."""
        return {}
