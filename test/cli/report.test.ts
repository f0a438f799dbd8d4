import t from "tap";
import { sluice } from "../support/cli.ts";
import { fakeAdmin, type AdminAnswer, type AdminCall } from "../support/fake-admin.ts";

const ID = "deployment_production_20260105T090000Z";

/** Answers for one report, of the route `app`. */
function answer({ path, headers }: AdminCall): AdminAnswer {
  const url = new URL(path, "http://admin");
  if (url.pathname === "/v1/reports") {
    const isApp = ["app", null].includes(url.searchParams.get("route"));
    return [200, { reports: isApp ? [{ id: ID }] : [] }];
  }
  if (url.pathname !== `/v1/reports/${ID}`)
    return [
      404,
      { type: "about:blank", code: "SPLIT_NOT_FOUND", title: "", status: 404, detail: "no such report" },
    ];
  return headers.accept === "text/markdown"
    ? [200, "# Rollout of \u001b[31mapp\u0007\n\n- Status: RUNNING\n"]
    : [200, '{\n  "format": 1\n}\n'];
}

t.test("the newest report of a route is printed as Markdown, and drives no terminal", async (t) => {
  const admin = await fakeAdmin(answer);
  t.teardown(() => admin.close());
  const where = ["--admin", admin.address];
  const found = await sluice(["report", "app", ...where]);
  t.match(found, { code: 0, out: "# Rollout of app \n\n- Status: RUNNING\n", err: "" });
  t.same(
    admin.calls.map(({ path }) => path),
    ["/v1/reports?limit=1&route=app", `/v1/reports/${ID}`],
  );
  t.equal((await sluice(["report", "app", "--markdown", ...where])).out, found.out);
  t.equal((await sluice(["report", ...where])).out, found.out, "of all routes when none is named");
  t.equal(admin.calls.at(-2)?.path, "/v1/reports?limit=1");
});

t.test("--json prints the document as it is, and an id is asked for as it stands", async (t) => {
  const admin = await fakeAdmin(answer);
  t.teardown(() => admin.close());
  const found = await sluice(["report", ID, "--json", "--admin", admin.address]);
  t.match(found, { code: 0, out: '{\n  "format": 1\n}\n' });
  t.equal(admin.calls.length, 1);
  t.equal(admin.calls[0]?.headers.accept, "application/json");
});

t.test("what is not there, and what does not go together, is said in one line", async (t) => {
  const admin = await fakeAdmin(answer);
  t.teardown(() => admin.close());
  const where = ["--admin", admin.address];
  t.match(await sluice(["report", "api", ...where]), {
    code: 2,
    out: "",
    err: "sluice: there is no report of api yet (SPLIT_NOT_FOUND)\n",
  });
  t.match(await sluice(["report", ID.replace("09", "10"), ...where]), { code: 2, err: /no such report/ });
  t.match(await sluice(["report", "--json", "--markdown", ...where]), { code: 2, err: /SPLIT_USAGE/ });
});

t.test("an answer that is none of this program's is not taken for one", async (t) => {
  let reports: unknown = [{ id: 7 }];
  const admin = await fakeAdmin(() => [200, { reports }]);
  t.teardown(() => admin.close());
  t.match(await sluice(["report", "--admin", admin.address]), {
    code: 5,
    err: /not this program's admin API/,
  });
  reports = [];
  t.match(await sluice(["report", "--admin", admin.address]), { code: 2, err: /there is no report yet/ });
});
