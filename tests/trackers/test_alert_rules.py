"""The example of alert rules: each expression parses, and names only gauges and labels that the sink has."""

import re
from pathlib import Path

import pytest

from trackers_support import train_two_epochs

pytest.importorskip("prometheus_client")
pytest.importorskip("yaml")
pytest.importorskip("promql_parser")

import promql_parser as promql
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitor_core.trackers import Prometheus
from monitor_core.trackers.prometheus import STATUSES

FILE = Path(__file__).parents[2] / "examples" / "alert_rules.yml"
RULES = [rule for group in yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
TARGET = {"job", "instance"}
"""The labels that Prometheus adds."""


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    """Return the labels of each gauge, each with its values, as a run of two epochs leaves them."""
    file = tmp_path_factory.mktemp("gauges") / "training.prom"
    train_two_epochs(Prometheus(None, textfile=file, run_name="first"))
    found = {}
    for family in text_string_to_metric_families(file.read_text()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def parts(expression):
    """Yield an expression and all inside it."""
    yield expression
    inner = [getattr(expression, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    for each in [*inner, *getattr(expression, "args", ())]:
        if each is not None and not isinstance(each, str):
            yield from parts(each)


def selectors(expression):
    """Return the vectors that an expression reads."""
    return [each for each in parts(expression) if isinstance(each, promql.VectorSelector)]


def test_the_file_has_rules_for_stalled_and_diverging_runs():
    """And each is complete."""
    names = [rule["alert"] for rule in RULES]
    assert {"TrainingStalled", "TrainingDiverging", "TrainingNotFinite"} <= set(names)
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_reads_what_the_sink_offers(rule, exposed):
    """Its gauges, and those values of labels that a run can have."""
    found = selectors(promql.parse(rule["expr"]))
    assert found
    for vector in found:
        assert vector.name in exposed
        for matcher in vector.matchers.matchers:
            values = set(STATUSES) if matcher.name == "status" else exposed[vector.name][matcher.name]
            is_pattern = matcher.op == promql.MatchOp.Re
            assert any(re.fullmatch(matcher.value, each) if is_pattern else matcher.value == each for each in values)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_joins_and_shows_by_labels_that_are_there(rule, exposed):
    """In ``on``, ``by`` and the summary; they are those of every gauge that it reads, or the target's."""
    expression = promql.parse(rule["expr"])
    common = set.intersection(*(set(exposed[vector.name]) for vector in selectors(expression))) | TARGET
    joined = {
        name.strip() for names in re.findall(r"\b(?:on|by)\s*\(([^)]*)\)", rule["expr"]) for name in names.split(",")
    }
    assert joined <= common
    first = set(exposed[selectors(expression)[0].name]) | TARGET
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= first
