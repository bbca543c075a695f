// Minima and maxima of stretches of 16, 256, 4096, ... values, so that those of any stretch are found in a few steps.

import { zerosLike } from "./columns";

/** So few levels are built quickly, and what sticks out at both ends of a stretch is soon looked at. */
const FACTOR = 16;

/** The extremes of a stretch; NaN and infinities do not count, but are counted. */
export interface Extremes {
  low: number;
  high: number;
  notFinite: number;
}

interface Level {
  size: number;
  low: Float32Array | Float64Array;
  high: Float32Array | Float64Array;
  notFinite: Uint32Array;
}

/** The pyramid of a column. */
export class Pyramid {
  private readonly levels: Level[] = [];

  constructor(readonly values: ArrayLike<number>) {
    for (let below = this.first(); below.low.length; below = above(below)) {
      this.levels.push(below);
      if (below.low.length === 1) break;
    }
  }

  private first(): Level {
    const { values } = this;
    const level = emptyLevel(FACTOR, Math.ceil(values.length / FACTOR), values);
    for (let to = 0, place = 0; place < values.length; to++) {
      const end = Math.min(place + FACTOR, values.length);
      let low = Infinity;
      let high = -Infinity;
      let notFinite = 0;
      for (; place < end; place++) {
        const value = values[place];
        if (Number.isFinite(value)) {
          if (value < low) low = value;
          if (value > high) high = value;
        } else notFinite++;
      }
      level.low[to] = low;
      level.high[to] = high;
      level.notFinite[to] = notFinite;
    }
    return level;
  }

  /** Return the extremes of the values from one place up to another; Infinity and -Infinity if none is finite. */
  extremes(from: number, to: number): Extremes {
    const found = { low: Infinity, high: -Infinity, notFinite: 0 };
    let place = from;
    while (place < to) {
      let level: Level | null = null;
      for (const each of this.levels) {
        if (place % each.size !== 0 || place + each.size > to) break;
        level = each;
      }
      if (level === null) {
        const value = this.values[place];
        if (Number.isFinite(value)) {
          if (value < found.low) found.low = value;
          if (value > found.high) found.high = value;
        } else found.notFinite++;
        place++;
      } else {
        const at = place / level.size;
        if (level.low[at] < found.low) found.low = level.low[at];
        if (level.high[at] > found.high) found.high = level.high[at];
        found.notFinite += level.notFinite[at];
        place += level.size;
      }
    }
    return found;
  }
}

function emptyLevel(size: number, count: number, like: ArrayLike<number>): Level {
  return {
    size,
    low: zerosLike(like, count),
    high: zerosLike(like, count),
    notFinite: new Uint32Array(count),
  };
}

function above(below: Level): Level {
  const level = emptyLevel(below.size * FACTOR, Math.ceil(below.low.length / FACTOR), below.low);
  for (let to = 0; to < level.low.length; to++) {
    let low = Infinity;
    let high = -Infinity;
    let notFinite = 0;
    const end = Math.min((to + 1) * FACTOR, below.low.length);
    for (let place = to * FACTOR; place < end; place++) {
      if (below.low[place] < low) low = below.low[place];
      if (below.high[place] > high) high = below.high[place];
      notFinite += below.notFinite[place];
    }
    level.low[to] = low;
    level.high[to] = high;
    level.notFinite[to] = notFinite;
  }
  return level;
}
