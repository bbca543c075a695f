import { expect, test } from "vitest";
import { median, selected } from "../src/median";

/** Return numbers that are drawn, the same each time: of so many kinds. */
function drawn(count: number, kinds: number, seed: number): Float64Array {
  let state = seed;
  return Float64Array.from({ length: count }, () => {
    state = (1664525 * state + 1013904223) % 4294967296;
    return Math.floor((state / 4294967296) * kinds) - kinds / 2;
  });
}

const CASES: [string, Float64Array][] = [
  ...[1, 2, 3, 10, 33, 180, 1024].flatMap((count) =>
    [1, 2, 5, 1e9].map((kinds): [string, Float64Array] => [
      `${count} of ${kinds} kinds`,
      drawn(count, kinds, count),
    ]),
  ),
  ["ascending", Float64Array.from({ length: 500 }, (_, place) => place)],
  ["descending", Float64Array.from({ length: 501 }, (_, place) => -place)],
  ["up and down", Float64Array.from({ length: 500 }, (_, place) => Math.abs(250 - place))],
  ["huge and tiny", Float64Array.from([1e308, -1e308, 5e-324, 0, -3, 1])],
];

test.each(CASES)("each place and the median are those of sorted values: %s", (_, values) => {
  const sorted = values.slice().sort();
  for (const place of new Set([0, values.length >> 2, values.length >> 1, values.length - 1]))
    expect(selected(values.slice(), values.length, place)).toBe(sorted[place]);
  const middle = values.length >> 1;
  expect(median(values.slice(), values.length)).toBe(
    values.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2,
  );
});

test("only the first values count, and of none there is no median", () => {
  const scratch = Float64Array.from([3, 1, 2, -9, -9, -9]);
  expect(median(scratch, 3)).toBe(2);
  expect([...scratch.subarray(3)]).toEqual([-9, -9, -9]);
  expect(median(scratch, 0)).toBeNaN();
});
