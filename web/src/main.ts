// The page: reads what the report describes, and draws each chart when it comes into sight, the others when there is time.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import "./control.css";
import { Chart, type ChartSpec, type Settings } from "./chart";
import { ColumnReader } from "./columns";
import { Controls } from "./control";
import { follow } from "./live";
import { listenToSearch } from "./search";

/** How many charts out of sight are drawn at a time. */
const AT_A_TIME = 8;

interface PageSpec {
  charts: Record<string, ChartSpec>;
}

function readSpec(page: Document): PageSpec {
  return JSON.parse(page.getElementById("page-data")?.textContent ?? '{"charts":{}}');
}

function whenIdle(work: () => void): void {
  if ("requestIdleCallback" in window) requestIdleCallback(work, { timeout: 2000 });
  else setTimeout(work, 200);
}

function main(): void {
  const page = readSpec(document);
  const reader = new ColumnReader(document);
  const settings: Settings = { logarithmic: false, smoothing: 0 };
  const charts = new Map<HTMLElement, Chart>();
  const waiting = new Set<HTMLElement>();

  for (const figure of document.querySelectorAll<HTMLElement>("[data-chart]")) {
    const spec = page.charts[figure.dataset.chart!];
    if (spec === undefined) continue;
    charts.set(figure, new Chart(figure, spec, reader));
    waiting.add(figure);
  }

  // Charts are drawn several at a time, once the columns of all are there: each frame costs as much as a chart does.
  const build = async (figures: HTMLElement[]) => {
    const due = figures.filter((figure) => waiting.delete(figure));
    await Promise.all(due.map((figure) => charts.get(figure)!.preload()));
    await Promise.all(due.map((figure) => charts.get(figure)!.build({ ...settings })));
  };

  const inSight = new IntersectionObserver(
    (entries) => {
      const seen = entries
        .filter((entry) => entry.isIntersecting)
        .map((entry) => entry.target as HTMLElement);
      for (const figure of seen) inSight.unobserve(figure);
      build(seen);
    },
    { rootMargin: "200px" },
  );
  for (const figure of charts.keys()) inSight.observe(figure);

  // Those out of sight follow when the page is idle, so that a print holds them.
  const rest = async () => {
    const next = [...waiting].slice(0, AT_A_TIME);
    if (next.length === 0) return;
    for (const figure of next) inSight.unobserve(figure);
    await build(next);
    whenIdle(rest);
  };
  whenIdle(rest);

  const resized = new ResizeObserver((entries) => {
    for (const entry of entries) charts.get(entry.target as HTMLElement)?.resize();
  });
  for (const figure of charts.keys()) resized.observe(figure);

  const refresh = () => {
    for (const chart of charts.values()) chart.refresh();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  matchMedia("print").addEventListener("change", refresh);
  window.addEventListener("beforeprint", refresh);
  window.addEventListener("afterprint", refresh);

  listenToSearch();
  const controls = new Controls();
  follow(async (fresh) => {
    controls.refresh();
    const { charts: specs } = readSpec(fresh);
    const known = [...charts.keys()].map((figure) => figure.dataset.chart);
    if (Object.keys(specs).join() !== known.join()) {
      if (!controls.isBusy()) location.reload(); // another metric, finding or part; else at the next change
      return;
    }
    const columns = new ColumnReader(fresh);
    for (const [figure, chart] of charts) {
      const spec = specs[figure.dataset.chart!];
      if (waiting.has(figure)) chart.replace(spec, columns);
      else await chart.update(spec, columns);
    }
  });

  const apply = () => {
    for (const chart of charts.values()) chart.apply({ ...settings });
  };
  document.getElementById("logarithmic")?.addEventListener("change", (event) => {
    settings.logarithmic = (event.target as HTMLInputElement).checked;
    apply();
  });
  document.getElementById("smoothing")?.addEventListener("change", (event) => {
    settings.smoothing = Number((event.target as HTMLSelectElement).value);
    const note = document.getElementById("smoothing-note");
    if (note) note.hidden = settings.smoothing === 0;
    apply();
  });
}

main();
