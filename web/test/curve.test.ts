import { expect, test } from "vitest";
import { Regular, Stored } from "../src/columns";
import { type Band, Curve, type Points, spikes } from "../src/curve";
import { Pyramid } from "../src/pyramid";

/** A generator of numbers from 0 to 1 that gives the same each time. */
function draws(seed: number): () => number {
  let state = seed;
  return () => {
    state = (1664525 * state + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

function noise(count: number, seed = 1): Float32Array {
  const draw = draws(seed);
  return Float32Array.from({ length: count }, () => 1 + 0.2 * (draw() - 0.5));
}

test("a pyramid has the extremes that all values have, of any stretch", () => {
  const draw = draws(7);
  for (let round = 0; round < 200; round++) {
    const values = Float32Array.from({ length: Math.floor(draw() * 300) + 1 }, () =>
      draw() < 0.1 ? NaN : draw() < 0.05 ? Infinity : draw() - 0.5,
    );
    const pyramid = new Pyramid(values);
    const from = Math.floor(draw() * values.length);
    const to = from + Math.floor(draw() * (values.length - from + 1));
    const finite = [...values.subarray(from, to)].filter(Number.isFinite);
    expect(pyramid.extremes(from, to)).toEqual({
      low: Math.min(...finite),
      high: Math.max(...finite),
      notFinite: to - from - finite.length,
    });
  }
});

test.each([334, 1200])("one spike and 50 NaN among 100,000 steps are in the view of %d pixels", (pixels) => {
  const values = noise(100_000);
  values[51_234] = 9;
  values.fill(NaN, 70_000, 70_050);
  const band = new Curve(new Regular(1, 1, values.length), values).view(1, 100_000, pixels) as Band;
  expect(band.kind).toBe("band");
  expect(Math.max(...band.high)).toBe(9);
  expect(band.notFinite.reduce((sum, each) => sum + each)).toBe(50);
  expect(band.count.reduce((sum, each) => sum + each)).toBe(100_000);
  const [spike] = spikes(band);
  expect([spike.value, spike.side, spike.pixel]).toEqual([9, 1, Math.floor((51_234 / 99_999) * pixels)]);
});

test("noise alone has no spikes, and a band's median is that of its values", () => {
  const values = noise(60_000, 3);
  const band = new Curve(new Regular(1, 1, values.length), values).view(1, 60_000, 600) as Band;
  expect(spikes(band)).toEqual([]);
  const sorted = values.slice(0, 100).sort();
  expect(band.median[0]).toBeCloseTo((sorted[49] + sorted[50]) / 2, 6);
  expect(band.sampled).toBe(false);
});

test("a pattern is not spikes, but what is far beyond it is one", () => {
  const values = noise(50_000);
  for (let place = 0; place < values.length; place += 500) values[place] = 2;
  const x = new Regular(1, 1, values.length);
  expect(spikes(new Curve(x, values).view(1, 50_000, 1000) as Band)).toEqual([]);
  values[25_123] = 30;
  expect(spikes(new Curve(x, values).view(1, 50_000, 1000) as Band).map((each) => each.value)).toEqual([30]);
});

test("few points are all shown, with one beyond each edge", () => {
  const curve = new Curve(new Stored([1, 2, 5, 9, 12]), Float32Array.from([1, NaN, 3, 4, 5]));
  expect(curve.view(2, 9, 100) as Points).toEqual({
    kind: "points",
    x: [1, 2, 5, 9, 12],
    y: [1, NaN, 3, 4, 5],
  });
  expect(curve.view(5, 6, 100) as Points).toEqual({ kind: "points", x: [2, 5, 9], y: [NaN, 3, 4] });
  expect([0, 3, 4, 100].map((x) => curve.nearest(x))).toEqual([0, 1, 2, 4]);
});

test("smoothing is a moving average without the bias of its start, over what is finite", () => {
  const smooth = new Curve(new Regular(0, 1, 4), Float32Array.from([2, NaN, 4, 4])).smoothed(0.5);
  expect([0, 1, 2, 3].map((place) => smooth.value(place))).toEqual([
    2,
    NaN,
    expect.closeTo(10 / 3, 5),
    expect.closeTo(26 / 7, 5),
  ]);
});
