"""Queries in SQL: the tables hold what was recorded, and nothing else can be read or written."""

import json
import math

import pytest

from monitor_core import Bus, Diagnosis, EarlyStopping, Journal, Loop, open_run
from monitor_core.files.requests import Request
from monitor_core.journal.files import FILE_HEAD, Kind, frame
from monitor_core.journal.rows import encode_rows
from monitor_core.runs import TABLES, query, table
from monitor_core.testing import NumpyModel

pytest.importorskip("duckdb")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def runs(tmp_path):
    """Return a folder of three runs, of which the first two stop early."""
    for number, name in enumerate(("a", "deep/b", "c")):
        stop = EarlyStopping("val_loss", patience=2)
        with Loop(*[stop][: number < 2], Journal(tmp_path / "runs" / name, config={"rate": number / 2})) as loop:
            for epoch in loop.epochs(6):
                for x in loop.batches([1.0, 2.0]):
                    loop.log({"loss": x / (epoch + 1)} | ({"extra": 5.0} if x == 2.0 else {}))
                with loop.evaluation():
                    loop.log(loss=math.nan if epoch == 1 else abs(epoch - 2) + number)
    return tmp_path / "runs"


def test_every_table_has_what_was_recorded(runs):
    """Value for value, as the journals are read by `open_run`."""
    for name in ("a", "deep/b", "c"):
        recorded = open_run(runs / name)
        found = query("select epochs, steps, status from runs where path = ?", runs, [name])
        assert found.rows == [(len(recorded.history.epoch), recorded.batches.steps[-1], recorded.status)]
        by_epoch = "select value from epochs where path = $path and metric = $metric order by step"
        for metric in recorded.history:
            found = query(by_epoch, runs, {"path": name, "metric": metric})
            assert [repr(value) for (value,) in found] == [repr(float(each)) for each in recorded.history[metric]]
        by_batch = "select step, value from batches where path = ? and metric = ? order by step"
        steps = recorded.batches.steps.tolist()
        for metric in recorded.batches:
            rows = zip(steps, recorded.batches[metric].tolist(), strict=True)
            assert query(by_batch, runs, [name, metric]).rows == [row for row in rows if not math.isnan(row[1])]
        found = query("select name, value from evaluations where path = ? order by step", runs, [name])
        assert [repr(each) for each in found] == [repr(("val", v)) for v in recorded.evaluations["val_loss"].tolist()]
        found = query("select reason, epoch, step from decisions where path = ?", runs, [name])
        assert found.rows == [(each.reason, each.epoch, each.step) for each in recorded.decisions]


def test_what_a_log_does_not_record_is_null(tmp_path):
    """Neither times nor steps are made up."""
    (tmp_path / "a.csv").write_text("epoch,loss\n0,3\n1,1\n")
    (tmp_path / "b.csv").write_text("epoch,step,loss\n0,1,3\n0,2,1\n")
    assert query("select begun, seconds, epochs, steps from runs order by path", tmp_path).rows == [
        (None, None, 2, None), (None, None, 0, 2)
    ]  # fmt: skip
    assert query("select best_epoch, best_step from metrics order by path", tmp_path).rows == [(1, None), (None, 2)]
    assert query("select epoch, step, time, value from epochs order by epoch", tmp_path).rows == [
        (0, None, None, 3.0), (1, None, None, 1.0)
    ]  # fmt: skip
    assert query("select step, time from batches order by step", tmp_path).rows == [(1, None), (2, None)]


def test_the_best_runs_with_their_configuration(runs):
    """A join of what the summaries have."""
    found = query(
        "select path, best, config->>'rate' from metrics join runs using (path) "
        "where metric = 'val_loss' order by best",
        runs,
    )
    assert found.rows == [("a", 0.0, "0.0"), ("deep/b", 1.0, "0.5"), ("c", 2.0, "1.0")]
    assert found.names[:2] == ("path", "best")


def test_journals_are_read_only_for_tables_that_need_them(runs, monkeypatch):
    """Summaries answer a question about summaries."""
    read = []
    monkeypatch.setattr("monitor_core.runs.queries.read_any_runs", lambda path: read.append(path) or ([], []))
    query("from runs join metrics using (path)", runs)
    assert read == []
    query("from epochs", runs)
    assert len(read) == 3


def test_a_table_by_itself_and_as_a_frame(runs):
    """All of them exist, also where they are empty."""
    for name, each in TABLES.items():
        assert table(name, runs).names == tuple(each.columns)
    frame = table("metrics", runs).to_dataframe()
    assert sorted(frame["metric"].unique()) == ["extra", "loss", "val_loss"]
    assert len(table("findings", runs)) == 0


def test_findings_by_symptom(tmp_path):
    """What a diagnosis reports is in the table."""
    bus = Bus(Diagnosis(), Journal(tmp_path / "runs" / "a"))
    bus.train_begin()
    for epoch in range(3):
        bus.epoch_begin(epoch)
        bus.epoch_end(epoch, {"loss": math.nan})
    bus.train_end()
    [(path, symptom, severity)] = query("select path, symptom, severity from findings", tmp_path / "runs")
    assert (path, symptom, severity) == ("a", bus.run.findings[0].symptom, bus.run.findings[0].severity)


