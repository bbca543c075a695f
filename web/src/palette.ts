// Colours and line styles. The colours are Okabe and Ito's, darkened where they lack contrast; they are in style.css, for
// light and dark. Each colour has a dash and a marker too.

export const STYLES = 6;

/** The dash of a line, in pixels, by its style. */
export const DASHES: number[][] = [[], [7, 3], [2, 3], [9, 3, 2, 3], [12, 4], [4, 2, 1, 2]];

/** Draw the marker of a line, by its style, around a point. */
export const MARKERS: ((path: Path2D, x: number, y: number, size: number) => void)[] = [
  circle,
  square,
  triangle,
  diamond,
  cross,
  circle,
];

function circle(path: Path2D, x: number, y: number, size: number): void {
  path.moveTo(x + size, y);
  path.arc(x, y, size, 0, 2 * Math.PI);
}

function square(path: Path2D, x: number, y: number, size: number): void {
  path.rect(x - 0.9 * size, y - 0.9 * size, 1.8 * size, 1.8 * size);
}

function triangle(path: Path2D, x: number, y: number, size: number): void {
  polygon(path, [x, y - 1.2 * size, x + 1.1 * size, y + 0.8 * size, x - 1.1 * size, y + 0.8 * size]);
}

function diamond(path: Path2D, x: number, y: number, size: number): void {
  polygon(path, [x, y - 1.3 * size, x + 1.3 * size, y, x, y + 1.3 * size, x - 1.3 * size, y]);
}

function cross(path: Path2D, x: number, y: number, size: number): void {
  const thin = 0.4 * size;
  path.rect(x - size, y - thin, 2 * size, 2 * thin);
  path.rect(x - thin, y - size, 2 * thin, 2 * size);
}

function polygon(path: Path2D, corners: number[]): void {
  path.moveTo(corners[0], corners[1]);
  for (let place = 2; place < corners.length; place += 2) path.lineTo(corners[place], corners[place + 1]);
  path.closePath();
}

/** Return a colour of the page as it is now, light or dark. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "#888";
}

/** Return the colour of a line, by its style. */
export function lineColour(style: number): string {
  return colour(`line-${style % STYLES}`);
}
