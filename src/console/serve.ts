/**
 * The console's files, as answers: what a browser needs to show the admin API to people. They hold no data and take no token; all that they show
 * they read from the API, with the token of whoever looks.
 *
 * There is no build: the files are served as they lie here, and the chart library as it lies in its package, so a checkout, the image and the npm
 * package serve the same. A path is looked up among those that there are and never joined to a folder, so no spelling of one leads elsewhere. A file is read
 * and packed when it is first asked for (a proxy that nobody looks at pays nothing), and kept.
 */

import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import type { Log } from "../engine/ports.ts";

/** What is looked at of a request. */
export interface PageAsked {
  readonly path: string;
  /** The fields of that name; undefined: there is none. */
  readonly acceptEncoding: string | undefined;
  readonly ifNoneMatch: string | undefined;
}

/** An answer. */
export interface Page {
  readonly status: 200 | 304;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** The files. */
export interface Pages {
  has(path: string): boolean;
  /** The answer to a GET. Rejects when the path is none of these, or its file is gone. */
  answer(asked: PageAsked): Promise<Page>;
}

/** Where the files of this folder are served; the page itself is at `/`. */
const BASE = "/console/";
const FOLDER = fileURLToPath(new URL("./public/", import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

/**
 * Scripts, styles and data from here alone, nothing inline, nothing made of text; no frame, no form, no base. Beside it what keeps other windows
 * and other sites away.
 */
const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " +
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  "cross-origin-opener-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
  vary: "accept-encoding",
};

const pack = { br: promisify(brotliCompress), gzip: promisify(gzip) };
const NAMES = ["br", "gzip", "identity"] as const;
type Encoding = (typeof NAMES)[number];

interface Packed {
  readonly tag: string;
  readonly bodies: Readonly<Record<Encoding, Buffer>>;
}

/** The console's files in `folder`; none, said in the log, where they are missing: a proxy does its work without. */
export function openPages(log: Pick<Log, "warn">, folder = FOLDER): Pages {
  const files = filesOf(folder, log);
  const kept = new Map<string, Promise<Packed>>();

  function packed(path: string, file: string): Promise<Packed> {
    const known = kept.get(path);
    if (known !== undefined) return known;
    const made = packFile(file);
    kept.set(path, made);
    // What could not be read is tried again.
    made.catch(() => kept.delete(path));
    return made;
  }

  return {
    has: (path) => files.has(path),
    async answer({ path, acceptEncoding, ifNoneMatch }) {
      const file = files.get(path);
      if (file === undefined) throw new Error(`${path} is no file of the console`);
      const { tag, bodies } = await packed(path, file);
      const encoding = encodingOf(acceptEncoding ?? "");
      const isPage = path === "/";
      // Each encoding is a representation of its own (RFC 9110 §8.8.3.3).
      const etag = `"${tag}-${encoding}"`;
      const headers = {
        ...HEADERS,
        "content-type": TYPES[file.slice(file.lastIndexOf(".") + 1)] ?? "application/octet-stream",
        // The page names the files; neither is taken from a cache unasked, so that a new version is whole.
        ...(isPage ? { "cache-control": "no-store" } : { "cache-control": "no-cache", etag }),
        ...(encoding === "identity" ? {} : { "content-encoding": encoding }),
      };
      const isKnown = !isPage && isListed(etag, ifNoneMatch ?? "");
      return { status: isKnown ? 304 : 200, headers, body: isKnown ? Buffer.alloc(0) : bodies[encoding] };
    },
  };
}

/** Every path with its file. */
function filesOf(folder: string, log: Pick<Log, "warn">): ReadonlyMap<string, string> {
  try {
    const own = readdirSync(folder).filter((name) => /\.(?:js|css|svg)$/.test(name));
    return new Map([
      ["/", join(folder, "index.html")],
      ...own.map((name): [string, string] => [`${BASE}${name}`, join(folder, name)]),
      [`${BASE}uplot.js`, fileURLToPath(import.meta.resolve("uplot/dist/uPlot.iife.min.js"))],
      [`${BASE}uplot.css`, fileURLToPath(import.meta.resolve("uplot/dist/uPlot.min.css"))],
    ]);
  } catch (error) {
    log.warn("the console's files are missing: there is none", { error });
    return new Map();
  }
}

async function packFile(file: string): Promise<Packed> {
  const identity = await readFile(file);
  const params = { [constants.BROTLI_PARAM_SIZE_HINT]: identity.length };
  const [br, gz] = await Promise.all([pack.br(identity, { params }), pack.gzip(identity, { level: 9 })]);
  const tag = createHash("sha256").update(identity).digest("base64url").slice(0, 22);
  return { tag, bodies: { br, gzip: gz, identity } };
}

/** The smallest encoding that a client takes by `Accept-Encoding`; `q=0` refuses one. */
function encodingOf(accept: string): Encoding {
  const taken = new Map<string, boolean>();
  for (const part of accept.toLowerCase().split(",")) {
    const [name = "", ...parameters] = part.split(";").map((text) => text.trim());
    taken.set(name, !parameters.some((each) => /^q=0(?:\.0*)?$/.test(each)));
  }
  return NAMES.find((name) => taken.get(name) ?? (name !== "identity" && taken.get("*"))) ?? "identity";
}

/** Whether `If-None-Match` has the tag; compared weakly (RFC 9110 §13.1.2). */
function isListed(etag: string, field: string): boolean {
  return field.split(",").some((each) => each.trim() === "*" || each.trim().replace(/^W\//, "") === etag);
}
