import { expect, test } from "vitest";
import { outline, styleOf } from "../src/palette";

test("twelve lines differ from each other in two of colour, dash and marker", () => {
  const styles = Array.from({ length: 12 }, (_, number) => styleOf(number));
  for (const [place, one] of styles.entries())
    for (const other of styles.slice(place + 1)) {
      const differing = (["colour", "dash", "marker"] as const).filter(
        (each) => String(one[each]) !== String(other[each]),
      );
      expect(differing.length).toBeGreaterThanOrEqual(2);
    }
});

test("a marker is drawn around its point", () => {
  expect(outline([0, -1, 1, 1, -1, 1], 10, 20, 2)).toBe("M10.00 18.00L12.00 22.00L8.00 22.00Z");
});
