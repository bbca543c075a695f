// Bundles the page's script and style into ../monitor_core/page/built, with the licences of what is inside.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const out = new URL("../monitor_core/page/built/", import.meta.url);
const bundled = ["uplot"];

mkdirSync(out, { recursive: true });
await build({
  absWorkingDir: new URL(".", import.meta.url).pathname,
  entryPoints: { page: "src/main.ts" },
  inject: ["src/unneeded.ts"],
  outdir: out.pathname,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome109", "firefox115", "safari16.4"],
  legalComments: "inline",
  logLevel: "warning",
});
const notices = bundled.map((name) => {
  const folder = new URL(`node_modules/${name}/`, import.meta.url);
  const { version, license } = JSON.parse(readFileSync(new URL("package.json", folder), "utf8"));
  return `${name} ${version} (${license})\n\n${readFileSync(new URL("LICENSE", folder), "utf8")}`;
});
writeFileSync(new URL("LICENSES.txt", out), notices.join("\n\n"));
