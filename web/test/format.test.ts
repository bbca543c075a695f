import { expect, test } from "vitest";
import { formatCount, formatTick, formatValue, shortened } from "../src/format";

test("values have four digits", () => {
  expect([0, 0.123456, 12.3456, 98765.4, 1.5e-7, -3e9, NaN, Infinity].map(formatValue)).toEqual([
    "0",
    "0.1235",
    "12.35",
    "98,765",
    "1.5e-7",
    "-3e9",
    "NaN",
    "inf",
  ]);
});

test("ticks are short", () => {
  expect([0, 0.5, 20_000, 1_500_000, -2e9, 1e-5].map(formatTick)).toEqual([
    "0",
    "0.5",
    "20k",
    "1.5M",
    "-2G",
    "1e-5",
  ]);
});

test("counts have their thousands apart", () => {
  expect([7, 1234, 1234567].map(formatCount)).toEqual(["7", "1,234", "1,234,567"]);
});

test("long names are cut in the middle", () => {
  expect(shortened("train/very/long/name/loss", 11)).toBe("train…/loss");
  expect(shortened("loss", 11)).toBe("loss");
});
