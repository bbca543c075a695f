"""The page on the diagnosis has a section for each symptom, and each symptom has a rule."""

import re
from pathlib import Path

from monitor_core.diagnosis.rules.all import RULES
from monitor_core.diagnosis.symptoms import EXPLAINS, SYMPTOMS

PAGE = (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text(encoding="utf-8")
SOURCES = Path(__file__).parents[2] / "monitor_core" / "diagnosis" / "rules"


def test_every_symptom_has_a_section():
    """And no section is about a symptom that there is not."""
    headings = re.findall(r"^#### (.+)$", PAGE, re.MULTILINE)
    assert sorted(name for heading in headings for name in re.findall(r"`(\w+)`", heading)) == sorted(SYMPTOMS)


def test_rules_find_symptoms_that_are_listed():
    """Each rule's own, and those that it may find in its place."""
    code = "".join(path.read_text(encoding="utf-8") for path in SOURCES.glob("*.py"))
    named = {rule.symptom for rule in RULES} | set(re.findall(r'symptom="(\w+)"', code))
    assert named <= set(SYMPTOMS)


def test_explanations_are_of_symptoms_that_are_listed():
    """And nothing explains itself."""
    for cause, effects in EXPLAINS.items():
        assert {cause, *effects} <= set(SYMPTOMS)
        assert cause not in effects


def test_rules_have_names_of_their_own():
    """Findings are kept by rule."""
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)


def test_every_rule_says_where_it_comes_from():
    """A source, and a docstring that states it in a sentence."""
    assert all(rule.source and type(rule).__doc__ for rule in RULES)


def test_images_are_of_symptoms_and_exist():
    """Each image of a real run is below the heading of its symptom."""
    images = re.findall(r"^#### (.+)$|\((images/diagnosis/(.+)\.png)\)", PAGE, re.MULTILINE)
    heading, seen = "", 0
    for title, path, name in images:
        heading = title or heading
        if path:
            seen += 1
            assert f"`{name.replace('-', '_')}`" in heading
            assert (Path(__file__).parents[2] / "docs" / path).is_file()
    assert seen == len(list((Path(__file__).parents[2] / "docs" / "images" / "diagnosis").iterdir())) > 10
