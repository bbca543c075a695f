"""Tags: names as they are, or cleaned and still unique."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from monitor_core.tensorboard.formats.tags import LONGEST, clean_tag

NAMES = st.text(st.characters(), max_size=20)


@pytest.mark.parametrize(
    "name", ["loss", "epoch_loss", "layer/kernel/histogram", "a b", "ä & <b>", "x" * LONGEST, "a:0"]
)
def test_usual_names_stay(name):
    """Inner slashes, spaces, symbols and letters of any language are shown unchanged."""
    assert clean_tag(name) == name


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("", "unnamed_00000000"),
        ("/loss", "loss_"),
        ("loss/", "loss_"),
        (" a ", "a_"),
        ("a\nb", "a_b_"),
        ("\ud800", "__"),
    ],
)
def test_other_names_are_cleaned(name, cleaned):
    """A cleaned name stays readable, and a checksum makes it unique."""
    assert clean_tag(name).startswith(cleaned)
    assert len(clean_tag(name)) == len(cleaned.removesuffix("00000000")) + 8


@given(NAMES, NAMES)
def test_cleaned_names_stay_apart(one, other):
    """Two names never become the same tag."""
    assume(one != other)
    assert clean_tag(one) != clean_tag(other)


@given(st.text(st.characters(), max_size=20).map(lambda name: name * 80))
def test_cleaned_names_are_clean(name):
    """Tags are short enough, can be encoded, and are not cleaned again."""
    cleaned = clean_tag(name)
    assert 0 < len(cleaned) <= LONGEST
    assert cleaned.encode().decode() == clean_tag(cleaned)
