"""What a run came to, in sentences: what was trained, how it ended, its best epoch, what is wrong, what to try."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import PurePath

from monitor_core.bus.finding import SEVERITIES
from monitor_core.journal.imported import CSV, EVENTS, HISTORY
from monitor_core.journal.summary import BestValue, main_metric
from monitor_core.page.run import PageRun
from monitor_core.page.words import joined, number, seconds
from monitor_core.values.text import counted, format_value


def story(run: PageRun) -> list[str]:
    """Return the paragraph at the head of the page, sentence by sentence."""
    return [*_how_it_went(run), *_best(run), *_what_is_wrong(run)]


def _how_it_went(run: PageRun) -> Iterator[str]:
    summary = run.summary
    planned = "" if summary.planned_epochs in (None, summary.epochs) else f" of {number(summary.planned_epochs or 0)}"
    epochs = f"{number(summary.epochs)}{planned} epoch{'' if summary.epochs == 1 and not planned else 's'}"
    took = f" in {seconds(summary.seconds)}" if summary.begun and summary.seconds > 0 else ""
    steps = f" ({counted(summary.step, 'step')})" if summary.step else ""
    if run.log is not None:
        yield from _what_log(run, epochs, steps)
        return
    what = _what(run)
    why = f": {_sentence(summary.stop_reason)}" if summary.stop_reason else ""
    yield {
        "completed": f"{what} trained for {epochs}{steps}{took} and completed.",
        "stopped": f"{what} trained for {epochs}{steps}{took}, then a sink stopped it{why or '.'}",
        "failed": f"{what} failed after {epochs}{steps}{took}.",
        "interrupted": f"{what} was interrupted after {epochs}{steps}{took}.",
        "running": f"{what} is training: {epochs}{steps} so far{took}.",
        "killed": f"{what} was killed after {epochs}{steps}{took}; what it had recorded by then is shown.",
    }.get(summary.status, f"{what} recorded {epochs}{steps}{took}; how it ended is not on record.")
    if why and summary.status != "stopped":
        yield f"A sink asked it to stop{why}"
    if summary.error:
        yield f"It raised {_sentence(summary.error)}"


_LOGS = {CSV: "is a CSV log", HISTORY: "is a history", EVENTS: "holds TensorBoard's event files"}


def _what_log(run: PageRun, epochs: str, steps: str) -> Iterator[str]:
    kind = "" if run.log is None else run.log.kind
    length = f"{epochs}{steps}" if run.summary.epochs else counted(run.summary.step, "step")
    several = f", the last of {number(count)} in it" if (count := len(run.recorded.runs)) > 1 else ""
    yield f"{run.name} {_LOGS[kind]}, with {length}{several}."
    yield "It holds metrics alone; how the training ended is not on record."


def _what(run: PageRun) -> str:
    begin = run.record.begin
    script = PurePath(begin.argv[0]).name if begin is not None and begin.argv and begin.argv[0] else ""
    return f"{script} ({run.name})" if script and script not in ("-c", run.name) else run.name


def _best(run: PageRun) -> Iterator[str]:
    found = main_metric(run.summary)
    if found is None:
        return
    name, best = found
    if math.isnan(best.value) or best.value == (math.inf if best.mode == "min" else -math.inf):
        yield f"No value of {name} is finite."
        return
    last = run.summary.last.get(name)
    word = "lowest" if best.mode == "min" else "highest"
    if last is None or _is_last(run, name, best):
        yield f"The {word} {name} is {format_value(best.value)}, {_where(best)}, the last value."
    else:
        yield f"The {word} {name} is {format_value(best.value)}, {_where(best)}; the last is {format_value(last)}."
    others = [
        f"{other} {format_value(value.value)} {_where(value)}"
        for other, value in run.summary.best.items()
        if other != name and other.startswith("val_")
    ]
    if others:
        yield f"Best of the others: {joined(others[:3])}."


def _where(best: BestValue) -> str:
    return f"in epoch {number(best.epoch + 1)}" if best.epoch >= 0 else f"at step {number(best.step)}"


def _is_last(run: PageRun, name: str, best: BestValue) -> bool:
    points = run.results.get(name) or run.batches.get(name)
    if points is None or best.step != points.steps[-1]:
        return False
    return best.epoch == points.epochs[-1] or best.epoch < 0


def _what_is_wrong(run: PageRun) -> Iterator[str]:
    found = run.findings
    if found:
        counts = [(severity, sum(each.severity == severity for each in found)) for severity in SEVERITIES]
        said = joined([counted(count, severity) for severity, count in counts if count])
        yield f"The diagnosis found {said}{': ' if len(found) == 1 else '; the worst: '}{_sentence(found[0].message)}"
        if found[0].advice:
            yield found[0].advice
    elif run.is_diagnosed:
        yield "The diagnosis found nothing wrong."


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
