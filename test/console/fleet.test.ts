/** Two replicas on one real Redis, each with a console: either tells of both, and what is asked of the one that does not lead is done by the one that does. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import t, { type Test } from "tap";
import {
  WITHOUT_BROWSER,
  accessible,
  button,
  openBrowser,
  openRoute,
  stage,
  type Stage,
} from "../support/console.ts";
import { redisServer, redisTest } from "../support/redis.ts";
import { until } from "../support/until.ts";

t.setTimeout(100_000);

const NAMES = ["edge-a", "edge-b"];

if (WITHOUT_BROWSER === false) redisTest("two replicas in Chromium", twoReplicas);
else t.test("two replicas in Chromium", { skip: WITHOUT_BROWSER }, () => {});

async function twoReplicas(t: Test): Promise<void> {
  const redis = await redisServer(t);
  const folder = await mkdtemp(join(tmpdir(), "sluice-console-fleet-"));
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  const scenes = await Promise.all(
    NAMES.map((replica) =>
      stage("10m", {}, { state: { redis: redis.url, folder: join(folder, replica), replica } }),
    ),
  );
  const browser = await openBrowser();
  const running = new Set(scenes);
  t.teardown(async () => {
    await browser.close();
    await Promise.all([...running].map((each) => each.close()));
  });
  await until("one leads", () => scenes.some((each) => each.status().fleet?.leads === true));
  const at = scenes.findIndex((each) => each.status().fleet?.leads === true);
  // There are two, and one of them leads.
  const [leader, other] = [scenes[at] as Stage, scenes[1 - at] as Stage];
  const [leads = "", follows = ""] = [NAMES[at], NAMES[1 - at]];

  const { page, wrong } = await openRoute(browser, other.url, other.running.token);
  await row(page, leads).filter({ hasText: "leader" }).waitFor();
  await row(page, follows).filter({ hasText: "this one" }).waitFor();
  t.equal(await row(page, follows).getByText("leader").count(), 0, "one of them leads");
  for (const name of NAMES)
    await row(page, name)
      .filter({ hasText: /\d+(\.\d+)?\s%\s?of the traffic/ })
      .waitFor();

  await button(page, "Set weight…").click();
  await page.getByLabel("The canary's share in percent").fill("20");
  await page.getByLabel("Reason").fill("a look at both");
  await button(page, "Set weight").click();
  for (const name of NAMES)
    await row(page, name)
      .filter({ hasText: /on 20\s%/ })
      .waitFor();
  t.equal(leader.status().weight, 20, "asked of the one that does not lead, done by the one that does");
  await accessible(t, page, "replicas");
  t.same(wrong, [], "nothing to complain about");

  running.delete(leader);
  await leader.close();
  await row(page, follows).filter({ hasText: "leader" }).waitFor();
  t.equal(other.status().weight, 20);
  await button(page, "Roll back…").click();
  await button(page, "Roll back now").click();
  await row(page, follows)
    .filter({ hasText: /on 0\s%/ })
    .waitFor();
  await page.context().close();
}

const row = (page: Page, replica: string) =>
  page.getByRole("region", { name: "Replicas" }).getByRole("listitem").filter({ hasText: replica });
