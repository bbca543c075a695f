// A chart of a metric: uPlot's axes, cursor and zoom; the curves are painted here, as lines where there is room for every
// point and as a band with its median where there is not.

import uPlot from "uplot";
import { asArray, type ColumnReader, type ColumnSpec } from "./columns";
import { type Band, Curve, type Points, spikes } from "./curve";
import { formatCount, formatTick, formatValue, shortened } from "./format";
import { roomFor } from "./marks";
import { colour, outline, styleOf } from "./palette";

/** A line of a chart. */
export interface LineSpec {
  name: string;
  x: ColumnSpec;
  y: ColumnSpec;
  style: number;
  /** Not drawn until its button is pressed. */
  hidden?: boolean;
}

/** What happened at some step or epoch. */
export interface MarkSpec {
  x: number;
  kind: "best" | "stop" | "rate" | "resume" | "failed" | "disabled" | "checkpoint" | "finding" | "asked";
  label: string;
}

/** A chart as the report describes it. */
export interface ChartSpec {
  unit: "step" | "epoch" | "second";
  lines: LineSpec[];
  marks: MarkSpec[];
  /** A stretch that is marked. */
  span?: [number, number];
  /** The stretch that is shown first; all without it. */
  focus?: [number, number];
}

/** How all charts are drawn. */
export interface Settings {
  logarithmic: boolean;
  /** The weight of the moving average, 0 for none. */
  smoothing: number;
}

interface Line {
  spec: LineSpec;
  curve: Curve;
  smooth: Curve | null;
  shown: boolean;
}

const HEIGHT = 260;
const NOT_FINITE_HEIGHT = 9;
const MARK_GLYPHS: Record<MarkSpec["kind"], string> = {
  best: "●",
  stop: "■",
  rate: "▼",
  resume: "▶",
  failed: "!",
  disabled: "✕",
  checkpoint: "◆",
  finding: "▲",
  asked: "?",
};

/** A chart in its figure: built once its data are there, and again when settings change. */
export class Chart {
  private plot: uPlot | null = null;
  private lines: Line[] = [];
  private range: [number, number] = [0, 1];
  private shownRange: [number, number] = [0, 1];
  private settings: Settings = { logarithmic: false, smoothing: 0 };
  private measured = 0;
  private readonly area: HTMLElement;
  private readonly readout: HTMLElement;
  private readonly reset: HTMLButtonElement;

  constructor(
    readonly figure: HTMLElement,
    private spec: ChartSpec,
    private reader: ColumnReader,
  ) {
    this.area = figure.querySelector<HTMLElement>(".plot")!;
    this.readout = figure.querySelector<HTMLElement>(".readout")!;
    this.reset = figure.querySelector<HTMLButtonElement>(".reset")!;
  }

  /** Read the data and draw. */
  async build(settings: Settings): Promise<void> {
    this.settings = settings;
    this.lines = await this.read();
    this.buildLegend();
    this.range = this.wholeRange();
    this.shownRange = this.focus();
    this.reset.addEventListener("click", () => this.zoom(...(this.isWhole() ? this.focus() : this.range)));
    this.listenToKeys();
    this.draw();
    this.offerReturn();
    this.figure.dataset.drawn = "yes";
  }

  /** Read its columns, which the reader keeps; what is wrong with them `build` says. */
  preload(): Promise<unknown> {
    return Promise.allSettled(
      this.spec.lines.flatMap((line) => [this.reader.read(line.x), this.reader.read(line.y)]),
    );
  }

  /** Take another version of the chart before it is built. */
  replace(spec: ChartSpec, reader: ColumnReader): void {
    [this.spec, this.reader] = [spec, reader];
  }

