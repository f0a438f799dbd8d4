/** `replicas`, against a pretended API. */

import t from "tap";
import { sluice } from "../support/cli.ts";
import { fakeAdmin } from "../support/fake-admin.ts";

const LEADER = {
  replica: "edge-1",
  isLeader: true,
  isStale: false,
  silentMs: 400,
  applied: 17,
  routes: {
    app: { weight: 25, perSecond: 30, share: 0.75 },
    shop: { weight: 0, perSecond: 0, share: null },
  },
};
const FOLLOWER = {
  ...LEADER,
  replica: "edge-2\u001b[2J",
  isLeader: false,
  routes: { app: { weight: 25, perSecond: 10, share: 0.25 } },
};
const SILENT = { ...FOLLOWER, replica: "edge-3", isStale: true, silentMs: 41_000, routes: {} };

t.test("who shares the state is listed, and one that is silent is an exit code", async (t) => {
  let replicas: readonly object[] = [LEADER, FOLLOWER];
  const admin = await fakeAdmin(() => [200, { replicas }]);
  t.teardown(() => admin.close());
  const at = ["replicas", "--admin", admin.address];
  const listed = await sluice(at);
  t.equal(listed.code, 0);
  t.match(listed.out, /^edge-1 +leader +0 s ago +17 +app +25 % +30\.0 +75 %$/m);
  t.match(listed.out, /^ +shop +0 % +0\.0 +-$/m);
  t.match(listed.out, /^edge-2\S* +- +0 s ago +17 +app +25 % +10\.0 +25 %$/m);
  t.notOk(listed.out.includes("\u001b[2J"));
  t.match(admin.calls.at(-1), { method: "GET", path: "/v1/replicas" });
  replicas = [LEADER, SILENT];
  t.match(await sluice(at), { code: 1, out: /edge-3 +silent +41 s ago +17 +- +- +- +-/ });
  const told = await sluice([...at, "--json"]);
  t.match(JSON.parse(told.out), { replicas: [LEADER, SILENT] });
  replicas = [];
  t.match(await sluice(at), { code: 0, out: "the state is not shared: there is one replica\n" });
});
