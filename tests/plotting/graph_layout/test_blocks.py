"""Blocks of units in a row that are aligned with each other."""

from hypothesis import given
from hypothesis import strategies as st

from monitor_core.plotting.graph_layout.blocks import Blocks, Joint


def test_things_keep_their_distance():
    """Those that are pulled to the same place are side by side, with the place in their middle."""
    joints = [Joint(0, 1, 0.0), Joint(0, 2, 0.0)]
    one, left, right = Blocks(3, {(1, 2): 10.0}).places(joints)
    assert right - left == 10.0
    assert abs((left + right) / 2 - one) < 0.1


def test_aligned_things_are_in_one_line():
    """They stay as far from each other across as their joint says."""
    blocks = Blocks(3, {(1, 2): 10.0})
    assert blocks.align(Joint(0, 2, 3.0))
    one, left, right = blocks.places([Joint(0, 1, 0.0), Joint(0, 2, 3.0)])
    assert right == one + 3.0
    assert left <= right - 10.0


def test_things_with_another_one_between_them_are_not_aligned():
    """Not even where it is between them by way of a block."""
    blocks = Blocks(4, {(0, 1): 10.0, (2, 3): 10.0})
    assert blocks.align(Joint(1, 2, 0.0))
    assert not blocks.align(Joint(0, 3, 0.0))
    assert not blocks.align(Joint(3, 0, 0.0))
    assert not blocks.align(Joint(1, 2, 0.0))


pairs = st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] < pair[1])


@given(
    distances=st.dictionaries(pairs, st.floats(1.0, 100.0), max_size=16),
    joints=st.lists(pairs, max_size=12),
    aligned=st.integers(0, 12),
)
def test_all_distances_are_kept_and_all_alignments(distances, joints, aligned):
    """Whatever is aligned and wherever the lines pull."""
    blocks = Blocks(8, distances)
    links = [Joint(upper, lower, 0.0) for upper, lower in joints]
    straight = [link for link in links[:aligned] if blocks.align(link)]
    places = blocks.places(links)
    assert all(places[right] - places[left] >= distance - 1e-9 for (left, right), distance in distances.items())
    assert all(abs(places[link.upper] - places[link.lower]) < 1e-9 for link in straight)