  /** Take another version of the chart: a whole range stays whole, a zoom stays where it is. */
  async update(spec: ChartSpec, reader: ColumnReader): Promise<void> {
    const focus = this.focus();
    this.replace(spec, reader);
    const before = new Map(this.lines.map((line) => [line.spec.name, line]));
    this.lines = await this.read();
    if (this.lines.length === before.size && this.lines.every((line) => before.has(line.spec.name))) {
      for (const line of this.lines) line.shown = before.get(line.spec.name)!.shown;
    }
    this.buildLegend();
    const [isWhole, isFocus] = [this.isWhole(), isSame(this.shownRange, focus)];
    this.range = this.wholeRange();
    if (isFocus) this.shownRange = this.focus();
    else if (isWhole) this.shownRange = this.range;
    this.draw();
    this.offerReturn();
  }

  private isWhole(): boolean {
    return this.shownRange[0] <= this.range[0] && this.shownRange[1] >= this.range[1];
  }

  /** Return the stretch that is shown first. */
  private focus(): [number, number] {
    const [from, to] = this.spec.focus ?? this.range;
    return [Math.max(from, this.range[0]), Math.min(to, this.range[1])];
  }

  /** Let the button lead to the whole range, and from there to the stretch that is shown first. */
  private offerReturn(): void {
    const isWhole = this.isWhole();
    this.reset.hidden = isWhole && this.spec.focus === undefined;
    this.reset.textContent = isWhole ? "Zoom to the finding" : "Whole range";
  }

  private async read(): Promise<Line[]> {
    return Promise.all(
      this.spec.lines.map(async (spec) => {
        const [x, y] = await Promise.all([this.reader.read(spec.x), this.reader.read(spec.y)]);
        return { spec, curve: new Curve(x, asArray(y)), smooth: null, shown: !spec.hidden };
      }),
    );
  }

  /** Draw with other settings. */
  apply(settings: Settings): void {
    this.settings = settings;
    if (this.lines.length) this.draw();
  }

  /** Take the colours of the page and the width of the figure as they are now. */
  refresh(): void {
    if (this.plot === null) return;
    this.measured = 0;
    this.draw();
  }

