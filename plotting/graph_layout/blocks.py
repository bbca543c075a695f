"""Blocks: units of one column that are aligned and move together.

Contract. Units are numbered from left to right; some pairs must keep a distance. No block is on both sides of another
one, directly or through other blocks, so that there are always positions that keep all distances.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

import attrs

_ROUNDS = 60
_PASSES = 40
_EXACT = 0.01  # points; too little to see


_Others = list[tuple[int, float]]
"""Other blocks, and how many points a block is away from each."""
_Pair = tuple[int, int, float]


@attrs.frozen
class Joint:
    """A line between two units, which is straight if the second is ``shift`` to the right of the first.

    Attributes:
        upper: The first unit's number.
        lower: The second unit's number.
        shift: In points.
    """

    upper: int
    lower: int
    shift: float


class Blocks:
    """Units in a row; at first each is a separate block.

    Args:
        count: The number of units.
        distances: For pairs of units, the left one first, the least distance between them, in points.
    """

    def __init__(self, count: int, distances: Mapping[tuple[int, int], float]) -> None:
        self._distances = distances
        self._right: list[list[int]] = [[] for _ in range(count)]
        for left, right in distances:
            self._right[left].append(right)
        self._block = list(range(count))
        self._offset = [0.0] * count
        self._members = [[number] for number in range(count)]

    def align(self, joint: Joint) -> bool:
        """Merge the blocks at a line's ends, so that the line is straight, unless something is in between."""
        upper, lower = self._block[joint.upper], self._block[joint.lower]
        if upper == lower or self._reaches(upper, lower) or self._reaches(lower, upper):
            return False
        shift = self._offset[joint.upper] + joint.shift - self._offset[joint.lower]
        for member in self._members[lower]:
            self._block[member] = upper
            self._offset[member] += shift
        self._members[upper] += self._members[lower]
        self._members[lower] = []
        return True

    def _reaches(self, left: int, right: int) -> bool:
        """Return whether a block must be to the left of another one."""
        seen = {left}
        waiting = [left]
        while waiting:
            for following in self._following(waiting.pop()):
                if following == right:
                    return True
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
        return False

    def _following(self, block: int) -> Iterator[int]:
        return (self._block[right] for member in self._members[block] for right in self._right[member])

    def places(self, joints: Iterable[Joint]) -> list[float]:
        """Return a position for each unit, in points, that keeps the distances and makes lines nearly straight.

        All blocks start as far to the left as possible. Then, several times, each block moves halfway to the mean of
        where its lines pull it, and blocks that have come too close are moved apart.
        """
        pairs = self._pairs()
        pulls = self._pulls(joints)
        found = _apart(dict.fromkeys(sorted(set(self._block)), 0.0), pairs)
        for _ in range(_ROUNDS):
            wanted = {
                block: (place + fmean(found[other] + shift for other, shift in pulls[block])) / 2
                if pulls[block]
                else place
                for block, place in found.items()
            }
            found = _apart(wanted, pairs)
        return [found[block] + offset for block, offset in zip(self._block, self._offset, strict=True)]

    def _pulls(self, joints: Iterable[Joint]) -> defaultdict[int, _Others]:
        """Return for each block the blocks that its lines lead to, and where it would be relative to them."""
        pulls: defaultdict[int, _Others] = defaultdict(list)
        for joint in joints:
            upper, lower = self._block[joint.upper], self._block[joint.lower]
            shift = self._offset[joint.upper] + joint.shift - self._offset[joint.lower]
            if upper != lower:
                pulls[upper].append((lower, -shift))
                pulls[lower].append((upper, shift))
        return pulls

    def _pairs(self) -> list[_Pair]:
        """Return which blocks keep which distance, ordered so that what pushes a block precedes what it pushes."""
        pairs: dict[tuple[int, int], float] = {}
        for (left, right), distance in self._distances.items():
            blocks = self._block[left], self._block[right]
            far = distance + self._offset[left] - self._offset[right]
            if blocks[0] != blocks[1]:
                pairs[blocks] = max(far, pairs.get(blocks, far))
        ranks = {block: rank for rank, block in enumerate(self._sorted())}
        return sorted(((*blocks, far) for blocks, far in pairs.items()), key=lambda pair: ranks[pair[0]])

    def _sorted(self) -> Iterator[int]:
        """Yield the blocks, each after those to its left."""
        blocks = sorted(set(self._block))
        missing = dict.fromkeys(blocks, 0)
        for block in blocks:
            for following in self._following(block):
                missing[following] += following != block
        free = [block for block in blocks if not missing[block]]
        while free:
            block = free.pop()
            yield block
            for following in self._following(block):
                missing[following] -= following != block
                if following != block and not missing[following]:
                    free.append(following)


def _apart(wanted: Mapping[int, float], pairs: Sequence[_Pair]) -> dict[int, float]:
    """Return positions that keep all distances, closest to the wanted ones by least squares.

    Args:
        wanted: A position for each block.
        pairs: A block, one to its right, and the least distance between them; in topological order.

    Source:
        Dykstra, An algorithm for restricted least squares regression (1983): projections onto one constraint after the
        other, each of which first undoes its last correction. A final pass to the right fixes the remainder.
    """
    found = dict(wanted)
    corrections = [0.0] * len(pairs)
    for _ in range(_PASSES):
        moved = 0.0
        for number, (left, right, distance) in enumerate(pairs):
            missing = distance - (found[right] - found[left]) + 2 * corrections[number]
            correction = max(missing / 2, 0.0)
            change = correction - corrections[number]
            found[left] -= change
            found[right] += change
            corrections[number] = correction
            moved = max(moved, abs(change))
        if moved < _EXACT:
            break
    for left, right, distance in pairs:
        found[right] = max(found[right], found[left] + distance)
    return found
