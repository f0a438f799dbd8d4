/** The console's files, as they are served: found by name alone, packed, guarded, and without a token. */

import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import t from "tap";
import { openPages } from "../../src/console/serve.ts";
import { testAdmin } from "../support/control.ts";
import { quietLog } from "../support/silence.ts";

const FOLDER = fileURLToPath(new URL("../../src/console/public/", import.meta.url));
const HTML = readFileSync(`${FOLDER}index.html`, "utf8");
const get = (path: string, acceptEncoding?: string, ifNoneMatch?: string) =>
  openPages(quietLog()).answer({ path, acceptEncoding, ifNoneMatch });

t.test("every file that the page names is served with its type, and every file is named", async (t) => {
  const pages = openPages(quietLog());
  const named = [...HTML.matchAll(/(?:href|src)="([^"]+)"/g)].map(([, path]) => path ?? "");
  t.ok(named.length >= 20, `looked at ${named.length}`);
  const types: Record<string, string> = {
    js: "text/javascript; charset=utf-8",
    css: "text/css; charset=utf-8",
    svg: "image/svg+xml",
  };
  for (const path of named) {
    t.ok(pages.has(path), path);
    const { status, headers, body } = await pages.answer({
      path,
      acceptEncoding: undefined,
      ifNoneMatch: undefined,
    });
    t.equal(status, 200);
    t.equal(headers["content-type"], types[path.slice(path.lastIndexOf(".") + 1)], path);
    t.ok(body.length > 100, path);
  }
  const files = readdirSync(FOLDER).filter((name) => name !== "index.html");
  t.same(
    files.filter((name) => !named.includes(`/console/${name}`)),
    [],
    "nothing is loaded late",
  );
});

t.test("the page is whole, fresh and may run nothing but its own files", async (t) => {
  const { headers, body } = await get("/");
  t.match(headers, {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
  });
  t.equal(headers["etag"], undefined);
  const policy = headers["content-security-policy"] ?? "";
  t.match(policy, /default-src 'none'; script-src 'self'; style-src 'self';/);
  t.match(policy, /frame-ancestors 'none'/);
  t.notMatch(policy, /unsafe|https?:|\*/);
  t.equal(body.toString(), HTML);
  t.notMatch(HTML, /<style|style="|<script(?![^>]*src=)|\son\w+=|https?:/, "nothing inline, nobody else's");
});

t.test("a file is sent packed to whoever takes it so, and once", async (t) => {
  const path = "/console/app.js";
  const plain = await get(path);
  t.equal(plain.headers["content-encoding"], undefined);
  t.match(plain.headers, { "cache-control": "no-cache", vary: "accept-encoding" });
  const br = await get(path, "gzip, deflate, br");
  t.equal(br.headers["content-encoding"], "br");
  t.ok(brotliDecompressSync(br.body).equals(plain.body));
  const gz = await get(path, "gzip;q=1.0, br;q=0");
  t.equal(gz.headers["content-encoding"], "gzip");
  t.ok(gunzipSync(gz.body).equals(plain.body));
  t.equal((await get(path, "*")).headers["content-encoding"], "br");
  t.equal((await get(path, "identity, br;q=0.0, gzip;q=0")).headers["content-encoding"], undefined);
  const tags = [plain, br, gz].map(({ headers }) => headers["etag"] ?? "");
  t.equal(new Set(tags).size, 3, "each packing is a representation of its own");
  const [tag = "", brTag = ""] = tags;
  const known = await get(path, undefined, tag);
  t.match([known.status, known.body.length, known.headers["etag"]], [304, 0, tag]);
  t.equal((await get(path, "br", `"other", W/${brTag}`)).status, 304);
  t.equal((await get(path, "br", tag)).status, 200, "what is known is another packing");
  t.equal((await get(path, undefined, "*")).status, 304);
  t.equal((await get("/", undefined, "*")).status, 200, "the page is never taken from a cache");
});

t.test("no spelling of a path leads out of the folder", async (t) => {
  const pages = openPages(quietLog());
  for (const path of [
    "/console/",
    "/console",
    "/console/index.html",
    "/console/../serve.ts",
    "/console/..%2fserve.ts",
    "/console/%2e%2e/serve.ts",
    "//console/app.js",
    "/console//app.js",
    "/console/app.js/",
    "/console/APP.js",
    "/console/app.js%00",
    "/console/tsconfig.json",
    "/public/app.js",
    "",
  ]) {
    t.notOk(pages.has(path), path);
    await t.rejects(get(path), path);
  }
});

t.test("the admin listener serves the console without a token, and nothing else with it", async (t) => {
  const { ask } = await testAdmin(t, { pages: openPages(quietLog()) });
  const page = await ask("GET", "/", { as: "nobody" });
  t.equal(page.status, 200);
  t.equal(page.text, HTML);
  t.match(page.headers, { "x-content-type-options": "nosniff", "referrer-policy": "no-referrer" });
  t.match(page.headers["content-security-policy"], /script-src 'self'/);
  const head = await ask("HEAD", "/console/app.js", { as: "nobody" });
  t.match([head.status, head.text], [200, ""]);
  t.ok(Number(head.headers["content-length"]) > 100);
  const etag = String(head.headers["etag"]);
  const known = await ask("GET", "/console/app.js", { as: "nobody", headers: { "if-none-match": etag } });
  t.match([known.status, known.text, known.headers["content-length"]], [304, "", undefined]);
  t.equal((await ask("GET", "/?token=x", { as: "nobody" })).status, 200, "a query changes nothing");
  t.match(await ask("POST", "/", { as: "nobody", body: {} }), {
    status: 405,
    headers: { allow: "GET, HEAD" },
  });
  t.equal((await ask("GET", "/", { as: "nobody", body: "x" })).status, 400);
  t.equal((await ask("GET", "/console/nothing.js", { as: "nobody" })).status, 404);
  t.equal((await ask("GET", "/v1/routes", { as: "nobody" })).status, 401);
});

t.test(
  "a link from another site may lead to the page, and to nothing that is data (reliability 43)",
  async (t) => {
    const { ask } = await testAdmin(t, { pages: openPages(quietLog()) });
    const followed = {
      "sec-fetch-site": "cross-site",
      "sec-fetch-mode": "navigate",
      "sec-fetch-dest": "document",
    };
    const of = async (path: string, headers: Record<string, string>): Promise<number> =>
      (await ask("GET", path, { headers })).status;
    t.equal(await of("/", followed), 200);
    t.equal(await of("/v1/routes", followed), 403);
    t.equal(await of("/", { ...followed, "sec-fetch-dest": "iframe" }), 403);
    t.equal(
      await of("/console/app.js", { ...followed, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script" }),
      403,
    );
    t.equal(await of("/", { ...followed, host: "evil.example" }), 421, "names are looked at all the same");
  },
);

t.test("without the console there is nothing at its paths", async (t) => {
  const { ask } = await testAdmin(t);
  t.equal((await ask("GET", "/", { as: "nobody" })).status, 404);
});

t.test("a proxy whose package has lost the console's files starts without it, and says so", async (t) => {
  const log = quietLog();
  const pages = openPages(log, `${FOLDER}nothing/`);
  t.notOk(pages.has("/"));
  t.match(log.lines, [{ level: "warn", message: /console's files are missing/ }]);
});