  /** Take the width of the figure as it is now. */
  resize(): void {
    this.measured = 0;
    const width = this.width();
    if (this.plot !== null && this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
  }

  /** Show a stretch, at least two numbers wide. */
  zoom(from: number, to: number): void {
    if (this.plot === null) return;
    const plot = this.plot;
    const [first, last] = this.range;
    let [begin, end] = [Math.max(Math.min(from, to), first), Math.min(Math.max(from, to), last)];
    if (end - begin < 1 && last - first > 1) [begin, end] = [begin - 0.5, begin + 0.5];
    this.shownRange = [begin, end];
    const [low, high] = this.valueRange(begin, end);
    plot.batch(() => {
      plot.setScale("x", { min: begin, max: end });
      plot.setScale("y", { min: low, max: high });
    });
    this.offerReturn();
  }

  private wholeRange(): [number, number] {
    const filled = this.lines.filter((line) => line.curve.length);
    const first = Math.min(...filled.map((line) => line.curve.first));
    const last = Math.max(...filled.map((line) => line.curve.last));
    if (!filled.length) return [0, 1];
    return first === last ? [first - 1, last + 1] : [first, last];
  }

  private valueRange(from: number, to: number): [number, number] {
    let low = Infinity;
    let high = -Infinity;
    for (const line of this.shown()) {
      const extremes = line.curve.extremes(from, to);
      let bottom = extremes.low;
      if (this.settings.logarithmic && bottom <= 0) bottom = leastPositive(line.curve, from, to);
      low = Math.min(low, bottom);
      high = Math.max(high, extremes.high);
    }
    if (low > high) return this.settings.logarithmic ? [0.1, 10] : [0, 1];
    if (this.settings.logarithmic) return [low / 1.1, Math.max(high, low) * 1.1];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
  }

  private shown(): Line[] {
    return this.lines.filter((line) => line.shown && line.curve.length);
  }

  /** Return the width, measured once: after each change of the page, to measure is to lay it out again. */
  private width(): number {
    this.measured ||= Math.max(Math.floor(this.area.clientWidth), 200);
    return this.measured;
  }

  private draw(): void {
    this.plot?.destroy();
    for (const line of this.lines)
      line.smooth = this.settings.smoothing ? line.curve.smoothed(this.settings.smoothing) : null;
    const [low, high] = this.valueRange(...this.shownRange);
    const axis: uPlot.Axis = {
      stroke: colour("muted"),
      font: `12px ${getComputedStyle(document.body).fontFamily}`,
      grid: { stroke: colour("grid"), width: 1 },
      ticks: { show: false },
    };
    const options: uPlot.Options = {
      width: this.width(),
      height: HEIGHT,
      padding: [16, 12, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: false, auto: false, min: this.shownRange[0], max: this.shownRange[1] },
        y: { auto: false, distr: this.settings.logarithmic ? 3 : 1, min: low, max: high },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          ticks: { show: true, stroke: colour("grid"), size: 4 },
          size: 30,
          space: 70,
          incrs: WHOLE,
          values: (_, splits) => splits.map((each) => (each === null ? "" : formatTick(each))),
        },
        {
          ...axis,
          size: (_, values) => 14 + 7 * Math.max(3, ...(values ?? []).map((each) => (each ?? "").length)),
          space: 44,
          values: (_, splits) => splits.map((each) => (each === null ? "" : formatTick(each))),
        },
      ],
      series: [{}, { show: true, scale: "y" }],
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        bind: {
          dblclick: () => () => {
            this.zoom(...this.range);
            return null;
          },
        },
      },
      hooks: {
        draw: [(plot) => this.paint(plot)],
        setCursor: [(plot) => this.tell(plot)],
        setSelect: [(plot) => this.zoomToSelection(plot)],
      },
    };
    this.plot = new uPlot(
      options,
      [
        [this.range[0], this.range[1]],
        [null, null],
      ],
      this.area,
    );
  }

  private zoomToSelection(plot: uPlot): void {
    const { left, width } = plot.select;
    if (width < 3) return;
    this.zoom(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  // --- painting ------------------------------------------------------------------------------------------------------

  private paint(plot: uPlot): void {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    const scale = uPlot.pxRatio;
    ctx.save();
    this.paintSpan(plot, scale);
    this.paintMarks(plot, scale);
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    const pixels = Math.max(Math.floor(width / scale), 1);
    const missed = new Uint8Array(pixels);
    for (const line of this.shown()) {
      const view = line.curve.view(...this.shownRange, pixels);
      if (view.kind === "band") this.paintBand(plot, view, line, scale, missed);
      else this.paintPoints(plot, view, line, scale, missed);
    }
    this.paintMissed(plot, missed, scale);
    ctx.restore();
  }

  private y(plot: uPlot, value: number): number {
    return plot.valToPos(this.settings.logarithmic ? Math.max(value, 1e-300) : value, "y", true);
  }

  private paintBand(plot: uPlot, band: Band, line: Line, scale: number, missed: Uint8Array): void {
    const { ctx } = plot;
    const { left } = plot.bbox;
    const paint = colour(styleOf(line.spec.style).colour);
    const fill = new Path2D();
    const stems = new Path2D();
    for (const [begin, end] of stretches(band)) {
      const at = (pixel: number) => left + pixel * scale;
      fill.moveTo(at(begin), this.y(plot, band.high[begin]));
      for (let pixel = begin; pixel < end; pixel++) {
        fill.lineTo(at(pixel), this.y(plot, band.high[pixel]));
        fill.lineTo(at(pixel + 1), this.y(plot, band.high[pixel]));
      }
      for (let pixel = end - 1; pixel >= begin; pixel--) {
        fill.lineTo(at(pixel + 1), this.y(plot, band.low[pixel]));
        fill.lineTo(at(pixel), this.y(plot, band.low[pixel]));
      }
      fill.closePath();
    }
    const dots = new Path2D();
    for (const spike of spikes(band)) {
      const x = left + (spike.pixel + 0.5) * scale;
      stems.moveTo(x, this.y(plot, band.median[spike.pixel]));
      stems.lineTo(x, this.y(plot, spike.value));
      dots.moveTo(x, this.y(plot, spike.value));
      dots.arc(x, this.y(plot, spike.value), 2.5 * scale, 0, 2 * Math.PI);
    }
    for (let pixel = 0; pixel < missed.length; pixel++) if (band.notFinite[pixel]) missed[pixel] = 1;
    ctx.fillStyle = ctx.strokeStyle = paint;
    ctx.globalAlpha = 0.26;
    ctx.fill(fill);
    ctx.globalAlpha = 1;
    ctx.lineWidth = 1.25 * scale;
    ctx.setLineDash([]);
    ctx.stroke(stems);
    ctx.fill(dots);
    if (line.smooth !== null) this.paintSmooth(plot, line, scale, paint);
    else {
      const x = Array.from(band.median, (_, pixel) => left + (pixel + 0.5) * scale);
      this.strokeLine(plot, x, Array.from(band.median), line.spec.style, scale, paint);
    }
  }

  private paintPoints(plot: uPlot, points: Points, line: Line, scale: number, missed: Uint8Array): void {
    const paint = colour(styleOf(line.spec.style).colour);
    const x = points.x.map((each) => plot.valToPos(each, "x", true));
    if (line.smooth !== null) {
      plot.ctx.globalAlpha = 0.35;
      this.strokeLine(plot, x, points.y, line.spec.style, scale, paint);
      plot.ctx.globalAlpha = 1;
      this.paintSmooth(plot, line, scale, paint);
    } else this.strokeLine(plot, x, points.y, line.spec.style, scale, paint);
    this.paintMarkers(plot, x, points.y, line.spec.style, scale, paint);
    points.y.forEach((value, place) => {
      const pixel = Math.floor((x[place] - plot.bbox.left) / scale);
      if (!Number.isFinite(value) && pixel >= 0) missed[Math.min(pixel, missed.length - 1)] = 1;
    });
  }

  private paintSmooth(plot: uPlot, line: Line, scale: number, paint: string): void {
    const pixels = Math.max(Math.floor(plot.bbox.width / scale), 1);
    const view = line.smooth!.view(...this.shownRange, pixels);
    const isBand = view.kind === "band";
    const x = isBand
      ? Array.from(view.median, (_, pixel) => plot.bbox.left + (pixel + 0.5) * scale)
      : view.x.map((each) => plot.valToPos(each, "x", true));
    this.strokeLine(plot, x, isBand ? Array.from(view.median) : view.y, line.spec.style, scale, paint);
  }

  private strokeLine(
    plot: uPlot,
    x: number[],
    y: number[],
    style: number,
    scale: number,
    paint: string,
  ): void {
    const { ctx } = plot;
    const path = new Path2D();
    let isDown = false;
    for (let place = 0; place < x.length; place++) {
      if (!Number.isFinite(y[place])) {
        isDown = false;
        continue;
      }
      const height = this.y(plot, y[place]);
      if (isDown) path.lineTo(x[place], height);
      else path.moveTo(x[place], height);
      isDown = true;
    }
    ctx.strokeStyle = paint;
    ctx.lineWidth = 1.75 * scale;
    ctx.lineJoin = "round";
    ctx.setLineDash(styleOf(style).dash.map((each) => each * scale));
    ctx.stroke(path);
    ctx.setLineDash([]);
  }

  /** Mark the points: all where there is room, otherwise some of them, and always those without neighbours. */
  private paintMarkers(
    plot: uPlot,
    x: number[],
    y: number[],
    style: number,
    scale: number,
    paint: string,
  ): void {
    const path = new Path2D();
    const { marker } = styleOf(style);
    let next = -Infinity;
    for (let place = 0; place < x.length; place++) {
      if (!Number.isFinite(y[place])) continue;
      const isAlone = !Number.isFinite(y[place - 1]) && !Number.isFinite(y[place + 1]);
      if (!isAlone && x[place] < next) continue;
      next = x[place] + 56 * scale;
      path.addPath(new Path2D(outline(marker, x[place], this.y(plot, y[place]), 2.6 * scale)));
    }
    plot.ctx.fillStyle = paint;
    plot.ctx.fill(path);
  }

  /** Mark the steps without a finite value with strokes on the axis. */
  private paintMissed(plot: uPlot, missed: Uint8Array, scale: number): void {
    const { ctx } = plot;
    const { left, top, height } = plot.bbox;
    ctx.fillStyle = colour("problem");
    missed.forEach((is, pixel) => {
      if (is)
        ctx.fillRect(
          left + (pixel - 0.5) * scale,
          top + height - NOT_FINITE_HEIGHT * scale,
          2 * scale,
          NOT_FINITE_HEIGHT * scale,
        );
    });
  }

  /** Shade the stretch that is marked; a short one is a few pixels wide. */
  private paintSpan(plot: uPlot, scale: number): void {
    if (this.spec.span === undefined) return;
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    const [from, to] = this.spec.span.map((each) => plot.valToPos(each, "x", true));
    const begin = Math.max(Math.min(from, (from + to) / 2 - 4 * scale), left);
    const end = Math.min(Math.max(to, (from + to) / 2 + 4 * scale), left + width);
    if (end <= begin) return;
    ctx.fillStyle = colour("problem");
    ctx.globalAlpha = 0.12;
    ctx.fillRect(begin, top, end - begin, height);
    ctx.globalAlpha = 1;
    ctx.fillRect(begin, top + height - 2 * scale, end - begin, 2 * scale);
  }

  private paintMarks(plot: uPlot, scale: number): void {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    const font = getComputedStyle(document.body).fontFamily;
    const marks = [...this.spec.marks]
      .sort((one, other) => one.x - other.x)
      .filter((mark) => mark.x >= this.shownRange[0] && mark.x <= this.shownRange[1]);
    const labelFont = `${11 * scale}px ${font}`;
    ctx.font = labelFont;
    const places = marks.map((mark) => ({
      x: Math.round(plot.valToPos(mark.x, "x", true)) / scale,
      wide: ctx.measureText(shortened(mark.label, 44)).width / scale,
    }));
    const rooms = roomFor(places, (left + width) / scale);
    ctx.textBaseline = "bottom";
    marks.forEach((mark, place) => {
      const x = places[place].x * scale;
      ctx.strokeStyle = ctx.fillStyle = colour(
        mark.kind === "finding" || mark.kind === "disabled" || mark.kind === "failed" ? "problem" : "mark",
      );
      ctx.lineWidth = scale;
      ctx.setLineDash(
        mark.kind === "best" ? [2 * scale, 3 * scale] : mark.kind === "rate" ? [4 * scale, 3 * scale] : [],
      );
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, top + height);
      ctx.stroke();
      ctx.setLineDash([]);
      const { glyph, side } = rooms[place];
      if (glyph) {
        ctx.font = `${9 * scale}px ${font}`;
        ctx.textAlign = "center";
        ctx.fillText(MARK_GLYPHS[mark.kind], x, top - 2 * scale);
      }
      if (side === 0) return;
      ctx.font = labelFont;
      ctx.textAlign = side > 0 ? "left" : "right";
      ctx.fillText(shortened(mark.label, 44), x + side * 8 * scale, top - 2 * scale);
    });
  }

  // --- reading -------------------------------------------------------------------------------------------------------

  private buildLegend(): void {
    const legend = this.figure.querySelector<HTMLElement>(".legend")!;
    legend.replaceChildren();
    if (this.lines.length < 2) return;
    for (const line of this.lines) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "key";
      button.title = line.spec.name;
      button.append(swatch(line.spec.style), shortened(line.spec.name, 40));
      button.setAttribute("aria-pressed", String(line.shown));
      button.addEventListener("click", () => {
        line.shown = !line.shown;
        button.setAttribute("aria-pressed", String(line.shown));
        this.zoom(...this.shownRange);
        this.plot?.redraw();
      });
      legend.append(button);
    }
  }

  /** Write the values at the cursor. */
  private tell(plot: uPlot): void {
    const left = plot.cursor.left ?? -1;
    if (left < 0) {
      this.readout.textContent = "";
      return;
    }
    const x = plot.posToVal(left, "x");
    const parts: string[] = [];
    let at = Math.round(x);
    for (const line of this.shown()) {
      const place = line.curve.nearest(x);
      if (parts.length === 0) at = line.curve.x.at(place);
      const name = this.lines.length > 1 ? `${shortened(line.spec.name, 24)} ` : "";
      parts.push(`${name}${formatValue(line.curve.value(place))}`);
    }
    const near = this.spec.marks.filter((mark) => Math.abs(plot.valToPos(mark.x, "x") - left) < 5);
    parts.push(...near.map((mark) => mark.label));
    this.readout.textContent = `${this.spec.unit} ${formatCount(at)} · ${parts.join(" · ")}`;
  }

  private listenToKeys(): void {
    this.area.addEventListener("keydown", (event) => {
      const plot = this.plot;
      if (plot === null || event.ctrlKey || event.metaKey || event.altKey) return;
      const wide = plot.over.clientWidth;
      const [from, to] = this.shownRange;
      const here = plot.cursor.left !== undefined && plot.cursor.left >= 0 ? plot.cursor.left : wide / 2;
      const middle = plot.posToVal(here, "x");
      const move = (left: number) =>
        plot.setCursor({ left: Math.min(Math.max(left, 0), wide - 1), top: plot.over.clientHeight / 2 });
      const scaleBy = (factor: number) => {
        this.zoom(middle - (middle - from) * factor, middle + (to - middle) * factor);
      };
      const actions: Record<string, () => void> = {
        ArrowLeft: () => move(here - (event.shiftKey ? wide / 10 : Math.max(wide / (to - from), 1))),
        ArrowRight: () => move(here + (event.shiftKey ? wide / 10 : Math.max(wide / (to - from), 1))),
        Home: () => move(0),
        End: () => move(wide - 1),
        "+": () => scaleBy(0.5),
        "=": () => scaleBy(0.5),
        "-": () => scaleBy(2),
        Escape: () => this.zoom(...this.range),
        "0": () => this.zoom(...this.range),
        f: () => this.zoom(...this.focus()),
        F: () => this.zoom(...this.focus()),
      };
      const action = actions[event.key];
      if (action) {
        event.preventDefault();
        action();
      }
    });
  }
}

