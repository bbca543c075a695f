import { expect, test } from "vitest";
import { asAnswered } from "../src/control";

test.each([
  [{ done: true, answer: "noted" }, "done", "noted"],
  [{ done: false, answer: "refused: it is too late" }, "refused", "refused: it is too late"],
  [{ done: null, answer: "asked, and not answered yet" }, "waiting", "asked, and not answered yet"],
  [null, "refused", "the server cannot be reached"],
  ["<html>", "refused", "the server cannot be reached"],
  [{ done: true, answer: 3 }, "refused", "the server cannot be reached"],
])("what a server answers is done, refused or still waits: %j", (data, state, answer) => {
  expect(asAnswered("note", data)).toEqual({ what: "note", state, answer });
});
