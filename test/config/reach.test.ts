/** Configurations that would let in whom nobody meant to are refused with their place, and so are tokens that are none (reliability.md 41, 42). */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { loadConfig, parseConfig } from "../../src/config/load.ts";

const TOKEN = "{ name: ci, token: { env: CI }, scopes: [read] }";

/** A configuration with `admin` on its first line and the stable endpoint at line 4, column 27. */
function configOf(admin: string, endpoint = "http://10.0.0.1:8080"): string {
  const canary = `    canary: { endpoints: ["http://10.0.0.2:8080"] }\n`;
  return `admin: ${admin}\nroutes:\n  - name: app\n    stable: { endpoints: ["${endpoint}"] }\n${canary}`;
}

function problems(text: string): readonly string[] {
  const parsed = parseConfig(text, "f");
  return parsed.ok ? [] : parsed.problems.map((each) => `${each.line}:${each.column} ${each.message}`);
}

t.test(
  "an admin API that other machines can reach needs a token and a certificate, or a loud word (reliability 41)",
  async (t) => {
    for (const address of ["0.0.0.0:9900", "':9900'", "'[::]:9900'", "10.0.0.1:9900", "admin.example:9900"]) {
      t.match(
        problems(configOf(`{ address: ${address} }`)),
        [/^1:19 other machines can reach .* admin\.tokens/, /^1:19 other machines can reach .* admin\.tls/],
        address,
      );
      const tokens = `tokens: [${TOKEN}]`;
      t.match(problems(configOf(`{ address: ${address}, ${tokens} }`)), [/^1:19 .* admin\.tls/], address);
      t.match(problems(configOf(`{ address: ${address}, insecure: true }`)), [/^1:19 .* admin\.tokens/]);
      const tls = "tls: { cert: a.pem, key: b.pem }";
      for (const more of [tls, "insecure: true"])
        t.same(problems(configOf(`{ address: ${address}, ${tokens}, ${more} }`)), [], `${address} ${more}`);
    }
    for (const address of ["127.0.0.1:9900", "127.8.8.8:1", "localhost:9900", "'[::1]:9900'", "unix:/run/s"])
      t.same(problems(configOf(`{ address: ${address} }`)), [], address);
    t.match(problems(configOf("{ address: 'unix:/run/s', tls: { cert: a, key: b } }")), [
      /^1:39 a unix socket takes no certificate/,
    ]);
  },
);

t.test("the admin listener is no endpoint of a route, however it is written (reliability 41)", async (t) => {
  const through = (address: string, endpoint: string) =>
    problems(configOf(`{ address: '${address}' }`, endpoint));
  const refused: readonly (readonly [string, string])[] = [
    ["127.0.0.1:9900", "http://127.0.0.1:9900"],
    ["127.0.0.1:9900", "http://localhost:9900"],
    ["127.0.0.1:9900", "h2c://LOCALHOST:9900"],
    ["127.0.0.1:9900", "http://127.1:9900"],
    ["127.0.0.1:9900", "http://[::1]:9900"],
    ["127.0.0.1:9900", "http://[::ffff:127.0.0.1]:9900"],
    ["127.0.0.1:9900", "http://0.0.0.0:9900"],
    ["localhost:09900", "https://127.0.0.1:9900"],
    ["127.0.0.1:80", "http://localhost"],
    ["127.0.0.1:443", "https://localhost"],
  ];
  for (const [address, endpoint] of refused)
    t.same(
      through(address, endpoint),
      ["4:27 this is the admin listener, which no request may reach through the proxy"],
      `${address} ${endpoint}`,
    );
  const allowed: readonly (readonly [string, string])[] = [
    ["127.0.0.1:9900", "http://127.0.0.1:9901"],
    ["127.0.0.1:9900", "http://10.0.0.1:9900"],
    ["127.0.0.1:0", "http://127.0.0.1:9900"],
    ["127.0.0.1:443", "http://localhost"],
    ["unix:/run/a:9900", "http://127.0.0.1:9900"],
  ];
  for (const [address, endpoint] of allowed) t.same(through(address, endpoint), [], `${address} ${endpoint}`);
});

t.test("no token is called what the program calls itself in the journal (reliability 42)", async (t) => {
  for (const name of ["sluice", "local", "anonymous"])
    t.match(problems(configOf(`{ tokens: [${TOKEN.replace("ci", name)}] }`)), [
      /^1:27 ".*" is the program's own/,
    ]);
});

t.test("a token is strong, can be sent, and is nobody else's (reliability 42)", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-token-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "sluice.yaml");
  writeFileSync(
    file,
    configOf(`{ tokens: [${TOKEN}, ${TOKEN.replaceAll(/ci|CI/g, (each) => `${each}2`)}] }`),
  );
  const good = { CI: "0123456789abcdefghij-_", CI2: "0123456789abcdef0123456789abcdef" };
  t.equal((await loadConfig(file, good)).secretOf({ env: "CI" }).reveal(), good.CI);
  const refused: readonly (readonly [value: string, why: RegExp])[] = [
    ["", /CI is empty/],
    ["0123456789abcdefghij-", /fewer than 22 characters/],
    ["0123456789abcdef 0123456789abcdef", /no header can carry/],
    ["0123456789abcdef\n0123456789abcdef", /no header can carry/],
    ["0123456789abcdef0123456789abcdéf", /no header can carry/],
    [good.CI2, /another one's too/],
  ];
  for (const [value, why] of refused) {
    const error: unknown = await loadConfig(file, { ...good, CI: value }).catch(
      (trouble: unknown) => trouble,
    );
    t.match(error, { code: "SPLIT_CONFIG_INVALID", message: why });
    t.match(error, { message: /^.*sluice\.yaml:1:\d+: / });
    if (value !== "") t.notMatch(String(error), value, "and is not repeated");
  }
});
