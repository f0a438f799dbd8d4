/** Alerts, as people answer them in the console: seen, muted for a while, over; by keyboard, and only by who may. */

import type { Browser } from "playwright-core";
import t, { type Test } from "tap";
import { ppm } from "../../src/domain/units.ts";
import {
  LEAD,
  READER,
  WITHOUT_BROWSER,
  accessible,
  button,
  openRoute,
  staged,
  type Stage,
} from "../support/console.ts";

t.setTimeout(100_000);

/** What every canary exceeds, and an event that is over when somebody says so. */
const ALERTS = [
  { severity: "warning", when: [{ metric: "p95", above: "1ms", for: "1s", window: "10s", minRequests: 5 }] },
  { severity: "emergency", when: [{ event: "rolled_back" }] },
];

t.test("people answer alerts in Chromium", { skip: WITHOUT_BROWSER }, async (t) => {
  const { scene, browser } = await staged(t, "10m", { alerts: ALERTS });
  const order = { type: "set_weight", weight: ppm(500_000), force: false, reason: "a look" } as const;
  await scene.running.control.command("app", order, { name: "somebody" });
  await scene.until(({ alerts }) => alerts.some(({ id }) => id !== ""));
  await t.test("who may only read sees them, and has nothing to press", (t) => looks(t, scene, browser));
  await t.test("an alert is acknowledged, muted for a while, and resolved, by keyboard", (t) =>
    answers(t, scene, browser),
  );
});

async function looks(t: Test, scene: Stage, browser: Browser): Promise<void> {
  const { page, wrong } = await openRoute(browser, scene.url, READER);
  const card = page.getByRole("region", { name: "Alerts" });
  await card.getByRole("listitem").filter({ hasText: "Nobody has seen it yet" }).waitFor();
  t.equal(await card.getByRole("button").count(), 0);
  t.same(wrong, [], "nothing to complain about");
  await page.context().close();
}

async function answers(t: Test, scene: Stage, browser: Browser): Promise<void> {
  const { page, wrong } = await openRoute(browser, scene.url, LEAD);
  const card = page.getByRole("region", { name: "Alerts" });
  const alert = card.getByRole("listitem").filter({ hasText: "p95 above 1ms" });
  const dialog = page.getByRole("dialog");
  await alert.getByText("Nobody has seen it yet").waitFor();
  await accessible(t, page, "alert");

  t.equal(
    await alert.getByRole("button", { name: /^Resolve/ }).count(),
    0,
    "a metric says itself when it is over",
  );
  await alert.getByRole("button", { name: "Acknowledge… warning p95 above 1ms" }).focus();
  await page.keyboard.press("Enter");
  await page.getByLabel("Comment").fill("on it");
  await accessible(t, page, "acknowledge");
  await page.keyboard.press("Enter");
  await alert.getByText("Seen by lea: on it").waitFor();
  t.match(scene.status().alerts, [{ acknowledged: { by: "lea", comment: "on it" } }]);
  await alert.getByRole("button", { name: /^Acknowledge/ }).waitFor({ state: "detached" });
  await dialog.waitFor({ state: "detached" });
  const focused = page.locator(":focus");
  t.equal(await focused.getAttribute("aria-labelledby"), "alerts-title", "the focus goes on from the card");

  await alert.getByRole("button", { name: /^Silence/ }).focus();
  await page.keyboard.press("Enter");
  await dialog.getByLabel("For how long").selectOption("8 hours");
  await accessible(t, page, "silence");
  await button(page, "Silence").click();
  t.ok(await dialog.isVisible(), "nothing is muted without a reason");
  t.equal(scene.running.control.alerting.silences("app").length, 0);
  await dialog.getByLabel("Reason").fill("known to be slow");
  await page.keyboard.press("Enter");
  const silence = page.getByRole("list", { name: "Silences" }).getByRole("listitem");
  await silence.getByText("By lea: known to be slow").waitFor();
  await alert.getByText("Seen by lea: on it · Nobody is told: silenced").waitFor();
  const [made] = scene.running.control.alerting.silences("app");
  t.match(made, { metric: "p95", severity: null, reason: "known to be slow" });
  t.equal(Date.parse(made?.until ?? "") - Date.parse(made?.at ?? ""), 8 * 3600_000);
  await accessible(t, page, "silenced");
  await silence.getByRole("button", { name: /^End/ }).click();
  await button(page, "End it").click();
  await silence.waitFor({ state: "detached" });
  t.same(scene.running.control.alerting.silences("app"), []);

  await button(page, "Roll back…").click();
  await button(page, "Roll back now").click();
  const event = card.getByRole("listitem").filter({ hasText: "Emergency" });
  await event.getByRole("button", { name: /^Resolve/ }).click();
  await page.getByLabel("Comment").fill("looked at");
  await button(page, "Resolve").click();
  await event.waitFor({ state: "detached" });
  t.same(wrong, [], "nothing to complain about");
  await page.context().close();
}
