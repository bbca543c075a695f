// Where the glyphs and labels of a chart's marks stand, above its plot: nothing stands on anything else.

/** How much room a glyph takes, and how far its label stands from its middle, in pixels. */
const GLYPH = 10;
const GAP = 8;

/** A mark in sight: where its line is, and how wide its label. */
export interface Place {
  x: number;
  wide: number;
}

/** Whether a mark has room for its glyph, and on which side for its label: -1 left, 1 right, 0 nowhere. */
export interface Room {
  glyph: boolean;
  side: -1 | 0 | 1;
}

/** Return the room of marks, ascending, on a plot that ends at `right`; marks that are close have one glyph. */
export function roomFor(places: Place[], right: number): Room[] {
  const rooms: Room[] = [];
  let last = -Infinity;
  let free = -Infinity;
  places.forEach(({ x, wide }, place) => {
    const glyph = x - last >= GLYPH;
    if (!glyph) {
      rooms.push({ glyph, side: 0 });
      return;
    }
    const next = places.slice(place + 1).find((each) => each.x - x >= GLYPH)?.x ?? Infinity;
    const goesRight = x + GAP + wide <= Math.min(right, next - GAP);
    const goesLeft = x - GAP - wide >= free;
    const side = goesRight ? 1 : goesLeft ? -1 : 0;
    rooms.push({ glyph, side });
    last = x;
    free = x + GAP + (side === 1 ? wide : 0);
  });
  return rooms;
}
