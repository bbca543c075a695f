"""The layout of layer graphs: what holds for all of them, and for the simplest ones how they look."""

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.plotting.graph_layout.layout import Spacing, lay_out
from monitor_core.plotting.graph_layout.shapes import Box

SIZE = (80.0, 30.0)
SPACING = Spacing()
EXACT = 1e-6

names = st.sampled_from(["a", "b", "c"])
inner = st.lists(names, max_size=2).map(tuple)


@st.composite
def graphs(draw, *, cycles=False):
    """Draw the sizes, edges and groups of a graph; a node of a group may not have the name of another."""
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


def plain(edges, count=None, **options):
    """Lay out nodes of one size without groups; edges are written as pairs of letters."""
    pairs = [("abcdefgh".index(source), "abcdefgh".index(target)) for source, target in edges.split()]
    count = count or 1 + max(max(pair) for pair in pairs)
    return lay_out([SIZE] * count, pairs, [()] * count, {}, **options)


def middles(layout):
    """Return where the boxes' middles are across, by letter."""
    return {name: box.x + box.width / 2 for name, box in zip("abcdefgh", layout.boxes, strict=False)}


def test_a_chain_is_one_straight_line():
    """Layers one after the other are below each other, at the same distance."""
    layout = plain("ab bc cd")
    assert set(middles(layout).values()) == {40.0}
    assert [box.y for box in layout.boxes] == [number * (30.0 + SPACING.layers) for number in range(4)]
    assert {x for line in layout.lines for x, _ in line} == {40.0}


def test_two_branches_are_on_both_sides():
    """What feeds both, and what takes both, is in the middle."""
    found = middles(plain("ab ac bd cd"))
    assert found["a"] == pytest.approx(found["d"]) == pytest.approx((found["b"] + found["c"]) / 2)
    assert abs(found["c"] - found["b"]) == pytest.approx(80.0 + SPACING.neighbours, abs=0.1)


def test_the_longest_path_is_straight_and_a_way_around_it_is_at_its_side():
    """A residual block is a line of layers with an arc."""
    layout = plain("ab bc ac")
    found = middles(layout)
    assert found["a"] == found["b"] == found["c"]
    x, y = points(layout.lines[2])[len(points(layout.lines[2])) // 2]
    assert not 0 <= x - layout.boxes[1].x <= 80.0
    assert layout.boxes[1].y <= y <= layout.boxes[1].y + 30.0


def test_the_middle_one_of_three_branches_is_straight():
    """Of three that are as long as each other."""
    found = middles(plain("ab ac ad be ce de"))
    assert found["a"] == found["c"] == found["e"]


def test_crossings_that_need_not_be_are_avoided():
    """Two chains that were defined crosswise are side by side."""
    layout = plain("ad bc ce df")
    found = middles(layout)
    assert found["a"] == found["d"] == found["f"]
    assert found["b"] == found["c"] == found["e"]


def test_layers_without_edges_are_in_one_column():
    """Where nothing is known of the edges, the order of definition is kept."""
    layout = plain("", count=3)
    assert set(middles(layout).values()) == {40.0}
    assert [box.y for box in layout.boxes] == sorted(box.y for box in layout.boxes)


def test_an_input_is_above_what_takes_it():
    """One that is used late is not drawn at the top with a long line."""
    layout = plain("ab bd cd")
    assert layout.boxes[2].y == layout.boxes[1].y


def test_an_edge_that_closes_a_cycle_leads_back_next_to_the_other():
    """Two layers that feed each other have two lines apart."""
    there, back = plain("ab ba").lines
    assert there[0][1] < there[-1][1]
    assert back[0][1] > back[-1][1]
    assert abs(there[0][0] - back[-1][0]) == SPACING.twins


def test_an_edge_to_itself_is_an_arc_at_the_side():
    """It leaves and arrives at the same side of its box."""
    layout = plain("aa ab")
    (arc, _), box = layout.lines, layout.boxes[0]
    assert arc[0][0] == arc[-1][0] == box.x + box.width
    assert max(x for x, _ in points(arc)) <= box.x + box.width + SPACING.loop


def test_left_to_right_is_top_to_bottom_turned():
    """Boxes keep their width and height, and the flow turns."""
    layout = plain("ab", direction="LR")
    assert layout.boxes == (Box(0.0, 0.0, *SIZE), Box(80.0 + SPACING.layers, 0.0, *SIZE))


def test_nested_frames_are_inside_of_each_other():
    """Each is as far from what is in it, with room for its title above."""
    layout = lay_out([SIZE], [], [("outer", "inner")], {("outer",): 10.0, ("outer", "inner"): 10.0})
    outer, inner = (frame.box for frame in layout.frames)
    assert inner.y - outer.y == layout.boxes[0].y - inner.y == SPACING.frame + SPACING.title
    assert inner.x - outer.x == layout.boxes[0].x - inner.x == SPACING.frame


def long_chain(groups=()):
    """Return a folded chain of twenty nodes, with a line around all of them."""
    edges = [*pairwise(range(20)), (0, 19)]
    titles = dict.fromkeys([groups], 10.0) if groups else {}
    return lay_out([SIZE] * 20, edges, [groups] * 20, titles, longest=500.0)


def test_a_long_drawing_is_set_in_columns_about_as_wide_as_they_are_high():
    """The flow goes down each column, and on in the next one to the right, from the same height."""
    layout = long_chain()
    assert 0.5 < layout.width / layout.height < 2.0
    columns = sorted({box.x for box in layout.boxes})
    assert len(columns) > 2
    assert [box.x for box in layout.boxes] == sorted(box.x for box in layout.boxes)
    tops = {min(box.y for box in layout.boxes if box.x == column) for column in columns}
    assert len({round(top, 6) for top in tops}) == 1


def test_lines_around_a_column_are_apart():
    """Two lines that continue in the next column share no vertical part."""
    layout = long_chain()
    last = sum(box.x == layout.boxes[0].x for box in layout.boxes) - 1  # of the first column
    one, other = (
        min(start[0] for start, end in zip(line[::3], line[3::3], strict=False) if start[1] - end[1] > 100.0)
        for line in (layout.lines[last], layout.lines[-1])
    )
    assert abs(one - other) >= 5.0


def test_a_folded_frame_continues_in_each_column():
    """Its title is in the first part alone."""
    layout = long_chain(("coder",))
    parts = [frame for frame in layout.frames if frame.group == ("coder",)]
    assert len(parts) == len({box.x for box in layout.boxes}) > 1
    assert [part.is_first for part in parts] == [True] + [False] * (len(parts) - 1)
    assert all(sum(holds(part.box, box) for part in parts) == 1 for box in layout.boxes)
