"""Queries in SQL: the tables hold what was recorded, and nothing else can be read or written."""

import math

import pytest

from monitor_core import Bus, Diagnosis, EarlyStopping, Journal, Loop, open_run
from monitor_core.runs import TABLES, query, table

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
    monkeypatch.setattr("monitor_core.runs.queries.read_runs", lambda path: read.append(path) or ([], []))
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


def test_an_unknown_table_and_folder_are_named(tmp_path):
    """As bad arguments."""
    with pytest.raises(ValueError, match=r"name must be one of runs, .* \(got 'run'\)"):
        table("run", tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        query("from runs", tmp_path / "none")
