"""The layout of layer graphs: what holds for all of them, and for the simplest ones how they look."""

import math
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor_core.plotting.layout import Spacing, lay_out
from monitor_core.plotting.shapes import Box

SIZE = (80.0, 30.0)
SPACING = Spacing()
EXACT = 1e-6

names = st.sampled_from(["a", "b", "c"])
inner = st.lists(names, max_size=2).map(tuple)


@st.composite
def graphs(draw, *, cycles=False):
    """Draw the sizes, edges and groups of a graph; a node of a group may not bear the name of another."""
    count = draw(st.integers(1, 14))
    side = st.floats(8.0, 160.0)
    node = st.integers(0, count - 1)
    pairs = draw(st.sets(st.tuples(node, node), max_size=24))
    edges = sorted(pairs if cycles else {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
    sizes = [(draw(side), draw(side)) for _ in range(count)]
    return sizes, edges, [draw(inner) for _ in range(count)]


def titles(groups):
    """Return a title's width for each group."""
    return {group[:depth]: 40.0 for group in groups for depth in range(1, len(group) + 1)}


def drawn(graph, **options):
    """Lay a drawn graph out."""
    sizes, edges, groups = graph
    return lay_out(sizes, edges, groups, titles(groups), **options)


def overlap(one, other):
    """Return whether two boxes have a point inside in common."""
    return (
        min(one.x + one.width, other.x + other.width) - max(one.x, other.x) > EXACT
        and min(one.y + one.height, other.y + other.height) - max(one.y, other.y) > EXACT
    )


def holds(outer, inside):
    """Return whether a box is inside of another one."""
    return (
        outer.x <= inside.x + EXACT
        and outer.y <= inside.y + EXACT
        and inside.x + inside.width <= outer.x + outer.width + EXACT
        and inside.y + inside.height <= outer.y + outer.height + EXACT
    )


def points(line, count=24):
    """Return points of a line, from its beginning to its end."""
    found = [line[0]]
    for start, first, second, end in zip(line[::3], line[1::3], line[2::3], line[3::3], strict=False):
        for step in range(1, count + 1):
            part = step / count
            weights = ((1 - part) ** 3, 3 * part * (1 - part) ** 2, 3 * part**2 * (1 - part), part**3)
            corners = (start, first, second, end)
            found.append(tuple(sum(w * c[axis] for w, c in zip(weights, corners, strict=True)) for axis in (0, 1)))
    return found


def is_inside(point, box):
    """Return whether a point is within a box, and not on its border."""
    return (
        box.x + EXACT < point[0] < box.x + box.width - EXACT and box.y + EXACT < point[1] < box.y + box.height - EXACT
    )


def is_on_border(point, box):
    """Return whether a point is on the border of a box."""
    grown = Box(box.x - 2 * EXACT, box.y - 2 * EXACT, box.width + 4 * EXACT, box.height + 4 * EXACT)
    return is_inside(point, grown) and not is_inside(point, box)


directions = st.sampled_from(["TB", "LR"])
lengths = st.sampled_from([math.inf, 150.0, 400.0])


@given(graph=graphs(cycles=True), direction=directions, longest=lengths)
def test_boxes_keep_their_size_and_do_not_overlap(graph, direction, longest):
    """Every node has one box of its size within the drawing, and no two have a point in common."""
    layout = drawn(graph, direction=direction, longest=longest)
    assert [(box.width, box.height) for box in layout.boxes] == graph[0]
    assert not any(overlap(*pair) for pair in combinations(layout.boxes, 2))
    assert all(holds(Box(0, 0, layout.width, layout.height), box) for box in layout.boxes)


@given(graph=graphs(cycles=True), direction=directions, longest=lengths)
def test_lines_lead_from_box_to_box_and_cross_none(graph, direction, longest):
    """Every edge is one line from its source's border to its target's, and runs through no box on the way."""
    layout = drawn(graph, direction=direction, longest=longest)
    assert len(layout.lines) == len(graph[1])
    for (source, target), line in zip(graph[1], layout.lines, strict=True):
        assert is_on_border(line[0], layout.boxes[source])
        assert is_on_border(line[-1], layout.boxes[target])
        assert not any(is_inside(point, box) for point in points(line) for box in layout.boxes)


@given(graph=graphs(cycles=True), direction=directions, longest=lengths)
def test_lines_stay_within_the_drawing(graph, direction, longest):
    """No line leaves the drawing."""
    layout = drawn(graph, direction=direction, longest=longest)
    for line in layout.lines:
        for x, y in points(line):
            assert -EXACT <= x <= layout.width + EXACT
            assert -EXACT <= y <= layout.height + EXACT


@given(graph=graphs(), direction=directions)
def test_edges_go_forward(graph, direction):
    """Without cycles each target is beyond its source, and each line goes there without turning back."""
    layout = drawn(graph, direction=direction)
    axis = 1 if direction == "TB" else 0
    for line in layout.lines:
        assert all(before[axis] <= after[axis] + EXACT for before, after in pairwise(points(line)))
        assert line[0][axis] < line[-1][axis]


@given(graph=graphs(cycles=True), direction=directions, longest=lengths)
def test_frames_hold_their_own_and_nothing_else(graph, direction, longest):
    """What is in a group is in one of its frames; other boxes, and frames that are not nested, are clear of them."""
    layout = drawn(graph, direction=direction, longest=longest)
    frames = [(frame.group, frame.box) for frame in layout.frames]
    for group, box in zip(graph[2], layout.boxes, strict=True):
        for around, frame in frames:
            if group[: len(around)] != around:
                assert not overlap(frame, box)
        for depth in range(1, len(group) + 1):
            assert any(holds(frame, box) for around, frame in frames if around == group[:depth])
    for (one, box), (other, another) in combinations(frames, 2):
        if one[: len(other)] != other and other[: len(one)] != one:
            assert not overlap(box, another)


@given(graph=graphs(cycles=True), direction=directions)
def test_frames_have_room_for_their_titles(graph, direction):
    """A frame is wider than its title, and its first box begins below it."""
    layout = drawn(graph, direction=direction)
    assert {frame.group for frame in layout.frames} == set(titles(graph[2]))
    for frame in layout.frames:
        assert frame.box.width >= 40.0 + 2 * SPACING.frame
        held = [
            box for group, box in zip(graph[2], layout.boxes, strict=True) if group[: len(frame.group)] == frame.group
        ]
        assert min(box.y for box in held) - frame.box.y >= SPACING.frame + SPACING.title - EXACT


@given(graph=graphs(cycles=True), direction=directions, longest=lengths)
def test_layout_is_the_same_each_time(graph, direction, longest):
    """The same graph gives the same layout."""
    assert drawn(graph, direction=direction, longest=longest) == drawn(graph, direction=direction, longest=longest)
