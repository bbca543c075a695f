// The page: reads what the report describes, and draws each chart when it comes into sight, the others when there is time.

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { Chart, type ChartSpec, type Settings } from "./chart";
import { ColumnReader } from "./columns";
import { listenToSearch } from "./search";

interface PageSpec {
  charts: Record<string, ChartSpec>;
}

function whenIdle(work: () => void): void {
  if ("requestIdleCallback" in window) requestIdleCallback(work, { timeout: 2000 });
  else setTimeout(work, 200);
}

function main(): void {
  const page: PageSpec = JSON.parse(document.getElementById("page-data")?.textContent ?? '{"charts":{}}');
  const reader = new ColumnReader(document);
  const settings: Settings = { logarithmic: false, smoothing: 0 };
  const charts = new Map<HTMLElement, Chart>();
  const waiting = new Set<HTMLElement>();

  for (const figure of document.querySelectorAll<HTMLElement>("[data-chart]")) {
    const spec = page.charts[figure.dataset.chart!];
    if (spec === undefined) continue;
    charts.set(figure, new Chart(figure, spec));
    waiting.add(figure);
  }

  const build = async (figure: HTMLElement) => {
    if (!waiting.delete(figure)) return;
    await charts.get(figure)!.build(reader, { ...settings });
  };

  const inSight = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        inSight.unobserve(entry.target);
        build(entry.target as HTMLElement);
      }
    },
    { rootMargin: "200px" },
  );
  for (const figure of charts.keys()) inSight.observe(figure);

  // Those out of sight follow when the page is idle, so that a print holds them.
  const rest = async () => {
    const next = waiting.values().next();
    if (next.done) return;
    inSight.unobserve(next.value);
    await build(next.value);
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
