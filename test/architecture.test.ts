/**
 * The rules of the house that a compiler does not know: which folder may import which, which file is the door to which package, and
 * what the domain must not touch. Each check also says how much it looked at: a gate that visited nothing must not be green.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import t from "tap";

const SRC = resolve(dirname(fileURLToPath(import.meta.url)), "../src");

/** Floors, by folder or file of `src/`. */
const FLOORS: Readonly<Record<string, number>> = {
  domain: 0,
  config: 1,
  engine: 1,
  proxy: 2,
  store: 2,
  notify: 2,
  telemetry: 2,
  probe: 2,
  preflight: 2,
  backtest: 2,
  flags: 2,
  admin: 3,
  console: 3,
  cli: 3,
  demo: 4,
  "main.ts": 4,
  "start.ts": 4,
  "worker.ts": 4,
  "merge-worker.ts": 4,
  "platform.ts": 4,
  "sluice.js": 4,
};

/** Sideways imports of types alone that the layout allows: the folder and the file it may look at. */
const SIDEWAYS: readonly (readonly [string, RegExp])[] = [
  ["engine", /^config\//],
  ["cli", /^admin\/routes\.ts$/],
];

/** Each third-party package, and the files (or, ending in a slash, folders) that may import it. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  undici: ["proxy/general/upstream.ts", "notify/post.ts"],
  "http-proxy-3": ["proxy/general/upgrade.ts"],
  "hdr-histogram-js": ["domain/latency.ts"],
  "prom-client": ["telemetry/metrics.ts"],
  nodemailer: ["notify/email.ts"],
  ioredis: ["store/redis-link.ts"],
  yaml: ["config/load.ts"],
  commander: ["cli/"],
  "@openfeature/flagd-core": ["flags/evaluator.ts"],
  "lru-cache": ["admin/", "proxy/", "engine/"],
  "@opentelemetry/api": ["telemetry/otlp.ts"],
  "@opentelemetry/exporter-trace-otlp-http": ["telemetry/otlp.ts"],
  "@opentelemetry/resources": ["telemetry/otlp.ts"],
  "@opentelemetry/sdk-trace-base": ["telemetry/otlp.ts"],
  zod: ["config/", "admin/", "store/"],
};

/** What makes a function of the domain depend on something other than its arguments. */
const IMPURE = [
  "process",
  "performance",
  "fetch",
  "Date",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "crypto",
  "console",
];

interface Import {
  readonly from: string;
  readonly specifier: string;
  readonly typeOnly: boolean;
}
interface Source {
  /** Path from `src/`. */
  readonly path: string;
  readonly tree: ts.SourceFile;
  readonly imports: readonly Import[];
}

/** The folder, or the file at the top, that a path of `src/` belongs to. */
const part = (path: string): string => path.split("/")[0] ?? path;
/** Visits every node of a tree. */
function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  node.forEachChild((child) => visit(child, see));
}
const isTypeOnly = (node: ts.ImportDeclaration | ts.ExportDeclaration): boolean =>
  ts.isImportDeclaration(node)
    ? node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
    : node.isTypeOnly;

/** Every import, re-export and `import()` of a file. */
function importsOf(path: string, tree: ts.SourceFile): readonly Import[] {
  const found: Import[] = [];
  visit(tree, (node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
      const { moduleSpecifier } = node;
      if (moduleSpecifier !== undefined && ts.isStringLiteral(moduleSpecifier))
        found.push({ from: path, specifier: moduleSpecifier.text, typeOnly: isTypeOnly(node) });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      const specifier = argument !== undefined && ts.isStringLiteralLike(argument) ? argument.text : "?";
      found.push({ from: path, specifier, typeOnly: false });
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      if (ts.isStringLiteral(node.argument.literal))
        found.push({ from: path, specifier: node.argument.literal.text, typeOnly: true });
    }
  });
  return found;
}

function sourceOf(path: string, text: string): Source {
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);
  return { path, tree, imports: importsOf(path, tree) };
}

