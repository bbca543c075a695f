// A curve, and what of it a screen shows: every point, or for each pixel the lowest, the median and the highest value.

import { lowerBound, type Numbers, zerosLike } from "./columns";
import { median, selected } from "./median";
import { type Extremes, Pyramid } from "./pyramid";

/** More points than this for each pixel are drawn as a band. */
const DENSE = 1.5;
/** Of more points than this for each pixel, evenly spread ones are taken for the median. */
const MOST_FOR_MEDIAN = 1024;

/** Points to draw, all of a stretch. */
export interface Points {
  kind: "points";
  x: number[];
  y: number[];
}

/** A stretch in columns of one pixel; what has no finite value is NaN. */
export interface Band {
  kind: "band";
  low: Float64Array;
  median: Float64Array;
  high: Float64Array;
  notFinite: Uint32Array;
  count: Uint32Array;
  /** Whether medians are of a sample. */
  sampled: boolean;
}

/** A metric's values by step or epoch, ascending. */
export class Curve {
  private readonly pyramid: Pyramid;
  private readonly scratch = new Float64Array(MOST_FOR_MEDIAN);

  constructor(
    readonly x: Numbers,
    private readonly values: ArrayLike<number>,
  ) {
    this.pyramid = new Pyramid(values);
  }

  get length(): number {
    return this.values.length;
  }

  get first(): number {
    return this.length ? this.x.at(0) : NaN;
  }

  get last(): number {
    return this.length ? this.x.at(this.length - 1) : NaN;
  }

  value(place: number): number {
    return this.values[place];
  }

  /** Return the places of the points from one number to another, both included: [begin, end). */
  places(from: number, to: number): [number, number] {
    const begin = lowerBound(this.x, from);
    let end = lowerBound(this.x, to);
    while (end < this.length && this.x.at(end) <= to) end++;
    return [begin, end];
  }

  extremes(from: number, to: number): Extremes {
    return this.pyramid.extremes(...this.places(from, to));
  }

  /** Return the place of the point that is nearest to a number, -1 if there is none. */
  nearest(x: number): number {
    if (!this.length) return -1;
    const after = lowerBound(this.x, x);
    if (after === 0) return 0;
    if (after === this.length) return this.length - 1;
    return x - this.x.at(after - 1) <= this.x.at(after) - x ? after - 1 : after;
  }

  /** Return what to draw of a stretch on so many pixels. */
  view(from: number, to: number, pixels: number): Points | Band {
    const [begin, end] = this.places(from, to);
    return end - begin <= DENSE * pixels ? this.points(begin, end) : this.band(from, to, pixels);
  }

  private points(begin: number, end: number): Points {
    const view: Points = { kind: "points", x: [], y: [] };
    // One point beyond each edge, so that lines run to the edges.
    for (let place = Math.max(begin - 1, 0); place < Math.min(end + 1, this.length); place++) {
      view.x.push(this.x.at(place));
      view.y.push(this.values[place]);
    }
    return view;
  }

  private band(from: number, to: number, pixels: number): Band {
    const band: Band = {
      kind: "band",
      low: new Float64Array(pixels).fill(NaN),
      median: new Float64Array(pixels).fill(NaN),
      high: new Float64Array(pixels).fill(NaN),
      notFinite: new Uint32Array(pixels),
      count: new Uint32Array(pixels),
      sampled: false,
    };
    let begin = lowerBound(this.x, from);
    for (let pixel = 0; pixel < pixels; pixel++) {
      const end =
        pixel === pixels - 1
          ? this.places(to, to)[1]
          : lowerBound(this.x, from + ((pixel + 1) * (to - from)) / pixels);
      if (end > begin) {
        const { low, high, notFinite } = this.pyramid.extremes(begin, end);
        band.count[pixel] = end - begin;
        band.notFinite[pixel] = notFinite;
        if (low <= high) {
          band.low[pixel] = low;
          band.high[pixel] = high;
          band.median[pixel] = this.median(begin, end);
        }
        if (end - begin > MOST_FOR_MEDIAN) band.sampled = true;
      }
      begin = Math.max(begin, end);
    }
    return band;
  }

  private median(begin: number, end: number): number {
    const stride = Math.ceil((end - begin) / MOST_FOR_MEDIAN);
    let count = 0;
    for (let place = begin; place < end; place += stride) {
      const value = this.values[place];
      if (Number.isFinite(value)) this.scratch[count++] = value;
    }
    return median(this.scratch, count);
  }

  /** Return the curve's exponential moving average with a weight from 0 to 1; values that are not finite are passed over. */
  smoothed(weight: number): Curve {
    const smooth = zerosLike(this.values, this.length);
    let mean = 0;
    let share = 0;
    for (let place = 0; place < this.length; place++) {
      const value = this.values[place];
      if (Number.isFinite(value)) {
        mean = weight * mean + (1 - weight) * value;
        share = weight * share + (1 - weight);
        smooth[place] = mean / share;
      } else smooth[place] = NaN;
    }
    return new Curve(this.x, smooth);
  }
}

/** Pixels of a band whose extreme is far beyond those around it: -1 low, 1 high. */
export interface Spike {
  pixel: number;
  side: -1 | 1;
  value: number;
  excess: number;
}

/** How far beyond its surroundings a value is to be a spike, as a multiple of theirs. */
const FAR = 2.5;
/** So many pixels like it make a pattern: only what is twice as far as the pattern is a spike. */
const PATTERN = 8;

/** Return the spikes of a band, the largest first, so that one value among thousands is seen. */
export function spikes(band: Band): Spike[] {
  const found: Spike[] = [];
  for (const side of [-1, 1] as const) {
    const reach = Float64Array.from(band.median, (median, pixel) =>
      side > 0 ? band.high[pixel] - median : median - band.low[pixel],
    );
    const usual = runningMedian(reach, 16);
    for (let pixel = 0; pixel < reach.length; pixel++) {
      const excess = reach[pixel] / usual[pixel];
      if (reach[pixel] > 0 && excess > FAR)
        found.push({ pixel, side, value: side > 0 ? band.high[pixel] : band.low[pixel], excess });
    }
  }
  found.sort((one, other) => other.excess - one.excess);
  const pattern = found[PATTERN]?.excess ?? 0;
  return found.slice(0, PATTERN).filter((each) => each.excess > 2 * pattern);
}

function runningMedian(values: Float64Array, around: number): Float64Array {
  const window = new Float64Array(2 * around + 1);
  return values.map((_, place) => {
    let count = 0;
    for (let each = place - around; each <= place + around; each++)
      if (values[each] >= 0) window[count++] = values[each];
    return count ? selected(window, count, count >> 1) : NaN;
  });
}
