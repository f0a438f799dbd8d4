/** Reports over the admin API: the list, one of them in both forms, and ids that lead nowhere else. */

import t from "tap";
import { REPORT_ENTRY, testAdmin } from "../support/control.ts";

t.test("reports are listed by route, and one is JSON or, when that is preferred, Markdown", async (t) => {
  const { ask } = await testAdmin(t);
  t.same((await ask("GET", "/v1/reports", { as: "reader" })).json, { reports: [REPORT_ENTRY] });
  t.same((await ask("GET", "/v1/reports?route=api&limit=3")).json, { reports: [] });
  t.match(await ask("GET", "/v1/reports?limit=0"), { status: 400, json: { field: "limit" } });
  t.equal((await ask("GET", "/v1/reports", { as: "nobody" })).status, 401);
  const path = `/v1/reports/${REPORT_ENTRY.id}`;
  for (const [accept, type] of [
    ["*/*", "application/json"],
    ["text/markdown;q=0.5, application/json", "application/json"],
    ["text/markdown, application/json", "text/markdown; charset=utf-8"],
    ["text/markdown;q=0", "application/json"],
  ] as const) {
    const answer = await ask("GET", path, { as: "reader", headers: { accept } });
    t.match(answer, { status: 200, headers: { "content-type": type } }, accept);
  }
  const whole = await ask("GET", path);
  t.match(whole.json, { format: 1, route: "app", events: [{ type: "started", actor: "ann" }] });
});

t.test("no spelling of a report's id leaves its folder", async (t) => {
  const asked: string[] = [];
  const read = (id: string): Promise<undefined> => {
    asked.push(id);
    return Promise.resolve(undefined);
  };
  const { ask } = await testAdmin(t, { reports: { list: () => Promise.resolve([]), read } });
  for (const id of [
    "..",
    "%2e%2e",
    "..%2fadmin.token",
    "%2Fetc%2Fpasswd",
    "..%5c..%5ca",
    "a%00b",
    "%",
    "",
    ".hidden",
    "a".repeat(300),
  ]) {
    const answer = await ask("GET", `/v1/reports/${id}`);
    t.match(answer, { status: 404, json: { code: "SPLIT_NOT_FOUND" } }, id);
  }
  t.same(asked, [], "nothing was looked for");
  t.match(await ask("GET", "/v1/reports/none"), { status: 404, json: { detail: /no report of this id/ } });
  t.same(asked, ["none"]);
});