const sources: readonly Source[] = readdirSync(SRC, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.(ts|js)$/.test(entry.name))
  .map((entry) => join(entry.parentPath, entry.name))
  .filter((full) => !relative(SRC, full).startsWith("console/public/"))
  .map((full) => sourceOf(relative(SRC, full), readFileSync(full, "utf8")));

/** What is wrong with one file's relative imports; empty when nothing is. */
function floorTrouble(source: Source): readonly string[] {
  const own = part(source.path);
  const floor = FLOORS[own];
  if (floor === undefined) return [`${source.path}: "${own}" is on no floor`];
  return source.imports.flatMap(({ specifier, typeOnly }) => {
    if (!specifier.startsWith(".")) return [];
    const target = relative(SRC, resolve(SRC, dirname(source.path), specifier));
    const there = part(target);
    const targetFloor = target.startsWith("..") ? Infinity : (FLOORS[there] ?? Infinity);
    if (there === own || targetFloor < floor) return [];
    // The files at the top and the demo build each other: they are the composition root.
    if (targetFloor === 4 && floor === 4) return [];
    const allowed = SIDEWAYS.some(([from, to]) => typeOnly && from === own && to.test(target));
    return allowed ? [] : [`${source.path} (floor ${String(floor)}) imports ${target}`];
  });
}

const isBuiltin = (specifier: string): boolean => specifier.startsWith("node:");
const packageOf = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");

/** What is wrong with one file's imports of packages. */
function doorTrouble(source: Source): readonly string[] {
  return source.imports.flatMap(({ specifier }) => {
    if (specifier.startsWith(".") || isBuiltin(specifier)) return [];
    const doors = DOORS[packageOf(specifier)];
    if (doors === undefined)
      return [`${source.path} imports "${specifier}", which has no door: name one here`];
    const open = doors.some((door) =>
      door.endsWith("/") ? source.path.startsWith(door) : source.path === door,
    );
    return open ? [] : [`${source.path} imports "${specifier}", whose door is ${doors.join(" or ")}`];
  });
}

/** What one file of the domain takes from outside its arguments. */
function purityTrouble(source: Source): readonly string[] {
  const found = source.imports
    .filter(({ specifier }) => isBuiltin(specifier))
    .map(({ specifier }) => `${source.path} imports ${specifier}`);
  visit(source.tree, (node) => {
    if (!ts.isIdentifier(node) || !IMPURE.includes(node.text)) return;
    const { parent } = node;
    // `x.process` and `{ process: … }` are names of fields, not the thing.
    if (ts.isPropertyAccessExpression(parent) && parent.name === node) return;
    if ((ts.isPropertySignature(parent) || ts.isPropertyAssignment(parent)) && parent.name === node) return;
    found.push(`${source.path} uses ${node.text}`);
  });
  return found;
}

const CLOCKS = ["Date.now", "Math.random", "performance.now"];

/** Clocks and dice read outside the adapters; `new Date()` without arguments is a clock too. */
function clockTrouble(source: Source): readonly string[] {
  const found: string[] = [];
  visit(source.tree, (node) => {
    if (ts.isPropertyAccessExpression(node) && CLOCKS.includes(node.getText()))
      found.push(`${source.path} uses ${node.getText()}`);
    if (
      ts.isNewExpression(node) &&
      node.expression.getText() === "Date" &&
      (node.arguments?.length ?? 0) === 0
    )
      found.push(`${source.path} uses new Date()`);
  });
  return found;
}

t.test("imports go down, never up and never sideways", async (t) => {
  t.ok(sources.length >= 40, `looked at ${String(sources.length)} files`);
  const looked = sources
    .flatMap((source) => source.imports)
    .filter(({ specifier }) => specifier.startsWith("."));
  t.ok(looked.length >= 100, `looked at ${String(looked.length)} imports`);
  t.same(sources.flatMap(floorTrouble), []);
});

t.test("each package comes in by its own door", async (t) => {
  const packages = new Set(
    sources
      .flatMap((source) => source.imports)
      .filter(({ specifier }) => !specifier.startsWith(".") && !isBuiltin(specifier))
      .map(({ specifier }) => packageOf(specifier)),
  );
  t.ok(packages.size >= 6, `looked at ${[...packages].join(", ")}`);
  t.same(sources.flatMap(doorTrouble), []);
});

