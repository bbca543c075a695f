// Colours and line styles. The colours are Okabe and Ito's, darkened where they lack contrast, and a grey; they are in
// style.css, for light and dark. Each colour has a dash and a marker too; when the colours begin again, they have others.

const COLOURS = 6;

/** Dashes of lines, in pixels. */
const DASHES: number[][] = [[], [7, 3], [2, 3], [9, 3, 2, 3], [12, 4], [4, 2, 1, 2]];

/** Markers of lines: their corners around (0, 0), as x and y in turn. */
const MARKERS: number[][] = [
  Array.from({ length: 32 }, (_, each) =>
    (each % 2 ? Math.sin : Math.cos)((Math.floor(each / 2) * Math.PI) / 8),
  ),
  [-0.9, -0.9, 0.9, -0.9, 0.9, 0.9, -0.9, 0.9],
  [0, -1.2, 1.1, 0.8, -1.1, 0.8],
  [0, -1.3, 1.3, 0, 0, 1.3, -1.3, 0],
  [
    -1, -0.4, -0.4, -0.4, -0.4, -1, 0.4, -1, 0.4, -0.4, 1, -0.4, 1, 0.4, 0.4, 0.4, 0.4, 1, -0.4, 1, -0.4, 0.4,
    -1, 0.4,
  ],
  [0, 1.2, 1.1, -0.8, -1.1, -0.8],
];

/** Which colour, dash and marker a line has. */
export interface Style {
  colour: string;
  dash: number[];
  marker: number[];
}

/** Return a line's style by its number: the first 18 differ from each other in two of the three at least. */
export function styleOf(number: number): Style {
  const again = Math.floor(number / COLOURS);
  return {
    colour: `line-${number % COLOURS}`,
    dash: DASHES[(number + again) % DASHES.length],
    marker: MARKERS[(number + 2 * again) % MARKERS.length],
  };
}

/** Return a marker around a point, as the description of an SVG path. */
export function outline(marker: number[], x: number, y: number, size: number): string {
  const corners = Array.from(
    { length: marker.length / 2 },
    (_, each) =>
      `${(x + size * marker[2 * each]).toFixed(2)} ${(y + size * marker[2 * each + 1]).toFixed(2)}`,
  );
  return `M${corners.join("L")}Z`;
}

/** Return a colour of the page as it is now, light or dark. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "#888";
}
