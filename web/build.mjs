// Builds the page into dist/, which is committed and embedded in the program: three files, no request
// to anywhere else. The types of the API's answers come from schemas/openapi.json.
//
//   node build.mjs           writes them (npm run build)
//   node build.mjs --check   fails when one of them is not what would be written (npm run drift)

import { build } from "esbuild";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import openapiTS, { astToString, COMMENT_HEADER } from "openapi-typescript";

const here = (path) => new URL(path, import.meta.url);
const isCheck = process.argv.includes("--check");
const drifted = [];

async function put(path, text) {
  const old = await readFile(here(path), "utf8").catch(() => null);
  if (old === text) return;
  if (isCheck) drifted.push(path);
  else await writeFile(here(path), text);
}

const api = JSON.parse(await readFile(here("../schemas/openapi.json"), "utf8"));
await put("src/schema.d.ts", COMMENT_HEADER + astToString(await openapiTS(api)));

const bundled = await build({
  entryPoints: ["src/main.ts", "src/style.css"],
  absWorkingDir: new URL(".", import.meta.url).pathname,
  entryNames: "[name]",
  outdir: "dist",
  write: false,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "eof",
});
await mkdir(here("dist"), { recursive: true });
for (const { path, text } of bundled.outputFiles) await put(`dist/${basename(path)}`, text);
await put("dist/index.html", await readFile(here("src/index.html"), "utf8"));

if (drifted.length > 0) {
  console.error(`not what the sources give: ${drifted.join(", ")}; run: npm --prefix web run build`);
  process.exit(1);
}