t.test("the domain touches no clock, dice, process, disk or network", async (t) => {
  const domain = sources.filter(({ path }) => part(path) === "domain");
  t.ok(domain.length >= 8, `looked at ${String(domain.length)} files`);
  t.same(domain.flatMap(purityTrouble), []);
});

t.test("time and dice come in as arguments: platform.ts alone reads the real ones", async (t) => {
  const platform = sources.filter(({ path }) => path === "platform.ts");
  t.equal(platform.length, 1);
  const others = sources.filter(({ path }) => path !== "platform.ts");
  t.ok(others.length >= 40, `looked at ${String(others.length)} files`);
  t.same(others.flatMap(clockTrouble), []);
});

t.test("every path that src/README.md names exists", async (t) => {
  const text = readFileSync(join(SRC, "README.md"), "utf8");
  const named = [...text.matchAll(/`([\w.-]+(?:\/[\w.-]*)*)`/g)]
    .map(([, name]) => name ?? "")
    .filter((name) => name.endsWith("/") || /\.(ts|js|json|md)$/.test(name));
  t.ok(named.length >= 20, `looked at ${String(named.length)} paths`);
  const missing = named.filter((name) => !existsSync(join(SRC, name)) && !existsSync(join(SRC, "..", name)));
  t.same(missing, []);
  const unnamed = Object.keys(FLOORS).filter(
    (name) => existsSync(join(SRC, name)) && !text.includes(`\`${name}`),
  );
  t.same(unnamed, [], "every folder is on the map");
});

t.test("each of these checks finds what it is there for", async (t) => {
  const wrong = (path: string, text: string): Source => sourceOf(path, text);
  t.equal(floorTrouble(wrong("domain/a.ts", 'import { b } from "../engine/b.ts";')).length, 1, "up");
  t.equal(floorTrouble(wrong("proxy/a.ts", 'import type { b } from "../store/b.ts";')).length, 1, "sideways");
  t.equal(floorTrouble(wrong("engine/a.ts", 'import { b } from "../config/b.ts";')).length, 1, "not a type");
  t.equal(floorTrouble(wrong("engine/a.ts", 'import type { b } from "../config/b.ts";')).length, 0);
  t.equal(floorTrouble(wrong("cli/a.ts", 'import type { b } from "../admin/server.ts";')).length, 1);
  t.equal(floorTrouble(wrong("proxy/a.ts", 'export * from "../main.ts";')).length, 1, "re-export");
  t.equal(floorTrouble(wrong("proxy/a.ts", 'const b = await import("../admin/b.ts");')).length, 1, "dynamic");
  t.equal(floorTrouble(wrong("odd/a.ts", "")).length, 1, "a folder without a floor");
  t.equal(doorTrouble(wrong("proxy/a.ts", 'import { request } from "undici";')).length, 1, "a second door");
  t.equal(doorTrouble(wrong("proxy/a.ts", 'import x from "left-pad";')).length, 1, "an unknown package");
  t.equal(doorTrouble(wrong("proxy/a.ts", 'import fs from "fs";')).length, 1, "a builtin without node:");
  t.equal(purityTrouble(wrong("domain/a.ts", 'import { readFileSync } from "node:fs";')).length, 1);
  t.equal(purityTrouble(wrong("domain/a.ts", "export const a = process.pid;")).length, 1);
  t.equal(
    purityTrouble(wrong("domain/a.ts", "export const a = (b: { process: 1 }) => b.process;")).length,
    0,
  );
  t.equal(clockTrouble(wrong("proxy/a.ts", "export const a = Date.now();")).length, 1);
  t.equal(clockTrouble(wrong("proxy/a.ts", "export const a = new Date();")).length, 1);
  t.equal(clockTrouble(wrong("proxy/a.ts", "export const a = new Date(5); // Date.now()")).length, 0);
});