function isSame(one: [number, number], other: [number, number]): boolean {
  return one[0] === other[0] && one[1] === other[1];
}

/** Distances between ticks of steps and epochs: whole numbers. */
const WHOLE = [1, 2, 5]
  .flatMap((digit) => Array.from({ length: 12 }, (_, power) => digit * 10 ** power))
  .sort((a, b) => a - b);

/** Return the stretches of pixels with values; a pixel without any point, between two with points, is bridged. */
function stretches(band: Band): [number, number][] {
  const found: [number, number][] = [];
  let begin = -1;
  for (let pixel = 0; pixel <= band.low.length; pixel++) {
    const has = pixel < band.low.length && !Number.isNaN(band.low[pixel]);
    if (has && begin < 0) begin = pixel;
    if (!has && begin >= 0) {
      found.push([begin, pixel]);
      begin = -1;
    }
  }
  return found;
}

function leastPositive(curve: Curve, from: number, to: number): number {
  const [begin, end] = curve.places(from, to);
  let least = Infinity;
  for (let place = begin; place < end; place++) {
    const value = curve.value(place);
    if (value > 0 && value < least) least = value;
  }
  return least;
}

/** Return a short piece of a line with its dash and marker. */
function swatch(number: number): SVGElement {
  const style = styleOf(number);
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 28 10");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("swatch", style.colour);
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", "M1 5H27");
  line.setAttribute("stroke-dasharray", style.dash.join(" "));
  const marker = document.createElementNS(space, "path");
  marker.setAttribute("d", outline(style.marker, 14, 5, 3.2));
  marker.classList.add("marker");
  svg.append(line, marker);
  return svg;
}
