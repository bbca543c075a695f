"""Names that a tracker does not accept."""

import re

from monitor_core.trackers.names import Names


def accepted(name):
    """Accept lower-case letters alone."""
    return re.sub("[^a-z]", "_", name)


def test_accepted_names_stay_and_others_change():
    """All changes are reported together, once."""
    reported = []
    names = Names(accepted, reported.append)
    assert names.of(["loss", "a%", "b%"])["a%"] == "a_"
    assert names.of(["loss"])["loss"] == "loss"
    assert names.of(["c%"])["c%"] == "c_"
    assert reported == ["'a%' becomes 'a_', 'b%' becomes 'b_'"]


def test_two_names_never_become_one():
    """Whichever comes later gets a suffix that depends on the name alone, also one that is accepted as it is."""
    one, other = Names(accepted, list), Names(accepted, list)
    assert one.of(["a%", "a#"]) == {"a%": "a_", "a#": "a__9f58396b"}
    assert other.of(["a#", "a%"])["a#"] == "a_"
    assert len(set(one.of(["a_"]).values())) == 3


def test_reserved_names_are_not_given():
    """The sink uses them for other values."""
    names = Names(accepted, list, reserved=["step"])
    assert names.of(["step"])["step"] == "step_43b9fe3c"


def test_of_many_changes_the_first_are_named():
    """A warning does not grow with the number of metrics."""
    reported = []
    Names(accepted, reported.append).of(f"{letter}1" for letter in "abcdefg")
    assert reported[0].endswith("'e1' becomes 'e_' and 2 more")
