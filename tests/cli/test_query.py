"""``monitor-core query``: what its rows are as JSON."""

import json

import pytest

from cli_support import command, train


def test_columns_of_one_name_are_told_apart(tmp_path):
    """By a number."""
    pytest.importorskip("duckdb")
    train(tmp_path / "a", [3.0, 1.0])
    sql = "select a.value, b.value from epochs a join epochs b using (epoch, metric) where metric = 'loss' order by 1"
    rows = [json.loads(line) for line in command("query", sql, tmp_path, "--json").out.splitlines()]
    assert [sorted(row.values()) for row in rows] == [[0.5, 0.5], [1.5, 1.5]]
    assert next(iter(rows[0])) == "value"
