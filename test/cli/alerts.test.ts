/** Alerts and silences, as people type them and read them. */

import t from "tap";
import { sluice } from "../support/cli.ts";
import {
  ALERT,
  SILENCE,
  fakeAdmin,
  routeStatus,
  type AdminAnswer,
  type AdminCall,
} from "../support/fake-admin.ts";

const answer = ({ method, path }: AdminCall): AdminAnswer => {
  if (path.startsWith("/v1/alerts")) return [200, { alerts: path.includes("idle") ? [] : [ALERT] }];
  if (path.startsWith("/v1/routes")) return [200, routeStatus({ alerts: [ALERT], targets: [TARGET] })];
  if (method !== "GET") return [200, SILENCE];
  return [
    200,
    { silences: path.includes("idle") ? [] : [SILENCE, { ...SILENCE, severity: null, metric: "p95" }] },
  ];
};
const TARGET = { metric: "p95", target: "p95 below 100ms", met: false } as const;

t.test("what is open is listed, and somebody is waited for", async (t) => {
  const admin = await fakeAdmin(answer);
  t.teardown(() => admin.close());
  const access = ["--admin", admin.address, "--token", "t"];
  const open = await sluice(["alerts", ...access]);
  t.equal(open.code, 3, "nobody has acknowledged it");
  t.match(open.out, /critical +app +error_rate above 1% +7\.50 % +3m +- +error_rate-critical-r-1-1/);
  t.match(await sluice(["alerts", "idle", ...access]), { code: 0, out: "no alert is open\n" });
  t.match(JSON.parse((await sluice(["alerts", "--json", ...access])).out), { alerts: [ALERT] });
  const status = await sluice(["status", "app", ...access]);
  t.match(
    status.out,
    "  alert   critical: error_rate above 1%, now 7.50 %, for 3m\n  target  p95 below 100ms not met\n",
  );
});

t.test("an alert is acknowledged by its id, or by its route", async (t) => {
  const admin = await fakeAdmin(answer);
  t.teardown(() => admin.close());
  const access = ["--admin", admin.address, "--token", "t"];
  const posts = () =>
    admin.calls.filter(({ method }) => method === "POST").map(({ path, body }) => [path, body]);
  t.match(await sluice(["acknowledge", ALERT.id, "--reason", "on it", ...access]), { code: 0 });
  t.match(await sluice(["acknowledge", "app", "--resolve", "--json", ...access]), { code: 0 });
  t.same(posts(), [
    [`/v1/alerts/${ALERT.id}/acknowledge`, { comment: "on it" }],
    [`/v1/alerts/${ALERT.id}/resolve`, {}],
  ]);
  t.match(await sluice(["acknowledge", "other", ...access]), {
    code: 2,
    err: /no alert is open that is called other/,
  });
});

t.test("silences are made, listed and ended", async (t) => {
  const admin = await fakeAdmin(answer);
  t.teardown(() => admin.close());
  const access = ["--admin", admin.address, "--token", "t"];
  const line = "s-1  app: warning, until 2026-01-05T11:00:00.000Z, by ann: known\n";
  const made = [
    "silence",
    "app",
    "--for",
    "90m",
    "--severity",
    "warning",
    "--metric",
    "p95",
    "--reason",
    "known",
  ];
  t.match(await sluice([...made, ...access]), { code: 0, out: line });
  t.same(admin.calls.at(-1)?.body, {
    route: "app",
    for: "1h30m",
    reason: "known",
    severity: "warning",
    metric: "p95",
  });
  t.match(await sluice(["silences", ...access]), { code: 0, out: /any severity about p95/ });
  t.match(await sluice(["silences", "idle", ...access]), { code: 0, out: "nothing is silenced\n" });
  t.match(JSON.parse((await sluice(["silences", "--json", ...access])).out), { silences: [SILENCE, {}] });
  t.match(await sluice(["unsilence", "s-1", ...access]), { code: 0, out: `ended: ${line}` });
  t.match(admin.calls.at(-1), { method: "DELETE", path: "/v1/silences/s-1" });
  t.match(JSON.parse((await sluice(["unsilence", "s-1", "--json", ...access])).out), SILENCE);
  const bad = ["silence", "app", "--for", "2h", "--reason", "known"];
  t.match(await sluice([...bad, "--severity", "loud", ...access]), {
    code: 2,
    err: /--severity takes warning, critical, emergency, not loud/,
  });
  t.match(await sluice([...bad, "--metric", "rps", ...access]), { code: 2, err: /--metric takes/ });
  t.match(await sluice(["silence", "app", "--for", "2h", ...access]), { code: 2, err: /--reason/ });
  t.match(await sluice(["silence", "app", "--for", "2", "--reason", "x", ...access]), {
    code: 2,
    err: /--for/,
  });
});

t.test("an answer that is none of the admin API's is said to be one", async (t) => {
  const admin = await fakeAdmin(() => [200, {}]);
  t.teardown(() => admin.close());
  const access = ["--admin", admin.address, "--token", "t"];
  t.not((await sluice(["unsilence", "s-1", ...access])).code, 0);
  t.not((await sluice(["alerts", ...access])).code, 0);
});
