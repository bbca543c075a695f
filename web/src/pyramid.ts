// Minima and maxima of stretches of 4, 16, 64, ... values, so that those of any stretch are found in a few steps.

import { zerosLike } from "./columns";

const FACTOR = 4;

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
    let below: Level | null = null;
    for (let size = FACTOR; size < FACTOR * values.length && (size === FACTOR || below!.low.length > 1); ) {
      below = below === null ? this.first() : above(below);
      this.levels.push(below);
      size = below.size * FACTOR;
    }
  }

  private first(): Level {
    const count = Math.ceil(this.values.length / FACTOR);
    const level = emptyLevel(FACTOR, count, this.values);
    for (let place = 0; place < this.values.length; place++) {
      const value = this.values[place];
      const to = place >> 2;
      if (Number.isFinite(value)) {
        if (value < level.low[to]) level.low[to] = value;
        if (value > level.high[to]) level.high[to] = value;
      } else level.notFinite[to]++;
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
    low: zerosLike(like, count).fill(Infinity),
    high: zerosLike(like, count).fill(-Infinity),
    notFinite: new Uint32Array(count),
  };
}

function above(below: Level): Level {
  const level = emptyLevel(below.size * FACTOR, Math.ceil(below.low.length / FACTOR), below.low);
  for (let place = 0; place < below.low.length; place++) {
    const to = place >> 2;
    if (below.low[place] < level.low[to]) level.low[to] = below.low[place];
    if (below.high[place] > level.high[to]) level.high[to] = below.high[place];
    level.notFinite[to] += below.notFinite[place];
  }
  return level;
}
