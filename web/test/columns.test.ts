import { expect, test } from "vitest";
import {
  asArray,
  ColumnReader,
  decoded,
  fromBase64,
  lowerBound,
  Regular,
  Stored,
  unshuffled,
} from "../src/columns";

/** Return values as the report stores them. */
async function stored(values: Float32Array | Float64Array | Uint32Array): Promise<string> {
  const bytes = new Uint8Array(values.buffer);
  const shuffled = new Uint8Array(bytes.length);
  bytes.forEach((byte, place) => {
    const size = values.BYTES_PER_ELEMENT;
    shuffled[(place % size) * values.length + Math.floor(place / size)] = byte;
  });
  const stream = new Blob([shuffled]).stream().pipeThrough(new CompressionStream("gzip"));
  const zipped = new Uint8Array(await new Response(stream).arrayBuffer());
  return btoa(String.fromCharCode(...zipped));
}

test("values come back as they were stored, NaN and infinities too", async () => {
  const values = Float32Array.from([1.5, -0.25, NaN, Infinity, -Infinity, 3e38, 0]);
  expect(await decoded(await stored(values), "f4")).toEqual(values);
  const wide = Float64Array.from([1e-50, -1e300, NaN, 1]);
  expect(await decoded(await stored(wide), "f8")).toEqual(wide);
  const numbers = Uint32Array.from([1, 7, 4294967295]);
  expect(await decoded(await stored(numbers), "u4")).toEqual(numbers);
});

test("a reader decodes a column once, and makes regular ones itself", async () => {
  const asked: string[] = [];
  const text = await stored(Float32Array.from([1, 2]));
  const reader = new ColumnReader({
    getElementById: (id: string) => {
      asked.push(id);
      return { textContent: text } as HTMLElement;
    },
  });
  const spec = { id: 3, type: "f4", count: 2 } as const;
  expect(asArray(await reader.read(spec))).toEqual(Float32Array.from([1, 2]));
  await reader.read(spec);
  expect(asked).toEqual(["column-3"]);
  expect([...Array.from(asArray(await reader.read({ first: 5, stride: 2, count: 3 })))]).toEqual([5, 7, 9]);
});

test.each([new Regular(10, 5, 4), new Stored([10, 15, 20, 25])])(
  "the lower bound is the first place that is not below",
  (numbers) => {
    expect([9, 10, 11, 15, 25, 26].map((limit) => lowerBound(numbers, limit))).toEqual([0, 0, 1, 1, 3, 4]);
  },
);

test("base64 is decoded alike where the browser has a method for it and where it has none", () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, place) => (place * 37) % 256);
  const text = btoa(String.fromCharCode(...bytes));
  const native = Object.getOwnPropertyDescriptor(Uint8Array, "fromBase64");
  try {
    Object.defineProperty(Uint8Array, "fromBase64", { value: undefined, configurable: true });
    expect(fromBase64(text)).toEqual(bytes);
    Object.defineProperty(Uint8Array, "fromBase64", {
      value: (given: string) => Uint8Array.from(atob(given), (letter) => letter.charCodeAt(0)),
      configurable: true,
    });
    expect(fromBase64(text)).toEqual(bytes);
  } finally {
    if (native) Object.defineProperty(Uint8Array, "fromBase64", native);
    else Reflect.deleteProperty(Uint8Array, "fromBase64");
  }
});

test.each([4, 8] as const)("values of %d bytes are put together from bytes by significance", (size) => {
  const values = Uint8Array.from({ length: 5 * size }, (_, place) => (place * 91) % 256);
  const shuffled = Uint8Array.from(values, (_, place) => values[(place % 5) * size + Math.floor(place / 5)]);
  expect(new Uint8Array(unshuffled(shuffled, size))).toEqual(values);
});

test("a column that is cut or damaged is an error", async () => {
  const text = await stored(Float32Array.from([1, 2, 3, 4]));
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const cut = btoa(String.fromCharCode(...bytes.subarray(0, bytes.length - 6)));
  await expect(decoded(cut, "f4")).rejects.toThrow();
  await expect(decoded(btoa("not gzip"), "f4")).rejects.toThrow();
});
