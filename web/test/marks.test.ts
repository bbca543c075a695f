import { expect, test } from "vitest";
import { type Place, roomFor } from "../src/marks";

/** Return where glyphs and labels begin and end. */
function taken(places: Place[], right: number): [number, number][] {
  return roomFor(places, right).flatMap(({ glyph, side }, place): [number, number][] => {
    const { x, wide } = places[place];
    const label: [number, number] = side > 0 ? [x + 8, x + 8 + wide] : [x - 8 - wide, x - 8];
    return [...(glyph ? [[x - 4, x + 4] as [number, number]] : []), ...(side ? [label] : [])];
  });
}

test("neither glyphs nor labels overlap", () => {
  let seed = 1;
  const random = () => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647;
  };
  for (let round = 0; round < 500; round++) {
    const places = Array.from({ length: 8 }, () => ({ x: 400 * random(), wide: 20 + 80 * random() }));
    places.sort((one, other) => one.x - other.x);
    const spans = taken(places, 400).sort((one, other) => one[0] - other[0]);
    for (let each = 1; each < spans.length; each++)
      expect(spans[each][0]).toBeGreaterThanOrEqual(spans[each - 1][1]);
  }
});

test("a label that would reach the next mark stands on the left, or nowhere", () => {
  const places = [
    { x: 100, wide: 60 },
    { x: 150, wide: 40 },
    { x: 160, wide: 60 },
    { x: 395, wide: 50 },
  ];
  expect(roomFor(places, 400)).toEqual([
    { glyph: true, side: -1 },
    { glyph: true, side: 0 },
    { glyph: true, side: 1 },
    { glyph: true, side: -1 },
  ]);
});