def test_decisions_of_every_kind(tmp_path):
    """A stop, a rate, and what was asked from outside."""
    with Loop(Journal(tmp_path / "runs" / "a"), model=NumpyModel()) as loop:
        for epoch in loop.epochs(2):
            loop.log(loss=1.0)
            loop.run.learning_rate = 0.1 / (1 + epoch)
        loop.run.requests.append((Request(verb="note", value="hello", who="me", time=1.0, run=loop.run.id), "noted"))
        loop.run.stop("enough")
    found = query("select what from decisions order by what", tmp_path / "runs").rows
    assert found == [("asked",), ("rate",), ("stop",)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select * from '{file}'", "sql cannot be answered"),
        ("select * from read_csv('{file}')", "sql cannot be answered"),
        ("select * from read_text('{file}')", "sql cannot be answered"),
        ("copy runs to '{file}'", "sql must be one query"),
        ("from runs; copy runs to '{file}'", "sql must be one query"),
        ("attach '{file}'", "sql must be one query"),
        ("install httpfs", "sql must be one query"),
        ("set enable_external_access = true", "sql must be one query"),
        ("drop table runs", "sql must be one query"),
        ("", "sql must be one query"),
        ("selec", "syntax error"),
        ("select nothing from runs", "the tables are runs, metrics"),
        ("from 'x\0y'", "sql"),
    ],
)
def test_anything_but_a_query_of_the_tables_is_refused(runs, tmp_path, sql, message):
    """No file is read or written, and the message is one line that names the tables."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=message) as caught:
        query(sql.format(file=secret), runs)
    assert "\n" not in str(caught.value)
    assert secret.read_text() == "a,b\n1,2\n"


def test_damaged_runs_and_hostile_names(tmp_path):
    """A run that cannot be read says why; names are values, never SQL."""
    name = "x'; drop table runs; --"
    with Loop(Journal(tmp_path / "runs" / name.replace("/", "_"), config={name: [math.inf, {"a": None}]})) as loop:
        for _ in loop.epochs(1):
            loop.log({name: 1.0, '"': 2.0, "\udc80": 3.0})
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "journal-0000.mcj").write_bytes(b"x" * 50)
    found = table("runs", tmp_path / "runs").to_dataframe().set_index("path")
    assert sorted(found.index) == ["torn", name]
    assert {metric for (metric,) in query("select distinct metric from epochs", tmp_path / "runs")} >= {name, '"'}


def test_many_metrics_answer_alike_from_summary_cache_and_journal(tmp_path):
    """Those by which a run is known are among them, whichever file is read."""
    with Loop(Journal(tmp_path / "runs")) as loop:
        for _ in loop.epochs(2):
            loop.log({f"m{number}": 1.0 for number in range(45)} | {"loss": 1.0})
            with loop.evaluation():
                loop.log(loss=0.5, accuracy=0.9)
    answers = []
    for remove in (False, True):
        if remove:
            (tmp_path / "runs" / "summary.json").unlink()
        cache = tmp_path / f"cache-{remove}.json"
        answers += [query("from metrics order by metric", tmp_path / "runs", cache=cache).rows for _ in range(2)]
    assert all(answer == answers[0] for answer in answers)
    assert {row[1] for row in answers[0]} >= {"loss", "val_loss", "val_accuracy"}


def test_a_nested_configuration_is_queried(tmp_path):
    """By its names, however deep; strings that SQL cannot hold are escaped."""
    config = {"optimizer": {"rate": 0.1, "name": "\ud800"}}
    with Loop(Journal(tmp_path / "runs", config=config)) as loop:
        for _ in loop.epochs(1):
            loop.log(loss=1.0)
    sql = "select config->'optimizer'->>'rate', config->'optimizer'->>'name' from runs"
    assert query(sql, tmp_path / "runs").rows == [("0.1", "\\ud800")]


@pytest.mark.parametrize(
    "member",
    [{"epochs": 2**70}, {"planned_epochs": "abc"}, {"begun": 1e300}, {"config": {"\udc80": math.nan}}, {"error": 1}],
)
def test_a_bad_summary_breaks_no_query(runs, member):
    """The journal is read instead, and the other runs have their rows."""
    file = runs / "a" / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **member}))
    assert sorted(query("select path, epochs from runs", runs).rows) == [("a", 5), ("c", 6), ("deep/b", 5)]
    assert len(query("from metrics", runs)) == 9


def test_records_out_of_any_range_break_no_query(tmp_path):
    """A time that no calendar has is NULL; epochs are counted to the end of 64 bits."""
    begin = {"type": "begin", "id": "a", "index": 0, "continues": None, "epoch": -1, "step": 0, "config": {}}
    begin |= {"versions": {}, "git_commit": None, "platform": "p", "argv": [], "process": {}}
    for name, time, epoch in (("a", 1e300, 0), ("b", math.nan, 2**63 - 1), ("c", -1e18, -(2**63)), ("d", "x", 1)):
        (tmp_path / name).mkdir()
        rows = encode_rows(epoch, [1], [time if name != "d" else 1.0], {"loss": [0.5]})
        found = {"type": "finding", "symptom": "s", "severity": "warning", "message": "m", "evidence": {}, "advice": ""}
        found |= {"source": "", "epoch": 2**62, "step": -1, "layer": None, "time": time}
        facts = [
            frame(Kind.FACT, 0, n, json.dumps(each).encode()) for n, each in enumerate(({**begin, "time": time}, found))
        ]
        (tmp_path / name / "journal-0000.mcj").write_bytes(FILE_HEAD + b"".join(facts) + frame(Kind.EPOCH, 0, 2, rows))
    assert len(query("from runs", tmp_path)) == 4
    assert query("select epochs from runs where path = 'b'", tmp_path).rows == [(2**63 - 1,)]
    assert query("select count(*), count(time) from epochs", tmp_path).rows == [(4, 1)]
    assert len(query("from runs join epochs using (path) join findings using (path)", tmp_path)) == 3


def test_an_unknown_table_and_folder_are_named(tmp_path):
    """As bad arguments."""
    with pytest.raises(ValueError, match=r"name must be one of runs, .* \(got 'run'\)"):
        table("run", tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        query("from runs", tmp_path / "none")
