/** Where the state is kept, in all its forms. */

import t from "tap";
import { parseConfig } from "../../src/config/load.ts";
import { secretSourcesOf } from "../../src/config/secret.ts";
import { folderOfState, stateOf, stateWords } from "../../src/config/state.ts";

function parsed(state: string) {
  const text = `state: ${state}
routes:
  - name: app
    stable: { endpoints: ["http://stable:1"] }
    canary: { endpoints: ["http://canary:1"] }
`;
  return parseConfig(text, "f.yaml");
}

/** What a state comes to, and where its folder is. */
function meant(state: string) {
  const read = parsed(state);
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  const written = read.config.state;
  return { ...stateOf(written), folder: folderOfState(written), words: stateWords(written) };
}

/** What is wrong with a state. */
function refusal(state: string): string | undefined {
  const read = parsed(state);
  return read.ok ? undefined : read.problems.map(({ message }) => message).join("; ");
}

t.test("a state is a folder, the memory, or a store in its short or its long form", async (t) => {
  t.match(meant("'memory:'"), { kind: "memory", folder: undefined });
  t.match(meant("file:./x"), { kind: "file", folder: "./x" });
  t.match(meant("redis://redis.example"), {
    kind: "redis",
    way: "one",
    servers: [{ host: "redis.example", port: 6379 }],
    user: undefined,
    db: 0,
    tls: false,
    name: "default",
    folder: "./state",
  });
  t.match(meant("rediss://us%20er@[::1]:7000/2"), {
    servers: [{ host: "::1", port: 7000 }],
    user: "us er",
    db: 2,
    tls: true,
  });
  t.match(meant("{ sentinels: ['a:1', '[::1]:2'], master: m, db: 3, name: shop, folder: /var/sluice }"), {
    way: "sentinels",
    servers: [
      { host: "a", port: 1 },
      { host: "::1", port: 2 },
    ],
    master: "m",
    db: 3,
    name: "shop",
    folder: "/var/sluice",
    words: "a:1,[::1]:2 (shop)",
  });
  t.match(meant("{ cluster: ['a:1'], tls: true, ca: { file: ca.pem } }"), { way: "cluster", tls: true });
});

t.test("what contradicts itself is refused where it stands", async (t) => {
  t.match(refusal("{}"), /one of `redis`, `sentinels` and `cluster`/);
  t.match(refusal("{ redis: redis://a, cluster: ['a:1'] }"), /one of/);
  t.match(refusal("{ redis: redis://a, user: u }"), /stands in the URL/);
  t.match(refusal("{ redis: redis://a, db: 1 }"), /stands in the URL/);
  t.match(refusal("{ redis: redis://a, tls: true }"), /rediss:/);
  t.match(refusal("{ redis: redis://a, ca: { env: CA } }"), /is for TLS/);
  t.match(refusal("{ cluster: ['a:1'], ca: { env: CA } }"), /set `tls: true`/);
  t.match(refusal("{ cluster: ['a:1'], db: 1 }"), /one database/);
  t.match(refusal("{ sentinels: ['a'] }"), /host:port/);
  t.match(refusal("{ sentinels: ['a:99999'] }"), /above 65535/);
  t.match(refusal("redis://a:99999"), /above 65535/);
  t.match(refusal("postgres://a"), /expected "file:PATH"/);
});

t.test("a password in a URL is refused without being repeated, and a named one is found", async (t) => {
  for (const state of ["redis://u:hunter2@a", "redis://:hunter2@a", "{ redis: 'redis://u:hunter2@a' }"]) {
    t.match(refusal(state), /a password is named, not written/);
    t.notMatch(refusal(state), /hunter2/);
  }
  const read = parsed("{ redis: redis://a, password: { env: P }, cookieSecret: { file: c } }");
  if (!read.ok) throw new Error("refused");
  t.same(
    secretSourcesOf(read.config).map(({ path, source }) => [path.join("."), source]),
    [
      ["state.password", { env: "P" }],
      ["state.cookieSecret", { file: "c" }],
    ],
  );
});
